"""The embedded encoder is really trained, and pools what it says."""

from __future__ import annotations

import pytest
import torch
from skimage import data
from torch.nn import functional

from napari_hcs_qc.encoders import weights as weights_module
from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.encoder import Encoder
from napari_hcs_qc.encoders.registry import list_encoders, load_encoder
from napari_hcs_qc.encoders.weights import load_strictly, read_default_weights
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job

SQUEEZENET = "squeezenet1_1_imagenet.safetensors"
FEATURES = [-3.9854, -0.08867, -1.93957, -0.25861, 4.0493, -0.98319, -1.56098, -0.0729]


@pytest.fixture(scope="module")
def timm_model():
    """The embedded weights in timm's own model, unfused: the reference."""
    architecture = build_architecture("timm", "tf_efficientnet_lite0")
    load_strictly(architecture.module, read_default_weights(), (), "the default weights")
    return architecture.module


@pytest.fixture(scope="module")
def inner():
    return load_encoder(stages="inner", device="cpu")


@pytest.fixture
def crops():
    return torch.rand((5, 3, 96, 96), generator=torch.Generator().manual_seed(0))


def assert_same(features: torch.Tensor, expected: torch.Tensor) -> None:
    """The same to 1e-5 of the largest feature: the order of sums is not fixed."""
    assert features.shape == expected.shape
    assert float((features - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def photo(name: str) -> torch.Tensor:
    pixels = getattr(data, name)()
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(pixels[top : top + side, left : left + side].copy())
    image = square.permute(2, 0, 1)[None].float() / 255
    return functional.interpolate(image, size=(224, 224), mode="bicubic", antialias=True)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("chelsea", {281, 282, 285}),  # tabby, tiger cat, Egyptian cat
        ("coffee", {967, 968}),  # espresso, cup
    ],
)
def test_the_embedded_weights_know_what_a_photograph_shows(timm_model, name, classes):
    with torch.inference_mode():
        top = timm_model((photo(name) - 0.5) / 0.5).topk(len(classes)).indices[0]
    assert set(top.tolist()) == classes


def test_last_is_the_global_average_before_the_classifier(timm_model, crops):
    encoder = load_encoder("efficientnet-lite0", device="cpu")
    with torch.inference_mode():
        expected = timm_model.forward_features((crops - 0.5) / 0.5).mean(dim=(2, 3))
    assert encoder.n_features == 1280
    assert_same(encoder.encode(crops), expected)


def test_inner_is_blocks_2_4_and_6_averaged_and_joined(timm_model, inner, crops):
    with torch.inference_mode():
        stages = timm_model.forward_intermediates(
            (crops - 0.5) / 0.5, indices=[2, 3, 4], intermediates_only=True
        )
    expected = torch.cat([stage.mean(dim=(2, 3)) for stage in stages], dim=1)
    assert inner.n_features == expected.shape[1] == 472
    assert_same(inner.encode(crops), expected)


def gaussian(side: int) -> torch.Tensor:
    """Weights around the middle of a map, one eighth of its side wide, adding up to one."""
    places = (torch.arange(side) + 0.5) / side - 0.5
    weights = torch.exp(-(places[:, None] ** 2 + places[None] ** 2) / (2 * 0.125**2))
    return weights / weights.sum()


@pytest.mark.parametrize("stages", ["inner", "last"])
def test_centre_pooling_is_a_mean_weighted_towards_the_middle(timm_model, crops, stages):
    encoder = load_encoder(stages=stages, pooling="centre", device="cpu")
    images = (crops - 0.5) / 0.5
    with torch.inference_mode():
        maps = (
            timm_model.forward_intermediates(images, indices=[2, 3, 4], intermediates_only=True)
            if stages == "inner"
            else [timm_model.forward_features(images)]
        )
    pooled = [(output * gaussian(output.shape[-1])).sum(dim=(2, 3)) for output in maps]
    expected = torch.cat(pooled, dim=1)
    assert_same(encoder.encode(crops), expected)
    assert encoder.fingerprint != load_encoder(stages=stages, device="cpu").fingerprint


