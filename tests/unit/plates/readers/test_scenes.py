"""Files of microscope makers, read by bioio, in whose place a module of that shape stands here."""

from __future__ import annotations

import sys
import types
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.plates.first_look import looked_at

if TYPE_CHECKING:
    from pathlib import Path

SCENES = ("A1-1", "A1-2", "B12-1")


class UnsupportedFileFormatError(Exception):
    pass


class BioImage:
    """As much of bioio's class as is used, for an image with a number for each plane."""

    scenes: tuple[str, ...] = SCENES
    order = "TCZYX"
    n_times = 1
    fails: Exception | None = None

    def __init__(self, path: str) -> None:
        if self.fails is not None:
            raise self.fails
        self.dims = SimpleNamespace(order=self.order, T=self.n_times, C=2, Z=3, Y=6, X=8)
        self.dtype = np.dtype(">u2")
        self.channel_names = ["DAPI", "GFP"]
        self.physical_pixel_sizes = SimpleNamespace(Z=1.0, Y=0.325, X=0.325)
        self._scene = 0

    def set_scene(self, name: str) -> None:
        self._scene = self.scenes.index(name)

    def get_image_data(self, order: str, **at: int) -> Any:
        assert order == "YX"
        return np.full((6, 8), 100 * self._scene + 10 * at["C"] + at["Z"], self.dtype)


@pytest.fixture
def bioio(monkeypatch: pytest.MonkeyPatch) -> type[BioImage]:
    module = types.ModuleType("bioio")
    module.__spec__ = SimpleNamespace(name="bioio")  # type: ignore[assignment]
    image = type("BioImage", (BioImage,), {})
    module.BioImage = image  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bioio", module)
    return image


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "my plate.czi"
    path.write_bytes(b"ZISRAWFILE")
    return path


def test_scenes_named_by_wells_are_a_plate(path: Path, bioio: type[BioImage]) -> None:
    plate = looked_at(open_plate(path))
    assert plate.name == "my plate"
    assert plate.sites == (("A01", 1), ("A01", 2), ("B12", 1))
    assert [channel.name for channel in plate.channels] == ["DAPI", "GFP"]
    assert (plate.pixel_size_um, plate.reasons.pixel_size) == (0.325, "the metadata of the file")
    for number, site in enumerate(plate.sites):
        assert plate.read_site(site)[:, 0, 0].tolist() == [100 * number + 2, 100 * number + 12]
        assert plate.read_site(site, [1], projection=1)[0, 0, 0] == 100 * number + 11
    assert open_plate(path, plate_shape="384").shape == (16, 24)


def test_scenes_of_files_named_by_wells_are_sites(path: Path, bioio: type[BioImage]) -> None:
    bioio.scenes = ("P1", "P2")
    with pytest.raises(HcsQcError, match="do not name wells") as caught:
        open_plate(path)
    assert "name the file by it (A01.czi) and open its folder" in str(caught.value)
    path.rename(path.with_name("p_A01.czi"))
    plate = looked_at(open_plate(path.parent))
    assert plate.sites == (("A01", 1), ("A01", 2))
    assert [channel.name for channel in plate.channels] == ["DAPI", "GFP"]
    assert plate.pixel_size_um == 0.325
    assert plate.read_site(plate.sites[1])[:, 0, 0].tolist() == [102, 112]


def test_what_is_not_read_is_refused_with_a_step(path: Path, bioio: type[BioImage]) -> None:
    bioio.order = "TCZYXS"
    with pytest.raises(HcsQcError, match=r"my plate\.czi.*export every channel"):
        open_plate(path)
    bioio.order, bioio.n_times = "TCZYX", 5
    with pytest.raises(HcsQcError, match=r"my plate\.czi.*export one file per time point"):
        looked_at(open_plate(path))
    bioio.fails = UnsupportedFileFormatError("install bioio-x")
    with pytest.raises(HcsQcError, match=r"no plugin .*'napari-hcs-qc\[bioio\]'.*or export"):
        open_plate(path)
    bioio.fails = ValueError("broken")
    with pytest.raises(HcsQcError, match=r"ValueError: broken\): copy it again, or export"):
        open_plate(path)


@pytest.mark.parametrize("extension", ["czi", "nd2", "lif", "lsm", "vsi"])
def test_where_bioio_is_not_installed_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    path = tmp_path / f"p_A01.{extension}"
    path.write_bytes(b"x")
    for given in (path, tmp_path):
        with pytest.raises(HcsQcError, match=r"pip install 'napari-hcs-qc\[bioio\]'") as caught:
            looked_at(open_plate(given))
        assert path.name in str(caught.value)
