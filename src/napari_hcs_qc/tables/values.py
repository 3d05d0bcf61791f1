"""Values of tables as people and programs write them: numbers, sites, wells, classes, roles."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.wells import parse_well, well_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SITE = re.compile(r"\s*(?:[a-z]+[-_ ]?)?0*(\d{1,9})(?:[.,]0*)?\s*", re.IGNORECASE | re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:e[+-]?\d+)?", re.IGNORECASE | re.ASCII)

NORMAL = frozenset(
    ["normal", "good", "ok", "okay", "pass", "passed", "keep", "kept", "healthy", "valid",
     "accept", "accepted", "include", "included", "clean", "usable", "fine", "inlier"]
)  # fmt: skip
ABNORMAL = frozenset(
    ["abnormal", "bad", "nok", "not_ok", "fail", "failed", "reject", "rejected", "outlier",
     "artefact", "artifact", "exclude", "excluded", "invalid", "unusable", "discard"]
)  # fmt: skip
UNSURE = frozenset(
    ["unsure", "unknown", "uncertain", "unclear", "ambiguous", "maybe", "?", "-", "na", "nan",
     "n/a", "none", "null", "unlabeled", "unlabelled", "unclassified", "unassigned", "background"]
)  # fmt: skip
_ROLES = {
    "control": (
        r"control|ctrl|neg(?:ative)?[-_ ]?(?:con(?:trol)?|ctrl|c)?|nc|vehicle|dmso|mock|untreated|"
        r"solvent|n|neutral|neutral_control|non[-_ ]?targeting|scrambled?|wt|wild[-_ ]?type"
    ),
    "empty": r"empty|blank|none|unused|no[-_ ]?cells?|media(?:[-_ ]?only)?|medium|background",
    "sample": (
        r"sample|samples|trt|treat(?:ed|ment)?|compounds?|test|tested|drug|x|unknown|"
        r"pos(?:itive)?[-_ ]?(?:con(?:trol)?|ctrl|c)?(?:_\w+)?|pc|reference|query|perturbation"
    ),
}
_VEHICLES = re.compile(
    r"dmso(?:\s.*)?|vehicle|untreated|mock|pbs|water|solvent|neg(?:ative)?[-_ ]?con(?:trol)?|"
    r"neg(?:ative)?[-_ ]?ctrl|control|ctrl|non[-_ ]?treated",
    re.IGNORECASE,
)


def number(text: str) -> float:
    """Read a number, also with a decimal comma; NaN where it is none."""
    text = text.strip()
    if _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return float("nan")


def numbers(texts: pd.Series[Any]) -> NDArray[np.float64]:
    """Read numbers; NaN where there is none."""
    values = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64, copy=True)
    for index in np.flatnonzero(np.isnan(values)):
        values[index] = number(str(texts.iloc[index]))
    return values


def site_number(text: object) -> int | None:
    """Read 3, 3.0, ``03``, ``s3``, ``f03`` or ``site 3`` as 3."""
    match = _SITE.fullmatch(str(text))
    return int(match[1]) if match else None


def well_or_none(text: object) -> str | None:
    """Name of a well as ours are; None where the text is none."""
    try:
        return str(parse_well(str(text)))
    except HcsQcError:
        return None


def well_at(row: object, column: object) -> str | None:
    """Name of the well in a row (letter, or number from 1) and a column."""
    row_text = str(row).strip()
    column_number = site_number(column)
    if column_number is None:
        return None
    if not row_text.removesuffix(".0").isdigit():
        return well_or_none(f"{row_text}{column_number}")
    try:
        return well_name(int(float(row_text)) - 1, column_number - 1)
    except HcsQcError:
        return None


def class_of(text: str, column: str = "") -> str | None:
    """Class that a word means; None where it means none that is known.

    ``1`` and ``true`` mean abnormal, unless the column says otherwise (`is_normal`, `good`).
    """
    folded = re.sub(r"[\s_-]+", "_", text.strip().casefold())
    if folded in ("", *UNSURE):
        return "unsure"
    is_yes = folded in ("1", "1.0", "true", "yes")
    is_no = folded in ("0", "0.0", "false", "no")
    if is_yes or is_no:
        names_normal = re.fullmatch(
            r"(?:metadata_)?(?:is_)?(normal|good|ok|okay|keep|kept|pass|passed|healthy)",
            column.strip().casefold(),
        )
        return "normal" if is_no != (names_normal is not None) else "abnormal"
    if folded in NORMAL:
        return "normal"
    return "abnormal" if folded in ABNORMAL else None


def role_of(text: str) -> str | None:
    """Role of a well that a word means; None where it means none that is known."""
    folded = text.strip().casefold()
    return next((role for role, words in _ROLES.items() if re.fullmatch(words, folded)), None)


def is_vehicle(treatment: str) -> bool:
    """Tell whether a treatment is none: the solvent alone."""
    return _VEHICLES.fullmatch(treatment.strip()) is not None