def test_centre_pooling_needs_a_map():
    with pytest.raises(HcsQcError, match="no centre to weigh"):
        architecture = build_architecture("torchvision", "resnet18")
        Encoder("resnet18", architecture, "0", stages="last", pooling="centre", device="cpu")


def test_batch_norms_are_folded(inner):
    assert inner.n_fused == 49


def test_blocks_can_be_chosen_by_index(inner, crops):
    chosen = load_encoder(stages=(6, 2), device="cpu")
    features = inner.encode(crops)
    expected = torch.cat([features[:, -320:], features[:, :40]], dim=1)
    torch.testing.assert_close(chosen.encode(crops), expected)
    same = load_encoder(stages=(2, 4, 6), device="cpu")
    assert same.fingerprint == inner.fingerprint != chosen.fingerprint


def test_stages_behind_the_wanted_ones_are_not_computed(crops):
    encoder = load_encoder(stages=(1,), device="cpu")

    def forbidden(*_args):
        raise AssertionError("a stage was computed that nobody wanted")

    module = encoder._network.module
    module.blocks[2].register_forward_pre_hook(forbidden)
    assert encoder.encode(crops).shape == (5, 24)
    # and what can never be entered is gone
    assert not list(module.conv_head.parameters())


def test_a_stage_that_is_not_there_is_an_error_that_lists_them():
    with pytest.raises(HcsQcError, match=r"no stages \[2, 9\]; 0 to 6 .*blocks\.6"):
        load_encoder(stages=(2, 9), device="cpu")


def test_a_row_does_not_depend_on_its_batch(inner):
    crops = torch.rand((7, 1, 64, 64), generator=torch.Generator().manual_seed(1))
    together = inner.encode(crops)
    alone = torch.cat([inner.encode(crop[None]) for crop in crops])
    assert_same(together, alone)


def test_a_grey_crop_is_shown_in_all_three_colours(inner):
    grey = torch.rand((3, 1, 64, 64), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(inner.encode(grey), inner.encode(grey.expand(-1, 3, -1, -1)))


def test_encoding_leaves_the_crops_as_they_were(inner, crops):
    before = crops.clone()
    inner.encode(crops)
    assert torch.equal(crops, before)


def test_no_crops_give_no_rows(inner):
    assert inner.encode(torch.empty((0, 1, 64, 64))).shape == (0, 472)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 2, 64, 64), (1, 4, 64, 64)])
def test_crops_of_another_shape_are_refused(inner, shape):
    with pytest.raises(HcsQcError, match="1 or 3, height, width"):
        inner.encode(torch.zeros(shape))


