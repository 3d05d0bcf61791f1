from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.text_columns import none_if_missing, rows_of, with_texts, without_formulas

pytestmark = pytest.mark.usefixtures("pandas_3_texts")


@pytest.mark.parametrize("dtype", ["object", "str", "string", "category"])
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_text_is_none_whatever_pandas_keeps_it_as(dtype: str, missing: object) -> None:
    with pd.option_context("future.infer_string", dtype == "str"):
        column = pd.Series(["blur", missing, ""], dtype=None if dtype == "str" else dtype)
    texts = none_if_missing(column)
    assert texts.dtype == object
    assert texts.tolist() == ["blur", None, ""]
    column.iloc[0] = "" if dtype == "category" else "haze"
    assert texts[0] == "blur"  # a copy


def test_any_values_may_be_missing() -> None:
    seen = {"flag_codes": "blur"}
    assert none_if_missing([seen, None, float("nan")]).tolist() == [seen, None, None]
    times = pd.Series(pd.to_datetime(["2026-01-01", None], utc=True))
    assert none_if_missing(times).tolist() == [pd.Timestamp("2026-01-01", tz="UTC"), None]
    sites = none_if_missing(pd.Series([3, None], dtype="Int64")).tolist()
    assert sites == [3, None]
    assert none_if_missing([]).tolist() == []


def test_columns_that_were_set_stay_none_when_the_table_is_cut_and_joined() -> None:
    table = with_texts(pd.DataFrame({"n": [1, 2, 3]}, index=[7, 8, 9]), {"kind": ["a", None, "b"]})
    assert table["kind"].tolist() == ["a", None, "b"]
    assert table.index.tolist() == [7, 8, 9]
    joined = pd.concat([table[table["n"] > 1], table[:1]], ignore_index=True)
    assert joined["kind"].tolist() == [None, "b", "a"]
    given = pd.DataFrame({"kind": ["a", None], "other": [None, "c"]})
    replaced = with_texts(given, given[["kind"]])
    assert replaced["kind"].tolist() == ["a", None]
    with pytest.raises(ValueError, match="length"):
        with_texts(table, {"kind": ["a"]})


def test_rows_are_json_and_python_numbers() -> None:
    table = pd.DataFrame({"well": ["A01", "A02"], "site": [1, 2], "kind": ["blur", None]})
    rows = [*rows_of(table, ["well", "site", "kind"])]
    text = json.dumps(rows, allow_nan=False)
    assert json.loads(text) == [["A01", 1, "blur"], ["A02", 2, None]]


def test_texts_that_a_spreadsheet_would_run_are_made_harmless() -> None:
    texts = ["=1+1", "+A1", "-cmd", "@SUM(A1)", "\tx", "-1.5", "+3e2", "DMSO", "", None]
    table = pd.DataFrame({"treatment": pd.Series(texts, dtype=object), "n": range(len(texts))})
    written = without_formulas(table)
    assert written["treatment"].tolist() == [*(f"'{text}" for text in texts[:5]), *texts[5:]]
    assert written["n"].equals(table["n"])
    assert table["treatment"].tolist() == texts
