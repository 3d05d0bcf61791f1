"""What can be done with the marked cells, as a menu: on the image and in the gallery."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog, QMenu

from napari_hcs_qc.gui.keys import key_names as keys
from napari_hcs_qc.gui.keys.own_keys import shown
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtCore import QPoint
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.gui.keys.key_actions import KeyActions
    from napari_hcs_qc.gui.session.selection import CellId
    from napari_hcs_qc.gui.session.session import Session

_TITLES = {"N": "Normal", "A": "Abnormal", "U": "Unsure", "Backspace": "Remove annotation"}


def show_cell_menu(session: Session, actions: KeyActions, at: QPoint, parent: QWidget) -> QMenu:
    """Open the menu of the marked cells at a place of the screen."""
    menu = QMenu(parent)
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    menu.setObjectName("cell menu")
    cells = session.target.cells
    # Of the cells that are marked now: a menu must not act on what is marked later.
    act = partial(_annotate, session, cells)
    heading = menu.addAction(count_of(len(cells), "marked cell") if cells else "No cell is marked")
    assert heading is not None
    heading.setEnabled(False)
    for key, title in _TITLES.items():
        _add(menu, title, shown(key), partial(act, *keys.CLASS_KEYS[key]), is_offered=bool(cells))
    menu.addSeparator()
    for kind in session.assay.kinds:
        _add(
            menu,
            kind.name,
            kind.key or "",
            partial(act, "abnormal", kind.name),
            is_offered=bool(cells),
        )
    menu.addSeparator()
    found = [cell for cell in cells if isinstance(cell.cell, int)]
    _add(menu, "Go to this cell", "", partial(_go_to, session, cells), is_offered=len(cells) == 1)
    _add(
        menu,
        "Similar cells in the gallery",
        "",
        actions.similar_requested.emit,
        is_offered=bool(found),
    )
    _add(
        menu,
        "Note…",
        "",
        partial(_ask_for_note, session, cells, parent),
        is_offered=_annotation_of(session, cells) is not None,
    )
    _add(menu, "Select all cells of the site", "", actions.site_requested.emit)
    menu.popup(at)
    return menu


def _add(
    menu: QMenu, title: str, key: str, act: Callable[[], object], *, is_offered: bool = True
) -> None:
    # The key is written, not set: set it would act beside the desk's own.
    text = title.replace("&", "&&") + (f"\t{'⌫' if key == 'Backspace' else key}" if key else "")
    action = menu.addAction(text)
    assert action is not None
    action.setEnabled(is_offered)
    action.triggered.connect(lambda: act())


def _annotate(
    session: Session, cells: frozenset[CellId], cls: str | None, kind: str | None = None
) -> None:
    """Annotate the cells of the menu, if they still are those that are marked."""
    if session.target.cells == cells:
        session.target.annotate(cls, kind)
    else:
        session.message.emit("info", "Other cells are marked now; open the menu on them again.")


def _go_to(session: Session, cells: frozenset[CellId]) -> None:
    [cell] = cells
    state, plate = session.selection.state, session.selection.plate_name
    if state is None or plate is None:
        return
    y_px, x_px = (
        cell.cell
        if not isinstance(cell.cell, int)
        else state.plate_cells.cells.iloc[cell.cell][["y_px", "x_px"]]
    )
    session.selection.go_to_cell(plate, cell.site, float(y_px), float(x_px))


def _annotation_of(session: Session, cells: frozenset[CellId]) -> tuple[str, str | None] | None:
    """Give class and kind of a single found cell that is annotated."""
    rows = session.annotations.rows
    if rows is None or len(cells) != 1:
        return None
    [cell] = cells
    if not isinstance(cell.cell, int):
        return None
    cls = rows.classes[cell.cell]
    return None if cls in (None, "conflict") else (cls, rows.kinds[cell.cell])


def _ask_for_note(session: Session, cells: frozenset[CellId], parent: QWidget) -> None:
    annotation = _annotation_of(session, cells)
    if annotation is None:
        return
    text, is_given = QInputDialog.getText(
        parent, "Note", "Note on this cell, stored with its annotation:"
    )
    if is_given:
        session.annotations.annotate_cells(cells, *annotation, text)
