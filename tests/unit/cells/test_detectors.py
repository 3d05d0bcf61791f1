from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc import plugins
from napari_hcs_qc.cells.detect import find_cells
from napari_hcs_qc.cells.detectors.detector import (
    Detector,
    DetectorError,
    detector_names,
    get_detector,
    nuclei_finder,
)
from napari_hcs_qc.cells.table import cells_of_site, join_cells
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.plates.plate import Plate, SiteKey

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package of one module on the path as if pip had installed it."""

    def made(package: str, module: str, code: str, entries: str = "") -> None:
        folder = tmp_path / package
        info = folder / f"{package.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(entries)
        (folder / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return made


def a_detector(find: Callable[..., Any]) -> Detector:
    return Detector("toy", "toy-package 1.2", find)


def test_another_package_adds_a_detector(install: Install, plate: Plate) -> None:
    install(
        "toy-package",
        "toy_module",
        "def find(image, pixel_size_um):\n    return (image > 400).astype('int64')\n",
        "[napari_hcs_qc.detectors]\ntoy = toy_module:find\n",
    )
    assert detector_names()[:2] == ("built-in", "instanseg")
    assert "toy" in detector_names()
    detector = get_detector("toy")
    assert detector.package == "toy-package 1.2"
    image = np.full((40, 50), 100, np.uint16)
    image[5:9, 5:9] = image[20:30, 20:30] = 900
    masks = detector(image, pixel_size_um=None)
    assert masks.dtype == np.int32
    # Masks of one number are told apart by their areas, as those in files are.
    assert np.unique(masks).tolist() == [0, 1, 2]


def test_a_detector_that_is_not_there_says_what_to_do(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HcsQcError, match=r"no detector 'stardust'; choose one of built-in, inst"):
        get_detector("stardust")
    monkeypatch.setitem(plugins.DETECTORS, "absent", ("no-such-package", "no_such_module:find"))
    message = r'needs the package no-such-package .*pip install "napari-hcs-qc\[absent\]"'
    with pytest.raises(HcsQcError, match=message):
        get_detector("absent")
    entries = "[napari_hcs_qc.detectors]\nbroken = broken_module:nothing\n"
    install("broken-package", "broken_module", "", entries)
    with pytest.raises(HcsQcError, match=r"broken of broken-package 1\.2 cannot be loaded"):
        get_detector("broken")


def test_it_gets_grey_values_and_the_pixel_size() -> None:
    given: list[Any] = []

    def find(image: NDArray[Any], pixel_size_um: float | None) -> NDArray[Any]:
        given.append((image.dtype, image.shape, pixel_size_um))
        return np.arange(image.size).reshape(image.shape)

    masks = a_detector(find)(np.zeros((3, 4), np.uint16), pixel_size_um=0.65)
    assert given == [(np.dtype("float32"), (3, 4), 0.65)]
    assert masks.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.zeros((3, 5), int), r"3×5 px; 3×4 px were expected"),
        (np.zeros((1, 3, 4), int), r"1×3×4 px; 3×4 px were expected"),
        (np.zeros((3, 4), np.float32), r"float32; masks of whole numbers"),
        (np.zeros((3, 4), bool), r"bool; masks of whole numbers"),
        (np.full((3, 4), -1), r"values from -1 to -1"),
        (np.full((3, 4), 2**31), r"values from 2147483648"),
        (None, r"object; masks of whole numbers"),
    ],
)
def test_what_it_gives_is_checked(masks: Any, message: str) -> None:
    detector = a_detector(lambda _image, _pixel_size_um: masks)
    with pytest.raises(HcsQcError, match=message) as error:
        detector(np.zeros((3, 4), np.uint16), pixel_size_um=None)
    assert "toy (toy-package 1.2)" in str(error.value)
    assert not isinstance(error.value, DetectorError)


def test_errors_of_one_image_and_of_the_detector_differ() -> None:
    def fails(error: Exception) -> Callable[..., Any]:
        def find(_image: Any, _pixel_size_um: Any) -> Any:
            raise error

        return find

    image = np.zeros((3, 4), np.uint16)
    with pytest.raises(HcsQcError, match="failed: MemoryError: 3 TB") as of_image:
        a_detector(fails(MemoryError("3 TB")))(image, pixel_size_um=None)
    assert not isinstance(of_image.value, DetectorError)
    with pytest.raises(DetectorError, match="cannot be used: no weights"):
        a_detector(fails(HcsQcError("no weights")))(image, pixel_size_um=None)


def test_without_a_pixel_size_one_is_guessed_and_said(
    plate: Plate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[float | None] = []

    def find(image: NDArray[Any], pixel_size_um: float | None) -> NDArray[Any]:
        sizes.append(pixel_size_um)
        return np.zeros(image.shape, int)

    module = "napari_hcs_qc.cells.detectors.detector.get_detector"
    monkeypatch.setattr(module, lambda _name: a_detector(find))
    assert plate.pixel_size_um is None
    finder = nuclei_finder("toy", plate, 30.0)
    finder.find(np.zeros((3, 4)))
    assert sizes == [0.5]
    [guess] = finder.guesses
    assert "0.500 µm" in guess.what
    assert "30.0 px" in guess.what
    assert nuclei_finder("toy", plate, float("nan")).guesses == ()
    assert nuclei_finder("built-in", plate, 30.0).guesses == ()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Let the detector `toy` be a function."""

    def used(find: Callable[..., Any]) -> None:
        module = "napari_hcs_qc.cells.detectors.detector.get_detector"
        monkeypatch.setattr(module, lambda _name: a_detector(find))

    return used


