"""A bar with a cancel button for the jobs of a widget, and the text with which it failed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QProgressBar, QWidget

from napari_hcs_qc.gui.widgets.controls import lay_out, name_parts, push_button, row
from napari_hcs_qc.gui.widgets.following import follow
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob, BackgroundJobs

_STEPS = 1000
_SHOW_AFTER_MS = 500  # work that is quicker would only flicker


class JobBar(QWidget):
    """Shows the newest job of some slots: title, bar, message, cancel; then how it ended."""

    def __init__(
        self, jobs: BackgroundJobs, slots: Collection[str] = (), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._slots = frozenset(slots)
        self._job: BackgroundJob | None = None
        self._whole_text = ""
        self._text = WrappedLabel()
        self._bar = QProgressBar()
        self._bar.setRange(0, _STEPS)
        self._bar.setTextVisible(True)
        self._bar.setToolTip("Progress; also shown in napari's activity dock.")
        self._cancel = push_button(
            "Cancel",
            "Cancel this job; finished parts are kept, nothing else changes.",
            self._cancel_job,
        )
        lay_out(self, self._text, row((self._bar, 1), self._cancel), spacing=None)
        name_parts(self)
        self._show_later = QTimer(self)
        self._show_later.setSingleShot(True)
        self._show_later.setInterval(_SHOW_AFTER_MS)
        self._show_later.timeout.connect(self._show_running)
        self._show_idle("")
        jobs.started.connect(self._started)

    def value(self) -> str:
        """Text shown: what is being done, or how it ended."""
        return self._whole_text

    def _started(self, job: BackgroundJob) -> None:
        is_mine = job.slot in self._slots if self._slots else not job.is_quiet
        if not is_mine:
            return
        self._job = job
        self._cancel.setEnabled(True)
        self._show_later.start()
        follow(job.progress, self, partial(self._go_on, job))
        follow(job.finished, self, lambda _: self._ended(job, ""))
        follow(job.failed, self, lambda text: self._ended(job, f"{job.title} failed: {text}"))
        follow(job.cancelled, self, lambda: self._ended(job, f"{job.title}: cancelled."))

    def _show_running(self) -> None:
        job = self._job
        if job is None:
            return
        self._bar.setVisible(True)
        self._cancel.setVisible(True)
        self._text.setVisible(True)
        self._go_on(job, *job.last_progress)

    def _go_on(self, job: BackgroundJob, done: int, total: int, message: str) -> None:
        if job is not self._job or self._show_later.isActive():
            return
        # Of unknown length it stays empty: a bar that swings repaints the whole window.
        self._bar.setValue(round(_STEPS * min(done, total) / total) if total else 0)
        self._bar.setFormat("%p%" if total else "…")
        count = f" ({done:,} of {total:,})" if total > 1 else ""
        if job.is_cancelling:
            return
        step = f": {message}" if message not in ("", job.title) else ""
        self._write(f"{job.title}{step}{count}")

    def _write(self, text: str) -> None:
        self._whole_text = text
        self._text.set_brief(text)

    def _ended(self, job: BackgroundJob, text: str) -> None:
        if job is self._job:
            self._job = None
            self._show_later.stop()
            self._show_idle(text)

    def _show_idle(self, text: str) -> None:
        self._bar.setVisible(False)
        self._cancel.setVisible(False)
        self._write(text)
        self._text.setVisible(bool(text))

    def _cancel_job(self) -> None:
        if self._job is not None:
            self._cancel.setEnabled(False)
            self._write(f"{self._job.title}: stopping …")
            self._job.cancel()
