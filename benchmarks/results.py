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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.heads.threads import n_processors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
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
        found["load_before"] = round(os.getloadavg()[0], 2)
    return found


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
        "machine": machine(),
        "versions": versions(),
        "figures": figures,
    }
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return path


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Give rows of two columns, aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:{width}}  {figure}" for name, figure in rows)


def write_plot(path: Path, title: str, curves: Mapping[str, Mapping[float, float]]) -> Path:
    """Draw curves over the size of the work, both axes as logarithms, as an SVG.

    Parameters
    ----------
    path
        The file.
    title
        What is drawn.
    curves
        For each name, value over size.
    """
    import math

    xs = [math.log10(x) for curve in curves.values() for x in curve]
    ys = [math.log10(y) for curve in curves.values() for y in curve.values()]
    if not xs:
        return path
    width, height, left, top = 640, 400, 70, 50
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    x1, y1 = max(x1, x0 + 1e-9), max(y1, y0 + 1e-9)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x0) / (x1 - x0) * (width - left - 170)
        up = (math.log10(y) - y0) / (y1 - y0) * (height - top - 60)
        return left + across, height - 60 - up

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="24" font-size="14">{title}</text>',
    ]
    colours = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
    sizes = sorted({x for curve in curves.values() for x in curve})
    for x in sizes:
        across, _ = at(x, 10**y0)
        parts.append(
            f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{top}" y2="{height - 60}" '
            f'stroke="#ddd"/><text x="{across:.1f}" y="{height - 40}" text-anchor="middle">'
            f"{x:,.0f}</text>"
        )
    for y in (10**y0, 10 ** ((y0 + y1) / 2), 10**y1):
        _, down = at(10**x0, y)
        parts.append(
            f'<line x1="{left}" x2="{width - 170}" y1="{down:.1f}" y2="{down:.1f}" '
            f'stroke="#ddd"/><text x="{left - 6}" y="{down + 4:.1f}" text-anchor="end">{y:.3g}'
            "</text>"
        )
    for number, (name, curve) in enumerate(curves.items()):
        colour = colours[number % len(colours)]
        points = [at(x, curve[x]) for x in sorted(curve)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(
            f'<text x="{width - 160}" y="{top + 16 + 18 * number}" fill="{colour}">{name}</text>'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
    return path


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
