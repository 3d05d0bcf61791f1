from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from napari_hcs_qc.cells.table import (
    CELL_COLUMNS,
    cells_of_site,
    empty_cells,
    join_cells,
    read_cells,
    write_cells,
)
from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.plates.plate import SiteKey

SITE = SiteKey("B02", 3)


def mask() -> np.ndarray:
    labels = np.zeros((10, 12), np.int32)
    labels[0:2, 3:6] = 4  # touches the top edge
    labels[4:8, 4:8] = 2
    return labels


def test_a_row_holds_the_measures_of_its_label() -> None:
    image = np.arange(120, dtype=np.uint16).reshape(10, 12)
    cells = cells_of_site(mask(), image, SITE)
    assert {name: str(dtype) for name, dtype in cells.dtypes.items()} == {
        name: str(pd.Series(dtype=dtype).dtype) for name, dtype in CELL_COLUMNS.items()
    }
    assert cells["label"].tolist() == [2, 4]
    square = cells.iloc[0]
    assert (square["well"], square["site"], square["source"]) == ("B02", 3, "nuclei")
    assert (square["y_px"], square["x_px"], square["area_px"]) == (5.5, 5.5, 16)
    assert square["diameter_px"] == pytest.approx(np.sqrt(4 * 16 / np.pi))
    assert square["mean_intensity"] == pytest.approx(image[4:8, 4:8].mean())
    assert cells["is_cut"].tolist() == [False, True]
    assert cells["object_number"].isna().all()


def test_an_empty_mask_and_a_mask_without_image() -> None:
    nothing = cells_of_site(np.zeros((5, 5), np.int32), None, SITE)
    pd.testing.assert_frame_equal(nothing, empty_cells())
    assert cells_of_site(mask(), None, SITE)["mean_intensity"].isna().all()


def test_joined_cells_are_numbered_in_table_order() -> None:
    parts = [cells_of_site(mask(), None, SiteKey("A01", s)) for s in (1, 2)]
    joined = join_cells([parts[0], empty_cells(), parts[1]])
    assert joined["cell_id"].tolist() == [0, 1, 2, 3]
    assert joined["site"].tolist() == [1, 1, 2, 2]
    assert join_cells([]).empty


def test_a_table_of_version_1_calls_cut_cells_at_border(tmp_path: Path) -> None:
    cells = join_cells([cells_of_site(mask(), None, SITE)])
    write_cells(cells, tmp_path / "cells.parquet")
    old = pq.read_table(tmp_path / "cells.parquet")
    names = ["at_border" if name == "is_cut" else name for name in old.column_names]
    pq.write_table(old.rename_columns(names), tmp_path / "old.parquet")
    pd.testing.assert_frame_equal(read_cells(tmp_path / "old.parquet"), cells)


def test_written_cells_are_read_as_they_were(tmp_path: Path) -> None:
    cells = join_cells([cells_of_site(mask(), None, SITE, source="import")])
    # A number beyond what a float holds: it must not pass through one beside a missing value.
    cells["object_number"] = pd.array([pd.NA, 2**60 + 1], dtype="Int64")
    path = tmp_path / "größe 1" / "cells.parquet"
    write_cells(cells, path, {"plate": "P 1", "channel": "DNA"})
    pd.testing.assert_frame_equal(read_cells(path), cells)
    metadata = json.loads(pq.read_schema(path).metadata[b"napari_hcs_qc.cells"])
    assert metadata == {"plate": "P 1", "channel": "DNA", "schema_version": 2}
    assert pq.read_schema(path).names == list(CELL_COLUMNS)
    assert sorted(p.name for p in path.parent.iterdir()) == ["cells.parquet"]


def test_an_empty_table_keeps_its_types(tmp_path: Path) -> None:
    write_cells(empty_cells(), tmp_path / "cells.parquet")
    pd.testing.assert_frame_equal(read_cells(tmp_path / "cells.parquet"), empty_cells())


def test_files_that_are_no_cell_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match=r"does not exist\. Find or import"):
        read_cells(tmp_path / "none.parquet")
    text = tmp_path / "text.parquet"
    text.write_text("not Parquet at all")
    with pytest.raises(HcsQcError, match="cannot be read as Parquet"):
        read_cells(text)
    other = tmp_path / "other.parquet"
    pd.DataFrame({"well": ["A01"]}).to_parquet(other)
    with pytest.raises(HcsQcError, match="lacks cell_id"):
        read_cells(other)
    with pytest.raises(HcsQcError, match="A cell table has the columns"):
        write_cells(empty_cells().drop(columns="well"), tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")]
)
def test_a_failed_write_keeps_the_old_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    path = tmp_path / "cells.parquet"
    old = join_cells([cells_of_site(mask(), None, SITE)])
    write_cells(old, path)

    def fail(_table: object, target: Path, **_: object) -> None:
        Path(target).write_bytes(b"PAR1 half")
        raise OSError(number, "injected")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(WriteError, match=words):
        write_cells(empty_cells(), path)
    pd.testing.assert_frame_equal(read_cells(path), old)
    assert [p.name for p in tmp_path.iterdir()] == ["cells.parquet"]
