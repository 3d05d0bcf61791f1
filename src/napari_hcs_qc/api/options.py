"""Options of the steps, gathered from the parameters of the public functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_hcs_qc.assay.annotations.labels_csv import LabelOptions
    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.cells.imported.options import ImportOptions


def train_options(
    *,
    encoder: str | None,
    weights: str | Path | None,
    recipe: str | None,
    rgb: Sequence[str],
    head: str,
    simulated: Sequence[str],
    seeds: int,
    seed: int,
    device: str,
    backend: str,
) -> TrainOptions:
    """Gather what `Assay.train` and `run` are given."""
    from napari_hcs_qc.assay.models.train_options import TrainOptions

    if seeds < 1:
        raise HcsQcError(f"The number of seeds is {seeds}; at least 1 was expected.")
    return TrainOptions(
        encoder=encoder,
        weights=None if weights is None else Path(weights),
        recipe=recipe,
        rgb=tuple(rgb),
        head=head,
        seed=seed,
        n_seeds=seeds,
        device=device,
        simulated=tuple(simulated),
        backend=backend,
    )


def import_options(
    *,
    positions_are: Iterable[str],
    image_table: str | Path | None,
    accept_positions: bool,
    labels: str | None = None,
) -> ImportOptions:
    """Gather how positions of another program are read."""
    from napari_hcs_qc.cells.imported.options import ImportOptions
    from napari_hcs_qc.tables.positions_are import positions_are as read_positions_are

    return ImportOptions(
        positions_are=read_positions_are(positions_are),
        accept_positions=accept_positions,
        labels=labels,
        image_table=None if image_table is None else Path(image_table),
    )


def label_options(importing: ImportOptions, classes: Mapping[str, str]) -> LabelOptions:
    """Gather how a file of annotated cells is read."""
    from napari_hcs_qc.assay.annotations.labels_csv import LabelOptions

    return LabelOptions(
        positions_are=importing.positions_are, image_table=importing.image_table, classes=classes
    )
