"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples wherever CI runs; at a desk new ones are tried every time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# What is not a test of the backends runs on PyTorch, which needs no time to be made ready.
os.environ.setdefault("HCS_QC_BACKEND", "torch")

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the real material beside the checkout (data, weights, paper)."""
    if not (_SHARED / "data" / "README.md").is_file():
        pytest.skip(f"the real images are not at {_SHARED}")
    return _SHARED


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    """Folder of the real images, ``../shared/data``."""
    return shared / "data"
