"""``hcs-qc encoders``: list the encoders."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import add_backend, parameters
from napari_hcs_qc.cli.command import Command, Outcome

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--assay", metavar="ASSAY", type=Path, help="also list those trained or imported there"
    )
    parser.add_argument(
        "--speed", action="store_true", help="measure crops per second on this computer"
    )
    add_backend(parser)


def _run(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.api.functions import encoders
    from napari_hcs_qc.encoders.backends.choice import VARIABLE
    from napari_hcs_qc.workflow.encoder_list import RECIPE

    listed = encoders(**parameters(options))
    lines, data = [], []
    for info in listed.encoders:
        speeds = listed.speeds.get(info.name, {})
        notes = [*([info.note] if info.note else []), *listed.notes.get(info.name, ())]
        state = "ready" if info.ready else f"needs {info.needs}"
        lines.append(f"{info.name:20} {info.n_features:5} features  {state}  [{info.licence}]")
        if speeds:
            rates = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items())
            lines.append(f"  crops/s at {RECIPE.input_px} px, recipe {RECIPE.name}: {rates}")
        lines.extend(f"  {note}" for note in notes)
        data.append(
            {
                **asdict(info),
                "ready": info.ready,
                "crops_per_s": speeds.get(listed.backend_in_use, next(iter(speeds.values()), None)),
                "crops_per_s_by_backend": dict(speeds),
                "notes": notes,
            }
        )
    lines.append(
        "Any other: timm:NAME, torchvision:NAME or hf:OWNER/MODEL (a timm model of the Hugging "
        "Face hub); its weights are downloaded once, or come from --weights FILE.safetensors."
    )
    backends = ", ".join(
        f"{info.name} {info.version}" if info.version else f"{info.name} (needs {info.needs})"
        for info in listed.backends
    )
    in_use = listed.backend_in_use
    lines.append(f"Backends on the CPU: {backends}. In use: {in_use} (--backend, {VARIABLE}).")
    return Outcome(
        lines,
        {
            "encoders": data,
            "backends": [{**asdict(info), "needs": info.needs} for info in listed.backends],
            "backend_in_use": in_use,
        },
    )


ENCODERS = Command("encoders", "List the encoders and their requirements.", _add_arguments, _run)
