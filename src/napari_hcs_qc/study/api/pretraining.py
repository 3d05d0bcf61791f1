"""Training an encoder without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_hcs_qc.encoders.custom_encoder import CustomEncoder
    from napari_hcs_qc.study.ssl.training_state import Report


def pretrain(
    assay: str | Path,
    *,
    method: str = "deepclusterv2",
    preset: Literal["default", "paper"] = "default",
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    settings: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    seed: int = 0,
    device: str = "auto",
    plate: Sequence[str] | None = None,
    cells: int | None = None,
    recipe: str | None = None,
    rgb: Sequence[str] = (),
    input_px: int | None = None,
    name: str | None = None,
    start_from: str | None = None,
    weights: str | Path | None = None,
    again: bool = False,
    compare: bool = True,
    import_from: str | Path | None = None,
    on_report: Callable[[Report], None] | None = None,
    job: Job = NO_JOB,
) -> CustomEncoder:
    """Train an encoder on the assay's unlabelled cells (self-supervised).

    Started again after it was stopped, it goes on where it was.

    Parameters
    ----------
    assay
        Folder of the assay.
    method
        ``"deepclusterv2"`` (default), ``"simclr"``, ``"barlow-twins"``, ``"vicreg"`` or
        ``"swav"``.
    preset
        ``"default"`` or ``"paper"``.
    epochs, batch_size, lr
        Instead of the preset's.
    settings
        Any other setting by its name, such as ``{"temperature": 0.2}``.
    seed
        Of everything random.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    plate
        Names of the plates to train on; all by default.
    cells
        Size of a random sample of all cells; all by default.
    recipe, rgb
        How crops are cut, see `Assay.train`.
    input_px
        Side of the crops.
    name
        Of the encoder; the method's by default.
    start_from, weights
        An encoder, or a .safetensors file, and the weights of the former; by default a random
        ResNet18.
    again
        Replace the encoder of that name.
    compare
        Compare it with untrained networks on the annotated cells afterwards.
    import_from
        Train nothing: import an encoder of another assay (``ASSAY/encoders/NAME``).
    on_report
        Called after each epoch with the report so far.
    job
        Reports progress and cancels.

    Returns
    -------
    CustomEncoder
        ``Assay.train(encoder=...)`` takes its name.

    Raises
    ------
    HcsQcError
        When the cells are not known, or a setting is not valid.
    Cancelled
        When `job` was cancelled; the next call goes on from there.

    Examples
    --------
    >>> from napari_hcs_qc import pretrain
    >>> encoder = pretrain(
    ...     assay_path, method="simclr", epochs=1, batch_size=8, cells=16, input_px=32,
    ...     name="tiny", compare=False,
    ... )
    >>> encoder.name
    'tiny'
    """
    from napari_hcs_qc.assay.models.custom_encoders import compare_encoder, import_encoder
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.encoders.encoder import choose_device
    from napari_hcs_qc.study.ssl.distributed import join_world
    from napari_hcs_qc.study.ssl.pretrain_assay import pretrain_encoder
    from napari_hcs_qc.study.ssl.pretrain_settings import PretrainOptions

    folder = AssayFolder.open(Path(assay))
    if import_from is not None:
        return import_encoder(folder, Path(import_from), name)
    own = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
    options = PretrainOptions(
        method=method,
        preset=preset,
        changes=dict(settings) | {key: value for key, value in own.items() if value is not None},
        name=name,
        plates=None if plate is None else tuple(plate),
        n_cells=cells,
        recipe=recipe,
        rgb=tuple(rgb),
        input_px=input_px,
        start_from=start_from,
        start_weights=None if weights is None else Path(weights),
        seed=seed,
        device=device,
        again=again,
    )
    with join_world(on_gpu=choose_device(device).type == "cuda") as world:
        encoder = pretrain_encoder(
            folder, options, world=world, job=job, on_report=on_report if world.first else None
        )
    if world.first and compare and encoder.manifest.get("comparison") is None:
        encoder = compare_encoder(
            folder, encoder.name, recipe=recipe, rgb=tuple(rgb), device=device, job=job
        )
    return encoder
