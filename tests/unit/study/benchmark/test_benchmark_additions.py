"""What labelled crops tell of themselves before they are read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.study.benchmark.benchmark_additions import CropsInside, check_crops, look_into
from napari_hcs_qc.study.benchmark.benchmark_spec import SourceSpec

if TYPE_CHECKING:
    from pathlib import Path

GROUP = SourceSpec.group


def arrays(folder: Path, classes: list[str], groups: list[str]) -> Path:
    crops = np.random.default_rng(0).integers(0, 255, (len(classes), 8, 8)).astype(np.uint8)
    path = folder / "crops.npz"
    np.savez(path, crops=crops, classes=np.array(classes), groups=np.array(groups))
    return path


def test_a_folder_tells_its_classes_and_plates(tmp_path: Path) -> None:
    for name in ("dead/p1--1.png", "dead/p2--1.TIF", "fine/p1--2.png", "fine/.hidden.png", "x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert look_into(tmp_path, GROUP) == CropsInside({"dead": 2, "fine": 1}, 2)
    with pytest.raises(HcsQcError, match=r"has no \(parentheses\)"):
        look_into(tmp_path, "p1")
    with pytest.raises(HcsQcError, match=r"2 file names without a plate by .*p2--1"):
        (tmp_path / "dead" / "p2--3.png").touch()
        look_into(tmp_path, "(p1)")
    with pytest.raises(HcsQcError, match="holds no crops"):
        look_into(tmp_path / "dead", GROUP)


def test_arrays_tell_theirs(tmp_path: Path) -> None:
    path = arrays(tmp_path, ["b", "a", "b"], ["1", "2", "1"])
    assert look_into(path, GROUP) == CropsInside({"a": 1, "b": 2}, 2)
    table = tmp_path / "more.npy"
    np.save(table, np.zeros((2, 8, 8)))
    with pytest.raises(HcsQcError, match=r"more\.csv cannot be read"):
        look_into(table, GROUP)
    (tmp_path / "more.csv").write_text("class,group\na,1\nb,\n")
    with pytest.raises(HcsQcError, match="needs the columns class and group"):
        look_into(table, GROUP)
    (tmp_path / "more.csv").write_text("class,group\na,1\nb,1\n")
    assert look_into(table, GROUP).n_plates == 1


def test_what_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match=r"1 class; two or more"):
        look_into(arrays(tmp_path, ["a", "a"], ["1", "2"]), GROUP)
    np.savez(tmp_path / "other.npz", crops=np.zeros(3))
    with pytest.raises(HcsQcError, match="the arrays crops, classes and groups was expected"):
        look_into(tmp_path / "other.npz", GROUP)
    (tmp_path / "words.txt").touch()
    with pytest.raises(HcsQcError, match="does not hold labelled crops"):
        look_into(tmp_path / "words.txt", GROUP)


def test_a_person_need_not_wait_for_crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SourceSpec("s", "arrays", arrays(tmp_path, ["a", "b"], ["1", "1"]), abnormal=("a",))
    assert check_crops(source) == source
    is_over = threading.Event()
    slow = f"{check_crops.__module__}.open_crops"
    monkeypatch.setattr(slow, lambda _source: is_over.wait(20))
    with pytest.raises(Cancelled):
        check_crops(source, job=Job(should_stop=lambda: True))
    assert not is_over.is_set()
    is_over.set()
