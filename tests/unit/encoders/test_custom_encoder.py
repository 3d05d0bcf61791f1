"""Encoders of one's own: written, listed, loaded by name and file, moved, refused when damaged."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch

from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.custom_encoder import (
    check_name,
    custom_encoder_beside,
    find_custom_encoder,
    import_custom_encoder,
    read_custom_encoder,
    save_custom_encoder,
    update_custom_encoder,
)
from napari_hcs_qc.encoders.registry import encoder_names, list_encoders, load_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import write_json

TOLD = {
    "family": "timm",
    "architecture": "test_resnet",
    "mean": [0.1, 0.1, 0.1],
    "std": [0.5, 0.5, 0.5],
    "input_px": 32,
    "n_features": 96,
    "origin": "simclr on 100 cells",
    "warnings": ["Short."],
}


@pytest.fixture
def own(tmp_path):
    torch.manual_seed(0)
    state = build_architecture("timm", "test_resnet").module.state_dict()
    return save_custom_encoder(tmp_path / "a" / "mine", safetensors.torch.save(state), TOLD)


def crops(side=32):
    return torch.rand((3, 1, side, side), generator=torch.Generator().manual_seed(0))


def test_it_is_listed_and_loaded_with_its_own_normalisation(own) -> None:
    assert encoder_names()[0] == "efficientnet-lite0"
    info = list_encoders(own.folder.parent)[-1]
    assert (info.name, info.ready, info.n_features) == ("mine", True, 96)
    assert (info.architecture, info.note) == ("timm:test_resnet", "Short.")
    assert len(list_encoders()) == len(list_encoders(own.folder.parent)) - 1
    encoder = load_encoder(info.name, weights=info.weights, device="cpu")
    assert encoder.mean == (0.1, 0.1, 0.1)
    assert encoder.weights_sha256 == own.weights_sha256
    assert encoder.n_features == 96
    # Whatever crops it is shown come to it at the size it was trained on.
    assert encoder.describe()["input_px"] == 32
    small = crops()
    large = torch.nn.functional.interpolate(small, scale_factor=2, mode="nearest")
    torch.testing.assert_close(encoder.encode(large), encoder.encode(small), atol=0.2, rtol=0.1)
    plain = load_encoder("timm:test_resnet", weights=own.weights, device="cpu")
    assert not torch.allclose(plain.encode(small), encoder.encode(small), atol=1e-3)


def test_it_is_found_by_name_and_by_its_file(own) -> None:
    root = own.folder.parent
    assert find_custom_encoder(root, "mine").weights_sha256 == own.weights_sha256
    assert find_custom_encoder(root, "yours") is None
    assert find_custom_encoder(root, "../a/mine") is None
    assert custom_encoder_beside(own.weights).name == "mine"
    assert custom_encoder_beside(None) is None
    assert custom_encoder_beside(root / "other.safetensors") is None


def test_it_is_imported_and_the_same_again_changes_nothing(own, tmp_path) -> None:
    root = tmp_path / "b"
    copy = import_custom_encoder(own.folder, root, "")
    assert (copy.name, copy.folder) == ("mine", root / "mine")
    assert copy.manifest["imported_from"] == str(own.folder)
    assert import_custom_encoder(own.weights, root, "").folder == copy.folder
    update_custom_encoder(own.folder, warnings=[])
    assert read_custom_encoder(own.folder).warnings == () and copy.warnings == ("Short.",)
    torch.manual_seed(1)
    other = build_architecture("timm", "test_resnet").module.state_dict()
    save_custom_encoder(tmp_path / "c" / "mine", safetensors.torch.save(other), TOLD)
    with pytest.raises(HcsQcError, match="already"):
        import_custom_encoder(tmp_path / "c" / "mine", root, "")
    assert import_custom_encoder(tmp_path / "c" / "mine", root, "second").name == "second"
    with pytest.raises(HcsQcError, match="name of another encoder"):
        import_custom_encoder(own.folder, root, "ResNet18", encoder_names())
    with pytest.raises(HcsQcError, match="no encoder"):
        import_custom_encoder(tmp_path, root, "")


@pytest.mark.parametrize("name", ["", "a b", "../x", "ä", "x" * 65, "timm:resnet18", ".x"])
def test_a_name_that_is_no_folder_everywhere_is_refused(name) -> None:
    with pytest.raises(HcsQcError, match="cannot name an encoder"):
        check_name(name)


def test_weights_that_are_not_those_of_the_manifest_are_refused(own) -> None:
    torch.manual_seed(3)
    other = build_architecture("timm", "test_resnet").module.state_dict()
    own.weights.write_bytes(safetensors.torch.save(other))
    with pytest.raises(HcsQcError, match="SHA-256"):
        load_encoder("mine", weights=own.weights, device="cpu")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": 99}, "Update napari-hcs-qc"),
        ({"format": "x"}, "its format is 'x'"),
        ({"mean": [1]}, "damaged"),
        ({"family": "pickle"}, "damaged"),
        ({"architecture": "resnet18; x"}, "damaged"),
        ({"std": [0, 1, 1]}, "damaged"),
        ({"input_px": 10**9}, "damaged"),
        ({"n_features": 10**12}, "damaged"),
        ({"recipe": "nucleus"}, "damaged"),
        ({"weights_sha256": ""}, "damaged"),
    ],
)
def test_a_damaged_one_is_listed_with_what_is_wrong(own, change, text) -> None:
    path = own.folder / "encoder.json"
    write_json(path, {**json.loads(path.read_text()), **change})
    with pytest.raises(HcsQcError, match=text):
        read_custom_encoder(own.folder)
    info = list_encoders(own.folder.parent)[-1]
    assert (info.name, info.ready) == ("mine", False)
    assert text in info.needs


def test_one_from_elsewhere_with_numbers_that_are_not_finite_is_refused(tmp_path) -> None:
    state = build_architecture("timm", "test_resnet").module.state_dict()
    name = next(name for name in state if name.endswith("conv1.weight"))
    state[name][0, 0] = float("nan")
    broken = save_custom_encoder(tmp_path / "a" / "mine", safetensors.torch.save(state), TOLD)
    with pytest.raises(HcsQcError, match=f"not finite, in {name}"):
        import_custom_encoder(broken.folder, tmp_path / "b", "")
    assert not (tmp_path / "b").exists()


def test_without_its_weights_it_is_not_ready(own) -> None:
    own.weights.unlink()
    info = list_encoders(own.folder.parent)[-1]
    assert not info.ready and "its weights" in info.needs