def test_its_cells_are_those_of_its_masks(
    plate: Plate, fields: dict[SiteKey, Any], use: Callable[..., None]
) -> None:
    use(lambda image, _pixel_size_um: masks_of(fields, image))
    result = find_cells(plate, diameter_px=28, detector="toy")
    expected = join_cells(
        cells_of_site(field.labels, field.image, site) for site, field in fields.items()
    )
    pd.testing.assert_frame_equal(result.cells, expected)
    assert 0 < result.cells["is_cut"].sum() < len(expected)
    assert [problem.where for problem in result.problems] == [f"plate {plate.name}"]


def masks_of(fields: dict[SiteKey, Any], image: NDArray[Any]) -> NDArray[Any]:
    return next(field.labels for field in fields.values() if (field.image == image).all())


def test_a_site_that_it_cannot_take_is_reported_and_the_rest_goes_on(
    plate: Plate, fields: dict[SiteKey, Any], use: Callable[..., None]
) -> None:
    second = fields[SiteKey("A01", 2)].image

    def find(image: NDArray[Any], _pixel_size_um: float | None) -> NDArray[Any]:
        if (image == second).all():
            raise ValueError("an odd image")
        return masks_of(fields, image)

    use(find)
    result = find_cells(plate, diameter_px=28, detector="toy")
    [problem] = result.unreadable
    assert problem.where == "A01 s2"
    assert "toy (toy-package 1.2) failed: ValueError: an odd image" in problem.what
    assert set(result.cells["well"]) == {"A01", "B03"}


def test_one_that_cannot_work_ends_it_and_a_cancel_does_not_wait_for_it(
    plate: Plate, use: Callable[..., None]
) -> None:
    def without_weights(_image: Any, _pixel_size_um: Any) -> Any:
        raise HcsQcError("no weights")

    use(without_weights)
    with pytest.raises(DetectorError, match="no weights"):
        find_cells(plate, diameter_px=28, detector="toy")
    reports: list[str] = []

    def report(_done: int, _total: int, message: str) -> None:
        reports.append(message)

    use(lambda image, _pixel_size_um: np.zeros(image.shape, int))
    with pytest.raises(Cancelled):
        find_cells(plate, diameter_px=28, detector="toy", job=Job(report, lambda: bool(reports)))
    assert reports == ["Loading the detector toy"]


INSTANSEG = """
import torch

class InstanSeg:
    def __init__(self, model, verbosity):
        if model != "single_channel_nuclei" or {fails}:
            raise OSError("no network")

    def eval_small_image(self, image, pixel_size, return_image_tensor):
        return torch.full((1, 1, *image.shape), round(10 * pixel_size), dtype=torch.float32)

    def eval_medium_image(self, image, pixel_size, return_image_tensor):
        return torch.full((1, 1, *image.shape), 77, dtype=torch.float32)
"""


def test_instanseg_is_called_as_its_package_wants_it(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = plugins.DETECTORS["instanseg"][1].partition(":")[0]
    monkeypatch.delitem(sys.modules, adapter, raising=False)
    install("instanseg-torch", "instanseg", INSTANSEG.format(fails=False))
    detector = get_detector("instanseg")
    assert detector.package == "instanseg-torch 1.2"
    assert (detector(np.zeros((8, 9)), pixel_size_um=0.5) == 1).all()  # one area
    monkeypatch.setattr(sys.modules[adapter], "_AT_ONCE_PX", 10)
    assert detector.find(np.zeros((8, 9), np.float32), 0.5).max() == 77
    monkeypatch.delitem(sys.modules, adapter)
    monkeypatch.delitem(sys.modules, "instanseg")


def test_instanseg_without_its_weights_says_what_to_do(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = plugins.DETECTORS["instanseg"][1].partition(":")[0]
    monkeypatch.delitem(sys.modules, adapter, raising=False)
    install("instanseg-torch", "instanseg", INSTANSEG.format(fails=True))
    with pytest.raises(DetectorError, match=r"no network.*go online once"):
        get_detector("instanseg")(np.zeros((8, 9)), pixel_size_um=0.5)
    monkeypatch.delitem(sys.modules, adapter)
    monkeypatch.delitem(sys.modules, "instanseg")
