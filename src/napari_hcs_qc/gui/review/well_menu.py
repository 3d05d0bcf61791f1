"""What can be done with wells of the plate map, as a menu."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog, QMenu

from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtCore import QPoint
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.gui.session.session import Session

_VERDICTS = {
    "Keep": "keep",
    "Exclude": "exclude",
    "Look again": "look again",
    "Remove verdict": None,
}


def show_well_menu(
    session: Session,
    wells: Sequence[str],
    at: QPoint,
    parent: QWidget,
    go_to: Callable[[str], object],
) -> QMenu:
    """Open the menu of some wells of the plate shown at a place of the screen."""
    menu = QMenu(parent)
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    menu.setObjectName("well menu")
    heading = menu.addAction(a_few(wells))
    assert heading is not None
    heading.setEnabled(False)
    show = menu.addAction(f"Go to {wells[0]}")
    assert show is not None
    show.triggered.connect(lambda: go_to(wells[0]))
    menu.addSeparator()
    for title, verdict in _VERDICTS.items():
        action = menu.addAction(title)
        assert action is not None
        action.setEnabled(session.shown_scored is not None)
        action.triggered.connect(partial(_decide, session, tuple(wells), verdict))
    note = menu.addAction("Exclude with a note…")
    assert note is not None
    note.setEnabled(session.shown_scored is not None)
    note.triggered.connect(lambda: _exclude_with_note(session, tuple(wells), parent))
    menu.popup(at)
    return menu


def _decide(
    session: Session,
    wells: Sequence[str],
    verdict: str | None,
    _checked: bool = False,
    *,
    note: str | None = None,
) -> None:
    scored = session.shown_scored
    if scored is None:
        return
    for well in wells:
        if not session.annotations.decide(scored.state.plate.name, well, verdict, note=note):
            return


def _exclude_with_note(session: Session, wells: Sequence[str], parent: QWidget) -> None:
    text, is_given = QInputDialog.getText(
        parent, "Exclude", f"Reason for excluding {a_few(wells)}:"
    )
    if is_given:
        _decide(session, wells, "exclude", note=text.strip() or None)
