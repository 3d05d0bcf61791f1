"""What the core finds by name without importing it: commands, panels, and cells to train on.

`study` is a wing that the core never imports. Its parts are listed here as ``module:attribute`` and
loaded at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

COMMANDS = (
    "napari_hcs_qc.study.cli.pretrain:COMMAND",
    "napari_hcs_qc.study.cli.benchmark:COMMAND",
    "napari_hcs_qc.study.cli.sensitivity:COMMAND",
    "napari_hcs_qc.study.cli.simulate:COMMAND",
    "napari_hcs_qc.study.cli.fetch:COMMAND",
    "napari_hcs_qc.study.cli.demo:COMMAND",
)
"""Commands of ``hcs-qc`` beside the core's own."""

FUNCTIONS = {
    "BenchmarkResult": "napari_hcs_qc.study.api.comparing:BenchmarkResult",
    "Fetched": "napari_hcs_qc.study.datasets.fetch:Fetched",
    "SensitivityResult": "napari_hcs_qc.study.api.comparing:SensitivityResult",
    "SimulatedPlate": "napari_hcs_qc.study.simulation.synthetic:SimulatedPlate",
    "benchmark": "napari_hcs_qc.study.api.comparing:benchmark",
    "fetch": "napari_hcs_qc.study.api.data:fetch",
    "pretrain": "napari_hcs_qc.study.api.pretraining:pretrain",
    "sensitivity": "napari_hcs_qc.study.api.comparing:sensitivity",
    "simulate": "napari_hcs_qc.study.api.data:simulate",
}
"""What `napari_hcs_qc` offers beside the core's own; types in ``__init__.pyi``."""

PANELS = {
    "HCS benchmark": "napari_hcs_qc.study.gui.benchmark_dock:BenchmarkDock",
}
"""Dock widgets that the desk shows beside the core's own; each takes the viewer."""

PRETRAIN_PANEL = "napari_hcs_qc.study.gui.pretrain_panel:PretrainPanel"
SAMPLE_ASSAY = "napari_hcs_qc.study.simulation.sample_assay:make_sample_assay"
SIMULATED_CELLS = "napari_hcs_qc.study.artefacts.simulated_training:SIMULATED_CELLS"


def load(name: str) -> Any:
    """Import what ``module:attribute`` names."""
    module, attribute = name.split(":")
    return getattr(import_module(module), attribute)
