"""What is found by name and loaded at first use: commands, panels, and cells to train on.

`study` is a wing that the core never imports: its parts are listed here as ``module:attribute``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

COMMANDS = {
    "new": "napari_hcs_qc.cli.commands.new:NEW",
    "cells": "napari_hcs_qc.cli.commands.cells:CELLS",
    "annotate": "napari_hcs_qc.cli.commands.annotate:ANNOTATE",
    "annotations": "napari_hcs_qc.cli.commands.annotate:ANNOTATIONS",
    "encoders": "napari_hcs_qc.cli.commands.encoders:ENCODERS",
    "train": "napari_hcs_qc.cli.commands.train:TRAIN",
    "predict": "napari_hcs_qc.cli.commands.predict:PREDICT",
    "verdict": "napari_hcs_qc.cli.commands.annotate:VERDICT",
    "export": "napari_hcs_qc.cli.commands.export:EXPORT",
    "report": "napari_hcs_qc.cli.commands.export:REPORT",
    "crops": "napari_hcs_qc.cli.commands.export:CROPS",
    "run": "napari_hcs_qc.cli.commands.run:RUN",
    "screen": "napari_hcs_qc.cli.commands.screen:SCREEN",
    "status": "napari_hcs_qc.cli.commands.status:STATUS",
    "check": "napari_hcs_qc.cli.commands.check:CHECK",
    "repair": "napari_hcs_qc.cli.commands.check:REPAIR",
    "relocate": "napari_hcs_qc.cli.commands.relocate:RELOCATE",
    "remove": "napari_hcs_qc.cli.commands.relocate:REMOVE",
    "convert": "napari_hcs_qc.cli.commands.convert:CONVERT",
    "info": "napari_hcs_qc.cli.about.info:INFO",
    "completion": "napari_hcs_qc.cli.about.completion:COMPLETION",
    "open": "napari_hcs_qc.cli.commands.open:OPEN",
    "pretrain": "napari_hcs_qc.study.cli.pretrain:COMMAND",
    "benchmark": "napari_hcs_qc.study.cli.benchmark:COMMAND",
    "sensitivity": "napari_hcs_qc.study.cli.sensitivity:COMMAND",
    "simulate": "napari_hcs_qc.study.cli.simulate:COMMAND",
    "fetch": "napari_hcs_qc.study.cli.fetch:COMMAND",
    "demo": "napari_hcs_qc.study.cli.demo:COMMAND",
}
"""Commands of ``hcs-qc``, in the order of the help."""

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

DESK = "napari_hcs_qc.gui.window.desk:open_desk"
"""Opens all panels in a viewer; a panel that was opened alone offers that."""

BUILT_IN_DETECTOR = "built-in"
"""Name of our own detector of nuclei, `napari_hcs_qc.cells.nuclei.find_nuclei`."""

DETECTORS = {
    "instanseg": (
        "instanseg-torch",
        "napari_hcs_qc.cells.detectors.instanseg_detector:find_nuclei",
    ),
}
"""Detectors beside our own, by name: the package that each needs, and its function."""

DETECTOR_GROUP = "napari_hcs_qc.detectors"
"""Entry points by which other packages add detectors."""

PRETRAIN_PANEL = "napari_hcs_qc.study.gui.pretrain_panel:PretrainPanel"
SAMPLE_ASSAY = "napari_hcs_qc.study.simulation.sample_assay:make_sample_assay"
SIMULATED_CELLS = "napari_hcs_qc.study.artefacts.simulated_training:SIMULATED_CELLS"


def load(name: str) -> Any:
    """Import what ``module:attribute`` names."""
    module, attribute = name.split(":")
    return getattr(import_module(module), attribute)
