"""Encoders on ONNX Runtime and OpenVINO: PyTorch's numbers, stores of their own, told fallbacks."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_hcs_qc.encoders.architecture import Architecture, build_architecture
from napari_hcs_qc.encoders.backends import choice
from napari_hcs_qc.encoders.embed.embed_cells import embed_cells
from napari_hcs_qc.encoders.encoder import Encoder
from napari_hcs_qc.encoders.onnx.onnx_operators import to_onnx
from napari_hcs_qc.encoders.onnx.translation import UnknownOperatorError
from napari_hcs_qc.encoders.registry import cached_encoder, load_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job

OTHERS = [
    pytest.param(
        name, marks=pytest.mark.skipif(not choice.backend_version(name), reason=f"no {name} here")
    )
    for name in ("onnxruntime", "openvino")
]
HAS_BF16 = pytest.mark.skipif(not choice.backend_version(choice.BF16), reason="no bfloat16 here")
HAS_ONNX = pytest.mark.skipif(not choice.backend_version("onnxruntime"), reason="no onnxruntime")


@pytest.fixture(scope="module", autouse=True)
def _kept_graphs(tmp_path_factory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HCS_QC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def reference() -> Encoder:
    return load_encoder(stages="inner", pooling="centre", device="cpu", backend="torch")


@pytest.fixture(scope="module")
def onnx() -> Encoder:
    return load_encoder(stages="inner", pooling="centre", device="cpu", backend="onnxruntime")


def small(name: str, seed: int = 0) -> Architecture:
    """Build one of timm's test networks with random, but not degenerate, weights."""
    torch.manual_seed(seed)
    return build_architecture("timm", name)


def encoder_of(architecture: Architecture, backend: str, **options: Any) -> Encoder:
    return Encoder("small", architecture, "0" * 64, device="cpu", backend=backend, **options)


def crops_like_cells(n: int, side: int = 128, channels: int = 1, seed: int = 0) -> torch.Tensor:
    """Blobs on a dark, noisy ground."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.linspace(-1, 1, side)
    radius = torch.hypot(axis[:, None], axis[None])
    width = torch.rand((n, channels, 1, 1), generator=generator) * 0.5 + 0.2
    noise = torch.rand((n, channels, side, side), generator=generator) * 0.1
    return torch.sigmoid((width - radius) * 20) * 0.7 + noise


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_default_encoder_gives_the_numbers_of_pytorch(backend, channels, reference):
    crops = crops_like_cells(11, channels=channels)
    encoder = load_encoder(stages="inner", pooling="centre", device="cpu", backend=backend)
    assert (encoder.backend, encoder.backend_note) == (backend, "")
    found = encoder.encode(crops)
    assert found.shape == (11, 472)
    assert apart(found, reference.encode(crops)) < 1e-5


@HAS_ONNX
def test_a_row_does_not_depend_on_the_other_crops(onnx):
    crops = crops_like_cells(9)
    alone = torch.cat([onnx.encode(crop[None]) for crop in crops])
    assert torch.equal(onnx.encode(crops), alone)


@HAS_ONNX
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_resnet", {"stages": "inner"}),
        ("test_convnext", {"stages": "inner", "pooling": "centre"}),
        ("test_vit", {"stages": "inner"}),
        pytest.param("test_efficientnet", {"stages": "last"}, marks=pytest.mark.slow),
        pytest.param("test_mambaout", {"stages": "last"}, marks=pytest.mark.slow),
        pytest.param("test_nfnet", {"stages": "last"}, marks=pytest.mark.slow),
    ],
)
def test_other_architectures_run_or_say_why_not(name, options):
    plain = encoder_of(small(name), "torch", **options)
    other = encoder_of(small(name), "onnxruntime", **options)
    assert other.backend == "onnxruntime", other.backend_note
    crops = crops_like_cells(5, side=160)
    assert apart(other.encode(crops), plain.encode(crops)) < 1e-4


@HAS_ONNX
def test_crops_of_another_size_are_made_ready_when_they_come(reference, onnx):
    crops = crops_like_cells(3, side=64)
    assert apart(onnx.encode(crops), reference.encode(crops)) < 1e-5


class _Sorting(nn.Module):
    """Does what no backend but PyTorch is told of."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.sort(dim=1).values


@HAS_ONNX
def test_a_network_that_a_backend_cannot_take_runs_on_pytorch_and_says_so():
    architecture = small("test_resnet")
    architecture.module.layer1.append(_Sorting())
    encoder = encoder_of(architecture, "onnxruntime")
    assert encoder.backend == "torch"
    assert "onnxruntime cannot" in encoder.backend_note
    assert "sort" in encoder.backend_note
    assert encoder.encode(crops_like_cells(2)).isfinite().all()


def test_an_operator_without_translation_is_named():
    with pytest.raises(UnknownOperatorError, match="sort"):
        to_onnx(_Sorting(), torch.rand(1, 3, 8, 8))


