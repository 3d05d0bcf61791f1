from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc.gui.plate import recent

if TYPE_CHECKING:
    from pathlib import Path


def made(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    (path / "assay.json").write_text("{}")
    return path.resolve()


def test_the_newest_is_first_once_and_gone_ones_are_left_out(tmp_path: Path) -> None:
    assert recent.recent_assays() == []
    a, b = made(tmp_path, "a"), made(tmp_path, "b")
    for path in (a, b, a):
        recent.remember(path)
    assert recent.recent_assays() == [a, b]
    (a / "assay.json").unlink()
    assert recent.recent_assays() == [b]


def test_ten_are_kept(tmp_path: Path) -> None:
    paths = [made(tmp_path, f"assay{i}") for i in range(12)]
    for path in paths:
        recent.remember(path)
    assert recent.recent_assays() == paths[:1:-1]


@pytest.mark.parametrize("text", ["{", '{"assays": 3}'])
def test_a_damaged_list_is_empty_and_is_written_anew(tmp_path: Path, text: str) -> None:
    recent.recent_file().parent.mkdir(parents=True)
    recent.recent_file().write_text(text)
    assert recent.recent_assays() == []
    a = made(tmp_path, "a")
    recent.remember(a)
    assert recent.recent_assays() == [a]
