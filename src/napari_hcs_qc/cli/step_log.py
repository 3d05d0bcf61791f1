"""What a command does, step by step, in lines: on the terminal with -v, and in a file."""

from __future__ import annotations

import logging
import platform
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LOG = logging.getLogger("napari_hcs_qc")


@contextmanager
def step_log(
    arguments: Sequence[str], *, verbose: bool = False, file: Path | None = None
) -> Iterator[None]:
    """Write steps, warnings and errors until the command ends; to nowhere unless asked to."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)] if verbose else []
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(file, encoding="utf-8"))
        except OSError as error:
            raise HcsQcError(f"The log file {file} cannot be written: {error.strerror}.") from error
    if not handlers:
        yield
        return
    level = LOG.level
    LOG.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        LOG.addHandler(handler)
    try:
        from napari_hcs_qc import __version__

        LOG.info(
            "napari-hcs-qc %s, Python %s, %s: hcs-qc %s",
            __version__,
            platform.python_version(),
            platform.platform(),
            " ".join(map(str, arguments)),
        )
        yield
    except BaseException as error:
        LOG.error("ended: %s: %s", type(error).__name__, error, exc_info=_unexpected(error))
        raise
    else:
        LOG.info("done")
    finally:
        for handler in handlers:
            LOG.removeHandler(handler)
            handler.close()
        LOG.setLevel(level)


def _unexpected(error: BaseException) -> bool:
    return not isinstance(error, HcsQcError | KeyboardInterrupt)
