from __future__ import annotations

import errno
import hashlib
import json
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.files import read_json
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.qc.export import write_anndata, write_tables
from napari_hcs_qc.qc.export.export_tables import (
    ExportOptions,
    ExportPlate,
    cell_table,
    site_table,
    well_table,
)
from napari_hcs_qc.qc.export.write_tables import Outline, export_tables
from napari_hcs_qc.qc.export.write_tables import exported_cells as cells_of_export
from napari_hcs_qc.qc.image_quality import measure_site, quality_table
from napari_hcs_qc.text_columns import with_texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def exported_cells(plate: ExportPlate) -> pd.DataFrame:
    """Cells as they are exported where no number of another program is known."""
    return cell_table(plate, ExportOptions()).drop(columns="Metadata_ObjectNumber")


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Values as they stand in a CSV, missing ones as ""."""
    return pd.DataFrame(
        {
            name: ["" if pd.isna(value) else str(value) for value in table[name].array]
            for name in table
        }
    )


def test_parquet_holds_the_tables_as_they_are(scored: ExportPlate, tmp_path: Path) -> None:
    export_tables([scored], tmp_path)
    for name, table in (
        ("cells", exported_cells(scored)),
        ("sites", site_table(scored)),
        ("wells", well_table(scored)),
    ):
        read = pd.read_parquet(tmp_path / f"{name}.parquet")
        texts = [column for column in read if pd.api.types.is_string_dtype(read[column].dtype)]
        pd.testing.assert_frame_equal(with_texts(read, read[texts]), table)


def test_csv_is_utf_8_and_says_the_same(scored: ExportPlate, tmp_path: Path) -> None:
    export_tables([scored], tmp_path)
    content = (tmp_path / "wells.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")  # by which Excel knows UTF-8
    assert "P ä1".encode() in content
    assert b"\r" not in content
    for name, table in (
        ("cells", exported_cells(scored)),
        ("sites", site_table(scored)),
        ("wells", well_table(scored)),
    ):
        read = pd.read_csv(
            tmp_path / f"{name}.csv", dtype=str, keep_default_na=False
        )  # no BOM left
        pd.testing.assert_frame_equal(read, as_text(table))


def test_the_same_input_gives_the_same_bytes(scored: ExportPlate, tmp_path: Path) -> None:
    def hashes(folder: Path) -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in export_tables([scored], folder, provenance=lambda: {"time": "t"})
            if path.suffix != ".h5ad"
        }

    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_anndata_holds_the_embeddings_row_by_row(
    scored: ExportPlate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_anndata, "_VALUES", 7 * 6)  # blocks of 7 rows
    monkeypatch.setattr(write_tables, "_ROWS", 50)
    other = replace(scored, name="Q2")
    export_tables([scored, other], tmp_path, provenance=lambda: {"model": "m1", "seed": None})
    data = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert scored.embeddings is not None
    assert data.X.dtype == np.float32
    np.testing.assert_array_equal(data.X, np.vstack([scored.embeddings, scored.embeddings]))
    assert data.obs_names.is_unique
    assert json.loads(data.uns["provenance"])["model"] == "m1"
    expected = pd.concat([exported_cells(p) for p in (scored, other)])
    pd.testing.assert_frame_equal(as_text(data.obs), as_text(expected))
    assert data.obs["Metadata_cqc_cell_is_outlier"].dtype == bool
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    np.testing.assert_array_equal(backed.X[5:8], scored.embeddings[5:8])
    backed.file.close()


def test_embeddings_are_never_in_memory_as_a_whole(
    scored: ExportPlate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched:
        def __init__(self, rows: np.ndarray[Any, Any]) -> None:
            self.rows, self.shape, self.most = rows, rows.shape, 0

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, part: slice) -> np.ndarray[Any, Any]:
            self.most = max(self.most, len(self.rows[part]))
            return self.rows[part]

        def __array__(self, *_args: Any, **_kwargs: Any) -> None:
            raise AssertionError("all rows were asked for")

    monkeypatch.setattr(write_anndata, "_VALUES", 60)
    watched = Watched(np.asarray(scored.embeddings))
    export_tables([replace(scored, embeddings=watched)], tmp_path)  # type: ignore[arg-type]
    assert watched.most == 10


def test_without_embeddings_there_is_no_anndata(scored: ExportPlate, tmp_path: Path) -> None:
    written = export_tables([replace(scored, embeddings=None)], tmp_path)
    assert sorted(path.name for path in written) == sorted(p.name for p in tmp_path.iterdir())
    assert not (tmp_path / "cells.h5ad").exists()


def test_image_quality_is_exported_when_measured(
    scored: ExportPlate, tmp_path: Path, plate: Any
) -> None:
    quality = quality_table(plate.rows)
    export_tables([replace(scored, quality=quality)], tmp_path)
    read = pd.read_parquet(tmp_path / "image_quality.parquet")
    assert list(read.columns[:4]) == ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "channel"]
    np.testing.assert_array_equal(read["octave_power_slope"], quality["octave_power_slope"])
    assert measure_site.__module__ == "napari_hcs_qc.qc.image_quality"


def test_provenance_says_how_the_tables_were_made(scored: ExportPlate, tmp_path: Path) -> None:
    options = ExportOptions(keep_kinds=("dead",), exclude_unreviewed=True)
    export_tables([scored], tmp_path, options=options, provenance=lambda: {"model": "m1"})
    assert read_json(tmp_path / "provenance.json") == {
        "model": "m1",
        "export": {
            "format_version": 2,
            "plates": ["P ä1"],
            "n_cells": len(scored.cells),
            "keep_kinds": ["dead"],
            "exclude_unreviewed": True,
        },
    }
    wells = pd.read_parquet(tmp_path / "cells.parquet").groupby("Metadata_Well")
    assert wells["Metadata_cqc_well_is_outlier"].all().to_dict()["B01"]


def test_a_plate_without_cells_is_exported(scored: ExportPlate, tmp_path: Path) -> None:
    assert scored.embeddings is not None
    bare = replace(
        scored,
        cells=scored.cells.iloc[:0],
        predictions=scored.predictions.iloc[:0],
        embeddings=scored.embeddings[:0],
    )
    export_tables([bare], tmp_path)
    read = pd.read_parquet(tmp_path / "cells.parquet")
    assert len(read) == 0
    assert read["Metadata_cqc_cell_is_outlier"].dtype == bool
    assert anndata.read_h5ad(tmp_path / "cells.h5ad").shape == (0, 6)


def test_what_cannot_be_exported_is_refused(scored: ExportPlate, tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match="no plate"):
        export_tables([], tmp_path)
    with pytest.raises(HcsQcError, match="Two plates are called 'P ä1'"):
        export_tables([scored, scored], tmp_path)
    other = replace(scored, name="Q", embeddings=None)
    with pytest.raises(HcsQcError, match="P ä1: 6, Q: none"):
        export_tables([scored, other], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(
    scored: ExportPlate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_tables([scored], tmp_path)
    before = (tmp_path / "cells.parquet").read_bytes()

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write_tables.pq.ParquetWriter, "write_table", fail)
    with pytest.raises(WriteError, match=r"cells\.parquet.*disk is full"):
        export_tables([scored], tmp_path, options=ExportOptions(exclude_unreviewed=True))
    assert (tmp_path / "cells.parquet").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_it_can_be_stopped_and_tells_its_progress(scored: ExportPlate, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    export_tables([scored], tmp_path / "a", job=Job(lambda *args: told.append(args)))
    assert told[-1][0] == told[-1][1] == len(told) - 1
    with pytest.raises(Cancelled):
        export_tables([scored], tmp_path / "b", job=Job(should_stop=lambda: True))


def test_each_plate_is_let_go_before_the_next_is_made(scored: ExportPlate, tmp_path: Path) -> None:
    alive: list[weakref.ref[pd.DataFrame]] = []
    outline = Outline.of([scored, scored, scored])

    def made() -> Iterator[ExportPlate]:
        for name in ("one", "two", "three"):
            assert [table() for table in alive] == [None] * len(alive)
            yield fresh(name)

    def fresh(name: str) -> ExportPlate:
        tables = (scored.cells.copy(), scored.predictions.copy())
        alive.extend(weakref.ref(table) for table in tables)
        return replace(scored, name=name, cells=tables[0], predictions=tables[1])

    export_tables(made(), tmp_path / "a", outline=outline)
    assert len(alive) == 6
    plates = [replace(scored, name=name) for name in ("one", "two", "three")]
    export_tables(plates, tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        if path.suffix != ".h5ad":
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    data = [anndata.read_h5ad(tmp_path / name / "cells.h5ad") for name in ("a", "b")]
    pd.testing.assert_frame_equal(data[0].obs, data[1].obs)
    np.testing.assert_array_equal(data[0].X, data[1].X)


@pytest.mark.parametrize(
    "error", [HcsQcError("not predicted"), OSError(errno.EIO, "bad disk"), Cancelled()]
)
def test_what_goes_wrong_with_the_last_plate_changes_no_file(
    scored: ExportPlate, tmp_path: Path, error: Exception
) -> None:
    def made() -> Iterator[ExportPlate]:
        yield replace(scored, name="another")
        raise error

    export_tables([scored], tmp_path / "old")
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    for folder in ("old", "new"):
        with pytest.raises(type(error)) as raised:
            export_tables(made(), tmp_path / folder, outline=Outline.of([scored, scored]))
        assert raised.value is error  # not as if a file could not be written
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_a_plate_that_has_changed_since_it_was_looked_at_is_refused(
    scored: ExportPlate, tmp_path: Path
) -> None:
    numbered = replace(scored, cells=scored.cells.assign(object_number=7))
    outline = Outline.of([scored, scored])
    with pytest.raises(HcsQcError, match=r"Q has changed.* has object numbers now"):
        export_tables([scored, replace(numbered, name="Q")], tmp_path, outline=outline)
    assert list(tmp_path.iterdir()) == []


def test_the_cells_of_all_plates_are_read_as_they_were_made(
    scored: ExportPlate, tmp_path: Path
) -> None:
    numbers = pd.array([7, *[None] * (len(scored.cells) - 1)], dtype="Int64")
    for plate in (scored, replace(scored, cells=scored.cells.assign(object_number=numbers))):
        plates = [plate, replace(plate, name="Q")]
        export_tables(plates, tmp_path)
        expected = pd.concat([cell_table(p, ExportOptions()) for p in plates], ignore_index=True)
        pd.testing.assert_frame_equal(cells_of_export(tmp_path), expected)
