"""The desk with 100,000 cells: Retrain to recoloured, a click to its colour, and the event loop.

Run in a real napari window; on a machine without a screen: xvfb-run -s "-screen 0 1440x900x24"
python -m benchmarks.bench_desk. The embeddings are generated (see desk_assay), so nothing here
tells an accuracy. Times are compared with a bare matrix product and with napari's own drawing of
the same layers, measured in the same run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.desk_assay import make_desk_assay
from benchmarks.results import anon_mib, with_range, write_results

if TYPE_CHECKING:
    from collections.abc import Callable

N_CELLS = 100_000
_TURNS = 5
_CLICKS = 30
_STARTS = 3
_BEAT_MS = 5


class Heart:
    """A timer of the event loop; a late beat means that the window was stuck for so long."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self._timer = QTimer()
        self._timer.setInterval(_BEAT_MS)
        self._timer.timeout.connect(self._beat)
        self.late_ms: list[float] = []
        self._last = 0.0

    def __enter__(self) -> Heart:
        self.late_ms = []
        self._last = time.perf_counter()
        self._timer.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._beat()
        self._timer.stop()

    def _beat(self) -> None:
        now = time.perf_counter()
        self.late_ms.append(max(0.0, 1000 * (now - self._last) - _BEAT_MS))
        self._last = now


def wait(met: Callable[[], bool], limit_s: float = 120.0) -> None:
    """Run the event loop until something holds."""
    from qtpy.QtCore import QCoreApplication

    until = time.perf_counter() + limit_s
    while not met():
        QCoreApplication.processEvents()
        time.sleep(0.001)  # as Qt's own loop does: spinning would take a core from the work
        if time.perf_counter() > until:
            raise SystemExit("waited in vain")


def draw() -> None:
    """Let Qt paint what has changed."""
    from qtpy.QtCore import QCoreApplication

    QCoreApplication.processEvents()
    QCoreApplication.processEvents()


def until_painted(canvas: Any, act: Callable[[], object]) -> tuple[float, float]:
    """Do something that changes the canvas; ms until it returned, and until that was painted."""
    painted: list[float] = []
    canvas.frameSwapped.connect(lambda: painted.append(time.perf_counter()))
    began = time.perf_counter()
    act()
    returned = time.perf_counter()
    wait(lambda: bool(painted), 10)
    canvas.frameSwapped.disconnect()
    return 1000 * (returned - began), 1000 * (painted[0] - began)


def spread(values: list[float]) -> str:
    """Say median and largest of some times in ms."""
    return f"median {np.median(values):.0f} ms, largest {max(values):.0f} ms"


def in_xvfb(module: str) -> int | None:
    """Run a benchmark in a child under Xvfb, and give its code; None where there is a screen."""
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return None
    xvfb = shutil.which("xvfb-run")
    if xvfb is None:
        print("skipped: no display, and xvfb-run is not installed")
        return 0
    screen = ["-a", "-s", "-screen 0 1440x900x24"]
    return subprocess.run([xvfb, *screen, sys.executable, "-m", module], check=False).returncode


