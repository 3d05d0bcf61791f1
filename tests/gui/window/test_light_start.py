"""What the desk imports before its first picture: nothing that takes seconds and draws nothing."""

from __future__ import annotations

import os
import subprocess
import sys

_CODE = """
import sys
from qtpy.QtWidgets import QApplication
from napari.components import ViewerModel
application = QApplication([])
before = set(sys.modules)
from napari_hcs_qc.gui.window import desk
viewer = ViewerModel()
panels = [kind(viewer) for kind in desk._kinds().values()]
assert len(panels) >= 8, panels
heavy = {"torch", "timm", "sklearn", "anndata", "scipy.stats", "matplotlib"}
print(*heavy & set(sys.modules) - before)
"""


def test_all_panels_are_made_without_the_libraries_of_the_work() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CODE],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
