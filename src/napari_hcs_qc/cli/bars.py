"""Progress bars on the terminal, one at a time, named by what is going on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

    from tqdm import tqdm


class Bars:
    """Turns the core's progress calls into a bar on standard error."""

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._bar: tqdm[Any] | None = None
        self._total = 0
        self._in_bytes = False

    def __call__(self, done: int, total: int, message: str) -> None:
        """Show progress, see `napari_hcs_qc.job.Job`."""
        if not self._enabled:
            return
        from tqdm import tqdm  # where a bar is drawn: `hcs-qc status` has none

        if self._bar is None or total != self._total or done < self._bar.n:
            self.close()
            self._total = total
            self._bar = tqdm(
                total=total or None,
                dynamic_ncols=True,
                mininterval=0.2,
                unit="B" if self._in_bytes else "",
                unit_scale=self._in_bytes,
            )
        assert self._bar is not None
        self._bar.set_description_str(message, refresh=False)
        self._bar.update(done - self._bar.n)

    def in_bytes(self) -> Self:
        """Count in bytes from now on: ``1.2G/1.4G, 8.1MB/s``."""
        self._in_bytes = True
        return self

    def note(self, text: str) -> None:
        """Write a line above the bar."""
        if self._enabled:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """End the current bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()
