"""The review panel without a window: the queue, keys, filters, pictures and the export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialogButtonBox, QLineEdit, QPushButton, QWidget

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.gui.plate.plate_dock import PlateDock
from napari_hcs_qc.gui.plate.thumbnails import SiteStrip
from napari_hcs_qc.gui.review.export_dialog import ExportDialog
from napari_hcs_qc.gui.review.review_dock import ReviewDock
from napari_hcs_qc.gui.review.review_table import ReviewTable
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.rule import FLAG_CODES

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot


@pytest.fixture
def dock(desk: Any, assay_path: Path) -> ReviewDock:
    """The panel on an assay in which the saturated well is flagged."""
    desk.open(assay_path)
    made = ReviewDock(desk.viewer)
    desk.qtbot.addWidget(made)
    made.show()
    return made


def press(dock: ReviewDock, name: str) -> None:
    """Press a button; that keys reach them is shown in a real window, in test_workflow."""
    dock.findChild(QWidget, name.lower()).click()


def verdicts(path: Path) -> pd.DataFrame:
    return AssayFolder.open(path).journal().verdicts()


def test_flagged_wells_are_listed_gravest_first_with_reason_and_pictures(
    desk: Any, dock: ReviewDock
) -> None:
    wells = desk.session.models.scored.scores.wells
    flagged = wells[wells["is_flagged"]]
    assert "B02" in set(flagged["well"])
    assert {entry.well for entry in dock.entries} == set(flagged["well"])
    severities = [entry.severity for entry in dock.entries]
    assert severities == sorted(severities, reverse=True)
    dock.set_value("SIM", "B02")
    desk.idle()
    entry = dock.value()
    assert entry is not None and entry.well == "B02"
    said = dock.findChild(QWidget, "about").text()
    assert entry.reason in said
    assert entry.n_cut and f"{entry.n_cells} cells ({entry.n_cut} cut by the image border" in said
    assert desk.session.selection.site == SiteKey("B02", entry.worst_site)  # the list is followed
    montage = dock.findChild(QWidget, "montage").value()
    assert montage is not None and montage.well == "B02"
    p = [cell.p_abnormal for cell in montage.abnormal]
    assert p == sorted(p, reverse=True)
    assert all(value >= desk.session.models.threshold for value in p)
    assert all(cell.picture is not None for cell in (*montage.abnormal, *montage.normal))


def test_buttons_decide_and_take_back_with_a_note(
    desk: Any, dock: ReviewDock, assay_path: Path
) -> None:
    dock.set_value("SIM", "B02")
    desk.idle()
    dock.findChild(QWidget, "note").setText("bar across the site")
    press(dock, "Exclude")
    row = verdicts(assay_path).set_index("well").loc["B02"]
    assert (row["verdict"], row["note"]) == ("exclude", "bar across the site")
    assert row["seen"]["is_flagged"] is True
    assert dock.findChild(QWidget, "note").text() == ""
    assert "B02" not in {entry.well for entry in dock.entries}  # decided, so no longer listed
    dock.findChild(QWidget, "state").setCurrentText("excluded")
    assert [entry.well for entry in dock.entries] == ["B02"]
    dock.findChild(QWidget, "state").setCurrentText("all")
    dock.set_value("SIM", "B02")
    press(dock, "Keep")
    assert verdicts(assay_path)["verdict"].tolist() == ["keep"]
    dock.set_value("SIM", "B02")
    press(dock, "Look again")
    assert verdicts(assay_path)["verdict"].tolist() == ["look again"]
    dock.set_value("SIM", "B02")
    press(dock, "Remove")
    assert not len(verdicts(assay_path))
    desk.session.annotations.undo()
    assert verdicts(assay_path)["verdict"].tolist() == ["look again"]


def test_a_letter_typed_into_the_note_is_a_letter(
    desk: Any, dock: ReviewDock, assay_path: Path
) -> None:
    dock.set_value("SIM", "B02")
    dock.findChild(QWidget, "note").setFocus()
    desk.qtbot.keyClicks(dock.findChild(QWidget, "note"), "xkl")
    assert dock.findChild(QWidget, "note").text() == "xkl"
    assert not len(verdicts(assay_path))


def test_a_single_site_is_excluded(desk: Any, dock: ReviewDock, assay_path: Path) -> None:
    dock.set_value("SIM", "B02")
    desk.session.selection.go_to(SiteKey("A01", 1))
    desk.idle()
    assert not dock.exclude_site()  # the site on screen is of another well
    assert "Show a well of the list first" in desk.messages[-1][1]
    desk.session.selection.go_to(SiteKey("B02", 2))
    desk.idle()
    assert dock.exclude_site()
    row = verdicts(assay_path).iloc[0]
    assert (row["well"], row["site"], row["verdict"]) == ("B02", 2, "exclude")
    dock.findChild(QWidget, "state").setCurrentText("all")
    desk.idle()
    table = dock.findChild(ReviewTable)
    listed = [entry.well for entry in dock.entries].index("B02")
    assert table.item(listed, len(table.columns) - 1).text() == "✗ s2"
    # The plate map and the strip of sites show it, too.
    plate = PlateDock(desk.viewer)
    desk.qtbot.addWidget(plate)
    assert "site excluded" in plate.plate_map.legend_marks()
    assert "Verdict: site excluded" in plate.plate_map.describe("B02")
    strip = plate.findChild(SiteStrip)
    assert "Verdict: exclude" in strip.describe(SiteKey("B02", 2))
    assert "Verdict" not in strip.describe(SiteKey("B02", 1))


def test_row_picture_and_verdict_are_of_one_well(
    desk: Any, dock: ReviewDock, assay_path: Path
) -> None:
    table = dock.findChild(ReviewTable)
    listed = [entry.well for entry in dock.entries]
    assert desk.session.selection.site.well not in listed
    assert dock.value() is None and not table.selectedItems()  # nothing is preselected
    assert not dock.findChild(QWidget, "exclude").isEnabled()
    assert not dock.decide("exclude")
    table.cellClicked.emit(0, 0)
    assert dock.value().well == table.value().well == listed[0]
    assert desk.view.on_screen.well != listed[0]
    assert not dock.decide("exclude")  # its picture is on its way
    assert "is still being read" in desk.messages[-1][1]
    desk.idle()
    assert desk.view.on_screen.well == listed[0]
    # Another site of it, then its row again: its worst site is shown.
    worst = desk.session.selection.site
    desk.session.selection.go_to(SiteKey(worst.well, 3 - worst.site))
    desk.idle()
    assert dock.value().well == listed[0]
    table.cellClicked.emit(0, 0)
    assert desk.session.selection.site == worst
    # The plate map goes elsewhere: no row is marked.
    desk.session.selection.go_to(SiteKey("A01", 1))
    desk.idle()
    assert dock.value() is None and not table.selectedItems()
    assert not dock.decide("exclude")
    assert not len(verdicts(assay_path))


def test_filter_by_reason_and_progress(desk: Any, dock: ReviewDock) -> None:
    codes = {code for entry in dock.entries for code in entry.codes}
    for code in codes:
        dock.findChild(QWidget, "reason").setCurrentIndex(
            dock.findChild(QWidget, "reason").findData(code)
        )
        assert dock.entries
        assert all(code in entry.codes for entry in dock.entries)
    other = next(code for code in FLAG_CODES if code not in codes)
    dock.findChild(QWidget, "reason").setCurrentIndex(
        dock.findChild(QWidget, "reason").findData(other)
    )
    assert not dock.entries
    assert "No well in this list" in dock.findChild(QWidget, "about").text()
    dock.findChild(QWidget, "reason").setCurrentIndex(0)
    total = len(dock.entries)
    assert dock.findChild(QWidget, "progress").text() == f"0 of {total} decided"
    dock.set_value("SIM", dock.entries[0].well)
    desk.idle()
    assert dock.decide("keep")
    assert dock.findChild(QWidget, "progress").text() == f"1 of {total} decided"


def test_the_export_holds_the_verdicts(
    desk: Any, dock: ReviewDock, assay_path: Path, tmp_path: Path
) -> None:
    dock.set_value("SIM", "B02")
    desk.idle()
    assert dock.decide("exclude")
    dock.findChild(QPushButton, "export").click()
    (dialog,) = dock.findChildren(ExportDialog)
    assert dialog.value() == assay_path.parent / "assay-results"
    ok = dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok)
    folder = dialog.findChild(QLineEdit, "folder")
    folder.clear()
    assert not ok.isEnabled()
    desk.qtbot.keyClicks(folder, str(tmp_path / "new" / "out"))
    desk.qtbot.mouseClick(ok, Qt.MouseButton.LeftButton)
    desk.idle()
    assert "report.html" in desk.messages[-1][1]
    assert desk.errors() == []
    cells = pd.read_parquet(tmp_path / "new" / "out" / "cells.parquet")
    is_out = cells["Metadata_cqc_well_is_outlier"].to_numpy(bool)
    assert set(cells.loc[is_out, "Metadata_Well"]) == {"B02"}
    assert (tmp_path / "new" / "out" / "report.html").is_file()


def test_without_an_assay_the_panel_says_what_to_do(desk: Any) -> None:
    dock = ReviewDock(desk.viewer)
    desk.qtbot.addWidget(dock)
    assert "Retrain" in dock.findChild(QWidget, "progress").text()
    assert dock.value() is None
    assert not dock.decide("keep")


def test_every_well_is_listed_and_sorted_by_any_column(
    desk: Any, dock: ReviewDock, assay_path: Path
) -> None:
    table = dock.findChild(ReviewTable)
    dock.findChild(QWidget, "state").setCurrentText("every well")
    wells = desk.session.models.scored.scores.wells.set_index("well")
    assert {entry.well for entry in dock.entries} == set(wells.index)
    titles = [column.title for column in table.columns]
    table.horizontalHeader().sectionClicked.emit(titles.index("Cells"))
    counts = [entry.n_cells for entry in dock.entries]
    assert counts == sorted(wells["n_cells"], reverse=True)
    table.horizontalHeader().sectionClicked.emit(titles.index("Cells"))
    assert [entry.n_cells for entry in dock.entries] == counts[::-1]
    table.horizontalHeader().sectionClicked.emit(titles.index("Well"))
    assert [entry.well for entry in dock.entries] == sorted(wells.index)
    assert [table.item(row, 0).text() for row in range(len(wells))] == sorted(wells.index)
    # One that is not flagged is decided on as well.
    unflagged = next(entry.well for entry in dock.entries if not entry.is_flagged)
    assert table.item([e.well for e in dock.entries].index(unflagged), 3).text() == "–"
    dock.set_value("SIM", unflagged)
    desk.idle()
    press(dock, "Exclude")
    row = verdicts(assay_path).set_index("well").loc[unflagged]
    assert (row["verdict"], row["seen"]["is_flagged"]) == ("exclude", False)
    desk.session.annotations.is_blind = True
    assert dock.entries == ()


def test_all_wells_are_listed_with_a_picture_of_each_in_sight(
    qtbot: QtBot, desk: Any, dock: ReviewDock
) -> None:
    table = dock.findChild(ReviewTable)
    state = dock.findChild(QWidget, "state")

    def pictured() -> list[bool]:
        return [not table.item(row, 0).icon().isNull() for row in table.rows_in_sight()]

    state.setCurrentText("all")
    assert not any(pictured())
    state.setCurrentText("every well")
    qtbot.waitUntil(lambda: len(pictured()) > 0 and all(pictured()), timeout=20_000)
    table.sort_by(0)
    assert len(table.rows_in_sight()) <= len(dock.entries)
    qtbot.waitUntil(lambda: all(pictured()), timeout=20_000)
