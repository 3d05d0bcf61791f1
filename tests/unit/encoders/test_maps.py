"""The maps of an encoder before they are averaged; the weights are random."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.encoder import Encoder
from napari_hcs_qc.errors import HcsQcError


def encoder_of(name: str, stages: str = "inner", pooling: str = "mean") -> Encoder:
    torch.manual_seed(0)
    architecture = build_architecture("timm", name)
    return Encoder(name, architecture, "0", stages=stages, pooling=pooling, device="cpu")


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "test_resnet", "test_convnext"])
def test_averaged_they_are_the_embedding(name: str) -> None:
    encoder = encoder_of(name)
    image = torch.rand((1, 96, 96), generator=torch.Generator().manual_seed(1))
    maps = encoder.maps(image)
    averaged = np.concatenate([values.mean(axis=(1, 2)) for values in maps])
    np.testing.assert_allclose(averaged, encoder.encode(image[None])[0].numpy(), atol=1e-4)


def test_they_have_the_shape_of_an_image_of_any_shape_and_leave_encoding_as_it_is() -> None:
    encoder = encoder_of("tf_efficientnet_lite0", pooling="centre")
    crops = torch.rand((2, 1, 64, 64), generator=torch.Generator().manual_seed(1))
    before = encoder.encode(crops)
    maps = encoder.maps(torch.rand((1, 128, 320)))
    assert [values.shape[1:] for values in maps] == [(16, 40), (8, 20), (4, 10)]
    assert sum(len(values) for values in maps) == encoder.n_features
    np.testing.assert_array_equal(encoder.encode(crops), before)


def test_the_last_features_of_timm_have_a_map() -> None:
    encoder = encoder_of("test_resnet", stages="last")
    [values] = encoder.maps(torch.rand((3, 64, 96)))
    assert len(values) == encoder.n_features


def test_who_has_none_says_so() -> None:
    with pytest.raises(HcsQcError, match=r"test_vit takes images of 160 px only"):
        encoder_of("test_vit").maps(torch.rand((1, 64, 96)))
    architecture = build_architecture("torchvision", "resnet18")
    vectors = Encoder("resnet18", architecture, "0", stages="last", device="cpu")
    with pytest.raises(HcsQcError, match="has no maps at the stages that are pooled"):
        vectors.maps(torch.rand((1, 64, 96)))
