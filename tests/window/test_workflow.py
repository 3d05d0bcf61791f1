"""A working day at the desk: open, click, retrain, look, review, export, close, go on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDialogButtonBox,
    QLineEdit,
    QListWidget,
    QMenu,
    QPushButton,
    QSlider,
    QSpinBox,
    QToolButton,
)

from napari_hcs_qc.assay.scoring.review_queue import review_queue
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.gui.annotate.class_buttons import ClassButtons
from napari_hcs_qc.gui.canvas.workspace import has_workspace
from napari_hcs_qc.gui.plate.plate_opening import open_assay_folder
from napari_hcs_qc.gui.review.export_dialog import ExportDialog
from napari_hcs_qc.gui.review.review_table import ReviewTable
from napari_hcs_qc.gui.widgets.histogram_chart import HistogramChart
from napari_hcs_qc.gui.widgets.palette import ABNORMAL_COLOUR, NORMAL_COLOUR, rgba
from napari_hcs_qc.gui.window.desk import ANNOTATE, GUIDE, OVERLAY, PLATE, REVIEW, TRAIN
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.study.benchmark.results import mistakes
from napari_hcs_qc.study.gui.benchmark_choice import BenchmarkChoice
from napari_hcs_qc.study.gui.benchmark_detail import BenchmarkDetail
from napari_hcs_qc.study.gui.benchmark_table import BenchmarkTable
from napari_hcs_qc.study.simulation.synthetic import sample_spec
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from tests.window.conftest import Person

# A whole working day; a slow machine may take minutes for it.
pytestmark = [pytest.mark.window, pytest.mark.timeout(900)]

PICTURES = os.environ.get("HCS_QC_PICTURES")  # where the README's are kept, when asked for
_WELLS = ("B04", "B05", "B06", "B07", "C03", "C05", "C06", "D06", "E07")
_REAL_WELLS = ("A12", "E05", "G05", "G18", "I04", "L10", "L11")
_EACH = 20  # cells of either class


class Truth:
    """What is known of the cells of a plate from elsewhere.

    Parameters
    ----------
    table
        ``well``, ``site``, ``y_px``, ``x_px``, ``class``.
    reach_px
        So far may a cell be from where it is said to be.
    """

    def __init__(self, table: pd.DataFrame, reach_px: float = 5.0) -> None:
        self._reach_px = reach_px
        self._sites = dict(iter(table.groupby(["well", "site"])))

    def of(self, cells: pd.DataFrame) -> NDArray[np.object_]:
        """Class of each cell; empty where nothing is known."""
        classes = np.full(len(cells), "", dtype=object)
        for where, rows in cells.reset_index(drop=True).groupby(["well", "site"]):
            known = self._sites.get(where)
            if known is None:
                continue
            yx = rows[["y_px", "x_px"]].to_numpy()[:, None] - known[["y_px", "x_px"]].to_numpy()
            distance = np.hypot(yx[..., 0], yx[..., 1])
            is_it = distance.min(axis=1) < self._reach_px
            classes[rows.index[is_it]] = known["class"].to_numpy()[distance.argmin(axis=1)[is_it]]
        return classes

    def places(self, well: str, site: int, cls: str) -> list[tuple[float, float]]:
        """Places of a class at a site, whether cells were found there or not."""
        known = self._sites.get((well, site))
        if known is None:
            return []
        places = known.loc[known["class"] == cls, ["y_px", "x_px"]]
        return [(float(y), float(x)) for y, x in places.to_numpy()]

    def on_screen(self, person: Person) -> NDArray[np.object_]:
        """Class of each cell of the site on screen."""
        cells = person.view.cells
        assert cells is not None
        y_px, x_px = cells.yx_px.T
        where = {"well": cells.site.well, "site": cells.site.site, "y_px": y_px, "x_px": x_px}
        return self.of(pd.DataFrame(where))


def free(person: Person, truth: Truth, cls: str) -> list[tuple[float, float]]:
    """Places of the cells on screen that are of a class and that nobody has spoken of.

    Only of those that stand alone: nobody clicks where it is not clear what is clicked.
    """
    cells = person.view.cells
    assert cells is not None
    apart = np.linalg.norm(cells.yx_px[:, None] - cells.yx_px, axis=2)
    np.fill_diagonal(apart, np.inf)
    is_free = (truth.on_screen(person) == cls) & (apart.min(axis=1) > 8.0)
    is_free &= np.array([word is None for word in cells.annotated_class])
    return [(float(y), float(x)) for y, x in cells.yx_px[is_free]]


def places_of(person: Person, truth: Truth, cls: str) -> list[tuple[float, float]]:
    """Places on screen that are known to be of a class, and of which nobody has spoken."""
    cells = person.view.cells
    assert cells is not None
    places = truth.places(cells.site.well, cells.site.site, cls)
    nearest = [cells.nearest(*place) for place in places]
    return [
        place
        for place, index in zip(places, nearest, strict=True)
        if index is None or cells.annotated_class[index] is None
    ]


def said(person: Person) -> dict[str, int]:
    """How many cells have been called what, as the panel shows it a moment later."""
    person.qtbot.wait(5)
    person.until(lambda: person.session.is_settled)
    shown = person.panel(ANNOTATE).findChild(ClassButtons).value().classes
    return {cls: shown.get(cls, 0) for cls in ("normal", "abnormal")}


def journal(assay: Path) -> list[tuple[Any, ...]]:
    """What the journal on the disk says."""
    table = AssayFolder.open(assay).journal().annotations()
    columns = ["plate", "well", "site", "y_px", "x_px", "class", "kind", "annotator"]
    return sorted(table[columns].itertuples(index=False, name=None), key=repr)


def point_and_press(person: Person, truth: Truth, cls: str, n: int) -> None:
    """Rest the mouse on cells and press the key of the class."""
    for y_px, x_px in free(person, truth, cls)[:n]:
        person.point_at(y_px, x_px)
        person.press(cls[0].upper())


def click_in_mode(person: Person, places: list[tuple[float, float]], mode: str) -> None:
    """Choose what a click means, and click; then let a click mean nothing again."""
    buttons = person.panel(ANNOTATE)
    person.click(person.button(buttons, QPushButton, mode))
    for y_px, x_px in places:
        person.click_at(y_px, x_px)
    person.click(person.button(buttons, QPushButton, "Look"))


def round_about(places: list[tuple[float, float]], margin: float) -> list[tuple[float, float]]:
    """Give the corners of the box around places."""
    (top, left), (bottom, right) = np.min(places, axis=0), np.max(places, axis=0)
    top, left, bottom, right = top - margin, left - margin, bottom + margin, right + margin
    return [(top, left), (top, right), (bottom, right), (bottom, left), (top, left)]


def say_in_gallery(person: Person, truth: Truth, cls: str, n: int) -> None:
    """Select tiles in sight by click and Ctrl+click, and press the key of the class."""
    gallery = person.panel(ANNOTATE).gallery.view
    state, spoken_of = person.session.selection.state, person.session.annotations.rows
    assert state is not None and spoken_of is not None
    classes = truth.of(state.plate_cells.cells)
    left = n
    while left:
        grid, bar = gallery.grid(), gallery.verticalScrollBar()
        rows_in_sight = grid.between(
            bar.value() + 5, bar.value() + gallery.viewport().height() - 60
        )
        tiles = [
            place
            for place in rows_in_sight
            if classes[gallery.cells()[place]] == cls
            and spoken_of.classes[gallery.cells()[place]] is None
        ][:left]
        for nth, place in enumerate(tiles):
            x, y = grid.corner(place)
            middle = QPoint(x + grid.pitch // 2, y - bar.value() + grid.pitch // 2)
            person.click(gallery.viewport(), middle, "Ctrl" if nth else "")
        if tiles:
            assert sorted(gallery.value()) == sorted(gallery.cells()[tiles])
            person.press(cls[0].upper(), gallery)
            left -= len(tiles)
        if left:
            before = bar.value(), gallery.current()
            if gallery.current() is None:
                person.press("Home", gallery)
            person.press("PageDown", gallery)
            assert (bar.value(), gallery.current()) != before, "no more such cells in the gallery"


def colours(person: Person) -> NDArray[np.float64]:
    """Colours of the outlines of the cells on screen."""
    layer = person.view.cell_layer
    assert layer is not None
    return np.asarray(layer.border_color)


def has_colour(person: Person, yx_px: Any, hexed: str) -> bool:
    """Tell whether a colour can be seen about a cell on the canvas."""
    picture = person.canvas_picture().astype(float)
    ratio = picture.shape[0] / person.canvas.height()
    place = person.at(*yx_px) * ratio
    reach = 40
    around = picture[
        max(0, place.y() - reach) : place.y() + reach, max(0, place.x() - reach) : place.x() + reach
    ]
    return bool((np.abs(around - np.array(rgba(hexed)[:3]) * 255).max(axis=2) < 12).sum() > 5)


def test_a_day_on_the_sample_plate(
    sit_down: Callable[[], Person], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "data" / "napari-hcs-qc" / "sample-assay"
    assay = home / "assay"
    if not PICTURES:  # the README's show the whole plate
        few = sample_spec().with_changes(wells=_WELLS, sites_per_well=1, channels=("DNA", "Actin"))
        monkeypatch.setattr("napari_hcs_qc.study.simulation.sample_assay.sample_spec", lambda: few)

    was = a_day(sit_down(), home, tmp_path / "out")
    come_back(sit_down(), assay, was)


def a_day(person: Person, home: Path, out: Path) -> dict[str, Any]:
    """Work on the sample plate until the window is closed; tell how everything was then."""
    assay = home / "assay"
    person.click(person.button(person.panel(GUIDE), QPushButton, "Try the sample"))
    person.until(lambda: person.view.cells is not None, 300)
    person.idle()
    truth = Truth(pd.read_parquet(home / "sample" / "truth_cells.parquet"))

    # With keys under the mouse, and undone and redone on the canvas.
    person.go_to("B04", 1)
    point_and_press(person, truth, "normal", 5)
    person.go_to("B07", 1)  # of fragments
    point_and_press(person, truth, "abnormal", 5)
    assert said(person) == {"normal": 5, "abnormal": 5}
    spoken_of = journal(assay)
    person.press("Ctrl+Z")
    person.press("Ctrl+Z")
    assert said(person) == {"normal": 5, "abnormal": 3}
    assert len(journal(assay)) == 8
    person.press("Ctrl+Shift+Z")
    person.press("Ctrl+Shift+Z")
    assert journal(assay) == spoken_of

    # With the click mode, on the map's well; a click on empty ground adds a cell.
    person.go_to("C06", 1)
    click_in_mode(person, free(person, truth, "normal")[:4], "Normal")
    n_found = len(person.view.cells)
    click_in_mode(person, [empty_place(person)], "Abnormal")
    assert len(person.view.cells) == n_found + 1
    assert person.view.cells.annotated_class[-1] == "abnormal"
    assert said(person) == {"normal": 9, "abnormal": 6}

    # In bulk, by box and lasso.
    person.go_to("E07", 1)  # saturated
    person.drag(corners(patch(person, truth, "abnormal", 6))[:3:2], "Shift")
    assert len(person.session.target.cells) == 6
    person.press("A")
    person.press("Escape")
    person.go_to("D06", 1)
    person.drag(corners(patch(person, truth, "normal", 5)), "Ctrl")
    assert len(person.session.target.cells) == 5
    person.press("N")
    person.press("Escape")
    assert said(person) == {"normal": 14, "abnormal": 12}

    # In the gallery, and undone and redone there.
    gallery = person.panel(ANNOTATE).gallery.view
    say_in_gallery(person, truth, "normal", 6)
    say_in_gallery(person, truth, "abnormal", 8)
    assert said(person) == {"normal": _EACH, "abnormal": _EACH}
    spoken_of = journal(assay)
    assert len(spoken_of) == 2 * _EACH
    person.press("Ctrl+Z", gallery)
    assert said(person)["abnormal"] < _EACH
    person.press("Ctrl+Shift+Z", gallery)
    assert journal(assay) == spoken_of

    person.go_to("C06", 1)
    retrain(person)
    person.panel(ANNOTATE)
    person.picture("desk-annotate")
    cells = person.session.models.scored.state.plate_cells.cells
    p_abnormal = person.session.models.scored.prediction.table["p_abnormal"].to_numpy()[
        : len(cells)
    ]
    is_known = truth.of(cells) != ""
    is_right = (p_abnormal >= 0.5) == (truth.of(cells) == "abnormal")
    assert is_right[is_known].mean() > 0.85
    person.panel(TRAIN)
    person.until(lambda: person.session.models.model.manifest.cross_validation is not None, 240)
    person.idle()
    look_at_an_error(person)
    person.go_to("C06", 1)
    move_threshold(person)
    person.picture("desk-overlay")
    benchmark(person)
    decided = review_three(person, assay)
    export(person, out, decided)
    return leave(person)


def look_at_an_error(person: Person) -> None:
    """Go from the picture of the surest error to its cell, and back to the figures."""
    train = person.panel(TRAIN)
    person.click(person.button(train, QPushButton, "Map and errors"))
    person.until(lambda: train.errors.alarms.value() is not None)
    person.idle()
    for part in (train.errors.misses, train.errors.alarms):
        if part.value().rows:
            pictures = part.findChild(QListWidget)
            place = pictures.visualItemRect(pictures.item(0)).center()
            person.click(pictures.viewport(), place)
            row = part.value().rows[0]
            cell = person.session.models.model.manifest.training_cells[row]
            assert person.session.selection.site == SiteKey(cell.well, cell.site)
            person.idle()
            break
    person.picture("desk-errors")
    person.click(person.button(train, QPushButton, "Back to figures"))


@pytest.mark.realdata
def test_a_short_day_on_a_real_plate(
    sit_down: Callable[[], Person],
    shared_data: Path,
    tmp_path: Path,
) -> None:
    plate = tmp_path / "20585"
    plate.mkdir()
    for image in (shared_data / "bbbc039" / "20585").glob("*.tif"):
        if image.name.split("_")[1] in _REAL_WELLS:
            (plate / image.name).symlink_to(image)
    labels = pd.read_csv(shared_data / "bbbc039" / "labels.csv").rename(columns={"label": "class"})
    assay = steps.new(tmp_path / "assay", [steps.PlateSource(plate)])[0].path
    truth = Truth(labels, reach_px=8.0)
    was = a_short_day(sit_down(), assay, truth, tmp_path / "out")
    come_back(sit_down(), assay, was)


def a_short_day(person: Person, assay: Path, truth: Truth, out: Path) -> dict[str, Any]:
    """Work on a real plate whose cells are not found yet until the window is closed."""
    open_assay_folder(person.session, assay)
    person.until(lambda: person.view.on_screen is not None, 60)
    person.click(person.button(person.panel(PLATE), QPushButton, "Find cells"))
    person.until(lambda: person.view.cells is not None, 300)
    person.idle()
    for cls in said(person):
        say_in_gallery(person, truth, cls, 2)
    for site in person.session.selection.plate.sites:
        person.go_to(site.well, site.site)
        for cls in said(person):
            # Where nothing was found, as in debris, the click makes a cell.
            places = iter(places_of(person, truth, cls))
            while said(person)[cls] < _EACH and (place := next(places, None)) is not None:
                click_in_mode(person, [place], cls.capitalize())
    assert said(person) == {"normal": _EACH, "abnormal": _EACH}
    person.press("Ctrl+Z")
    assert sum(said(person).values()) < 2 * _EACH
    person.press("Ctrl+Shift+Z")
    assert said(person) == {"normal": _EACH, "abnormal": _EACH}
    person.go_to("E05", 2)
    retrain(person)
    person.idle()
    move_threshold(person)
    decided = review_three(person, assay)
    export(person, out, decided)
    return leave(person)


# ---- what a day is made of -------------------------------------------------------------------


def retrain(person: Person) -> None:
    """Press the key on the canvas: colours, map and model follow."""
    assert person.session.models.model is None
    plate = person.panel(PLATE)
    assert plate.measure() == "cell_count"
    before, map_before = colours(person), well_values_shown(person)
    person.press("Ctrl+Shift+R")
    person.until(lambda: person.session.models.scored is not None, 240)
    assert person.session.models.model is not None
    assert not np.array_equal(colours(person), before)
    check_overlay(person)
    assert plate.measure() == "share_abnormal"
    assert well_values_shown(person) != map_before


def move_threshold(person: Person) -> None:
    """Move the slider with keys and mouse: cells follow at once, wells soon after."""
    overlay = person.panel(OVERLAY)
    slider, histogram = overlay.findChild(QSlider), overlay.findChild(HistogramChart)
    flags, values = flagged(person), well_values_shown(person)
    person.press("Left", slider)
    assert person.session.models.threshold == 0.49
    check_overlay(person)
    person.press("Right", histogram)
    assert person.session.models.threshold == 0.5
    middle, reach = slider.rect().center(), slider.width() // 4
    person.drag_on(slider, [middle - QPoint(reach * part // 5, 0) for part in range(6)])
    threshold = person.session.models.threshold
    where = f"{slider.value()} on {slider.size()}, enabled {slider.isEnabled()}"
    assert threshold < 0.4, where
    check_overlay(person)
    person.idle()
    assert person.session.models.scored.threshold == threshold
    assert well_values_shown(person) != values
    assert flagged(person) != flags


def benchmark(person: Person) -> None:
    """Compare heads on one's own clicks, sort, look at a row's mistakes, and use it."""
    dock = person.panel("HCS benchmark")
    dock.findChild(QSpinBox).setValue(3)
    sizes = dock.findChild(BenchmarkChoice).findChild(QLineEdit)
    person.scroll_to(sizes)
    person.click(sizes)
    person.press("Ctrl+A", sizes)
    person.qtbot.keyClicks(sizes, "all, 10")
    person.click(person.button(dock, QPushButton, "Run"))
    person.until(lambda: len(dock.results()) == 6, 240)  # two heads and the baseline
    person.idle()
    boxes = dock.findChildren(QComboBox)
    which = next(box for box in boxes if box.itemText(0).startswith("Table 1"))
    person.choose(which, "Table 2: assay")
    table = dock.findChild(BenchmarkTable)
    assert table.rowCount() == 6
    table.sortItems(4, Qt.SortOrder.DescendingOrder)
    row = next(r for r in range(6) if table.item(r, 2).text() == "linear")
    person.scroll_to(table)
    person.click(table.viewport(), table.visualItemRect(table.item(row, 4)).center())
    person.idle()
    assert dock.value().cell.head == "linear"
    detail = dock.findChild(BenchmarkDetail)
    assert "weighted F1" in detail.text()
    assert detail.n_crops() == len(mistakes(dock.results()[dock.value().key]))
    person.picture("desk-benchmark")
    person.click(person.button(dock, QPushButton, "Use for my"))
    options = person.session.options.value()
    assert (options.head, options.encoder) == ("linear", None)


def review_three(person: Person, assay: Path) -> dict[str, tuple[str, str | None]]:
    """Keep a flagged well, exclude one with a note, and leave one to be looked at again."""
    review = person.panel(REVIEW)
    table = review.findChild(ReviewTable)
    assert len(review.entries) == len(flagged(person)) >= 3
    kept, excluded, doubtful = wells = [entry.well for entry in review.entries[:3]]
    person.click(table.viewport(), table.visualItemRect(table.item(0, 0)).center())
    person.press("Return", table)
    person.until(lambda: person.view.on_screen.well == kept)
    person.press("K", table)
    assert review.value().well == excluded
    person.until(lambda: person.view.on_screen.well == excluded)
    note = review.findChild(QLineEdit)
    person.write(note, "skewed, like X")  # its letters are keys of verdicts
    assert (note.text(), set(verdicts(assay))) == ("skewed, like X", {kept})
    person.press("Return", note)
    assert QApplication.focusWidget() is table
    person.press("X", table)
    assert review.value().well == doubtful
    person.until(lambda: person.view.on_screen.well == doubtful)
    person.idle()
    person.scroll_to(review.findChild(QComboBox))
    person.picture("desk-review")
    person.press("L", table)
    decided = verdicts(assay)
    assert decided == {
        kept: ("keep", None),
        excluded: ("exclude", "skewed, like X"),
        doubtful: ("look again", None),
    }
    assert not {entry.well for entry in review.entries} & {kept, excluded}
    person.choose(review.findChild(QComboBox), "all")
    assert [entry.well for entry in review.entries if entry.verdict] == wells
    return decided


def export(
    person: Person,
    out: Path,
    decided: dict[str, tuple[str, str | None]],
) -> None:
    """Export from the Review panel: the tables hold verdicts, words and predictions."""
    person.click(person.button(person.panel(REVIEW), QPushButton, "Export"))
    (dialog,) = person.panel(REVIEW).findChildren(ExportDialog)
    dialog.findChild(QLineEdit, "folder").clear()
    person.write(dialog.findChild(QLineEdit, "folder"), str(out))
    person.click(dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok))
    person.until(lambda: (out / "report.html").is_file(), 120)
    person.idle()
    wells = pd.read_csv(out / "wells.csv").set_index("Metadata_Well")
    assert wells["verdict"].dropna().to_dict() == {
        well: verdict for well, (verdict, _) in decided.items()
    }
    assert wells["is_flagged"].sum() == len(flagged(person))
    cells = pd.read_csv(out / "cells.csv")
    excluded = {well for well, (verdict, _) in decided.items() if verdict == "exclude"}
    is_out = cells["Metadata_cqc_well_is_outlier"]
    assert set(cells.loc[is_out, "Metadata_Well"]) == excluded & set(cells["Metadata_Well"])
    assert cells["annotated_class"].value_counts().to_dict() == said(person)
    np.testing.assert_array_equal(
        cells["predicted_class"] == "abnormal",
        cells["p_abnormal"] >= person.session.models.threshold,
    )


def leave(person: Person) -> dict[str, Any]:
    """Close the window; tell how everything was."""
    was = everything(person)
    assert not person.errors()
    person.viewer.close()
    assert not has_workspace(person.viewer)
    return was


def come_back(person: Person, assay: Path, was: dict[str, Any]) -> None:
    """Open the assay again: all is as it was, and the last words can still be taken back."""
    spoken_of, decided = journal(assay), verdicts(assay)
    open_recent(person)
    person.until(lambda: person.view.cells is not None, 300)
    person.idle()
    assert everything(person) == was
    *others, _ = decided  # in the order in which they were said
    person.press("Ctrl+Z")
    assert list(verdicts(assay)) == others
    person.press("Ctrl+Shift+Z")
    assert verdicts(assay) == decided
    for _ in decided:
        person.press("Ctrl+Z", person.panel(ANNOTATE).gallery.view)
    assert verdicts(assay) == {}
    assert journal(assay) == spoken_of
    person.press("Ctrl+Z")
    assert len(journal(assay)) < len(spoken_of)
    assert sum(said(person).values()) == len(journal(assay))
    assert not person.errors()
    person.idle()
    person.viewer.close()
    person.qtbot.wait(200)  # what Qt deletes later is gone before napari counts its windows


# ---- what can be seen ------------------------------------------------------------------------


def flagged(person: Person) -> dict[str, str]:
    """Wells that are flagged, and the reasons in words and numbers."""
    scored = person.session.models.scored
    assert scored is not None
    wells = scored.scores.wells[scored.scores.wells["is_flagged"]]
    return dict(zip(wells["well"], wells["flag_reason"], strict=True))


def verdicts(assay: Path) -> dict[str, tuple[str, str | None]]:
    """What the journal on the disk says of each well, with the note."""
    table = AssayFolder.open(assay).journal().verdicts()
    notes = table["note"].where(table["note"].notna(), None)
    return dict(zip(table["well"], zip(table["verdict"], notes, strict=True), strict=True))


def everything(person: Person) -> dict[str, Any]:
    """All that is to be the same when the assay is opened again."""
    session = person.session
    assert session.models.model is not None and session.selection.plate is not None
    return {
        "map": well_values_shown(person),
        "said": said(person),
        "model": (session.models.model.id, session.models.model.manifest.cross_validation),
        "threshold": session.models.threshold,
        "sites": session.selection.plate.sites,
        "queue": [repr(entry) for entry in review_queue(session.models.all_scored)],
        "p_abnormal": session.models.scored.prediction.table["p_abnormal"].tolist(),
        "options": person.session.options.value(),
    }


def open_recent(person: Person) -> None:
    """Open the assay that was worked on last, from the menu of the Plate panel."""
    button = person.panel(PLATE).findChild(QToolButton)

    def choose() -> None:
        menu = QApplication.activePopupWidget()
        assert isinstance(menu, QMenu)
        person.click(menu, menu.actionGeometry(menu.actions()[-1]).center())

    QTimer.singleShot(300, choose)
    person.click(button)


def empty_place(person: Person) -> tuple[float, float]:
    """Give a place of the site on screen that is far from all its cells."""
    cells = person.view.cells
    assert cells is not None
    height, width = person.session.selection.plate.layout.shape
    y, x = np.mgrid[15 : height - 15, 15 : width - 15].reshape(2, -1)
    to_cells = np.hypot(y[:, None] - cells.yx_px[:, 0], x[:, None] - cells.yx_px[:, 1])
    best = int(to_cells.min(axis=1).argmax())
    return float(y[best]), float(x[best])


def patch(person: Person, truth: Truth, cls: str, n: int) -> list[tuple[float, float]]:
    """Give so many cells of a class that nobody has spoken of, which a box holds and no others."""
    cells = person.view.cells
    assert cells is not None
    is_free = (truth.on_screen(person) == cls) & np.array(
        [word is None for word in cells.annotated_class]
    )
    for centre in cells.yx_px[is_free]:
        nearest = np.abs(cells.yx_px - centre).max(axis=1).argsort()[:n]
        top_left, _, bottom_right, *_ = corners(cells.yx_px[nearest])
        inside = ((cells.yx_px > top_left) & (cells.yx_px < bottom_right)).all(axis=1)
        if is_free[nearest].all() and inside.sum() == n:
            return [tuple(place) for place in cells.yx_px[nearest]]
    raise AssertionError(f"no {n} {cls} cells lie together at {cells.site}")


def corners(places: Any) -> list[tuple[float, float]]:
    """Give the corners of the box around places, back to the first."""
    (top, left), (bottom, right) = np.min(places, axis=0) - 2, np.max(places, axis=0) + 2
    return [(top, left), (top, right), (bottom, right), (bottom, left), (top, left)]


def well_values_shown(person: Person) -> dict[str, str]:
    """What the plate map says of each well."""
    shown = person.panel(PLATE).plate_map
    return {well: shown.describe(well) for well in person.session.selection.plate.wells}


def check_overlay(person: Person) -> None:
    """Look whether cells have the colour of their class at the threshold, on the canvas too."""
    cells, threshold = person.view.cells, person.session.models.threshold
    assert cells is not None
    is_abnormal = cells.p_abnormal >= threshold
    words = np.asarray(person.view.cell_layer.features["class"])
    np.testing.assert_array_equal(words == "abnormal", is_abnormal)
    for chosen, colour in ((is_abnormal, ABNORMAL_COLOUR), (~is_abnormal, NORMAL_COLOUR)):
        expected = np.tile(rgba(colour)[:3], (chosen.sum(), 1))
        np.testing.assert_allclose(colours(person)[chosen, :3], expected)
        whole = np.flatnonzero(chosen & ~cells.is_cut)  # cells cut by the border are dimmed
        if len(whole):  # the one nearest to the middle of the canvas, which is on it for sure
            centre = np.asarray(person.viewer.scene.camera.center[-2:]) / person.view.scale
            away = np.hypot(*(cells.yx_px[whole] - centre).T)
            assert has_colour(person, cells.yx_px[whole[away.argmin()]], colour)
