"""Start napari alone or with the desk, say on stdout when it is usable, and wait to be ended.

    python -m benchmarks.desk_start napari IMAGE
    python -m benchmarks.desk_start desk ASSAY

Usable is the first image on screen. Nothing of ours is imported for napari alone.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def main(what: str, path: str) -> None:
    """Start, and say when it is usable."""
    import napari

    viewer = napari.Viewer()
    viewer.window.resize(1440, 900)
    painted: list[bool] = []
    canvas = viewer.window._qt_viewer.canvas.native
    if what == "desk":
        from napari_hcs_qc.gui.window.desk import open_desk

        desk = open_desk(viewer)
        desk.session.open(Path(path))
        run_until(lambda: desk.view.on_screen is not None)
    else:
        viewer.open(path)
    canvas.frameSwapped.connect(lambda: painted.append(True))
    canvas.update()
    run_until(lambda: bool(painted))
    print("usable", flush=True)
    sys.stdin.readline()
    viewer.close()


def run_until(met: Callable[[], bool]) -> None:
    """Run the event loop."""
    from qtpy.QtCore import QCoreApplication

    until = time.monotonic() + 120
    while not met():
        if time.monotonic() > until:
            raise SystemExit("nothing came on screen within two minutes")
        QCoreApplication.processEvents()
        time.sleep(0.001)


if __name__ == "__main__":
    main(*sys.argv[1:])
