"""The sources of the site, and the pages that are generated."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def generated(generator: ModuleType) -> dict[str, str]:
    """Pages that code writes, by their path."""
    pages: dict[str, str] = generator.pages()
    return pages


@pytest.fixture(scope="session")
def pages(generated: dict[str, str]) -> dict[str, str]:
    """Every page of the site, by its path."""
    folder = ROOT / "docs"
    written = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*.md")
    }
    return written | generated