@HAS_ONNX
def test_wrong_numbers_are_not_accepted(monkeypatch):
    from napari_hcs_qc.encoders.backends import compiled

    real = compiled.make_runner

    def wrong(backend: Any, graph: bytes) -> Any:
        runner = real(backend, graph)
        return lambda crops: runner(crops) * 1.01

    monkeypatch.setattr(compiled, "make_runner", wrong)
    encoder = encoder_of(small("test_resnet", seed=3), "onnxruntime")
    assert encoder.backend == "torch"
    assert "differ from PyTorch's" in encoder.backend_note


@HAS_ONNX
def test_a_kept_graph_saves_the_export_and_a_damaged_one_is_made_anew(monkeypatch, tmp_path):
    from napari_hcs_qc.encoders.backends import compiled

    exported = []
    real = compiled.to_onnx
    monkeypatch.setattr(compiled, "to_onnx", lambda *args: exported.append(1) or real(*args))
    monkeypatch.setenv("HCS_QC_CACHE", str(tmp_path))
    expected = encoder_of(small("test_resnet"), "onnxruntime").encode(crops_like_cells(2))
    encoder_of(small("test_resnet"), "onnxruntime")
    assert len(exported) == 1
    (graph,) = (tmp_path / "graphs").glob("*.onnx")
    graph.write_bytes(graph.read_bytes()[:-1000])
    again = encoder_of(small("test_resnet"), "onnxruntime")
    assert len(exported) == 2
    assert torch.equal(again.encode(crops_like_cells(2)), expected)
    # Other weights never meet the graph of these.
    other = Encoder("x", small("test_resnet", 7), "1" * 64, device="cpu", backend="onnxruntime")
    assert len(exported) == 3
    assert apart(other.encode(crops_like_cells(2)), expected) > 1e-2


@HAS_ONNX
def test_backends_have_fingerprints_of_their_own_and_that_of_pytorch_is_as_ever(reference, onnx):
    assert onnx.fingerprint != reference.fingerprint
    assert onnx.network_fingerprint == reference.network_fingerprint
    assert onnx.describe()["backend"] == "onnxruntime"
    assert onnx.describe()["backend_version"] == choice.backend_version("onnxruntime")


def test_stores_made_before_there_were_backends_are_found_again(reference):
    assert reference.fingerprint == reference.network_fingerprint == "d08055733ef1747e"


@HAS_ONNX
def test_no_store_holds_embeddings_of_two_backends(inputs, tmp_path):
    stores = {}
    for backend in ("torch", "onnxruntime"):
        encoder = encoder_of(small("test_resnet"), backend)
        stores[backend] = embed_cells(
            inputs.plate, inputs.cells, inputs.ranges, inputs.recipe, encoder, tmp_path
        )
    assert stores["torch"].folder != stores["onnxruntime"].folder
    for backend, store in stores.items():
        assert store.manifest.encoder["backend"] == backend
    first, second = (torch.from_numpy(np.array(one.embeddings)) for one in stores.values())
    assert apart(first, second) < 1e-5


@pytest.mark.parametrize("backend", OTHERS)
def test_encoding_stops_within_a_second(backend):
    torch.set_num_threads(2)
    encoder = load_encoder(stages="inner", pooling="centre", device="cpu", backend=backend)
    crops = crops_like_cells(16).repeat(200, 1, 1, 1)
    began = time.perf_counter()
    with pytest.raises(Cancelled):
        encoder.encode(crops, job=Job(should_stop=lambda: time.perf_counter() - began > 0.3))
    assert time.perf_counter() - began < 1.3


@HAS_ONNX
def test_loading_can_be_cancelled_while_a_network_is_made_ready(monkeypatch):
    from napari_hcs_qc.encoders.backends import compiled

    going, over = threading.Event(), threading.Event()

    def slow(*_args: object) -> bytes:
        going.set()
        time.sleep(2)
        over.set()
        raise RuntimeError("never used")

    monkeypatch.setattr(compiled, "to_onnx", slow)
    monkeypatch.setattr(compiled, "kept_graph", lambda _key, export, use: use(export()))
    with pytest.raises(Cancelled):
        load_encoder(device="cpu", backend="onnxruntime", job=Job(should_stop=going.is_set))
    assert not over.is_set()  # the work was left to itself, not waited for


def test_a_row_of_pytorch_hardly_depends_on_the_other_crops(reference):
    crops = crops_like_cells(20)
    assert apart(reference.encode(crops[3:4]), reference.encode(crops)[3:4]) < 1e-5


# ---- the choice --------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch) -> Any:
    """Say what is installed."""
    monkeypatch.delenv(choice.VARIABLE, raising=False)

    def say(*names: str) -> None:
        monkeypatch.setattr(
            choice, "backend_version", lambda name: "1.0" if name in ("torch", *names) else ""
        )

    return say


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ((), "torch"),
        (("onnxruntime",), "onnxruntime"),
        (("openvino",), "openvino"),
        (("openvino", "onnxruntime"), "onnxruntime"),
    ],
)
def test_automatic_choice_is_the_first_that_is_installed(installed, names, chosen):
    installed(*names)
    assert choice.choose_backend("auto") == chosen


