"""Build a timm or torchvision architecture, without weights, and say what it expects."""

from __future__ import annotations

import difflib
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from napari_hcs_qc.encoders.triton_guard import import_vision
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from torch import Tensor, nn

Family: TypeAlias = Literal["timm", "torchvision"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Architecture:
    """A network to be filled with weights, and what is known of it."""

    family: Family
    name: str  # in the library
    module: nn.Module  # the network, as the library builds it; random until weights are loaded
    mean: tuple[float, float, float]  # normalisation of the input, red, green, blue
    std: tuple[float, float, float]  # normalisation of the input, red, green, blue
    input_px: int | None  # the only side of image it takes; None when any will do
    interpolation: Literal["bilinear", "bicubic"]  # how an image is brought to `input_px`
    classifier: tuple[str, ...]  # names of the modules behind the features

    def __str__(self) -> str:
        return f"{self.family}:{self.name}"

    @property
    def final_features(self) -> Callable[[Tensor], Tensor] | None:
        """What gives the last features of an image; None where they are a classifier's input."""
        if self.family == "torchvision":
            return None
        module = cast("Any", self.module)
        hidden = getattr(module, "head_hidden_size", module.num_features)
        if hidden == module.num_features:
            # The model's own pooling, with the norm that some (ConvNeXt) have behind it.
            return lambda x: module.forward_head(module.forward_features(x), pre_logits=True)
        # VGG and MobileNetV3 have dense layers before the classifier: those are not features.
        return cast("Callable[[Tensor], Tensor]", module.forward_features)


def build_architecture(
    family: Family, name: str, pretrained: Mapping[str, Any] | None = None
) -> Architecture:
    """Build an architecture by its name in timm or torchvision.

    With `pretrained`, timm loads the weights ``file`` in it; the rest replaces what timm knows of
    the weights.
    """
    if family == "timm":
        return _build_timm(name, pretrained)
    return _build_torchvision(name)


def _unknown(family: Family, name: str, known: list[str]) -> HcsQcError:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else "."
    return HcsQcError(f"{family} has no architecture {name!r}{hint}")


def timm_repository(name: str) -> str | None:
    """Give the Hugging Face repository in which timm publishes weights as safetensors."""
    models = _timm_with(name).models
    try:
        config = models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise HcsQcError(f"timm has no weights {name!r}: {error}") from error
    if config is None or getattr(config, "hf_hub_filename", None):
        return None
    return getattr(config, "hf_hub_id", None)


def torchvision_url(name: str) -> str:
    """Give the address at which torchvision publishes its best weights of an architecture."""
    return str(_torchvision_with(name).get_model_weights(name).DEFAULT.url)


def _timm_with(name: str) -> ModuleType:
    timm = import_vision("timm")
    # create_model would take "hf-hub:owner/name" and paths; only timm's own names are wanted.
    if not timm.is_model(name.split(".")[0]):
        raise _unknown("timm", name, timm.list_models())
    return timm


def _torchvision_with(name: str) -> ModuleType:
    models = import_vision("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown("torchvision", name, known)
    return models


def _build_timm(name: str, pretrained: Mapping[str, Any] | None) -> Architecture:
    timm = _timm_with(name)
    source: dict[str, Any] = {}
    if pretrained is not None:
        source = {"pretrained": True, "pretrained_cfg_overlay": dict(pretrained)}
        source["num_classes"] = pretrained.get("num_classes")
    try:
        module = timm.create_model(name, **source)
    except RuntimeError as error:
        failure = f"{pretrained['file']} does not fit" if pretrained else "timm cannot build"
        raise HcsQcError(f"{failure} the architecture {name}: {error}") from error
    config = module.pretrained_cfg
    classifier = config.get("classifier") or ()
    fixed = config.get("fixed_input_size", False)
    return Architecture(
        family="timm",
        name=name,
        module=module.eval(),
        mean=_triple(config["mean"]),
        std=_triple(config["std"]),
        input_px=int(config["input_size"][-1]) if fixed else None,
        interpolation="bicubic" if config.get("interpolation") == "bicubic" else "bilinear",
        classifier=(classifier,) if isinstance(classifier, str) else tuple(classifier),
    )


def _build_torchvision(name: str) -> Architecture:
    models = _torchvision_with(name)
    with warnings.catch_warnings():
        # GoogLeNet and Inception announce a change in how they start; ours are filled anyway.
        warnings.simplefilter("ignore", FutureWarning)
        module = models.get_model(name, weights=None)
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    children = [child for child, _ in module.named_children()]
    interpolation = str(getattr(transforms.interpolation, "value", "bilinear"))
    return Architecture(
        family="torchvision",
        name=name,
        module=module.eval(),
        mean=_triple(transforms.mean),
        std=_triple(transforms.std),
        input_px=getattr(module, "image_size", None),
        interpolation="bicubic" if interpolation == "bicubic" else "bilinear",
        # Everything torchvision has ends in its classifier; the Inceptions have auxiliary ones.
        classifier=(
            children[-1],
            *(child for child in children if child.lower().startswith("aux")),
        ),
    )


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def random_architecture(
    family: Family, name: str, seed: int, input_px: int | None = None
) -> Architecture:
    """Build a network with random weights, which follow from the seed alone."""
    import torch  # seconds to import, and a list of encoders does without

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = build_architecture(family, name)
    return replace(built, input_px=input_px or built.input_px)
