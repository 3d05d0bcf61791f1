"""Fixtures shared by all tests."""

from __future__ import annotations

import faulthandler
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from numpy.typing import NDArray

# The same examples wherever CI runs; at a desk new ones are tried every time. No test fails because
# the machine was slow.
settings.register_profile(
    "hcs-qc",
    derandomize=bool(os.environ.get("CI")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("hcs-qc")

# Units run on PyTorch, which needs no time to be made ready; whole plates on the quickest.
_BACKEND = os.environ.get("HCS_QC_BACKEND")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Choose what runs the encoders before any fixture loads one."""
    os.environ["HCS_QC_BACKEND"] = _BACKEND or ("torch" if "unit" in item.path.parts else "auto")


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: tests wait for windows, disks and other processes."""
    return (os.cpu_count() or 1) + 1


# Processes side by side share the cores: more threads than cores wait for each other.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    n_threads = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(n_threads))
    threadpool_limits(n_threads, user_api="blas")  # of NumPy, which has read its number by now

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


@pytest.fixture
def pandas_3_texts() -> Iterator[None]:
    """Have pandas 2 infer its own type for texts, as pandas 3 always does."""
    if int(pd.__version__.split(".")[0]) >= 3:
        yield
    else:
        with pd.option_context("future.infer_string", True):
            yield


# Of a process that crashed, pytest-xdist tells the test and nothing else. Each process writes where
# its threads were into a file, which the summary shows. A test that hangs where no signal of
# pytest-timeout reaches it (in Qt, in a lock of a library) ends its process in the same way, so
# that the others go on.

_CRASH_FOLDER = pytest.StashKey[Path]()
_CRASH_FILE = pytest.StashKey[int]()
_GRACE_S = 30


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of the crash files."""
    if not hasattr(config, "workerinput"):
        config.stash[_CRASH_FOLDER] = Path(tempfile.mkdtemp(prefix="hcs-qc-crashes-"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process where to write."""
    node.workerinput["crash_folder"] = str(node.config.stash[_CRASH_FOLDER])


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Write into the file of this process instead of an output that is lost."""
    told = getattr(session.config, "workerinput", None)
    if told is not None:
        path = Path(told["crash_folder"], told["workerid"])
        # Open as long as the process lives: the signal's handler has nothing but the number.
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        faulthandler.enable(number)
        session.config.stash[_CRASH_FILE] = number


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End the process of a test that goes on after its limit."""
    number = item.config.stash.get(_CRASH_FILE, None)
    if number is None:  # no other process is there to go on
        return (yield)
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker else item.config.getini("timeout"))
    faulthandler.dump_traceback_later(limit + _GRACE_S, exit=True, file=number)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show where processes were that crashed."""
    folder = config.stash.get(_CRASH_FOLDER, None)
    for path in [] if folder is None else sorted(folder.iterdir()):
        if text := path.read_text():
            terminalreporter.section(f"where {path.name} crashed")
            terminalreporter.write_line(text)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the crash files away."""
    folder = config.stash.get(_CRASH_FOLDER, None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def count_matches(truth: NDArray[Any], found: NDArray[Any], *, min_px: int = 0) -> tuple[int, ...]:
    """Match at IoU above 0.5: true positives, false positives, false negatives.

    True objects below `min_px` count neither when they are found nor when they are missed.
    """
    size, size_found = np.bincount(truth.ravel()), np.bincount(found.ravel())
    both = (truth > 0) & (found > 0)
    pairs, overlap = np.unique(
        np.stack([truth[both], found[both]], axis=1), axis=0, return_counts=True
    )
    union = size[pairs[:, 0]] + size_found[pairs[:, 1]] - overlap
    matched = pairs[overlap / union > 0.5, 0]
    is_large = size >= min_px
    is_large[0] = False
    n_hits = int(is_large[matched].sum())
    n_small = len(matched) - n_hits
    n_found = int((size_found[1:] > 0).sum())
    return n_hits, n_found - n_hits - n_small, int((is_large & (size > 0)).sum()) - n_hits


@pytest.fixture(scope="session")
def matches() -> Callable[..., tuple[int, ...]]:
    return count_matches
