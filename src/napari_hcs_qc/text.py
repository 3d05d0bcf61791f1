"""Numbers as a person reads them in a reason: few digits, per cent, intervals, lists."""

from __future__ import annotations

from difflib import get_close_matches
from math import ceil, floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def percent(share: float) -> str:
    """Write a share of 1 as per cent: ``"41 %"``, ``"6.3 %"``, ``"0.6 %"``, ``"0.05 %"``."""
    value = 100 * share
    if value == 0 or abs(value) >= 9.95:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if abs(value) >= 0.095 else f"{value:.1g} %"


def interval(low: float, high: float) -> str:
    """Write an interval of shares as per cent, rounded outward: ``"33–49 %"``, ``"99.7–100 %"``."""
    scale = 100 if high - low >= 0.05 else 1000
    ends = floor(round(scale * low, 6)), ceil(round(scale * high, 6))
    return f"{100 * ends[0] / scale:g}–{100 * ends[1] / scale:g} %"


def number(value: float) -> str:
    """Write a number with about three digits: ``"118"``, ``"2.3"``, ``"0.04"``."""
    if value == 0 or abs(value) >= 99.5 or (abs(value) >= 9.5 and value == round(value)):
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 0.95 else f"{value:.1g}"


def count_of(n: int, singular: str, plural: str | None = None) -> str:
    """Write a count with its noun: ``"1 site"``, ``"3 sites"``."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def unknown_setting(name: str, known: Iterable[str]) -> str:
    """Write what is wrong with a name that is no setting, and what was probably meant."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"known settings: {', '.join(names)}."
    return f"unknown setting; {hint}"


def a_few(items: Iterable[object], most: int = 3) -> str:
    """Write the first of many, and how many more there are: ``"A01, A02, A03 and 4 more"``."""
    texts = [str(item) for item in items]
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")


def listing(items: Sequence[object], most: int = 6) -> str:
    """Write a list: ``"2, 5 and 7"``; what is beyond `most` is counted."""
    texts = [str(item) for item in items]
    if len(texts) > most:
        return f"{', '.join(texts[:most])} and {len(texts) - most} more"
    if len(texts) <= 1:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} and {texts[-1]}"
