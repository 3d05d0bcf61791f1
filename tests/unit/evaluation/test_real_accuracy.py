"""The default head on real annotated nuclei, with features that need no encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.transform import resize

from napari_hcs_qc.evaluation.baseline import hand_features
from napari_hcs_qc.evaluation.crossval import cross_validate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.realdata
@pytest.mark.slow
def test_the_baseline_judges_bbbc039_as_its_readme_says(shared_data: Path) -> None:
    folder = shared_data / "bbbc039"
    table = pd.read_csv(folder / "labels.csv").dropna(subset=["label"])
    crops = np.empty((len(table), 1, 1, 64, 64), np.float32)
    for row, (_, cell) in enumerate(table.iterrows()):
        image = tifffile.imread(folder / "20585" / cell["image"]).astype(np.float32)
        image = np.pad(np.clip((image - 128) / (1605 - 128), 0, 1), 24, mode="reflect")
        y, x = round(cell["y_px"]), round(cell["x_px"])
        crops[row, 0, 0] = resize(image[y : y + 48, x : x + 48], (64, 64), order=1)
    features, _ = hand_features(crops)
    wells = ("20585/" + table["well"]).to_numpy(str)
    labels = table["label"].to_numpy(str)
    result = cross_validate(features, labels, wells, "forest", seeds=(0, 1))
    # The data README gives 0.90-0.92 for such features with a random forest.
    assert result.figures.mean["f1_weighted"] > 0.87
    assert result.figures.mean["auc"] > 0.93
    low, high = result.figures.ci95["f1_weighted"]
    assert 0.02 < high - low < 0.2
    assert result.by == "well"
