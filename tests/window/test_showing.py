"""A judged plate in a real napari window: what `hcs-qc demo` opens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_hcs_qc.assay import loop
from napari_hcs_qc.assay.training import TrainOptions
from napari_hcs_qc.gui.showing import fill_viewer, worst_readable_site
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.plates.synthetic import SyntheticSpec, simulate_plate

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer

pytestmark = pytest.mark.window

# Where the README's picture is kept; written only when asked for.
_PICTURE = os.environ.get("HCS_QC_PICTURES")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> loop.RunResult:
    folder = tmp_path_factory.mktemp("window")
    spec = SyntheticSpec(
        name="DEMO",
        wells=("A01", "A02", "B01", "B02"),
        sites_per_well=1,
        shape_px=(330, 440),
        seed=11,
        artefact_share=0.0,
        schedule=(("B02", "fibre"),),
        abnormal_share=0.12,
        n_labels=90,
    )
    made = simulate_plate(folder / "made", spec)
    return loop.run(
        folder / "assay",
        loop.PlateSource(made.plate_dir),
        made.labels,
        folder / "out",
        annotator="simulation",
        train_options=TrainOptions(n_seeds=1),
    )


def test_the_window_opens_on_the_fibre_with_its_cells_coloured(
    result: loop.RunResult, make_napari_viewer: Callable[..., Viewer]
) -> None:
    judged = result.judged[0]
    site = worst_readable_site(judged)
    assert site == SiteKey("B02", 1)
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)
    fill_viewer(viewer, judged, site)
    assert [layer.name for layer in viewer.layers] == ["DNA", "Actin", "Mito", "cells"]
    ranges = judged.state.found.ranges
    assert viewer.layers["DNA"].contrast_limits == [ranges.channels[0].low, ranges.channels[0].high]
    points = viewer.layers["cells"]
    here = (judged.state.cells["well"] == "B02").to_numpy()
    assert len(points.data) == here.sum()
    # A point lies on its nucleus: the image is brighter there than on average.
    image = np.asarray(viewer.layers["DNA"].data)
    rows, columns = np.rint(np.asarray(points.data)).astype(int).T
    assert np.median(image[rows, columns]) > 2 * np.median(image)
    classes = np.asarray(points.features["predicted_class"])
    colours = {tuple(colour) for colour in points.border_color[classes == "abnormal"]}
    assert len(colours) == 1
    assert colours.isdisjoint({tuple(c) for c in points.border_color[classes == "normal"]})
    assert "B02" in viewer.canvas.overlays.text.text

    picture = viewer.screenshot(canvas_only=False, flash=False)
    assert picture.shape[0] > 500
    assert picture[..., :3].std() > 5  # something was drawn
    if _PICTURE:
        from PIL import Image

        Image.fromarray(picture).convert("RGB").save(Path(_PICTURE) / "window.png", optimize=True)


def test_the_reader_and_the_sample_are_found_by_napari(
    result: loop.RunResult, make_napari_viewer: Callable[..., Viewer], tmp_path: Path
) -> None:
    viewer = make_napari_viewer()
    plate = str(result.judged[0].state.plate.source)
    viewer.open(plate, plugin="napari-hcs-qc")
    assert [layer.name for layer in viewer.layers] == ["DNA", "Actin", "Mito"]
    viewer.layers.clear()
    viewer.open_sample("napari-hcs-qc", "simulated_site")
    assert len(viewer.layers) == 3
    other = tmp_path / "notes"
    other.mkdir()
    (other / "notes.txt").write_text("no plate")
    from napari_hcs_qc.gui.readers import get_reader

    assert get_reader(str(other)) is None
