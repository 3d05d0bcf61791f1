"""A plate at the desk before its first annotation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_hcs_qc.gui.window.guide_dock import next_step
from napari_hcs_qc.heads.prior.plate_prior import MIN_CELLS
from napari_hcs_qc.study.simulation.synthetic import SyntheticSpec, simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from pathlib import Path

SPEC = SyntheticSpec(
    name="SIM",
    wells=("B02", "B03", "C02", "C03"),
    sites_per_well=2,
    shape_px=(400, 440),
    channels=("DNA",),
    seed=5,
    nucleus_diameter_um=14.0,
    cells_per_mm2=1500.0,
    artefact_share=0.0,
    schedule=(("C03", "debris"),),
    abnormal_share=0.06,
    n_labels=20,
)


@pytest.fixture
def plain_assay(tmp_path: Path) -> Path:
    """An assay whose cells are found, without annotations and embeddings."""
    made = simulate_plate(tmp_path / "made", SPEC)
    assay, _ = steps.new(tmp_path / "plain", [steps.PlateSource(made.plate_dir)])
    steps.cells(assay)
    return tmp_path / "plain"


def test_a_plate_is_scored_once_it_is_embedded_and_annotations_make_the_next_model(
    desk: Any, plain_assay: Path
) -> None:
    session = desk.open(plain_assay).session
    assert session.models.model is None
    assert "Compute embeddings" in next_step(session)[1]
    desk.tasks.embed()
    desk.idle()
    assert "Compute embeddings" not in next_step(session)[1]
    assert "were classified" in next_step(session)[1]
    first = session.models.model
    assert first is not None
    assert first.manifest.is_before_annotations
    p_abnormal = session.models.scored.prediction.table["p_abnormal"].to_numpy()
    assert len(p_abnormal) >= MIN_CELLS
    assert np.isfinite(p_abnormal).all()
    assert any(text.startswith("Before any annotation") for _, text in desk.messages)
    assert desk.errors() == []
    # Its figures are of annotations, of which there are none.
    assert desk.training.measure() is None

    # Of the first ten that are suggested half are from the top third of the scores.
    whole = ~session.selection.state.is_cut
    is_high = p_abnormal >= np.quantile(p_abnormal[whole], 2 / 3)
    suggested = []

    def note(at: tuple[float, float]) -> None:
        cells, site = session.selection.state.plate_cells.cells, session.selection.site
        here = cells[(cells["well"] == site.well) & (cells["site"] == site.site)]
        distance = np.hypot(here["y_px"] - at[0], here["x_px"] - at[1])
        suggested.append(int(here.index[distance.to_numpy().argmin()]))

    session.selection.cell_chosen.connect(note)
    for _ in range(10):
        session.suggestions.show_next()
    desk.idle()
    assert len(set(suggested)) == 10
    assert whole[suggested].all()
    assert is_high[suggested].sum() == 5

    # Cells that the border cuts are not trained on.
    desk.annotate("normal", int(np.flatnonzero(~whole[desk.view.cells.rows])[0]))
    desk.training.retrain()
    desk.idle()
    assert "0 normal, 0 abnormal cells annotated (1 cut by the image border" in desk.errors()[-1]
    desk.messages.clear()
    chosen = np.flatnonzero(whole[desk.view.cells.rows])[:6].tolist()
    for index, cls in zip(chosen, ("normal", "abnormal") * 3, strict=True):
        assert desk.annotate(cls, index)
    desk.training.retrain()
    desk.idle()
    second = session.models.model
    assert second.id == "0002"
    assert second.manifest.prior is not None
    assert not second.manifest.is_before_annotations


def test_an_assay_that_was_scored_so_opens_so(desk: Any, plain_assay: Path) -> None:
    desk.open(plain_assay)
    desk.tasks.embed()
    desk.idle()
    session = desk.open(plain_assay).session
    assert session.models.model.manifest.is_before_annotations
    assert session.models.scored is not None


def test_brightfield_is_said_to_be_out_of_range_and_is_not_classified(
    desk: Any, tmp_path: Path
) -> None:
    made = simulate_plate(tmp_path / "made", SPEC.model_copy(update={"wells": ("B02", "B03")}))
    rng = np.random.default_rng(0)
    for path in made.plate_dir.glob("*.tif"):
        grey = tifffile.imread(path).astype(float)
        light = np.clip((grey - grey.min()) / np.percentile(grey - grey.min(), 99.9), 0, 1)
        shown = 2000 - 1000 * light + rng.normal(0, 15, grey.shape)
        tifffile.imwrite(path, shown.astype(np.uint16))
    assay, _ = steps.new(tmp_path / "assay", [steps.PlateSource(made.plate_dir)])
    steps.cells(assay)
    session = desk.open(assay.path).session
    desk.tasks.embed()
    desk.idle()
    assert session.models.model is None
    [warning] = [text for kind, text in desk.messages if kind == "warning"]
    assert "bright where it is empty" in warning
