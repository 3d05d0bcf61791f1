"""What people say of each found cell of a plate, kept up to date click by click."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.annotations.annotation_cache import PlateSite
from napari_hcs_qc.assay.annotations.matching import match_annotations
from napari_hcs_qc.text_columns import none_if_missing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_hcs_qc.assay.annotations.matching import Columns
    from napari_hcs_qc.assay.store.plate_cells import PlateCells
    from napari_hcs_qc.assay.views.site_cells import SiteCells
    from napari_hcs_qc.cells.by_site import CellsBySite
    from napari_hcs_qc.plates.plate import SiteKey


class ShownAnnotations(Protocol):
    """Annotations that change while somebody looks at them: all of an assay, or some."""

    @property
    def table(self) -> pd.DataFrame:
        """All of them."""

    def at_site(self, where: PlateSite) -> pd.DataFrame:
        """Those of one site."""

    def columns_at(self, where: PlateSite) -> Columns:
        """Columns of those of one site."""


class OwnAnnotations:
    """What one person has annotated of all that is in a cache: all that blind mode shows."""

    def __init__(self, cache: ShownAnnotations, annotator: str) -> None:
        self._cache, self._annotator = cache, annotator

    @property
    def table(self) -> pd.DataFrame:
        """Their annotations."""
        return self._own(self._cache.table)

    def at_site(self, where: PlateSite) -> pd.DataFrame:
        """Those of one site."""
        return self._own(self._cache.at_site(where))

    def columns_at(self, where: PlateSite) -> Columns:
        """Columns of those of one site."""
        columns = self._cache.columns_at(where)
        is_own = columns["annotator"] == self._annotator
        return {name: values[is_own] for name, values in columns.items()}

    def _own(self, table: pd.DataFrame) -> pd.DataFrame:
        if not len(table):
            return table
        return table[table["annotator"] == self._annotator].reset_index(drop=True)


class AnnotatedRows:
    """Annotated class and kind of every found cell of a plate."""

    def __init__(
        self,
        plate: str,
        plate_cells: PlateCells,
        by_site: CellsBySite,
        annotations: ShownAnnotations,
    ) -> None:
        self._plate, self._found, self._by_site, self._live = (
            plate,
            plate_cells,
            by_site,
            annotations,
        )
        n_cells = len(plate_cells.cells)
        self.classes = np.full(n_cells, None, dtype=object)
        self.kinds = np.full(n_cells, None, dtype=object)
        self._ids = plate_cells.cells["cell_id"].to_numpy(np.int64)
        self._by_id = np.argsort(self._ids, kind="stable")
        table = annotations.table
        self._write(table[table["plate"] == plate])

    def take(self, cells: SiteCells) -> None:
        """Take over what is said of the cells of one site."""
        is_found = cells.rows >= 0
        rows = cells.rows[is_found]
        self.classes[rows] = cells.annotated_class[is_found]
        self.kinds[rows] = cells.annotated_kind[is_found]

    def update(self, sites: Iterable[SiteKey]) -> None:
        """Look again at what is said of many sites; of one, `take` is quicker."""
        annotated = []
        for site in sites:
            rows = self._by_site.rows(site)
            self.classes[rows], self.kinds[rows] = None, None
            annotated.append(self._live.at_site(PlateSite(self._plate, site)))
        if annotated:
            self._write(pd.concat(annotated, ignore_index=True))

    def _write(self, annotations: pd.DataFrame) -> None:
        if not len(annotations):
            return
        plate_cells = self._found
        matched = match_annotations(
            annotations,
            plate_cells.cells,
            plate_cells.diameter_px / 2,
            add=False,
            by_site=self._by_site,
        ).cells
        matched = matched[matched["cell_id"] >= 0]
        places = np.searchsorted(self._ids, matched["cell_id"], sorter=self._by_id)
        rows = self._by_id[places]
        words = none_if_missing(matched["class"])
        self.classes[rows] = np.where(matched["is_conflict"], "conflict", words)
        self.kinds[rows] = none_if_missing(matched["kind"])
