"""What is read from a JSON file is what was written, or an error."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from napari_hcs_qc.errors import DamagedError, HcsQcError, WriteError
from napari_hcs_qc.files import (
    atomic_folder,
    atomic_path,
    atomic_paths,
    read_checked,
    read_json,
    sha256_of,
    tensor_bytes,
    write_json,
)

if TYPE_CHECKING:
    from pathlib import Path

DATA = {"name": "ü", "share": 0.1, "cells": [1, 2, {"x": None}], "done": True}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, DATA)
    assert read_json(path) == DATA
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), "done": False})
    assert read_json(path) == {**DATA, "done": False}  # not with the checksum of the old data


def test_no_flipped_bit_changes_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, DATA)
    whole = path.read_bytes()
    n_told = 0
    for offset in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[offset] ^= 1 << bit
            path.write_bytes(data)
            try:
                read = read_json(path)
            except HcsQcError:
                n_told += 1
            else:
                # Blanks between, or the name of the checksum, which is then a field nobody reads.
                assert {name: read.get(name) for name in DATA} == DATA
    assert n_told > 0.8 * 8 * len(whole)


def test_a_file_that_a_person_edited_says_how_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, DATA)
    path.write_text(path.read_text(encoding="utf-8").replace("0.1", "0.2"), encoding="utf-8")
    with pytest.raises(DamagedError, match=r"Do this\..*delete the line \"checksum\""):
        read_json(path, remedy="Do this.")
    lines = path.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if "checksum" not in line).replace("true,", "true")
    path.write_text(text, encoding="utf-8")
    assert read_json(path)["share"] == 0.2


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "9" * 5000 + "}", "[1]", '"x"', "\x00"])
def test_what_is_no_object_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HcsQcError):
        read_json(path)


def test_a_file_is_compared_with_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"content")
    assert read_checked(path, sha256_of(path), "") == b"content"
    assert read_checked(path, "", "") == b"content"
    with pytest.raises(DamagedError, match=r"not as it was written.*Do this\."):
        read_checked(path, "0" * 64, "Do this.")
    with pytest.raises(HcsQcError, match=r"does not exist\. Do this\."):
        read_checked(tmp_path / "none", "", "Do this.")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_disk_that_refuses_leaves_the_old_file_and_no_other(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(WriteError, match=os.strerror(number)), atomic_path(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
        raise OSError(number, os.strerror(number))
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text(encoding="utf-8") == "old"


@pytest.mark.skipif(os.name != "posix", reason="whether a process lives is asked on POSIX only")
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from napari_hcs_qc.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1]) / 'cells.csv') as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    [left] = tmp_path.iterdir()
    of_others = tmp_path / ".cells.0123abcd-1-0123abcd.tmp.csv"  # at work on another computer
    of_others.touch()
    with atomic_path(tmp_path / "wells.csv") as temporary:
        temporary.touch()
        assert temporary.is_file()
    assert not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"wells.csv", of_others.name}


def test_what_numpy_says_of_a_full_disk_is_one(tmp_path: Path) -> None:
    with (
        pytest.raises(WriteError, match="disk is full"),
        atomic_path(tmp_path / "crop.tif") as temporary,
    ):
        temporary.touch()
        raise OSError("14283 requested and 3960 written")


def test_a_folder_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "crops"
    path.mkdir()  # empty, as a person may have made it
    with pytest.raises(WriteError, match="disk is full"), atomic_folder(path) as temporary:
        (temporary / "a.tif").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [each.name for each in tmp_path.rglob("*")] == ["crops"]
    with atomic_folder(path) as temporary:
        (temporary / "a.tif").touch()
        assert not any(path.iterdir())
    assert {each.name for each in tmp_path.rglob("*")} == {"crops", "a.tif"}


@pytest.mark.skipif(os.name != "posix", reason="whether a process lives is asked on POSIX only")
def test_a_folder_that_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from napari_hcs_qc.files import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1]) / 'crops') as temporary:\n"
        "    (temporary / 'a.tif').touch()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert len([*tmp_path.iterdir()]) == 1
    with atomic_folder(tmp_path / "crops"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["crops"]


def test_a_damaged_name_of_the_checksum_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"value": 1})
    assert read_json(path) == {"value": 1}
    path.write_text(path.read_text().replace("checksum", "checkrum"))
    with pytest.raises(DamagedError, match="does not fit its checksum"):
        read_json(path)


def test_several_files_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "tables"

    def write(text: str, *, until: int = 2) -> None:
        with atomic_paths(folder, ["a.csv", "b.csv"]) as temporary:
            assert [path.suffix for path in temporary.values()] == [".csv"] * 2
            for path in list(temporary.values())[:until]:
                path.write_text(text, encoding="utf-8")

    with pytest.raises(WriteError, match=r"b\.csv"):
        write("first", until=1)
    assert not folder.exists()
    write("first")
    with pytest.raises(WriteError, match=r"b\.csv"):
        write("second", until=1)
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert texts == {"a.csv": "first", "b.csv": "first"}
    write("second")
    assert (folder / "a.csv").read_text(encoding="utf-8") == "second"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(WriteError, match=r"Cannot write .*a\.csv"),
        atomic_paths(tmp_path / "file", ["a.csv"]),
    ):
        pytest.fail("there is no folder to write in")


@given(st.permutations(range(3)), st.tuples(*[st.integers(0, 4)] * 3), st.booleans())
def test_tensors_read_back_are_the_same_whatever_the_order_of_their_axes(
    axes: list[int], shape: tuple[int, int, int], is_sliced: bool
) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape).transpose(axes)
    array = array[::2, :, 1:] if is_sliced else array
    np.testing.assert_array_equal(load(tensor_bytes({"numbers": array}))["numbers"], array)