def main(arguments: list[str] | None = None) -> int:
    """Print the table; without a screen, in a child under Xvfb. It takes no arguments."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args(arguments)
    code = in_xvfb(__spec__.name)
    if code is not None:
        return code
    with tempfile.TemporaryDirectory() as folder:
        assay = make_desk_assay(Path(folder) / "desk", N_CELLS)
        figures = {**starts(assay), **measure(assay)}
    write_results("desk", figures)
    return 0


def starts(assay: Path) -> dict[str, Any]:
    """Start napari alone and with the desk, in turns; until usable, and what memory that takes."""
    opened = {"napari": next(iter(sorted(assay.parent.rglob("*.tif")))), "desk": assay}
    seconds: dict[str, list[float]] = {name: [] for name in opened}
    memory: dict[str, list[float]] = {name: [] for name in opened}
    for turn in range(_STARTS + 1):
        for name in list(opened)[:: 1 if turn % 2 else -1]:
            command = [sys.executable, "-m", "benchmarks.desk_start", name, str(opened[name])]
            began = time.perf_counter()
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                if not process.stdout.readline():
                    raise SystemExit(f"{' '.join(command)} ended before it was usable")
                taken, mib = time.perf_counter() - began, anon_mib(process.pid)
                process.communicate("end\n")
            if turn:  # the first reads the libraries from the disk
                seconds[name].append(taken)
                memory[name].append(mib)
    ratios = np.divide(seconds["desk"], seconds["napari"]).tolist()
    beyond = np.subtract(memory["desk"], memory["napari"]).tolist()
    print(
        f"Start until usable: {np.median(seconds['desk']):.1f} s, napari alone with the same image "
        f"{np.median(seconds['napari']):.1f} s; {np.median(beyond):.0f} MiB more"
    )
    return {**with_range("start / napari", ratios), **with_range("MiB beyond napari", beyond)}


def measure(assay: Path) -> dict[str, Any]:
    """Measure on an assay whose embeddings are ready."""
    import napari

    from napari_hcs_qc.gui.window.desk import open_desk

    viewer = napari.Viewer()
    viewer.window.resize(1440, 900)
    workspace = open_desk(viewer)
    session, tasks, view = workspace.session, workspace.tasks, workspace.view
    training = workspace.training
    session.message.connect(lambda level, text: print(f"{level}: {text}"))
    session.open(assay)
    wait(lambda: view.on_screen is not None)
    tasks.find_embeddings()
    wait(lambda: not session.jobs.running)

    print("Retrain (linear head, embeddings ready) to recoloured site and plate map:")
    seconds: list[float] = []
    beats: list[float] = []
    steps: list[dict[str, float]] = []
    for _ in range(_TURNS):
        before = session.models.model
        with Heart() as heart:
            began = time.perf_counter()
            job = training.retrain()
            assert job is not None
            job.finished.connect(lambda made: steps.append(made.seconds))
            wait(lambda before=before: session.models.model is not before)
            draw()
            seconds.append(time.perf_counter() - began)
        beats += heart.late_ms
        figures = session.jobs.newest("figures")
        if figures is not None:
            figures.cancel()
        wait(lambda: not session.jobs.running)
    print(f"  {', '.join(f'{one:.2f}' for one in seconds)} s; median {np.median(seconds):.2f} s")
    print(f"  steps in the background: {steps[-1]}")
    model = session.models.model
    assert model is not None and session.models.embeddings is not None
    n_anchors = len(model.head.anchors_)
    product_s = bare_product(session.models.embeddings, n_anchors)
    print(f"  bare product of the embeddings with {n_anchors} columns: {product_s:.2f} s")
    print(f"  ratio: {np.median(seconds) / product_s:.1f}")
    late = np.array(beats)
    print(
        f"  event loop: beats late by more than 20/50/100 ms: {(late > 20).sum()}/"
        f"{(late > 50).sum()}/{(late > 100).sum()} of {len(late)}; largest {late.max():.0f} ms"
    )

    canvas = viewer.window._qt_viewer.canvas.native
    print("napari alone, drawing the same layers anew:")
    layers = [layer for layer in viewer.layers if layer.visible]
    alone = [until_painted(canvas, lambda: [layer.refresh() for layer in layers])[1]]
    for _ in range(_CLICKS):
        alone.append(until_painted(canvas, lambda: [layer.refresh() for layer in layers])[1])
    print(f"  {spread(alone)}")
    print(f"  largest beat of Retrain less napari's median: {late.max() - np.median(alone):.0f} ms")

    print("A click to its visible colour:")
    cells = view.cells
    assert cells is not None and view.on_screen is not None
    site = view.on_screen
    clicks, said = [], []
    for turn in range(_CLICKS):
        place = tuple(float(part) for part in cells.yx_px[turn % len(cells)])
        cls = ("normal", "abnormal")[turn % 2]
        # In the layers, and on the canvas.
        times = until_painted(
            canvas, lambda place=place, cls=cls: session.annotations.annotate(site, [place], cls)
        )
        said.append(times[0])
        clicks.append(times[1])
        wait(lambda: session.is_settled and not session.jobs.running)
        draw()
    print(f"  until the layers have it: {spread(said)}; until it is painted: {spread(clicks)}")
    print(f"  painted, less napari's median: {np.median(clicks) - np.median(alone):.0f} ms")

    print("Going to a site:")
    sites = []
    for _ in range(_CLICKS):
        wait(lambda: not session.jobs.running)
        began = time.perf_counter()
        session.selection.step(1)
        wait(lambda: view.on_screen == session.selection.site)
        sites.append(1000 * (time.perf_counter() - began))
        draw()
    print(f"  {spread(sites)}")

    print("Moving the threshold, 30 steps:")
    with Heart() as heart:
        for step in range(_CLICKS):
            session.models.set_threshold(0.35 + 0.01 * step)
            draw()
        wait(lambda: not session.jobs.running)
    print(f"  event loop: {spread(heart.late_ms)}")
    viewer.close()
    repaint = float(np.median(alone))
    return {
        **with_range("Retrain, s", seconds),
        **with_range("Retrain / bare product", [one / product_s for one in seconds]),
        "Retrain, steps in the background": steps[-1],
        **with_range("napari's repaint, ms", alone, 0),
        "Retrain: event loop late beyond napari's repaint, ms": round(late.max() - repaint),
        **with_range("click to its colour, ms", clicks, 0),
        **with_range("going to a site, ms", sites, 0),
        "threshold: event loop late beyond napari's repaint, ms": round(
            max(heart.late_ms) - repaint
        ),
    }


def bare_product(rows: Any, n_columns: int) -> float:
    """Seconds of the matrix product that scoring cannot do without, best of three."""
    matrix = np.asarray(rows)
    other = np.ones((matrix.shape[1], max(1, n_columns)), dtype=np.float32)
    best = np.inf
    for _ in range(3):
        began = time.perf_counter()
        matrix @ other
        best = min(best, time.perf_counter() - began)
    return best


if __name__ == "__main__":
    sys.exit(main())
