"""OME-Zarr plates: written by ngio, read by us, and damaged on purpose."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from ngio import ImageInWellPath, create_empty_ome_zarr, create_empty_plate

from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError
from napari_hcs_qc.plates.ome_zarr.zarr_planes import (
    list_ome_zarr_labels,
    read_ome_zarr_label,
    read_ome_zarr_plane,
)
from napari_hcs_qc.plates.ome_zarr.zarr_plate import open_ome_zarr_plate
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ("0.4", "0.5")
SHAPE = (2, 3, 40, 50)  # channel, z, y, x


def write_image(
    folder: Path,
    pixels: np.ndarray,
    version: str,
    *,
    axes: str = "czyx",
    channels: tuple[str, ...] | None = ("DNA", "Actin"),
    **options: Any,
) -> np.ndarray:
    options = {"pixelsize": 0.65, "levels": 2, "chunks": (1, 1, 20, 25)[-len(axes) :], **options}
    container = create_empty_ome_zarr(
        folder,
        pixels.shape,
        axes_names=tuple(axes),
        channels_meta=channels,
        ngff_version=version,
        dtype=str(pixels.dtype),
        overwrite=True,
        **options,
    )
    container.get_image(path="0").zarr_array[...] = pixels
    return pixels


def write_plate(
    path: Path, version: str, fields: tuple[str, ...] = ("B/2/0", "B/2/3", "B/2/7", "C/11/1")
) -> dict[SiteKey, np.ndarray]:
    """A plate with ngio; pixels by site, every field with its own."""
    parts = [field.split("/") for field in fields]
    images = [ImageInWellPath(row=row, column=int(column), path=s) for row, column, s in parts]
    create_empty_plate(path, "screen 7", images, ngff_version=version)
    written = {}
    for seed, (row, column, site) in enumerate(parts):
        pixels = np.random.default_rng(seed).integers(1, 4000, SHAPE).astype(np.uint16)
        folder = path / row / f"{int(column):02d}" / site
        written[SiteKey(f"{row}{int(column):02d}", int(site))] = write_image(
            folder, pixels, version
        )
    return written


def change_json(path: Path, change: Any) -> None:
    """Apply `change` to the NGFF attributes of a group, in either version."""
    file = path / "zarr.json" if (path / "zarr.json").is_file() else path / ".zattrs"
    data = json.loads(file.read_text())
    change(data["attributes"]["ome"] if file.name == "zarr.json" else data)
    file.write_text(json.dumps(data))


def chunk_key(version: str, *position: int) -> str:
    return ("c/" if version == "0.5" else "") + "/".join(map(str, position))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_field_channel_and_z_plane_of_every_well(tmp_path: Path, version: str) -> None:
    path = tmp_path / "plåte ü.zarr"
    written = write_plate(path, version)
    plate = open_ome_zarr_plate(path)
    assert plate.sites == tuple(sorted(written))
    assert [channel.name for channel in plate.channels] == ["DNA", "Actin"]
    assert (plate.name, plate.format, plate.shape) == ("screen 7", "ome-zarr", (8, 12))
    assert plate.pixel_size_um == pytest.approx(0.65)
    assert plate.problems == ()
    assert len(plate.planes) == 4 * 2 * 3
    for site, pixels in written.items():
        np.testing.assert_array_equal(plate.read_site(site), pixels.max(axis=1))
        np.testing.assert_array_equal(plate.read_site(site, [1], projection=2), pixels[1:, 2])


@pytest.mark.parametrize(
    ("field", "shape"),
    [("B/3/0", (2, 3)), ("A/4/0", (3, 4)), ("H/12/0", (8, 12)), ("P/1/0", (16, 24)),
     ("AF/48/0", (32, 48))],
)  # fmt: skip
def test_shape_is_the_smallest_plate_with_the_declared_wells(
    tmp_path: Path, field: str, shape: tuple[int, int]
) -> None:
    write_plate(tmp_path / "p.zarr", "0.5", ("A/1/0", field))
    plate = open_ome_zarr_plate(tmp_path / "p.zarr")
    assert plate.shape == shape
    row, column, _ = field.split("/")
    assert plate.wells == ("A01", f"{row}{int(column):02d}")


def test_declared_but_empty_rows_and_columns_count(tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    write_plate(path, "0.5", ("B/2/0",))

    def declare(ome: dict[str, Any]) -> None:
        ome["plate"]["rows"] = [{"name": row} for row in "ABCDEFGHIJKLMNOP"]
        ome["plate"]["columns"] = [{"name": f"{column:02d}"} for column in range(1, 25)]
        ome["plate"]["wells"][0].update(rowIndex=1, columnIndex=1)

    change_json(path, declare)
    plate = open_ome_zarr_plate(path, name="mine")
    assert (plate.shape, plate.wells, plate.name) == ((16, 24), ("B02",), "mine")


@pytest.mark.parametrize("version", VERSIONS)
def test_field_paths_that_are_no_numbers_are_numbered_and_listed(
    tmp_path: Path, version: str
) -> None:
    path = tmp_path / "p.zarr"
    written = write_plate(path, version, ("B/2/0", "B/2/5"))
    well = path / "B" / "02"
    (well / "0").rename(well / "left")
    change_json(well, lambda ome: ome["well"]["images"][0].update(path="left"))
    plate = open_ome_zarr_plate(path)
    assert plate.sites == (SiteKey("B02", 5), SiteKey("B02", 6))
    (problem,) = plate.problems
    assert "'left' is s6" in problem.what
    expected = written[SiteKey("B02", 0)].max(axis=1)
    np.testing.assert_array_equal(plate.read_site(SiteKey("B02", 6)), expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_damaged_wells_and_fields_are_problems_and_the_rest_is_read(
    tmp_path: Path, version: str
) -> None:
    path = tmp_path / "p.zarr"
    written = write_plate(path, version, ("A/1/0", "A/1/1", "A/1/2", "B/2/0", "C/3/0", "D/4/0"))
    name = "zarr.json" if version == "0.5" else ".zattrs"
    shutil.rmtree(path / "A" / "01" / "1")  # field gone
    (path / "A" / "01" / "2" / name).write_text('{"multi')  # field metadata cut off
    shutil.rmtree(path / "B" / "02")  # well gone
    (path / "C" / "03" / name).write_text("")  # well metadata empty

    def add_well_off_the_plate(ome: dict[str, Any]) -> None:
        ome["plate"]["columns"].append({"name": "77"})
        ome["plate"]["wells"].append({"path": "A/77", "rowIndex": 0, "columnIndex": 4})

    change_json(path, add_well_off_the_plate)
    plate = open_ome_zarr_plate(path)
    assert plate.sites == (SiteKey("A01", 0), SiteKey("D04", 0))
    wheres = [problem.where for problem in plate.problems]
    assert wheres == ["A01 s1", "A01 s2", "B02", "C03", "A/77"]
    np.testing.assert_array_equal(
        plate.read_site(SiteKey("D04", 0)), written[SiteKey("D04", 0)].max(axis=1)
    )


def test_image_whose_array_is_gone_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    write_plate(path, "0.5", ("A/1/0", "A/1/1"))
    shutil.rmtree(path / "A" / "01" / "1" / "0")
    plate = open_ome_zarr_plate(path)
    assert plate.sites == (SiteKey("A01", 0),)
    assert plate.problems[0].where == "A01 s1"


@pytest.mark.parametrize("version", VERSIONS)
def test_absent_chunks_are_the_fill_value_and_many_are_reported(
    tmp_path: Path, version: str
) -> None:
    path = tmp_path / "p.zarr"
    written = write_plate(path, version, ("A/1/0", "A/1/1"))
    image = path / "A" / "01" / "0"
    key = chunk_key(version, 1, 2, 0, 1)
    (image / "0" / key).unlink()
    plate = open_ome_zarr_plate(path)
    assert plate.problems == ()  # one of 24 is nothing unusual
    pixels = written[SiteKey("A01", 0)].copy()
    pixels[1, 2, :20, 25:] = 0
    np.testing.assert_array_equal(plate.read_site(SiteKey("A01", 0)), pixels.max(axis=1))
    np.testing.assert_array_equal(read_ome_zarr_plane(str(image), 1, 2, 0), pixels[1, 2])
    for position in [(0, 0), (1, 0), (1, 1)]:
        (image / "0" / chunk_key(version, 1, 2, *position)).unlink()
    plate = open_ome_zarr_plate(path)  # now a whole plane is absent
    assert len(plate.problems) == 1
    assert "1 field lacks many of their chunks" in str(plate.problems[0])
    assert "A01 s0 4 of 24" in str(plate.problems[0])
    assert not read_ome_zarr_plane(str(image), 1, 2, 0).any()


@pytest.mark.parametrize("location", ["start", "end"])
def test_absent_shards_and_inner_chunks_are_the_fill_value(tmp_path: Path, location: str) -> None:
    image = tmp_path / "i.zarr"
    pixels = np.random.default_rng(0).integers(1, 9, (2, 90, 70)).astype(np.uint8)
    write_image(image, pixels, "0.5", axes="cyx", chunks=(1, 20, 20), shards=(2, 40, 40))
    array = zarr.create_array(
        image / "0",
        shape=pixels.shape,
        chunks=(1, 20, 20),
        shards={"shape": (2, 40, 40), "index_location": location},
        dtype="uint8",
        overwrite=True,
        dimension_names=("c", "y", "x"),
        fill_value=0,
    )
    # Inner chunks beyond the image's edge are never written, and not missed.
    array[...] = pixels
    np.testing.assert_array_equal(read_ome_zarr_plane(str(image), 1, 0, 0), pixels[1])
    array[1, 40:60, 60:70] = 0  # Zarr drops an inner chunk that becomes all zero ...
    pixels[1, 40:60, 60:70] = 0
    np.testing.assert_array_equal(read_ome_zarr_plane(str(image), 1, 0, 0), pixels[1])
    np.testing.assert_array_equal(read_ome_zarr_plane(str(image), 0, 0, 0), pixels[0])
    (image / "0" / "c" / "0" / "0" / "0").unlink()  # ... and here a whole shard is absent.
    pixels[:, :40, :40] = 0
    np.testing.assert_array_equal(read_ome_zarr_plane(str(image), 0, 0, 0), pixels[0])


@pytest.mark.parametrize(
    ("version", "compressors", "n_lost"),
    # Blosc (ngio's choice for 0.4) decodes what is left without an error.
    [("0.4", "auto", 1), ("0.4", "auto", 500), ("0.5", "auto", 1), ("0.5", None, 1),
     ("0.5", zarr.codecs.BloscCodec(), 1)],
)  # fmt: skip
def test_truncated_chunk_makes_its_site_unreadable(
    tmp_path: Path, version: str, compressors: Any, n_lost: int
) -> None:
    path = tmp_path / "p.zarr"
    write_plate(path, version, ("A/1/0", "A/1/1"))
    if version == "0.5" and compressors != "auto":
        pixels = np.random.default_rng(0).integers(1, 4000, SHAPE).astype(np.uint16)
        write_image(path / "A" / "01" / "0", pixels, version, compressors=compressors)
    chunk = path / "A" / "01" / "0" / "0" / chunk_key(version, 0, 0, 0, 0)
    chunk.write_bytes(chunk.read_bytes()[:-n_lost])
    plate = open_ome_zarr_plate(path)
    with pytest.raises(UnreadableSiteError, match=r"A01 s0: .* damaged chunk"):
        plate.read_site(SiteKey("A01", 0))
    plate.read_site(SiteKey("A01", 1))


def test_only_full_resolution_is_used(tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    written = write_plate(path, "0.5", ("A/1/0",))
    shutil.rmtree(path / "A" / "01" / "0" / "1")
    plate = open_ome_zarr_plate(path)
    np.testing.assert_array_equal(
        plate.read_site(SiteKey("A01", 0)), written[SiteKey("A01", 0)].max(axis=1)
    )


@pytest.mark.parametrize("index", [(2, 0, 0), (0, 3, 0), (-1, 0, 0)])
def test_plane_that_the_image_lacks(tmp_path: Path, index: tuple[int, int, int]) -> None:
    image = tmp_path / "i.zarr"
    write_image(image, np.ones(SHAPE, np.uint16), "0.5")
    with pytest.raises(HcsQcError, match="on its axis"):
        read_ome_zarr_plane(str(image), *index)


def test_time_axis(tmp_path: Path) -> None:
    image = tmp_path / "i.zarr"
    pixels = np.random.default_rng(1).random((2, 3, 20, 25)).astype(np.float32)
    write_image(image, pixels, "0.5", axes="tcyx", channels=("a", "b", "c"))
    np.testing.assert_array_equal(read_ome_zarr_plane(str(image), 2, 0, 1), pixels[1, 2])


def test_rewritten_image_is_read_anew(tmp_path: Path) -> None:
    image = tmp_path / "i.zarr"
    write_image(image, np.ones((40, 50), np.uint16), "0.5", axes="yx", channels=None)
    assert read_ome_zarr_plane(str(image), 0, 0, 0).shape == (40, 50)
    write_image(image, np.ones((30, 20), np.uint8), "0.5", axes="yx", channels=None)
    plane = read_ome_zarr_plane(str(image), 0, 0, 0)
    assert (plane.shape, plane.dtype) == ((30, 20), np.uint8)


@pytest.mark.parametrize(
    ("unit", "scale", "expected"),
    [("nanometer", 325.0, 0.325), ("millimeter", 0.001, 1.0), ("parsec", 1.0, None),
     (None, 0.5, 0.5), (None, 1.0, None), ("micrometer", 1.0, 1.0)],
)  # fmt: skip
def test_pixel_size_in_micrometres(
    tmp_path: Path, unit: str | None, scale: float, expected: float | None
) -> None:
    path = tmp_path / "p.zarr"
    write_plate(path, "0.5", ("A/1/0",))

    def change(ome: dict[str, Any]) -> None:
        for axis in ome["multiscales"][0]["axes"][-3:]:
            axis.pop("unit", None)
            if unit:
                axis["unit"] = unit
        for level, dataset in enumerate(ome["multiscales"][0]["datasets"]):
            dataset["coordinateTransformations"][0]["scale"][-2:] = [scale * 2**level] * 2

    change_json(path / "A" / "01" / "0", change)
    assert open_ome_zarr_plate(path).pixel_size_um == (expected and pytest.approx(expected))


def test_channels_are_joined_by_name_where_a_field_lacks_one(tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    written = write_plate(path, "0.5", ("A/1/0", "A/1/1"))
    short = np.full((1, *SHAPE[1:]), 9, np.uint16)
    write_image(path / "A" / "01" / "0", short, "0.5", channels=("Actin",))
    plate = open_ome_zarr_plate(path)
    assert [channel.name for channel in plate.channels] == ["DNA", "Actin"]
    assert plate.available_channels(SiteKey("A01", 0)) == (1,)
    assert (plate.read_site(SiteKey("A01", 0), [1]) == 9).all()
    np.testing.assert_array_equal(
        plate.read_site(SiteKey("A01", 1)), written[SiteKey("A01", 1)].max(axis=1)
    )


def test_unnamed_and_miscounted_channels_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    write_plate(path, "0.4", ("A/1/0",))
    change_json(path / "A" / "01" / "0", lambda ome: ome["omero"]["channels"].pop())
    plate = open_ome_zarr_plate(path)
    assert [channel.name for channel in plate.channels] == ["channel 0", "channel 1"]
    assert "names 1 channels and has 2" in plate.problems[0].what
    change_json(path / "A" / "01" / "0", lambda ome: ome.pop("omero"))
    plate = open_ome_zarr_plate(path)
    assert [channel.name for channel in plate.channels] == ["channel 0", "channel 1"]
    assert plate.problems == ()


def test_what_is_no_plate(tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match="not an OME-Zarr"):
        open_ome_zarr_plate(tmp_path)
    image = tmp_path / "i.zarr"
    write_image(image, np.ones(SHAPE, np.uint16), "0.5")
    with pytest.raises(HcsQcError, match="not one image"):
        open_ome_zarr_plate(image)
    write_plate(tmp_path / "p.zarr", "0.5", ("A/1/0",))
    shutil.rmtree(tmp_path / "p.zarr" / "A")
    with pytest.raises(HcsQcError, match="no readable field"):
        open_ome_zarr_plate(tmp_path / "p.zarr")


@pytest.mark.parametrize("version", VERSIONS)
def test_labels(tmp_path: Path, version: str) -> None:
    image = tmp_path / "i.zarr"
    pixels = np.ones(SHAPE, np.uint16)
    write_image(image, pixels, version)
    assert list_ome_zarr_labels(str(image)) == []
    with pytest.raises(HcsQcError, match="no label images"):
        read_ome_zarr_label(str(image))

    from ngio import open_ome_zarr_container

    container = open_ome_zarr_container(image)
    ids = np.zeros(SHAPE[1:], np.uint32)
    ids[0, 5:9, 5:9] = 1
    ids[2, 20:30, 30:40] = 70_000
    container.derive_label("nuclei").zarr_array[...] = ids
    assert list_ome_zarr_labels(str(image)) == ["nuclei"]
    np.testing.assert_array_equal(read_ome_zarr_label(str(image)), ids.max(axis=0))
    container.derive_label("cells")
    with pytest.raises(HcsQcError, match=r"nuclei, cells; choose one .*\(--labels nuclei\)"):
        read_ome_zarr_label(str(image))
    with pytest.raises(HcsQcError, match="and none called dots"):
        read_ome_zarr_label(str(image), "dots")
    # An empty label image has no chunks at all; that is a field without cells.
    assert not read_ome_zarr_label(str(image), "cells").any()


# Other writers --------------------------------------------------------------------------------


def change_channels(image: Path, change: Any) -> None:
    change_json(image, lambda ome: change(ome["omero"]["channels"]))


@pytest.mark.parametrize("version", VERSIONS)
def test_equal_labels_are_told_apart_by_a_number(tmp_path: Path, version: str) -> None:
    path = tmp_path / "p.zarr"
    written = write_plate(path, version, ("A/1/0", "B/2/0"))
    for image in ("A/01/0", "B/02/0"):
        change_channels(path / image, lambda cs: [c.update(label="Cy3") for c in cs])
    plate = open_ome_zarr_plate(path)
    assert [channel.name for channel in plate.channels] == ["Cy3", "Cy3 2"]
    assert plate.pixel_size_um == pytest.approx(0.65)
    for site, pixels in written.items():
        np.testing.assert_array_equal(plate.read_site(site), pixels.max(axis=1))


@pytest.mark.parametrize("gone", ["color", "window", "label", "all"])
def test_channels_without_colour_window_or_label(tmp_path: Path, gone: str) -> None:
    path = tmp_path / "p.zarr"
    written = write_plate(path, "0.4", ("A/1/0",))

    def strip(channels: list[dict[str, Any]]) -> None:
        for channel in channels:
            for key in list(channel) if gone == "all" else [gone]:
                channel.pop(key, None)

    change_channels(path / "A/01/0", strip)
    plate = open_ome_zarr_plate(path)
    assert len(plate.channels) == 2
    np.testing.assert_array_equal(
        plate.read_site(plate.sites[0]), written[SiteKey("A01", 0)].max(axis=1)
    )


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_older_versions_are_read(tmp_path: Path, version: str) -> None:
    path = tmp_path / "p.zarr"
    pixels = np.random.default_rng(0).integers(1, 4000, (1, 2, 3, 40, 50)).astype(np.uint16)
    for well in ("A/1", "H/12"):
        zarr.create_array(
            path / well / "0/0", shape=pixels.shape, dtype="uint16", zarr_format=2,
            chunks=(1, 1, 1, 20, 25),
            chunk_key_encoding={"name": "v2", "separator": "." if version == "0.1" else "/"},
        )[...] = pixels  # fmt: skip
        axes = {"axes": list("tczyx")} if version == "0.3" else {}
        multiscales = [{"version": version, "datasets": [{"path": "0"}], **axes}]
        write_attributes(path / well / "0", {"multiscales": multiscales})
        write_attributes(path / well, {"well": {"images": [{"path": "0"}]}})
    plate_attributes = {"wells": [{"path": "A/1"}, {"path": "H/12"}], "version": version}
    write_attributes(path, {"plate": plate_attributes})
    plate = open_ome_zarr_plate(path)
    assert (plate.wells, plate.shape, plate.pixel_size_um) == (("A01", "H12"), (8, 12), None)
    assert plate.problems == ()
    for site in plate.sites:
        np.testing.assert_array_equal(plate.read_site(site), pixels[0].max(axis=1))


def write_attributes(folder: Path, attributes: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text(json.dumps(attributes))


@pytest.mark.parametrize(
    ("rows", "columns", "wells", "indices", "named"),
    [
        ("01", "01", ["0/0", "1/1"], [(0, 0), (1, 1)], ("A01", "B02")),
        ("12", "12", ["1/1", "2/2"], [(1, 1), (2, 2)], ("B02", "C03")),
        ("12", "12", ["1/1", "2/2"], [(0, 0), (1, 1)], ("A01", "B02")),
        ("12", "12", ["1/1", "2/2"], [(None, None)] * 2, ("A01", "B02")),
        ("AB", "01", ["A/0", "B/1"], [(0, 0), (1, 1)], ("A01", "B02")),
        ("BC", "23", ["B/2", "C/3"], [(0, 0), (1, 1)], ("B02", "C03")),
    ],
)
def test_rows_and_columns_named_from_0_are_not_shifted(
    tmp_path: Path,
    rows: str,
    columns: str,
    wells: list[str],
    indices: list[tuple[int | None, int | None]],
    named: tuple[str, ...],
) -> None:
    path = tmp_path / "p.zarr"
    pixels = np.ones((2, 8, 9), np.uint16)
    listed = []
    for number, (well, (row, column)) in enumerate(zip(wells, indices, strict=True), start=1):
        write_image(
            path / well / "0", pixels * np.uint16(number), "0.4", axes="cyx", chunks=(1, 8, 9)
        )
        write_attributes(path / well, {"well": {"images": [{"path": "0"}], "version": "0.4"}})
        index = {} if row is None else {"rowIndex": row, "columnIndex": column}
        listed.append({"path": well, **index})
    attributes = {
        "rows": [{"name": row} for row in rows],
        "columns": [{"name": column} for column in columns],
        "wells": listed,
        "version": "0.4",
    }
    write_attributes(path, {"plate": attributes})
    plate = open_ome_zarr_plate(path)
    assert plate.wells == named
    assert [int(plate.read_site(site).max()) for site in plate.sites] == [1, 2]
    assert plate.problems == ()


def test_shape_and_time_point_are_chosen(tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    write_plate(path, "0.5", ("B/2/0",))
    pixels = np.arange(3, dtype=np.uint16)[:, None, None, None] + np.ones((3, 2, 8, 9), np.uint16)
    write_image(path / "B/02/0", pixels, "0.5", axes="tcyx", chunks=(1, 1, 8, 9))
    plate = open_ome_zarr_plate(path)
    assert (plate.shape, plate.time_points) == ((2, 3), (0, 1, 2))
    later = open_ome_zarr_plate(path, shape=(8, 12), time=2)
    assert (later.shape, later.time_points) == ((8, 12), (2,))
    assert later.read_site(later.sites[0]).max() == 3
    with pytest.raises(HcsQcError, match="no time point 3; it has 0, 1, 2"):
        open_ome_zarr_plate(path, time=3)
