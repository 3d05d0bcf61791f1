"""The paper's printed figures."""

from __future__ import annotations

import csv
import io
from functools import cache
from importlib.resources import files

PAPER_NOTE = (
    "Masud, Cohen, Bendidi, Bollot, Genovesio (2022), Tables 1-3, percent. Its images were never "
    "published and differ from these, so its figures stand beside ours and cannot be reproduced."
)

_OUR_HEADS = {
    "knn": ("knn",),
    "linear": ("linear-paper", "linear"),
    "finetune": ("finetune-paper", "finetune"),
}
"""Our heads that are like each of the paper's, the most alike first."""


@cache
def paper_rows() -> tuple[dict[str, str], ...]:
    """Give the paper's printed figures, as `paper_tables.csv` holds them."""
    package = files("napari_hcs_qc.study.benchmark.output")
    text = package.joinpath("paper_tables.csv").read_text("utf-8")
    return tuple(csv.DictReader(io.StringIO(text)))


def like_ours(paper_head: str, ours: list[str]) -> str | None:
    """Find the head of ours beside which a head of the paper stands; None when there is none."""
    return next((name for name in _OUR_HEADS[paper_head] if name in ours), None)
