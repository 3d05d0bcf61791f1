"""The labelled cells that were added to a benchmark, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_hcs_qc.study.benchmark.benchmark_spec import SourceSpec


class AddedSources(QWidget):
    """Shows labelled cells, and takes them out again."""

    value_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._sources: dict[str, tuple[SourceSpec, QWidget]] = {}
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(2)
        self.setVisible(False)

    def value(self) -> tuple[SourceSpec, ...]:
        """Give the labelled cells."""
        return tuple(source for source, _ in self._sources.values())

    def add(self, source: SourceSpec) -> None:
        """Show labelled cells, in the place of others of their name."""
        self._take_out(source.name)
        line = self._line(source)
        self._sources[source.name] = (source, line)
        self._layout.addWidget(line)
        self._changed()

    def remove(self, name: str) -> None:
        """Take labelled cells out; nothing happens when there are none of that name."""
        self._take_out(name)
        self._changed()

    def _take_out(self, name: str) -> None:
        _, line = self._sources.pop(name, (None, None))
        if line is not None:
            self._layout.removeWidget(line)
            line.hide()
            line.deleteLater()

    def _changed(self) -> None:
        self.setVisible(bool(self._sources))
        self.value_changed.emit()

    def _line(self, source: SourceSpec) -> QWidget:
        line = QWidget()
        words = WrappedLabel(f"And on {source.name}; abnormal: {', '.join(source.abnormal)}.")
        words.setToolTip(
            f"{source.path}. Encoders and heads are compared on these cells as well, and from the "
            "assay's cells to these."
        )
        out = QToolButton()
        out.setText("✕")
        out.setToolTip(f"Remove {source.name}.")
        out.clicked.connect(lambda: self.remove(source.name))
        layout = QHBoxLayout(line)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(words, 1)
        layout.addWidget(out)
        return line
