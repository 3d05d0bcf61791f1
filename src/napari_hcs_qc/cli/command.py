"""What a command is made of, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from napari_hcs_qc.cli.bars import Bars


DAMAGED = 2
"""Exit code of a command that looked at an assay and found files that are damaged."""


@dataclass(frozen=True)
class Outcome:
    """What a command did: lines for a person, and the same as plain data."""

    lines: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 0


@dataclass(frozen=True)
class Command:
    """One command of ``hcs-qc``: it declares its arguments without importing what runs it."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Bars], Outcome]
