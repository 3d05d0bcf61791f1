"""No private word is a name in the source, a column of a table, or in a text for users.

The lists are kept here. Ordinary English (*one, found, own, live*) counts only as the identifier.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import napari_hcs_qc
from napari_hcs_qc.qc.export import export_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(napari_hcs_qc.__file__).parent

PARTS = {
    "aside", "carried", "doubt", "doubted", "judge", "judged", "judging", "presence", "said",
    "spoil", "spoiled", "told", "unlike", "word", "words",
}  # fmt: skip
"""Parts of names, between underscores."""

IDENTIFIERS = {"asked", "found", "kept_encoder", "live", "loop", "one", "own", "wished"}
"""Whole names of modules, functions and parameters."""

VARIABLES = {"asked", "one", "said", "told", "wished"}
"""Variables; `found` is also a field that predictions on disk have."""

PHRASES = (
    r"judg\w*", r"spoil\w*", r"told", r"tak(e|es|en|ing) (in|back)", r"be had", r"gravest",
    r"likest", r"doubted", r"go(es)? on where", r"is no (assay|setting|regular)",
)  # fmt: skip
"""What no text for users says."""


def parsed() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield str(path.relative_to(SOURCE)), ast.parse(path.read_text(encoding="utf-8"))


def is_private(name: str) -> bool:
    return name in IDENTIFIERS or not PARTS.isdisjoint(name.lower().split("_"))


def test_no_module_function_class_or_parameter_has_a_private_name() -> None:
    private = []
    for path, tree in parsed():
        private += [f"{path}: module" for part in Path(path).with_suffix("").parts
                    if is_private(part)]  # fmt: skip
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.append(node.name)
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                names += [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names += {node.id} & VARIABLES
            private += [f"{path}:{node.lineno}: {name}" for name in names if is_private(name)]  # type: ignore[attr-defined]
    assert private == []


def test_no_exported_column_has_a_private_name() -> None:
    tables = [value for name, value in vars(export_tables).items() if name.endswith("_TABLE")]
    assert len(tables) == 3
    assert [column for table in tables for column in table if is_private(column)] == []


def test_no_text_says_a_private_phrase() -> None:
    pattern = re.compile(rf"\b({'|'.join(PHRASES)})\b", re.IGNORECASE)
    private = []
    for path, tree in parsed():
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            is_name = path == "old_names.py"  # what 0.1.0 wrote into files
            if id(node) not in docstrings and not is_name and pattern.search(node.value):
                private.append(f"{path}:{node.lineno}: {node.value[:60]}")
    for path in sorted(SOURCE.rglob("*.jinja")):
        if pattern.search(path.read_text(encoding="utf-8")):
            private.append(str(path.relative_to(SOURCE)))
    assert private == []
