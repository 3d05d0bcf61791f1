"""Which encoders there are, whether they are ready, and how fast they are here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, get_recipe
from napari_hcs_qc.encoders.backends.choice import (
    AUTO,
    BackendInfo,
    BackendName,
    choose_backend,
    list_backends,
)
from napari_hcs_qc.encoders.registry import EncoderInfo, list_encoders, load_encoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder

RECIPE = get_recipe(DEFAULT_RECIPE)
"""The crops that speed is measured on."""


@dataclass(frozen=True, kw_only=True)
class EncoderList:
    """The encoders that can be used here.

    Parameters
    ----------
    encoders
        One a name, the default first.
    speeds
        Crops a second by the name of the encoder and the backend; empty where not measured.
    notes
        What backends say of an encoder, by its name.
    backends
        What can run an encoder on the CPU.
    backend_in_use
        The one that does.

    Examples
    --------
    >>> from napari_hcs_qc import encoders
    >>> listed = encoders()
    >>> listed.encoders[0].name
    'efficientnet-lite0'
    """

    encoders: tuple[EncoderInfo, ...]
    speeds: Mapping[str, Mapping[str, float]]
    notes: Mapping[str, tuple[str, ...]]
    backends: tuple[BackendInfo, ...]
    backend_in_use: BackendName


def encoder_list(assay: AssayFolder | None, *, speed: bool, backend: str) -> EncoderList:
    """List the encoders, those of an assay too, and measure their speed where asked to."""
    backends, in_use = list_backends(), choose_backend(backend)
    infos = list_encoders(None if assay is None else assay.encoders_folder)
    speeds: dict[str, dict[str, float]] = {}
    notes: dict[str, tuple[str, ...]] = {}
    if speed:
        measured = [in_use] if backend != AUTO or _has_gpu() else _installed(backends)
        for info in infos:
            if info.ready:
                speeds[info.name], notes[info.name] = _measure(info, measured)
    return EncoderList(
        encoders=tuple(infos),
        speeds=speeds,
        notes=notes,
        backends=tuple(backends),
        backend_in_use=in_use,
    )


def _has_gpu() -> bool:
    from napari_hcs_qc.encoders.encoder import choose_device

    return choose_device("auto").type != "cpu"


def _installed(backends: list[BackendInfo]) -> list[BackendName]:
    return [info.name for info in backends if not info.needs]


def _measure(
    info: EncoderInfo, backends: list[BackendName]
) -> tuple[dict[str, float], tuple[str, ...]]:
    speeds: dict[str, float] = {}
    notes: list[str] = []
    for backend in backends:
        encoder = load_encoder(
            info.name,
            stages=RECIPE.stages,
            pooling=RECIPE.pooling,
            weights=info.weights,
            backend=backend,
        )
        speeds[encoder.backend] = encoder.measure_speed(RECIPE.input_px)
        notes.extend([encoder.backend_note] if encoder.backend_note else [])
    return speeds, tuple(notes)
