"""An encoder can be loaded after napari has drawn, on a machine without a graphics card."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("napari")

LOAD_AFTER_DRAWING = """
import sys
import napari
import numpy as np
from qtpy.QtWidgets import QApplication

viewer = napari.Viewer()
viewer.add_image(np.zeros((32, 32)))
QApplication.processEvents()
viewer.screenshot(canvas_only=True)  # the OpenGL context exists and has drawn
assert "triton" not in sys.modules, "nothing is shown: triton came first"

import torch
from napari_hcs_qc.encoders.registry import load_encoder

encoder = load_encoder(stages="inner", device="cpu")
print(encoder.encode(torch.zeros(2, 1, 64, 64)).shape)
viewer.close()
print("alive")
"""


@pytest.mark.window
def test_the_embedded_encoder_loads_after_a_viewer_has_drawn():
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AFTER_DRAWING],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "torch.Size([2, 472])" in done.stdout
    assert "alive" in done.stdout
