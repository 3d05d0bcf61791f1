from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.heads.head_registry import HEADS, make_head
from napari_hcs_qc.heads.kind_head import KindHead
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.saved_head import MANIFEST, load_head, save_head


@pytest.mark.parametrize("name", HEADS)
def test_a_head_read_back_predicts_exactly_the_same(
    name: str, cells: Any, new_cells: Any, tmp_path: Path
) -> None:
    head = make_head(name, 5).fit(cells.X, cells.y, cells.wells)
    save_head(head, tmp_path / "with space é")
    again = load_head(tmp_path / "with space é")
    assert type(again) is type(head)
    assert again.get_params() == head.get_params()
    assert list(again.classes_) == list(head.classes_)
    np.testing.assert_array_equal(again.predict_proba(new_cells.X), head.predict_proba(new_cells.X))
    np.testing.assert_array_equal(again.predict(new_cells.X), head.predict(new_cells.X))


@pytest.mark.parametrize("n_kinds", [0, 1, 3])
def test_a_kind_head_is_read_back(n_kinds: int, cells: Any, tmp_path: Path) -> None:
    names = np.array(["debris", "dead", "blur"], dtype=object)[:n_kinds]
    kinds = names[np.arange(200) % n_kinds] if n_kinds else np.full(200, None)
    head = KindHead().fit(cells.X, kinds)
    save_head(head, tmp_path)
    again = load_head(tmp_path)
    assert isinstance(again, KindHead)
    assert again.kinds_ == head.kinds_
    assert list(again.predict(cells.X)) == list(head.predict(cells.X))


def test_saving_again_replaces_and_leaves_nothing_behind(cells: Any, tmp_path: Path) -> None:
    save_head(make_head("knn").fit(cells.X, cells.y), tmp_path)
    linear = LinearHead().fit(cells.X, cells.y)
    save_head(linear, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert isinstance(load_head(tmp_path), LinearHead)


def test_a_kill_between_the_two_files_leaves_the_old_head(
    cells: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_head("knn").fit(cells.X, cells.y)
    save_head(old, tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_hcs_qc.heads.saved_head.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        save_head(LinearHead().fit(cells.X, cells.y), tmp_path)
    np.testing.assert_array_equal(
        load_head(tmp_path).predict_proba(cells.X), old.predict_proba(cells.X)
    )


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_to(
    number: int, cells: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(WriteError):
        save_head(make_head("knn").fit(cells.X, cells.y), tmp_path)
    assert list(tmp_path.iterdir()) == []


def edit(folder: Path, change: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


DAMAGES = {
    "newer": (lambda m: m.update(version=99), "newer version of napari-hcs-qc"),
    "version": (lambda m: m.update(version="x"), "version 'x'"),
    "format": (lambda m: m.update(format="cake"), "'cake'"),
    "no tensors": (lambda m: m.pop("tensors"), "tensors is missing"),
    "no head": (lambda m: m.pop("head"), "names no head"),
    "unknown head": (lambda m: m["head"].update(name="svm"), "no head 'svm'"),
    "unknown parameter": (lambda m: m["head"]["parameters"].update(x=1), "'x'"),
    "features": (lambda m: m["head"].update(n_features=7), "damaged"),
    "outside": (lambda m: m["tensors"].update(file="../x"), "outside the folder"),
    "missing file": (lambda m: m["tensors"].update(file="x"), "x is missing"),
    "hash": (lambda m: m["tensors"].update(sha256="0"), "SHA-256 differs"),
    "figures": (lambda m: m["head"].pop("figures"), "figures is missing"),
    "list": (lambda m: m.update(head=[1]), "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(damage: str, cells: Any, tmp_path: Path) -> None:
    save_head(LinearHead().fit(cells.X, cells.y), tmp_path)
    change, words = DAMAGES[damage]
    edit(tmp_path, change)
    with pytest.raises(HcsQcError, match=words):
        load_head(tmp_path)


def test_truncated_tensors_and_missing_folders_are_named(cells: Any, tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match="does not exist"):
        load_head(tmp_path / "none")
    save_head(LinearHead().fit(cells.X, cells.y), tmp_path)
    [tensors] = tmp_path.glob("*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:100])
    with pytest.raises(HcsQcError, match="not the file that was saved"):
        load_head(tmp_path)


def test_what_is_not_fitted_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match="linear head is not fitted"):
        save_head(LinearHead(), tmp_path)


def test_nothing_is_pickled(cells: Any, tmp_path: Path) -> None:
    save_head(make_head("forest").fit(cells.X, cells.y), tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
