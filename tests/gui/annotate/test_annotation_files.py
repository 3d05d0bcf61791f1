"""Annotations in and out, and crops, as asked for at the desk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_hcs_qc.gui.annotate import annotation_files

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def choose(monkeypatch: pytest.MonkeyPatch, method: str, answer: object) -> None:
    monkeypatch.setattr(annotation_files.QFileDialog, method, lambda *_: answer)


def test_what_one_assay_writes_another_reads(
    desk: Any, assay_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.open(assay_path)
    session = desk.session
    before = session.annotations.cache.journal.annotations()
    out = tmp_path / "annotations.csv"
    choose(monkeypatch, "getSaveFileName", (str(out), ""))
    annotation_files.ask_where_annotations_go(session, None)
    desk.idle()
    assert f"{len(before)} annotations written to {out}" in desk.messages[-1][1]
    table = pd.read_csv(out)
    assert len(table) == len(before)

    # The same again adds nothing; one more cell is shown at once.
    free = next(i for i, cls in enumerate(desk.view.cells.annotated_class) if cls is None)
    site = session.selection.site
    y_px, x_px = desk.cell(free)
    more = {"plate": "SIM", "well": site.well, "site": site.site, "y_px": y_px, "x_px": x_px}
    table = pd.concat([table, pd.DataFrame([more | {"label": "abnormal", "kind": "debris"}])])
    table.to_csv(out, index=False)
    choose(monkeypatch, "getOpenFileName", (str(out), ""))
    annotation_files.ask_for_annotations(session, None)
    desk.idle()
    assert desk.errors() == []
    assert f"1 annotation added, {len(before)} known" in desk.messages[-1][1]
    assert desk.annotation_of(free) == "abnormal"
    table.assign(label="emperor").to_csv(out, index=False)
    annotation_files.ask_for_annotations(session, None)
    desk.idle()
    assert "emperor" in desk.errors()[-1]
    assert desk.annotation_of(free) == "abnormal"


def test_crops_are_written_into_a_folder_of_their_own(
    desk: Any, assay_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(monkeypatch, "getExistingDirectory", str(tmp_path))
    annotation_files.ask_where_crops_go(desk.session, "annotated", None)
    assert "Nothing was classified yet" in desk.messages[-1][1]
    desk.open(assay_path)
    annotation_files.ask_where_crops_go(desk.session, "annotated", None)
    desk.idle()
    assert desk.errors() == []
    assert f"Crops in {tmp_path / 'crops'}" in desk.messages[-1][1]
    assert len([*(tmp_path / "crops").rglob("*.tif")]) == 60
    annotation_files.ask_where_crops_go(desk.session, "annotated", None)
    desk.idle()
    assert "not empty" in desk.errors()[-1]
