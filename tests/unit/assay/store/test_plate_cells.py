from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from napari_hcs_qc.assay.store.plate_cells import has_object_numbers
from napari_hcs_qc.cells.table import empty_cells, write_cells

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("numbers", "has"), [([], False), ([None, None], False), ([None, 7], True), ([0, 1], True)]
)
def test_object_numbers_are_told_from_the_file(
    tmp_path: Path, numbers: list[int | None], has: bool
) -> None:
    cells = empty_cells().reindex(range(len(numbers))).assign(well="A01", source="import")
    for name, dtype in empty_cells().dtypes.items():
        if name not in ("well", "source"):
            cells[name] = pd.Series([0] * len(numbers), dtype=dtype)
    cells["object_number"] = pd.array(numbers, dtype="Int64")
    write_cells(cells, tmp_path / "cells.parquet")
    assert has_object_numbers(tmp_path) is has


def test_a_table_that_cannot_be_read_has_none(tmp_path: Path) -> None:
    assert not has_object_numbers(tmp_path)
    (tmp_path / "cells.parquet").write_bytes(b"PAR1 no more")
    assert not has_object_numbers(tmp_path)
