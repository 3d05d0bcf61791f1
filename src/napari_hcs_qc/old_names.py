"""Names that version 0.1.0 wrote into files, read as those of today."""

from __future__ import annotations

from typing import Any

RENAMED = {
    "unlike": "novelty",
    "n_unlike": "n_novel",
    "is_unlike": "is_novel",
    "doubted": "label_issues",
    "n_judged": "n_scored",
}
"""Keys of JSON files and columns of tables."""


def with_new_names(data: Any) -> Any:
    """Give plain data with the keys of today, however deep they are; new ones stay."""
    if isinstance(data, dict):
        return {RENAMED.get(key, key): with_new_names(value) for key, value in data.items()}
    if isinstance(data, list):
        return [with_new_names(value) for value in data]
    return data
