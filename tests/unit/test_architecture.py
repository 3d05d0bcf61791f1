"""The shape of the source: sizes, cycles, and what may import what, all reported at once."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import napari_hcs_qc

ROOT = Path(napari_hcs_qc.__file__).parent
MOST_LINES = 500
MOST_MODULES = 14
MOST_FIELDS = 4

_MODULES = {
    ".".join(("napari_hcs_qc", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(ROOT.rglob("*.py"))
}


def _imports(name: str, path: Path) -> set[str]:
    """Modules of ours that a module imports anywhere: in functions and for types, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in _MODULES else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {other for other in found if other in _MODULES and other != name}


_GRAPH = {name: _imports(name, path) for name, path in _MODULES.items()}


def _cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    cycles = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            component = []
            while True:
                component.append(stack.pop())
                if component[-1] == name:
                    break
            if len(component) > 1:
                cycles.append(sorted(component))

    for name in graph:
        if name not in index:
            visit(name)
    return cycles


def test_no_module_is_too_long() -> None:
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in _MODULES.items()}
    assert not {name: n for name, n in lines.items() if n > MOST_LINES}


def test_frozen_dataclasses_of_many_fields_are_made_by_keyword() -> None:
    by_place = []
    for name, path in _MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            options = {
                option.arg
                for decorator in node.decorator_list
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "dataclass"
                for option in decorator.keywords
                if ast.unparse(option.value) == "True"
            }
            n_fields = sum(
                isinstance(line, ast.AnnAssign) and "ClassVar" not in ast.unparse(line.annotation)
                for line in node.body
            )
            if n_fields > MOST_FIELDS and "frozen" in options and "kw_only" not in options:
                by_place.append(f"{name}.{node.name}")
    assert not by_place


def test_no_folder_has_too_many_modules() -> None:
    folders: dict[Path, int] = defaultdict(int)
    for path in _MODULES.values():
        folders[path.parent.relative_to(ROOT)] += path.name != "__init__.py"
    assert not {str(folder): n for folder, n in folders.items() if n > MOST_MODULES}


def test_no_import_cycle() -> None:
    assert "\n".join(" ".join(cycle) for cycle in _cycles(_GRAPH)) == ""


def test_cycles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert _cycles(graph) == [["a", "b", "c"]]


def test_the_core_imports_no_study() -> None:
    wing = "napari_hcs_qc.study"
    assert not {
        name: sorted(other for other in imports if other.startswith(wing))
        for name, imports in _GRAPH.items()
        if not name.startswith(wing) and any(other.startswith(wing) for other in imports)
    }
