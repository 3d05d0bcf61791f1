"""How good the nuclei are on real images, against masks that people drew."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from scipy import ndimage as ndi

from napari_hcs_qc.cells.detect import plate_diameter
from napari_hcs_qc.cells.imported.masks import read_mask
from napari_hcs_qc.cells.nuclei import estimate_diameter, find_nuclei
from napari_hcs_qc.plates.open import open_plate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.realdata

Matches = Callable[..., tuple[int, ...]]


def _score(
    matches: Matches, diameter_px: float, abnormal: pd.DataFrame, path: Path
) -> tuple[str, int, tuple[int, ...], int]:
    image = tifffile.imread(path)
    found = find_nuclei(image, diameter_px=diameter_px)
    here = abnormal.loc[abnormal["image"] == path.name, ["y_px", "x_px"]].to_numpy()
    distance = ndi.distance_transform_edt(found == 0)
    n_missed = sum(distance[round(y), round(x)] > 3 for y, x in here)
    mask = path.parents[1] / "masks" / f"{path.stem}.png"
    # Objects below 30 px are fragments of the annotation.
    counts = matches(read_mask(mask, image.shape).labels, found, min_px=30)
    return path.name.split("_w1")[0], int(found.max()), counts, n_missed


class Scores(NamedTuple):
    """Of each field: number of nuclei; right, extra and missed ones."""

    fields: dict[str, tuple[int, tuple[int, ...]]]
    n_missed: int  # abnormal objects of the readers without a mask within 3 px


_CALLED_OUT = ("L10_s6", "E05_s2", "L11_s4", "A12_s7")  # by the README of the data


@pytest.fixture(scope="module", params=[6, pytest.param(1, marks=pytest.mark.slow)])
def plate_scores(shared_data: Path, matches: Matches, request: pytest.FixtureRequest) -> Scores:
    """Of all 99 fields, or of every sixth and those that the README calls out."""
    plate = open_plate(shared_data / "bbbc039" / "20585")
    paths = sorted(plate.source.glob("*.tif"))
    chosen = {path for path in paths if any(name in path.name for name in _CALLED_OUT)}
    chosen.update(paths[:: request.param])
    diameter_px = plate_diameter(plate)
    labels = pd.read_csv(shared_data / "bbbc039" / "labels.csv")
    work = partial(_score, matches, diameter_px, labels[labels["label"] == "abnormal"])
    with ThreadPool(2) as pool:
        rows = pool.map(work, sorted(chosen))
    return Scores({name: (n, counts) for name, n, counts, _ in rows}, sum(row[3] for row in rows))


@pytest.fixture(scope="module")
def scores(plate_scores: Scores) -> dict[str, tuple[int, tuple[int, ...]]]:
    return plate_scores.fields


def test_f1_over_the_fields(scores: dict[str, tuple[int, tuple[int, ...]]]) -> None:
    hits, extra, missed = np.sum([counts for _, counts in scores.values()], axis=0)
    # Those called out weigh more among the few.
    least = {21: 0.94, 99: 0.955}[len(scores)]
    assert 2 * hits / (2 * hits + extra + missed) >= least


def test_abnormal_objects_are_found(plate_scores: Scores) -> None:
    most = {21: 4, 99: 15}[len(plate_scores.fields)]  # of 94 in all
    assert plate_scores.n_missed <= most


@pytest.mark.slow
def test_f1_over_fields_of_many_assays(shared_data: Path, matches: Matches) -> None:
    counts = np.zeros(3, dtype=int)
    for path in sorted((shared_data / "bbbc038_dsb2018" / "images").glob("*.png")):
        image = np.asarray(Image.open(path))
        truth = np.asarray(Image.open(path.parents[1] / "masks" / path.name)).astype(np.int32)
        counts += matches(truth, find_nuclei(image))
    hits, extra, missed = counts
    assert hits + missed == 3090
    assert 2 * hits / (2 * hits + extra + missed) >= 0.86


def test_the_fields_the_readme_calls_out(scores: dict[str, tuple[int, tuple[int, ...]]]) -> None:
    assert scores["IXMtest_L10_s6"][0] == 0  # empty
    n, (hits, extra, _) = scores["IXMtest_E05_s2"]  # a fibre over 174 nuclei
    assert n >= 120
    assert hits >= 140
    assert extra <= 50
    _, (hits, extra, missed) = scores["IXMtest_L11_s4"]  # a saturated bar
    assert 2 * hits / (2 * hits + extra + missed) >= 0.9
    assert scores["IXMtest_A12_s7"][0] >= 15  # dead, next to very bright ones


def test_nuclei_beside_a_fibre(shared_data: Path) -> None:
    [path] = (shared_data / "bbbc039" / "20585").glob("*_E05_s2_*")
    found = find_nuclei(tifffile.imread(path), diameter_px=29.7)
    for y, x in ((33, 500), (131, 598), (300, 675)):
        number = found[y, x]
        assert number > 0
        # A nucleus and no haze with it, which would be several times as large.
        assert 0.5 < (found == number).sum() / (np.pi / 4 * 29.7**2) < 2.0


def test_the_size_of_the_nuclei(shared_data: Path) -> None:
    # The median area of the masks is 640 px, that is 28.5 px across.
    plate = open_plate(shared_data / "bbbc039" / "20585")
    assert plate_diameter(plate) == pytest.approx(28.5, rel=0.07)


def test_other_microscopes(shared_data: Path) -> None:
    """Counts seen by eye, with room: no reference masks exist for these."""
    field = np.asarray(
        Image.open(shared_data / "bbbc006_focus/in_focus/BBBC006_z_aligned__a02__s1__w1_10.png")
    )
    areas = np.bincount(find_nuclei(field, diameter_px=28).ravel())[1:]
    assert 72 <= (areas > 0.05 * np.pi / 4 * 28**2).sum() <= 86  # without specks
    assert len(areas) <= 90  # with them
    field = tifffile.imread(shared_data / "cell_painting_5ch/Hoechst.tif")
    assert 138 <= find_nuclei(field).max() <= 165
    names = [f"ZStep_1/9987_{well}_s{s}_w1.TIF" for well in ("B02", "B03") for s in (1, 2)]
    fields = [tifffile.imread(shared_data / "imagexpress_3434/TimePoint_1" / n) for n in names]
    diameter_px = estimate_diameter(fields)
    assert 12 <= diameter_px <= 18
    assert 14 <= find_nuclei(fields[0], diameter_px=diameter_px).max() <= 20
    scanr = "scanr/A1--W00001--P00001--Z00000--T00000--mcherry.tif"
    field = tifffile.imread(shared_data / scanr)
    assert 45 <= find_nuclei(field, diameter_px=55).max() <= 75
