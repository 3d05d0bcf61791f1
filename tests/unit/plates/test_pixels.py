from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_hcs_qc.plates.pixels import (
    Layout,
    UnreadableImageError,
    inspect_image,
    read_plane,
    read_planes,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PLANES = np.arange(3 * 20 * 30, dtype=np.uint16).reshape(3, 20, 30)
STACK = np.arange(2 * 3 * 20 * 30, dtype=np.uint16).reshape(2, 3, 20, 30)


def read_all(path: Path) -> NDArray[Any]:
    return np.stack(read_planes(str(path), range(inspect_image(str(path)).n_parts)))


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", ">u2", "int16", "uint32", "float32", "float64", ">f4"]
)
def test_every_grey_dtype_is_read_in_the_machines_byte_order(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.tif"
    pixels = (PLANES[0] % 200).astype(dtype)
    tifffile.imwrite(path, pixels, byteorder=">" if dtype.startswith(">") else None)
    read = read_plane(str(path))
    assert np.array_equal(read, pixels)
    assert read.dtype == np.dtype(dtype).newbyteorder("=")
    assert inspect_image(str(path)).layout == Layout((20, 30), read.dtype)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_compressed_and_tiled_files_are_read(
    tmp_path: Path, compression: str | None, tile: tuple[int, int] | None
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES[0], compression=compression, tile=tile)
    assert np.array_equal(read_plane(str(path)), PLANES[0])


def test_bilevel_images_become_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES[0] > 100)
    assert np.array_equal(read_plane(str(path)), (PLANES[0] > 100).astype(np.uint8))


@pytest.mark.parametrize(
    ("options", "is_last"),
    [
        ({"photometric": "minisblack"}, False),
        ({"photometric": "minisblack", "metadata": None}, False),
        ({"photometric": "minisblack"}, True),
        ({"photometric": "minisblack", "planarconfig": "contig"}, True),
        ({"photometric": "minisblack", "planarconfig": "separate"}, False),
        ({"imagej": True, "metadata": {"axes": "CYX"}}, False),
        ({"ome": True, "photometric": "minisblack", "metadata": {"axes": "CYX"}}, False),
        ({"photometric": "minisblack", "compression": "lzw"}, False),
    ],
)
def test_channels_are_found_on_either_side(
    tmp_path: Path, options: dict[str, Any], is_last: bool
) -> None:
    path = tmp_path / "a.tif"
    pixels = np.ascontiguousarray(np.moveaxis(PLANES, 0, -1)) if is_last else PLANES
    tifffile.imwrite(path, pixels, **options)
    info = inspect_image(str(path))
    assert (info.n_channels, info.n_z) == (3, 1)
    assert np.array_equal(read_all(path), PLANES)
    assert np.array_equal(np.stack(read_planes(str(path), [2, 0])), PLANES[[2, 0]])


@pytest.mark.parametrize(("kind", "axes"), [("ome", "CZYX"), ("ome", "ZCYX"), ("imagej", "ZCYX")])
def test_channels_and_z_in_one_file(tmp_path: Path, kind: str, axes: str) -> None:
    path = tmp_path / "a.tif"
    options: dict[str, Any] = {kind: True, "metadata": {"axes": axes}}
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)
    info = inspect_image(str(path))
    by_channel = STACK if axes == "CZYX" else STACK.swapaxes(0, 1)
    assert (info.n_channels, info.n_z) == by_channel.shape[:2]
    assert np.array_equal(read_all(path), by_channel.reshape(6, 20, 30))


def test_many_pages_are_a_stack_in_z(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = np.arange(20 * 24 * 30, dtype=np.uint16).reshape(20, 24, 30)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    info = inspect_image(str(path))
    assert (info.n_channels, info.n_z) == (1, 20)
    assert np.array_equal(read_plane(str(path), 7), pixels[7])


@pytest.mark.parametrize("extension", [".png", ".bmp"])
def test_pictures_are_read(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"
    pixels = (PLANES[0] % 256).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    assert np.array_equal(read_plane(str(path)), pixels)


def test_png_keeps_16_bits_and_jpeg_is_grey(tmp_path: Path) -> None:
    Image.fromarray(PLANES[0] * 50).save(tmp_path / "a.png")
    read = read_plane(str(tmp_path / "a.png"))
    assert read.dtype == np.uint16
    assert np.array_equal(read, PLANES[0] * 50)
    Image.fromarray(np.full((20, 30), 70, np.uint8)).save(tmp_path / "a.jpg")
    assert np.array_equal(read_plane(str(tmp_path / "a.jpg")), np.full((20, 30), 70))


# Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": None},
        {"imagej": True},
        {"compression": "zlib", "rowsperstrip": 5},
        {"compression": "lzw", "tile": (16, 16)},
        {"bigtiff": True},
    ],
)
@pytest.mark.parametrize("pages", [1, 3])
def test_a_truncated_tiff_never_passes_for_a_dark_image(
    tmp_path: Path, options: dict[str, Any], pages: int
) -> None:
    path = tmp_path / "a.tif"
    pixels = PLANES[:pages].squeeze() + 1
    tifffile.imwrite(path, pixels, photometric="minisblack", **options)
    content = path.read_bytes()
    assert np.array_equal(read_all(path).squeeze(), pixels)
    n_refused = 0
    for length in range(0, len(content), 61):
        path.write_bytes(content[:length])
        try:
            read = read_all(path)
        except UnreadableImageError as error:
            n_refused += 1
            assert any(word in str(error) for word in ("truncated", "empty", "damaged"))
        else:  # only what follows the last pixel is gone
            assert np.array_equal(read.squeeze(), pixels)
    assert n_refused * 61 > 0.4 * len(content)


