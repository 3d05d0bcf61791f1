"""The data dictionary describes what is exported; written anew by running this file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import polars as pl
import pyarrow.parquet as pq

from napari_hcs_qc.qc.export.dictionary import COLUMNS, TABLES, TABLES_VERSION, as_markdown
from napari_hcs_qc.qc.export.write_tables import export_tables
from napari_hcs_qc.text_columns import none_if_missing

if TYPE_CHECKING:
    from napari_hcs_qc.qc.export.export_tables import ExportPlate

PAGE = Path(__file__).resolve().parents[4] / "docs" / "columns.md"
OF_VERSION = Path(__file__).resolve().parents[3] / "data" / f"tables_{TABLES_VERSION}.json"
"""The columns of each table when this version began: never changed."""


def test_every_column_is_described_and_no_other() -> None:
    assert set(COLUMNS) == {name for columns in TABLES.values() for name in columns}
    assert all(column.meaning and column.source for column in COLUMNS.values())


def test_no_column_of_this_version_is_gone_or_of_another_type() -> None:
    for table, columns in json.loads(OF_VERSION.read_text(encoding="utf-8")).items():
        assert {name: TABLES[table].get(name) for name in columns} == columns


def test_tables_say_their_version(scored: ExportPlate, tmp_path: Path) -> None:
    export_tables([scored], tmp_path)
    for name in ("cells", "sites", "wells"):
        metadata = pq.read_schema(tmp_path / f"{name}.parquet").metadata
        assert metadata[b"format_version"].decode() == str(TABLES_VERSION)
    provenance = json.loads((tmp_path / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["export"]["format_version"] == TABLES_VERSION
    assert f"Format version {TABLES_VERSION}," in PAGE.read_text(encoding="utf-8")


def test_the_page_says_what_the_program_does() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown()


def test_parquet_csv_and_json_agree(scored: ExportPlate, tmp_path: Path) -> None:
    export_tables([scored], tmp_path)
    described = json.loads((tmp_path / "columns.json").read_text(encoding="utf-8"))
    assert set(described) == {"cells", "sites", "wells"}
    for table, columns in described.items():
        schema = pq.read_schema(tmp_path / f"{table}.parquet")
        assert schema.names == list(columns)
        for name, column in columns.items():
            metadata = {k.decode(): v.decode() for k, v in schema.field(name).metadata.items()}
            assert metadata["meaning"] == column["meaning"]
        dtypes = {name: column["dtype"] for name, column in columns.items()}
        csv = pd.read_csv(tmp_path / f"{table}.csv", dtype=dtypes)
        parquet = pd.read_parquet(tmp_path / f"{table}.parquet")
        for name in columns:
            if dtypes[name] == "str":
                pairs = (none_if_missing(csv[name]), none_if_missing(parquet[name]))
                assert pairs[0].tolist() == pairs[1].tolist()
            else:
                pd.testing.assert_series_equal(csv[name], parquet[name])
        assert pl.read_csv(tmp_path / f"{table}.csv").columns == list(columns)
        assert pl.read_parquet(tmp_path / f"{table}.parquet").columns == list(columns)


def test_an_object_number_is_exported_only_where_there_is_one(
    scored: ExportPlate, tmp_path: Path
) -> None:
    export_tables([scored], tmp_path / "a")
    assert "Metadata_ObjectNumber" not in pd.read_parquet(tmp_path / "a" / "cells.parquet")
    numbers = pd.array(range(len(scored.cells)), dtype="Int64")
    export_tables(
        [replace(scored, cells=scored.cells.assign(object_number=numbers))], tmp_path / "b"
    )
    assert pd.read_parquet(tmp_path / "b" / "cells.parquet")["Metadata_ObjectNumber"].notna().all()


def test_outliers_of_sites_and_wells_are_in_their_tables(
    scored: ExportPlate, tmp_path: Path
) -> None:
    export_tables([scored], tmp_path)
    cells = pd.read_parquet(tmp_path / "cells.parquet")
    for table, keys, names in (
        ("sites", ["Metadata_Well", "Metadata_Site"], ("site", "well")),
        ("wells", ["Metadata_Well"], ("well",)),
    ):
        read = pd.read_parquet(tmp_path / f"{table}.parquet").set_index(keys)
        for name in names:
            column = f"Metadata_cqc_{name}_is_outlier"
            of_cells = cells.groupby(keys)[column].first()
            assert read.loc[of_cells.index, column].tolist() == of_cells.tolist()


if __name__ == "__main__":
    PAGE.write_text(as_markdown(), encoding="utf-8")
