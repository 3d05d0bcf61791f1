from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit, QTreeWidget, QWidget

from napari_hcs_qc.gui.train.model_history_view import ModelHistory, comparison_text
from napari_hcs_qc.workflow.model_history import Comparison, ModelLine, PlateChange

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

FIRST = ModelLine(
    id="0001",
    created="2026-03-01T10:00:00+00:00",
    encoder="efficientnet-lite0",
    recipe="nucleus",
    head="linear",
    n_annotated={"normal": 20, "abnormal": 12},
    f1=0.9,
    f1_ci=(0.85, 0.94),
    auc=0.97,
    note="first try",
    is_in_use=False,
)
SECOND = replace(
    FIRST,
    id="0002",
    created=datetime.now(UTC).isoformat(timespec="seconds"),
    head="knn",
    n_annotated={"normal": 40, "abnormal": 30},
    f1=None,
    f1_ci=None,
    auc=None,
    note="",
    is_in_use=True,
)
DAMAGED = ModelLine(
    id="0003",
    created="",
    encoder="",
    recipe="",
    head="",
    n_annotated={},
    f1=None,
    f1_ci=None,
    auc=None,
    note="",
    is_in_use=False,
    problem="Its manifest is damaged: x",
)
CHANGE = PlateChange(
    plate="P1",
    n_cells=1000,
    n_changed=34,
    share_changed=0.034,
    n_to_abnormal=20,
    n_to_normal=14,
    newly_flagged=("A01", "B02"),
    no_longer_flagged=(),
)


@pytest.fixture
def history(qtbot: QtBot) -> ModelHistory:
    made = ModelHistory()
    qtbot.addWidget(made)
    made.set_lines((DAMAGED, SECOND, FIRST))
    made.resize(388, 300)
    made.show()
    return made


def tree(history: ModelHistory) -> QTreeWidget:
    return history.findChild(QTreeWidget)


def click(
    qtbot: QtBot, history: ModelHistory, row: int, *, ctrl: bool = False, column: int = 0
) -> None:
    view = tree(history)
    place = view.visualRect(view.model().index(row, column)).center()
    held = Qt.KeyboardModifier.ControlModifier if ctrl else Qt.KeyboardModifier.NoModifier
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, held, place)


def shown(history: ModelHistory, row: int) -> list[str]:
    item = tree(history).topLevelItem(row)
    return [item.text(column).strip() for column in range(tree(history).columnCount())]


def test_each_model_has_a_line_with_what_is_known(history: ModelHistory) -> None:
    assert shown(history, 2) == ["0001", "2026-03-01", "linear", "32", "0.900", "first try"]
    line = shown(history, 1)
    assert line[0] == "● 0002"
    assert line[4] == "–"
    assert len(line[1]) == len("10:00")  # made today
    tip = tree(history).topLevelItem(2).toolTip(4)
    assert "0.900 (0.850–0.940)" in tip
    assert "12 abnormal, 20 normal" in tip
    assert "damaged" in tree(history).topLevelItem(0).toolTip(0)


def test_one_is_restored_and_two_are_compared(qtbot: QtBot, history: ModelHistory) -> None:
    assert not history.findChild(QWidget, "compare").isEnabled()
    assert not history.findChild(QWidget, "restore").isEnabled()
    click(qtbot, history, 1)
    assert history.value() == ("0002",)
    assert not history.findChild(QWidget, "restore").isEnabled()  # it is in use
    with qtbot.waitSignal(history.value_changed) as changed:
        click(qtbot, history, 2, ctrl=True)
    assert changed.args == [("0001", "0002")]
    with qtbot.waitSignal(history.compare_requested) as asked:
        history.findChild(QWidget, "compare").click()
    assert asked.args == ["0001", "0002"]  # the older one first
    click(qtbot, history, 2)
    with qtbot.waitSignal(history.restore_requested) as restored:
        history.findChild(QWidget, "restore").click()
    assert restored.args == ["0001"]
    click(qtbot, history, 0)
    assert not history.findChild(QWidget, "restore").isEnabled()  # damaged
    click(qtbot, history, 1, ctrl=True)
    assert not history.findChild(QWidget, "compare").isEnabled()


def test_a_note_is_written_with_f2_and_only_the_note(qtbot: QtBot, history: ModelHistory) -> None:
    click(qtbot, history, 2)
    qtbot.keyClick(tree(history), Qt.Key.Key_F2)
    editor = tree(history).findChild(QLineEdit)
    assert editor is not None
    assert editor.text() == "first try"
    editor.setText("with debris")
    with qtbot.waitSignal(history.noted) as noted:
        qtbot.keyClick(editor, Qt.Key.Key_Return)
    assert noted.args == ["0001", "with debris"]


def test_new_lines_keep_the_selection_and_say_nothing(qtbot: QtBot, history: ModelHistory) -> None:
    history.set_value(("0001",))
    emitted: list[object] = []
    history.value_changed.connect(emitted.append)
    history.noted.connect(lambda *said: emitted.append(said))
    history.set_lines((replace(SECOND, id="0004"), SECOND, FIRST))
    assert history.value() == ("0001",)
    assert emitted == []
    history.set_lines((SECOND,))
    assert history.value() == ()
    assert not history.findChild(QWidget, "restore").isEnabled()


def test_a_comparison_is_told_in_words(history: ModelHistory) -> None:
    found = Comparison(FIRST, SECOND, 0.5, (CHANGE,))
    history.set_comparison(found)
    words = history.comparison()
    assert words == comparison_text(found)
    assert "0.900 (0.850–0.940) → not measured" in words
    assert "efficientnet-lite0, nucleus, linear → efficientnet-lite0, nucleus, knn" in words
    assert "34 of 1,000 cells (3.4%)" in words
    assert "Newly flagged: A01, B02; no longer flagged: none." in words
    history.set_lines(())
    assert history.comparison() == ""


def test_many_wells_are_not_all_listed() -> None:
    wells = tuple(f"A{number:02d}" for number in range(1, 20))
    found = Comparison(FIRST, FIRST, 0.5, (replace(CHANGE, newly_flagged=wells),))
    assert "A06 and 13 more" in comparison_text(found)
    assert "A07" not in comparison_text(found)