def test_a_strip_that_is_announced_but_absent_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES[0], rowsperstrip=5, compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tag = tif.pages.first.tags["StripByteCounts"]
        tag.overwrite([*tag.value[:-1], 0])
    with pytest.raises(UnreadableImageError, match="announces more image data"):
        read_plane(str(path))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tif", b"", "empty"),
        ("a.png", b"", "empty"),
        ("a.tif", b"well,site\nA01,1\n", "not a readable image"),
        ("a.png", b"well,site\nA01,1\n", "cannot be read"),
        ("a.tif", b"II*\x00\xff\xff\xff\xff", "not a readable image|truncated"),
        (
            "a.tif",
            b"II*\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            "not a readable|cannot",
        ),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for read in (inspect_image, read_plane):
        with pytest.raises(UnreadableImageError, match=words):
            read(str(path))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="does not exist"):
        read_plane(str(tmp_path / "a.tif"))
    (tmp_path / "b.tif").mkdir()
    with pytest.raises(UnreadableImageError, match="cannot be read"):
        read_plane(str(tmp_path / "b.tif"))


def test_random_damage_is_an_error_of_that_file_only(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES, photometric="minisblack", compression="zlib")
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 4):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(bytes(damaged))
        try:
            read_all(path)
        except UnreadableImageError as error:
            assert str(error)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
def test_colour_images_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    colour = np.zeros((20, 30, 3), np.uint8)
    colour[:10, :, 0], colour[10:, :, 1] = 200, 90
    if path.suffix == ".tif":
        tifffile.imwrite(path, colour)
    else:
        Image.fromarray(colour).save(path)
    with pytest.raises(UnreadableImageError, match=r"colour image \(RGB\).*grey"):
        read_plane(str(path))


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
@pytest.mark.parametrize("filled", [(0, 1, 2), (0,), (2,)])
def test_colour_images_that_hold_one_grey_image_are_read(
    tmp_path: Path, name: str, filled: tuple[int, ...]
) -> None:
    path = tmp_path / name
    grey = (np.arange(600).reshape(20, 30) % 250).astype(np.uint8)
    colour = np.zeros((20, 30, 3), np.uint8)
    colour[..., filled] = grey[..., None]
    if path.suffix == ".tif":
        tifffile.imwrite(path, colour, photometric="rgb")
    else:
        Image.fromarray(colour).save(path)
    assert inspect_image(str(path)).layout == Layout((20, 30), np.dtype(np.uint8))
    assert np.array_equal(read_plane(str(path)), grey)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_pixels_are_refused(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "a.tif"
    pixels = PLANES[0].astype(np.float32)
    pixels[3, 4] = bad
    tifffile.imwrite(path, pixels)
    with pytest.raises(UnreadableImageError, match="1 NaN or Inf"):
        read_plane(str(path))


def test_another_layout_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES[0])
    for layout in (
        Layout((20, 31), np.dtype(np.uint16)),
        Layout((20, 30), np.dtype(np.uint8)),
    ):
        with pytest.raises(UnreadableImageError, match=r"20×30 px uint16; .* was expected"):
            read_planes(str(path), [-1], layout=layout)


def test_too_many_and_too_few_planes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES, photometric="minisblack")
    with pytest.raises(UnreadableImageError, match="holds 3 planes"):
        read_plane(str(path))
    with pytest.raises(UnreadableImageError, match="plane 4 was expected"):
        read_plane(str(path), 3)


def test_complex_pixels_and_time_series_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANES[0].astype(np.complex64))
    with pytest.raises(UnreadableImageError, match="complex64"):
        inspect_image(str(path))
    tifffile.imwrite(path, PLANES, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(UnreadableImageError, match="one file per time point"):
        inspect_image(str(path))
