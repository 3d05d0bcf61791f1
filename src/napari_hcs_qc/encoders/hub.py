"""Models on the Hugging Face hub: files in the cache that its other tools share, and what they are.

HF_HOME moves the cache, HF_ENDPOINT names a mirror, HF_HUB_OFFLINE forbids to ask.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from napari_hcs_qc.documents import problems_text
from napari_hcs_qc.download import need_space
from napari_hcs_qc.encoders.weights import cache_folder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes, read_json
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.run_in_thread import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
_MOST_CONFIG_BYTES = 4 << 20  # those with the names of 21,000 classes have one
_TIMEOUT_S = 10.0


def cached_file(repository: str, name: str = WEIGHTS) -> Path | None:
    """Find a file of a repository on this computer; None where it is not."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, name)
    if isinstance(path, str):
        return Path(path)
    # Where 0.1.0 put the weights that it downloaded.
    old = cache_folder() / "weights" / repository.replace("/", "--") / name
    return old if old.is_file() else None


def hub_file(repository: str, name: str, encoder: str, job: Job) -> Path:
    """Give a file of a repository, downloaded where it is not in the cache."""
    path = cached_file(repository, name)
    if path is not None:
        return path
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    message = f"Downloading the weights of {encoder}"
    with explained_writes(cache):
        cache.mkdir(parents=True, exist_ok=True)

    try:
        path = run_in_thread(
            lambda thread_job: _fetch(repository, name, cache, message, thread_job), job
        )
    except (Cancelled, HcsQcError):
        raise
    except Exception as error:
        raise _explained(error, repository, name, encoder, cache) from error
    size = path.stat().st_size
    job.report(size, size, message)
    return path


def _explained(
    error: Exception, repository: str, name: str, encoder: str, cache: Path
) -> HcsQcError:
    """Say why a file of the hub is not here, and what to do."""
    from huggingface_hub import constants, errors

    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, errors.OfflineModeIsEnabled):
        reason = "HF_HUB_OFFLINE is set"
    elif isinstance(error, errors.RepositoryNotFoundError):
        return HcsQcError(
            f"There is no model {repository} on {constants.ENDPOINT}, or it is not public. Check "
            "its name; for one that needs permission, ask for it there and log in (hf auth login)."
        )
    elif isinstance(error, errors.RemoteEntryNotFoundError):
        return HcsQcError(
            f"{repository} on {constants.ENDPOINT} has no {name}, and nothing else is read of it. "
            "Take a timm model that has one, or give a local file: --encoder timm:NAME --weights "
            "FILE.safetensors."
        )
    elif isinstance(error, OSError) and error.errno is not None:
        with explained_writes(cache):
            raise error
    return HcsQcError(
        f"The weights of {encoder} are not on this computer and {repository} on "
        f"{constants.ENDPOINT} cannot be reached ({reason}). Either connect to the internet once "
        f"and run the same command again (they are then kept in {cache}), or give a local file of "
        "this architecture: --weights FILE.safetensors. The encoder efficientnet-lite0 needs "
        "neither."
    )


def _fetch(repository: str, name: str, cache: Path, message: str, job: Job) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from tqdm import tqdm

    # Asked once, without the hub's retries, so that a computer without a network gets its answer
    # at once.
    size = get_hf_file_metadata(hf_hub_url(repository, name), timeout=_TIMEOUT_S).size or 0
    need_space(cache, size, f"download {name} of {repository}")

    class Bar(tqdm):  # type: ignore[type-arg]
        """Reports in place of drawing; raises where the download is to end."""

        monitor_interval = 0  # tqdm keeps a thread for each class of bars

        def __init__(self, *_args: Any, total: float | None = None, initial: int = 0, **_: Any):
            super().__init__(total=total, initial=initial, disable=True)

        def update(self, n: float | None = 1) -> None:
            job.check()
            self.n += n or 0
            job.report(int(self.n), size, message)

        def update_transfer(self, n: float) -> None:
            """Report nothing: with it, one bar is made and not two."""

    return Path(hf_hub_download(repository, name, tqdm_class=Bar))


# What is read of a model's config.json --------------------------------------------------------

_Mean = Annotated[float, Field(ge=0, le=1)]
_Std = Annotated[float, Field(gt=0, le=10)]
_Side = Annotated[int, Field(ge=1, le=4096)]


class _Pretrained(BaseModel):
    mean: tuple[_Mean, _Mean, _Mean]
    std: tuple[_Std, _Std, _Std]
    input_size: tuple[Literal[3], _Side, _Side] = (3, 224, 224)
    interpolation: str = "bicubic"


class _ModelArguments(BaseModel, extra="forbid"):
    """Arguments of a network that change none of its features."""

    num_classes: int | None = None
    in_chans: Literal[3] = 3


class HubModel(BaseModel):
    """A timm model on the hub, as its config.json describes it."""

    architecture: Annotated[str, Field(pattern=r"^\w[\w.]*$", max_length=100)]
    num_classes: Annotated[int, Field(ge=0, le=100_000)] = 1000
    model_args: _ModelArguments = _ModelArguments()
    pretrained_cfg: _Pretrained

    @property
    def overlay(self) -> Mapping[str, Any]:
        """What replaces timm's own description of the weights."""
        return {"num_classes": self.num_classes, **self.pretrained_cfg.model_dump()}


def hub_model(repository: str, encoder: str, job: Job) -> HubModel:
    """Read which timm architecture a repository holds."""
    path = hub_file(repository, _CONFIG, encoder, job)
    if path.stat().st_size > _MOST_CONFIG_BYTES:
        raise HcsQcError(f"{path} has {path.stat().st_size:,} bytes; a small text was expected.")
    data = read_json(path)
    if "architecture" not in data:
        raise HcsQcError(
            f"{repository} is no timm model: its {_CONFIG} names no architecture. Take one that "
            "timm can load (library timm on the hub's page)."
        )
    # Older ones have everything in one level.
    config = data if "pretrained_cfg" in data else {**data, "pretrained_cfg": data}
    try:
        return HubModel.model_validate(config)
    except ValidationError as error:
        raise HcsQcError(
            f"The {_CONFIG} of {repository} describes a model that is not loaded "
            f"({problems_text(error, HubModel)}). Take another, or give its weights to the "
            "architecture they are for: --encoder timm:NAME --weights FILE.safetensors."
        ) from error
