"""Entries of the tables: what is compared in each, and whether it can be measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One cell of the tables."""

    table: int  # 1: frozen encoder, largest set
    train: str  # names of the sources; the same in tables 1 and 2
    test: str
    encoder: str  # encoder, recipe and head are the row
    recipe: str
    head: str
    n_train: int  # number of annotations; 0 is all
    protocol: str  # ``paper`` or ``grouped``
    seeds: tuple[int, ...]  # one split each
    # Whether the head is given the main directions of the plates trained on
    directions: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "seeds": list(self.seeds)}


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A cell of the tables, its content address, and how it stands."""

    cell: TableCell  # which
    key: str  # of everything that decides its figures but the seeds
    # ``done`` (with every seed), ``to do`` or ``cannot run``
    state: Literal["done", "to do", "cannot run"]
    reason: str = ""  # why it cannot run
    group: str = ""
    subject: str = ""
