"""A plate that cannot be read is refused when it is added, with all reasons at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_hcs_qc.errors import ProblemsError
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.plates.first_look import looked_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WELLS = ("A01", "A02", "B01", "B02")


def test_a_readable_plate_is_given_as_it_is(write_images: Callable[..., Path]) -> None:
    plate = open_plate(write_images([f"P_{well}_s1_w{w}.tif" for well in WELLS for w in (1, 2)]))
    assert looked_at(plate) is plate


def test_a_damaged_first_image_is_named_beside_readable_ones(
    write_images: Callable[..., Path],
) -> None:
    root = write_images([f"P_{well}_s1_w1.tif" for well in WELLS])
    (root / "P_A01_s1_w1.tif").write_bytes(b"II*\0garbage")
    (problem,) = looked_at(open_plate(root)).problems
    assert problem.where == "channel w1"
    assert problem.what.startswith("1 image cannot be read, such as A01 s1: ")
    assert "P_A01_s1_w1.tif" in problem.what
    assert "copy it again" in problem.what


def test_one_readable_image_among_many_is_enough(write_images: Callable[..., Path]) -> None:
    root = write_images([f"P_A{n:02d}_s1_w1.tif" for n in range(1, 13)])
    for n in {*range(1, 13)} - {6}:
        (root / f"P_A{n:02d}_s1_w1.tif").write_bytes(b"")
    (problem,) = looked_at(open_plate(root)).problems
    assert problem.what.startswith("7 images cannot be read")


def test_channels_that_cannot_be_read_are_all_named_once(
    write_images: Callable[..., Path],
) -> None:
    root = write_images([f"P_{well}_s1_w1.tif" for well in WELLS])
    series = np.zeros((5, 6, 8), np.uint16)
    colour = np.random.default_rng(0).integers(0, 9, (6, 8, 3)).astype(np.uint8)
    for well in WELLS:
        tifffile.imwrite(
            root / f"P_{well}_s1_w2.tif", series, imagej=True, metadata={"axes": "TYX"}
        )
        tifffile.imwrite(root / f"P_{well}_s1_w3.tif", colour, photometric="rgb")
        tifffile.imwrite(root / f"P_{well}_s1_w4.tif", np.zeros((3, 7), np.uint16))
        (root / f"P_{well}_s1_w5.tif").write_bytes(b"II*\0garbage")
    with pytest.raises(ProblemsError, match="4 of 5 channels cannot be read") as caught:
        looked_at(open_plate(root))
    texts = {problem.where: problem.what for problem in caught.value.problems}
    assert set(texts) == {f"channel w{n}" for n in (2, 3, 4, 5)}
    assert all("none of 4 images can be read, such as A01 s1: " in text for text in texts.values())
    assert "export one file per time point" in texts["channel w2"]
    assert "export every channel as its own grey image" in texts["channel w3"]
    assert "the same field of view" in texts["channel w4"]
    assert "copy it again" in texts["channel w5"]
    for path in root.glob("P_*_w[2-5].tif"):  # as is advised
        path.unlink()
    assert [channel.name for channel in looked_at(open_plate(root)).channels] == ["w1"]
