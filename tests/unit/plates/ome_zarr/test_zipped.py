"""A zipped OME-Zarr is read like the folder that was zipped."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.plates.first_look import looked_at
from napari_hcs_qc.plates.ome_zarr.convert import convert_plate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(write_images: Callable[..., Path], tmp_path: Path) -> Path:
    names = [f"P_{w}_s{s}_w{c}.tif" for w in ("A01", "B02") for s in (1, 2) for c in (1, 2)]
    out = tmp_path / "p.zarr"
    convert_plate(open_plate(write_images(names)), out, version="0.4")
    return out


def zipped(folder: Path, path: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, inside + file.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize(
    ("name", "inside"), [("p.zarr.zip", ""), ("p.zarr.zip", "p.zarr/"), ("my plate.OZX", "")]
)
def test_a_zipped_plate_is_read_like_the_folder(
    folder: Path, tmp_path: Path, name: str, inside: str
) -> None:
    path = zipped(folder, tmp_path / name, inside)
    plate, expected = looked_at(open_plate(path)), open_plate(folder)
    assert plate.source == path
    assert (plate.sites, plate.channels, plate.shape) == (
        expected.sites,
        expected.channels,
        expected.shape,
    )
    for site in plate.sites:
        np.testing.assert_array_equal(plate.read_site(site), expected.read_site(site))


def test_the_fingerprint_follows_the_archive(folder: Path, tmp_path: Path) -> None:
    path = zipped(folder, tmp_path / "p.zarr.zip")
    before = open_plate(path).fingerprint
    assert open_plate(path).fingerprint == before
    zipped(folder, path, "p.zarr/")
    assert open_plate(path).fingerprint != before


def test_absent_chunks_are_the_fill_value(folder: Path, tmp_path: Path) -> None:
    site = open_plate(folder).sites[0]
    for chunk in (folder / "A/01/1/0").rglob("*"):
        if chunk.is_file() and not chunk.name.startswith(".z"):
            chunk.unlink()
    plate = open_plate(zipped(folder, tmp_path / "p.zarr.zip"))
    assert not plate.read_site(site).any()


def test_what_is_no_archive_is_refused_with_its_name(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.zarr.zip"
    path.write_bytes(b"PK")
    with pytest.raises(HcsQcError, match=r"p\.zarr\.zip.*copy it again"):
        open_plate(path)
    path.write_bytes(zipped(folder, tmp_path / "q.zip").read_bytes())
    assert open_plate(path).wells == ("A01", "B02")
    with pytest.raises(HcsQcError, match=r"no\.zarr\.zip does not exist.*Check the path"):
        open_plate(tmp_path / "no.zarr.zip")
