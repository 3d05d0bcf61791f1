"""What every benchmark writes beside its figures: machine, versions, date; and a plot over size."""

from __future__ import annotations

import json
import os
import platform
import resource
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
from scipy.stats import binom

from napari_hcs_qc.files import write_text
from napari_hcs_qc.heads.threads import n_processors
from napari_hcs_qc.qc.reports.figures import SERIES, new_figure, styled, to_svg

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.figure import Figure
from contextlib import contextmanager

FOLDER = Path(__file__).resolve().parent / "results"
_PACKAGES = ("napari-hcs-qc", "numpy", "scipy", "scikit-learn", "scikit-image", "torch", "pandas",
             "pyarrow", "timm", "zarr", "onnxruntime", "openvino")  # fmt: skip
_POLL_S = 0.02


def machine() -> dict[str, Any]:
    """Say on what it was measured."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    except OSError:
        names = {platform.processor()}
    found: dict[str, Any] = {
        "cpu": ", ".join(sorted(names)),
        "processors": n_processors(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    if hasattr(os, "sysconf"):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        found["memory_gib"] = round(total / 2**30, 1)
        found["load"] = round(os.getloadavg()[0], 2)
    return found


class OtherWork:
    """How many processors other programs kept busy since this was made, or last asked."""

    def __init__(self) -> None:
        self._before = self._now()

    def processors(self) -> float:
        """Give it, and begin anew."""
        before, self._before = self._before, self._now()
        seconds, busy = (now - then for now, then in zip(self._before, before, strict=True))
        return round(max(0.0, busy) / max(seconds, 1e-9), 2)

    @staticmethod
    def _now() -> tuple[float, float]:
        whole, mine = psutil.cpu_times(), psutil.Process().cpu_times()
        busy = sum(whole) - whole.idle - getattr(whole, "iowait", 0.0)
        busy -= getattr(whole, "guest", 0.0) + getattr(whole, "guest_nice", 0.0)  # counted twice
        return time.monotonic(), busy - sum(mine[:4])  # its own, and that of ended children


_OTHERS = OtherWork()


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_results(name: str, figures: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Write the figures of one benchmark as JSON, with date, machine and versions."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    data = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": {**machine(), "other_work": _OTHERS.processors()},
        "versions": versions(),
        "figures": figures,
    }
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return path


def with_range(name: str, values: Sequence[float], digits: int = 2) -> dict[str, Any]:
    """Give the median of some turns and its 95 % interval, by the order of the turns.

    Of fewer than six turns that is the least and the most of them.
    """
    ordered = sorted(map(float, values))
    outer = max(1, int(binom.ppf(0.025, len(ordered), 0.5)))
    ends = [round(end, digits) for end in (ordered[outer - 1], ordered[-outer])]
    return {name: round(float(median(ordered)), digits), f"{name}, range": ends}


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Give rows of two columns, aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:{width}}  {figure}" for name, figure in rows)


def write_plot(path: Path, title: str, curves: Mapping[str, Mapping[float, float]]) -> Path:
    """Draw the values of some curves over the size of the work, both axes logarithmic, as SVG."""
    write_text(path, to_svg(_plot(title, curves)) + "\n")
    return path


@styled
def _plot(title: str, curves: Mapping[str, Mapping[float, float]]) -> Figure:
    from matplotlib.ticker import LogLocator

    figure = new_figure(title, 640, 400)
    axes = figure.subplots()
    for (name, curve), colour in zip(curves.items(), cycle(SERIES), strict=False):
        sizes = sorted(curve)
        axes.plot(
            sizes,
            [curve[size] for size in sizes],
            color=colour,
            marker="o",
            markersize=4,
            label=name,
        )
    axes.set(title=title, xscale="log", yscale="log")
    sizes = sorted({size for curve in curves.values() for size in curve})
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.minorticks_off()
    figure.legend(loc="outside right upper")
    return figure


class Peak:
    """Peak of RssAnon in MiB, see `watched`."""

    def __init__(self) -> None:
        self.mib = 0.0


@contextmanager
def watched() -> Iterator[Peak]:
    """Watch what this process takes for itself (RssAnon) while the block runs."""
    peak, is_over = Peak(), threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            peak.mib = max(peak.mib, anon_mib(os.getpid()))
            is_over.wait(_POLL_S)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


def anon_mib(process: int) -> float:
    """RssAnon of a process in MiB; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))
    except (OSError, StopIteration, ValueError):
        return 0.0


@contextmanager
def timed(seconds: dict[str, list[tuple[float, float]]], name: str) -> Iterator[None]:
    """Add wall and processor seconds of a block to a list; the latter stand other work better."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    taken = time.perf_counter() - wall, time.process_time() - cpu
    seconds.setdefault(name, []).append(taken)


def children_s() -> float:
    """Processor seconds of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
