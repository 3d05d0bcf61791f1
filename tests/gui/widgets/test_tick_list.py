"""A list of names with ticks, in any theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtGui import QColor

from napari_hcs_qc.gui.widgets.tick_list import Line, TickList

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


def test_what_cannot_be_used_yet_is_thin_and_legible_in_each_theme(qtbot: QtBot) -> None:
    ticks = TickList("Encoders.")
    qtbot.addWidget(ticks)
    ticks.set_lines([Line("ready"), Line("download", is_ready=False)])
    ticks.choose(["download"])
    for paper, ink in (("#262930", "#f0f1f2"), ("#efebe9", "#3b3a39")):
        palette = ticks.palette()
        palette.setColor(palette.ColorRole.Window, QColor(paper))
        palette.setColor(palette.ColorRole.WindowText, QColor(ink))
        ticks.setPalette(palette)
        item = ticks.item(1)
        assert item is not None
        seen = item.foreground().color().lightnessF()
        own, other = QColor(paper).lightnessF(), QColor(ink).lightnessF()
        assert abs(seen - own) > 0.3
        assert min(own, other) < seen < max(own, other)
    assert ticks.chosen() == ("download",)
