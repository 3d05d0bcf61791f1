"""napari is told by names and headers whether a path is a plate: nothing is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from napari_hcs_qc.gui.window import readers
from napari_hcs_qc.gui.window.plate_signs import looks_like_plate

if TYPE_CHECKING:
    from collections.abc import Callable

_SAMPLE = Path(__file__).resolve().parents[3] / "sample_data" / "SAMPLE"


@pytest.fixture(autouse=True)
def _nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Any:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(readers, "open_plate", refuse)


def zarr(folder: Path, name: str, document: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / name).write_text(json.dumps(document))
    return folder


def table(path: Path, columns: list[str]) -> Path:
    frame = pd.DataFrame({column: ["x"] for column in columns})
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


_PLATES: dict[str, Callable[[Path], Path]] = {
    "sample": lambda _: _SAMPLE,
    "zarr 0.4": lambda at: zarr(at / "a.zarr", ".zattrs", {"plate": {"wells": []}}),
    "zarr 0.5": lambda at: zarr(
        at / "a.zarr", "zarr.json", {"attributes": {"ome": {"plate": {"wells": []}}}}
    ),
    "csv": lambda at: table(at / "load_data.csv", ["FileName_DNA", "Metadata_Well"]),
    "csv of addresses": lambda at: table(at / "load_data.csv", ["URL_DNA", "Metadata_Well"]),
    "parquet": lambda at: table(at / "load_data.parquet", ["Image_FileName_DNA"]),
}
_OTHERS: dict[str, Callable[[Path], Path]] = {
    "image": lambda at: zarr(at / "a.zarr", ".zattrs", {"multiscales": []}),
    "damaged": lambda at: zarr(at / "a.zarr", ".zattrs", {}),
    "notes": lambda at: table(at / "notes.csv", ["well", "note"]),
    "values": lambda at: table(at / "values.parquet", ["well", "value"]),
    "nothing": lambda at: at / "missing.csv",
    "empty": lambda at: at,
}


@pytest.mark.parametrize("name", _PLATES)
def test_a_plate_is_seen_by_its_signs(tmp_path: Path, name: str) -> None:
    path = _PLATES[name](tmp_path)
    assert looks_like_plate(path)
    assert readers.get_reader(str(path)) is not None


@pytest.mark.parametrize("name", _OTHERS)
def test_what_is_no_plate_is_left_to_others(tmp_path: Path, name: str) -> None:
    path = _OTHERS[name](tmp_path)
    assert not looks_like_plate(path)
    assert readers.get_reader(str(path)) is None
