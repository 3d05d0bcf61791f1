"""Progress bars on the terminal, one at a time, named by what is going on."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

from napari_hcs_qc.cli.step_log import LOG
from napari_hcs_qc.job import duration

if TYPE_CHECKING:
    from types import TracebackType

    from tqdm import tqdm

UNITS = {
    "Embedding": "cells",
    "scoring cells": "cells",
    "Comparing cells": "cells",
    "comparing cells": "cells",
    "measuring crops": "crops",
    "Cutting": "cells",
    "Finding nuclei": "sites",
    "Found": "sites",
    "Importing the cells": "sites",
    "Measuring grey values": "sites",
    "simulating": "sites",
    "converting": "sites",
    "cross-validating": "fits",
    "Looking up annotated cells": "sites",
    "Drawing well": "wells",
    "Drawing plate": "plates",
    "Opening plate": "plates",
    "Checking plate": "plates",
    "Reading plate": "plates",
    "writing profiles": "cells",
}
"""What is counted, by how the message begins; other bars count steps without a name."""


class Bars:
    """Turns the core's progress calls into a bar on standard error, and into lines of the log."""

    def __init__(self, *, enabled: bool = True, notes: bool | None = None) -> None:
        self._enabled = enabled
        self._notes = enabled if notes is None else notes
        self._bar: tqdm[Any] | None = None
        self._step: tuple[int, int, str] | None = None  # done, total and message of the last call
        self._started = 0.0
        self._in_bytes = False

    def __call__(self, done: int, total: int, message: str) -> None:
        """Show progress, see `napari_hcs_qc.job.Job`."""
        if self._step is None or total != self._step[1] or done < self._step[0]:
            self.close()
            self._started = time.monotonic()
            if self._enabled:
                self._open(total, message)
        self._step = done, total, message
        if self._bar is not None:
            self._bar.set_description_str(message, refresh=False)
            self._bar.update(done - self._bar.n)

    def _open(self, total: int, message: str) -> None:
        from tqdm import tqdm  # where a bar is drawn: `hcs-qc status` has none

        self._bar = tqdm(
            total=total or None,
            dynamic_ncols=True,
            mininterval=0.2,
            unit="B" if self._in_bytes else f" {unit_of(message)}".rstrip(),
            unit_scale=self._in_bytes,
        )

    def in_bytes(self) -> Self:
        """Count in bytes from now on: ``1.2G/1.4G, 8.1MB/s``."""
        self._in_bytes = True
        return self

    def note(self, text: str) -> None:
        """Write a line above the bar."""
        LOG.info(text)
        if self._notes:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """End the current bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._step is not None:
            done, total, message = self._step
            unit = "" if self._in_bytes else unit_of(message)
            count = f"{done:,} of {total:,} {unit}".rstrip() + ", " if total else ""
            LOG.info("%s (%s%s)", message, count, duration(time.monotonic() - self._started))
            self._step = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def unit_of(message: str) -> str:
    """Name what a bar counts; empty where its message does not say it."""
    return next((unit for start, unit in UNITS.items() if message.startswith(start)), "")
