"""What is said of each found cell, kept up to date, is what a fresh look gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.annotation_cache import AnnotationCache, PlateSite
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.annotations.matching import cells_at
from napari_hcs_qc.assay.views.annotated_rows import AnnotatedRows
from napari_hcs_qc.assay.views.site_cells import site_cells
from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    import pytest

SITES = (SiteKey("A01", 1), SiteKey("A01", 2), SiteKey("B02", 1))


class Found:
    """What is used of the cells of a plate."""

    diameter_px = 10.0

    def __init__(self) -> None:
        places = [(well, site, 20.0 * row, 30.0) for well, site in SITES for row in range(1, 5)]
        table = pd.DataFrame(places, columns=["well", "site", "y_px", "x_px"])
        self.cells = cells_at(table, 0, self.diameter_px)


acts = st.lists(
    st.tuples(
        st.sampled_from(SITES),
        st.integers(1, 4),
        st.sampled_from([0.0, 3.0, 40.0]),  # at the centre, beside it, on empty ground
        st.sampled_from(["normal", "abnormal", "unsure", None]),
        st.sampled_from(["anna", "bert"]),
    ),
    max_size=8,
)


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(acts=acts, many=st.booleans())
def test_rows_kept_up_to_date_are_those_of_a_fresh_look(
    tmp_path_factory: pytest.TempPathFactory, acts: list[Any], many: bool
) -> None:
    found: Any = Found()
    live = AnnotationCache(Journal.open(tmp_path_factory.mktemp("rows") / "journal.sqlite"))
    by_site = CellsBySite.of(found.cells)
    kept = AnnotatedRows("P", found, by_site, live)
    for site, row, beside, cls, person in acts:
        kind = "blur" if cls == "abnormal" else None
        word = Annotation(
            plate="P",
            well=site.well,
            site=site.site,
            y_px=20.0 * row,
            x_px=30.0 + beside,
            cls=cls,
            kind=kind,
        )
        changed = [one.site for one in live.annotate([word], person)]
        if many:
            kept.update(changed)
        else:
            said = live.columns_at(PlateSite("P", site))
            kept.take(site_cells(found, by_site, site, said))
    fresh = AnnotatedRows("P", found, by_site, live)
    np.testing.assert_array_equal(kept.classes, fresh.classes)
    np.testing.assert_array_equal(kept.kinds, fresh.kinds)


def test_a_cell_on_empty_ground_comes_after_the_found_ones(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    found: Any = Found()
    live = AnnotationCache(Journal.open(tmp_path_factory.mktemp("cells") / "journal.sqlite"))
    live.annotate(
        [Annotation(plate="P", well="A01", site=1, y_px=20.0, x_px=30.0, cls="normal")], "anna"
    )
    live.annotate(
        [Annotation(plate="P", well="A01", site=1, y_px=20.0, x_px=30.0, cls="abnormal")], "bert"
    )
    live.annotate(
        [
            Annotation(
                plate="P", well="A01", site=1, y_px=95.0, x_px=80.0, cls="abnormal", kind="debris"
            )
        ],
        "anna",
    )
    cells = site_cells(
        found, CellsBySite.of(found.cells), SITES[0], live.columns_at(PlateSite("P", SITES[0]))
    )
    assert cells.rows.tolist() == [0, 1, 2, 3, -1]
    assert cells.annotated_class.tolist() == ["conflict", None, None, None, "abnormal"]
    assert cells.annotated_kind.tolist()[-1] == "debris"
    assert cells.nearest(94.0, 81.0) == 4
    assert cells.nearest(60.0, 90.0) is None
    assert set(cells.predicted_class(0.5)) == {"not classified"}