def test_the_environment_stands_for_auto_and_gives_way_to_a_name(installed, monkeypatch):
    installed("onnxruntime", "openvino")
    monkeypatch.setenv(choice.VARIABLE, "openvino")
    assert choice.choose_backend("auto") == "openvino"
    assert choice.choose_backend("torch") == "torch"
    monkeypatch.setenv(choice.VARIABLE, "tensorrt")
    with pytest.raises(HcsQcError, match=r"HCS_QC_BACKEND.*'tensorrt'.*onnxruntime"):
        choice.choose_backend("auto")


def test_a_backend_that_is_not_installed_is_told_with_its_remedy(installed):
    installed()
    with pytest.raises(HcsQcError, match=r"onnxruntime cannot be used.*pip install .*\[onnx\]"):
        load_encoder(device="cpu", backend="onnxruntime")
    told = {info.name: info for info in choice.list_backends()}
    assert told["torch"].needs == ""
    assert "napari-hcs-qc[openvino]" in told["openvino"].needs


def test_bfloat16_is_used_only_where_it_is_asked_for(installed, monkeypatch):
    installed("onnxruntime", "openvino", choice.BF16)
    assert choice.choose_backend("auto") == "onnxruntime"
    assert choice.choose_backend(choice.BF16) == choice.as_trained(choice.BF16) == choice.BF16
    installed("openvino")  # on a processor without it
    with pytest.raises(HcsQcError, match=r"openvino-bf16 cannot be used here.*AMX"):
        choice.choose_backend(choice.BF16)
    assert choice.as_trained(choice.BF16) == "openvino"


@HAS_BF16
def test_bfloat16_is_close_and_has_stores_of_its_own(reference):
    encoder = load_encoder(stages="inner", pooling="centre", device="cpu", backend=choice.BF16)
    assert (encoder.backend, encoder.backend_note) == (choice.BF16, "")
    crops = crops_like_cells(11)
    assert 1e-4 < apart(encoder.encode(crops), reference.encode(crops)) < 0.1
    assert encoder.fingerprint != reference.fingerprint
    assert encoder.network_fingerprint == reference.network_fingerprint


def test_a_model_keeps_its_backend_where_it_is_installed(installed):
    installed("onnxruntime")
    assert choice.as_trained("onnxruntime") == "onnxruntime"
    assert choice.as_trained("openvino") == "onnxruntime"
    assert choice.as_trained(None) == choice.as_trained("torch") == "torch"
    installed()
    assert choice.as_trained("onnxruntime") == "torch"


@HAS_ONNX
def test_the_cached_encoder_is_loaded_again_for_another_backend():
    pooled: Any = {"stages": "inner", "pooling": "centre", "device": "cpu"}
    first = cached_encoder(**pooled, backend="torch")
    second = cached_encoder(**pooled, backend="onnxruntime")
    assert (first.backend, second.backend) == ("torch", "onnxruntime")
    assert cached_encoder(**pooled, backend="onnxruntime") is second


@HAS_ONNX
def test_a_model_judges_with_another_backend_and_says_so(reference, onnx):
    from types import SimpleNamespace

    from napari_hcs_qc.assay.scoring.prediction import backend_warning, check_encoder
    from napari_hcs_qc.assay.store.model_manifest import EncoderRecord

    def model_of(encoder: Encoder, *without: str, **changes: Any) -> Any:
        data = {
            **encoder.describe(),
            "fingerprint": encoder.fingerprint,
            "network_fingerprint": encoder.network_fingerprint,
            "weights": None,
            **changes,
        }
        known = {name: value for name, value in data.items() if name not in without}
        return SimpleNamespace(id="0001", encoder=EncoderRecord.model_validate(known, strict=False))

    model = model_of(onnx)
    check_encoder(model, onnx)
    assert backend_warning(model, onnx) == ()
    check_encoder(model, reference)
    (warning,) = backend_warning(model, reference)
    assert "onnxruntime" in warning
    assert "torch" in warning
    of_bf16 = model_of(reference, backend=choice.BF16)
    check_encoder(of_bf16, reference)
    assert "train again" in backend_warning(of_bf16, reference)[0]
    assert "train again" not in warning
    # A manifest of before knows neither backend nor network.
    old = model_of(reference, "backend", "backend_version", "network_fingerprint")
    check_encoder(old, reference)
    assert backend_warning(old, reference) == ()
    with pytest.raises(HcsQcError, match="not the one that model"):
        check_encoder(model_of(onnx, network_fingerprint="other"), reference)


def test_backends_of_the_command_line(installed, capsys):
    from napari_hcs_qc.cli import main

    installed("onnxruntime")
    assert main(["encoders"]) == 0
    told = capsys.readouterr().out
    assert "onnxruntime 1.0" in told
    assert "openvino (needs pip install 'napari-hcs-qc[openvino]')" in told
    assert "In use: onnxruntime" in told