def test_out_of_memory_halves_the_batch_and_goes_on(crops):
    encoder = load_encoder(stages=(1,), device="cpu")
    expected = encoder.encode(crops)
    sizes: list[int] = []

    def small_memory(_module, args):
        sizes.append(len(args[0]))
        if len(args[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    encoder._network.module.register_forward_pre_hook(small_memory)
    torch.testing.assert_close(encoder.encode(crops), expected)
    assert sizes == [5, 3, 2, 2, 1]
    sizes.clear()
    encoder.encode(crops)
    assert sizes == [2, 2, 1], "the smaller batch was not remembered"


def test_a_stop_is_obeyed_within_a_pass(inner, crops):
    asked = 0

    def stop_at_the_tenth_layer():
        nonlocal asked
        asked += 1
        return asked == 10

    with pytest.raises(Cancelled):
        inner.encode(crops, job=Job(should_stop=stop_at_the_tenth_layer))
    assert asked == 10
    assert inner.encode(crops).shape == (5, 472)


def test_no_memory_for_one_crop_is_an_error_in_words(crops):
    encoder = load_encoder(stages=(1,), device="cpu")

    def no_memory(_module, _args):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 4 bytes")

    encoder._network.module.register_forward_pre_hook(no_memory)
    with pytest.raises(HcsQcError, match="not enough memory on cpu"):
        encoder.encode(crops)


def test_another_failure_is_not_taken_for_a_lack_of_memory(crops):
    encoder = load_encoder(stages=(1,), device="cpu")

    def failure(_module, _args):
        raise RuntimeError("something else")

    encoder._network.module.register_forward_pre_hook(failure)
    with pytest.raises(RuntimeError, match="something else"):
        encoder.encode(crops)


def test_speed_is_measured_in_crops_per_second(inner):
    assert 0.1 < inner.measure_speed(32, n=4) < 1e6


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(HcsQcError, match=r"'abacus' cannot be used.*'cpu'"):
        load_encoder(device="abacus")


def test_the_description_is_plain_and_complete(inner):
    told = inner.describe()
    assert told["architecture"] == "timm:tf_efficientnet_lite0"
    assert told["pooled"] == ["blocks.2", "blocks.4", "blocks.6"]
    assert told["mean"] == told["std"] == [0.5, 0.5, 0.5]
    assert told["weights_sha256"].startswith("57934424")


def test_features_are_those_of_the_file_that_was_published(inner):
    """Computed with efficientnet-lite0-57934424.pth, before it became safetensors."""
    ramp = torch.linspace(0, 1, 64)
    crop = (ramp[:, None] * ramp[None])[None, None]
    features = inner.encode(crop)[0, ::59]
    torch.testing.assert_close(features, torch.tensor(FEATURES), rtol=1e-4, atol=1e-4)


def test_changed_weights_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "efficientnet-lite0.safetensors"
    path.write_bytes(b"something else")
    monkeypatch.setattr(weights_module, "DEFAULT_FILE", path)
    with pytest.raises(HcsQcError, match=r"9458b128.*was expected.*pip install --force-reinstall"):
        load_encoder(device="cpu")


def test_missing_weights_are_an_error_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(weights_module, "DEFAULT_FILE", tmp_path / "none.safetensors")
    with pytest.raises(HcsQcError, match=r"is missing.*pip install --force-reinstall"):
        load_encoder(device="cpu")


def test_licence_and_source_stand_beside_the_weights():
    folder = weights_module.DEFAULT_FILE.parent
    assert "Apache License" in (folder / "LICENSE.txt").read_text(encoding="utf-8")
    notice = (folder / "NOTICE.txt").read_text(encoding="utf-8")
    assert weights_module.DEFAULT_FILE.name in notice
    assert weights_module.DEFAULT_SHA256 in notice


def test_the_list_begins_with_the_embedded_encoder(cache):
    infos = {info.name: info for info in list_encoders()}
    assert list(infos) == ["efficientnet-lite0", "vgg16", "resnet18", "convnext-tiny"]
    assert infos["efficientnet-lite0"].ready
    assert not infos["vgg16"].ready
    assert "internet" in infos["vgg16"].needs


@pytest.mark.realdata
def test_squeezenet_from_a_local_file_knows_a_cat(shared):
    encoder = load_encoder(
        "torchvision:squeezenet1_1", weights=shared / "weights" / SQUEEZENET, device="cpu"
    )
    assert encoder.n_features == 512
    assert encoder.weights_sha256.startswith("32014ce3418a")
    features = encoder.encode(photo("chelsea"))
    architecture = build_architecture("torchvision", "squeezenet1_1")
    state = weights_module.read_safetensors(shared / "weights" / SQUEEZENET)
    load_strictly(architecture.module, state, (), SQUEEZENET)
    mean = torch.tensor(architecture.mean).view(1, 3, 1, 1)
    std = torch.tensor(architecture.std).view(1, 3, 1, 1)
    normalised = (photo("chelsea") - mean) / std
    with torch.inference_mode():
        expected = architecture.module.features(normalised).mean(dim=(2, 3))
        top = architecture.module(normalised).topk(3).indices[0]
    assert set(top.tolist()) & {281, 282, 285}
    assert_same(features, expected)
