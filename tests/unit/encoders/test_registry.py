"""Weights from a hub, a model zoo or a file: fetched once, checked, never random.

All weights here are random, written by the tests themselves; no figure is made from them.
"""

from __future__ import annotations

import hashlib
import io
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import safetensors.torch
import torch

from napari_hcs_qc.encoders import registry
from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.encoder import Encoder
from napari_hcs_qc.encoders.registry import cached_encoder, list_encoders, load_encoder
from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.job import Cancelled

TINY = "timm:test_resnet.r160_in1k"
TINY_PATH = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"


def random_state(family: str, name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_architecture(family, name).module.state_dict()


@pytest.fixture
def hub(weights_server, cache, monkeypatch):
    """A stand-in for Hugging Face's hub that has one tiny model."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", weights_server.url)
    state = random_state("timm", "test_resnet")
    weights_server.files[TINY_PATH] = safetensors.torch.save(state)
    return weights_server


@pytest.fixture
def tiny_file(tmp_path):
    """Write a safetensors file of the tiny architecture, changed by a function."""

    def write(change=lambda state: None, name="tiny.safetensors"):
        state = random_state("timm", "test_resnet")
        change(state)
        path = tmp_path / name
        safetensors.torch.save_file(state, path)
        return path

    return write


def crops():
    return torch.rand((2, 1, 64, 64), generator=torch.Generator().manual_seed(0))


def test_weights_are_downloaded_once_with_progress_and_kept(hub, cache):
    seen: list[tuple[int, int, str]] = []
    encoder = load_encoder(TINY, on_progress=lambda *told: seen.append(told), device="cpu")
    size = len(hub.files[TINY_PATH])
    assert seen[-1][:2] == (size, size)
    assert "Downloading the weights" in seen[-1][2]
    assert encoder.weights_sha256 == hashlib.sha256(hub.files[TINY_PATH]).hexdigest()
    assert len(hub.asked) == 1

    hub.files.clear()  # now the hub is gone
    again = load_encoder(TINY, device="cpu")
    assert len(hub.asked) == 1
    torch.testing.assert_close(again.encode(crops()), encoder.encode(crops()))


def test_the_downloaded_weights_are_the_ones_in_use(hub):
    module = build_architecture("timm", "test_resnet").module
    module.load_state_dict(safetensors.torch.load(hub.files[TINY_PATH]))
    encoder = load_encoder(TINY, device="cpu")
    mean = torch.tensor(encoder.mean).view(1, 3, 1, 1)
    std = torch.tensor(encoder.std).view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = module.forward_features((crops() - mean) / std).mean(dim=(2, 3))
    torch.testing.assert_close(encoder.encode(crops()), expected, rtol=1e-4, atol=1e-5)


def test_what_hugging_faces_own_tools_have_kept_is_used(hub, tmp_path):
    folder = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc" / "model.safetensors").write_bytes(hub.files[TINY_PATH])
    load_encoder(TINY, device="cpu")
    assert hub.asked == []


def test_without_a_network_both_ways_out_are_named_at_once(cache, monkeypatch):
    import huggingface_hub.constants

    # A port on which nobody listens.
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    began = time.perf_counter()
    with pytest.raises(HcsQcError, match=r"connect to the internet once.*--weights FILE") as error:
        load_encoder("vgg16")
    assert time.perf_counter() - began < 15
    assert "vgg16" in str(error.value)
    assert not list(cache.rglob("*.safetensors"))


def test_offline_mode_asks_nobody(hub, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HcsQcError, match="HF_HUB_OFFLINE is set"):
        load_encoder(TINY)
    assert hub.asked == []


def test_a_download_broken_off_keeps_nothing(hub, cache):
    hub.cut = 1000
    with pytest.raises(HcsQcError, match="broken off"):
        load_encoder(TINY)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_hub_that_has_no_such_file_is_told(hub):
    hub.files.clear()
    with pytest.raises(HcsQcError, match="HTTP 404"):
        load_encoder(TINY)


def test_a_download_can_be_stopped(hub, cache):
    with pytest.raises(Cancelled):
        load_encoder(TINY, should_stop=lambda: bool(hub.asked))
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_cache_that_cannot_be_written_is_a_write_error(hub, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    with pytest.raises(WriteError):
        load_encoder(TINY)


def test_a_damaged_file_in_the_cache_is_named(hub, cache):
    load_encoder(TINY, device="cpu")
    (path,) = cache.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(HcsQcError, match=r"model\.safetensors.*Delete it"):
        load_encoder(TINY)


def test_a_hub_file_of_another_architecture_is_refused(hub):
    hub.files[TINY_PATH] = safetensors.torch.save(random_state("timm", "test_vit"))
    with pytest.raises(HcsQcError, match="does not fit the architecture"):
        load_encoder(TINY)


def test_the_list_knows_what_has_been_downloaded(cache):
    path = cache / "timm--resnet18.tv_in1k" / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    infos = {info.name: info for info in list_encoders()}
    assert infos["resnet18"].ready
    assert infos["resnet18"].needs == ""
    assert not infos["convnext-tiny"].ready


@pytest.fixture
def zoo(weights_server, cache, monkeypatch):
    """A stand-in for PyTorch's model zoo."""

    def serve(content: bytes, digits: str | None = None) -> None:
        digits = digits or hashlib.sha256(content).hexdigest()[:8]
        path = f"/squeezenet1_1-{digits}.pth"
        weights_server.files[path] = content
        monkeypatch.setattr(registry, "torchvision_url", lambda _name: weights_server.url + path)

    return serve


def pickled(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def test_torchvision_weights_are_checked_against_the_hash_in_their_name(zoo, cache):
    content = pickled(random_state("torchvision", "squeezenet1_1"))
    zoo(content)
    encoder = load_encoder("torchvision:squeezenet1_1", stages="inner", device="cpu")
    assert encoder.n_features == 128 + 256 + 512
    assert encoder.weights_sha256 == hashlib.sha256(content).hexdigest()


def test_torchvision_weights_of_another_hash_are_refused(zoo, cache):
    zoo(pickled(random_state("torchvision", "squeezenet1_1")), digits="00000000")
    with pytest.raises(HcsQcError, match="begins with 00000000 was expected"):
        load_encoder("torchvision:squeezenet1_1")
    assert not [path for path in cache.rglob("*") if path.is_file()]


class _Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code in a pickle was run')",))


def test_code_in_a_pickle_is_not_run(zoo):
    zoo(pickled({"features.0.weight": _Evil()}))
    with pytest.raises(HcsQcError, match="cannot be read"):
        load_encoder("torchvision:squeezenet1_1")


def test_a_local_file_is_loaded_and_its_hash_is_part_of_the_fingerprint(tiny_file):
    first = load_encoder("timm:test_resnet", weights=tiny_file(), device="cpu")

    def change(state):
        state["fc.bias"] = state["fc.bias"] + 1

    other = load_encoder("timm:test_resnet", weights=tiny_file(change, "b.safetensors"))
    assert first.fingerprint != other.fingerprint
    assert first.architecture == "timm:test_resnet"


def test_a_local_file_may_lack_the_classifier_or_have_other_classes(tiny_file):
    def without(state):
        del state["fc.weight"], state["fc.bias"]

    def two_classes(state):
        state["fc.weight"], state["fc.bias"] = torch.zeros((2, 64)), torch.zeros(2)

    for change in (without, two_classes):
        load_encoder("timm:test_resnet", weights=tiny_file(change), device="cpu")


def remove(state):
    del state["conv1.0.weight"], state["bn1.running_var"]


def add(state):
    state["layer9.weight"] = torch.zeros(3)


def reshape(state):
    state["bn1.weight"] = torch.zeros(7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove, r"2 missing \(conv1\.0\.weight, bn1\.running_var\)"),
        (add, r"1 unexpected \(layer9\.weight\)"),
        (reshape, r"1 of another shape \(bn1\.weight \(7,\) instead of \(\d+,\)\)"),
    ],
)
def test_a_local_file_that_does_not_fit_says_where(tiny_file, change, words):
    with pytest.raises(HcsQcError, match=rf"tiny\.safetensors does not fit.*{words}"):
        load_encoder("timm:test_resnet", weights=tiny_file(change))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_a_pickle_is_refused_unread(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickled({"a": _Evil()}))
    with pytest.raises(HcsQcError, match=r"only \.safetensors is read"):
        load_encoder("timm:test_resnet", weights=path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\xff" * 100])
def test_a_damaged_local_file_is_told(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(HcsQcError, match="cannot be read as safetensors"):
        load_encoder("timm:test_resnet", weights=path)


def test_a_missing_local_file_is_told(tmp_path):
    with pytest.raises(HcsQcError, match=r"gone\.safetensors does not exist"):
        load_encoder("timm:test_resnet", weights=tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet", "There is no encoder 'resnet'. Did you mean resnet18"),
        ("", "There is no encoder ''"),
        ("keras:resnet50", "There is no encoder 'keras:resnet50'"),
        ("timm:hf-hub:someone/model", "There is no encoder"),
        ("timm:resnet18.nonsense", "no weights 'resnet18.nonsense'"),
        ("timm:resnet81", "timm has no architecture 'resnet81'; did you mean"),
        ("torchvision:vgg61", "torchvision has no architecture 'vgg61'; did you mean"),
    ],
)
def test_an_unknown_name_is_told_with_near_ones(name, words):
    with pytest.raises(HcsQcError, match=words):
        load_encoder(name)


@pytest.mark.parametrize(
    ("family", "name", "stages", "n_features"),
    [
        ("timm", "vgg16.tv_in1k", "last", 512),
        ("timm", "resnet18.tv_in1k", "last", 512),
        ("timm", "resnet18.tv_in1k", "inner", 128 + 256 + 512),
        ("timm", "convnext_tiny.fb_in1k", "last", 768),
        ("timm", "convnext_tiny.fb_in1k", "inner", 192 + 384 + 768),
        ("timm", "test_vit", "last", 64),
        ("torchvision", "resnet18", "inner", 128 + 256 + 512),
        ("torchvision", "alexnet", "last", 256),
        ("torchvision", "densenet121", "last", 1024),
        ("torchvision", "shufflenet_v2_x0_5", "last", 1024),
    ],
)
def test_every_kind_of_architecture_gives_its_features(family, name, stages, n_features):
    encoder = Encoder(name, build_architecture(family, name), "0", stages=stages, device="cpu")
    assert encoder.n_features == n_features
    infos = {f"{info.architecture}": info.n_features for info in list_encoders()}
    if stages == "last":
        assert infos.get(f"{family}:{name}", n_features) == n_features
    crops = torch.rand((3, 1, 96, 96), generator=torch.Generator().manual_seed(0))
    features = encoder.encode(crops)
    assert features.shape == (3, n_features)
    assert torch.isfinite(features).all()
    torch.testing.assert_close(features[1:2], encoder.encode(crops[1:2]), rtol=1e-4, atol=1e-5)
    if name.startswith("vgg"):
        n_parameters = sum(p.numel() for p in encoder._network.module.parameters())
        assert n_parameters < 15e6, "the dense layers, 120 million parameters, were kept"


class TestCachedEncoder:
    def test_the_last_one_stays_until_another_is_asked_for(self, tiny_file) -> None:
        path = tiny_file()
        first = cached_encoder("timm:test_resnet", weights=path, device="cpu")
        assert cached_encoder("timm:test_resnet", weights=path, device="cpu") is first
        # What "auto" means here is one device, by whichever name.
        auto = cached_encoder("timm:test_resnet", weights=path)
        assert (auto is first) == (auto.device.type == "cpu")
        other = cached_encoder("timm:test_resnet", weights=path, stages="inner", device="cpu")
        assert other is not first
        assert other.stages == "inner"
        again = cached_encoder("timm:test_resnet", weights=path, device="cpu")
        assert again is not first
        assert again.fingerprint == first.fingerprint

    def test_a_file_that_has_changed_is_loaded_again(self, tiny_file) -> None:
        path = tiny_file()
        first = cached_encoder("timm:test_resnet", weights=path, device="cpu")
        tiny_file(lambda state: state.update({"conv1.0.weight": state["conv1.0.weight"] * 2}))
        time.sleep(0.01)
        path.touch()
        second = cached_encoder("timm:test_resnet", weights=path, device="cpu")
        assert second.weights_sha256 != first.weights_sha256

    def test_threads_that_ask_together_get_one(self, tiny_file, monkeypatch) -> None:
        path, loads = tiny_file(name="together.safetensors"), []
        load = registry.load_encoder

        def slow(*args, **kwargs):
            loads.append(args)
            time.sleep(0.2)
            return load(*args, **kwargs)

        monkeypatch.setattr(registry, "load_encoder", slow)
        with ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(cached_encoder, "timm:test_resnet", weights=path, device="cpu")
                for _ in range(4)
            ]
            found = {id(job.result()) for job in jobs}
        assert len(found) == len(loads) == 1

    def test_what_cannot_be_loaded_leaves_the_kept_one(self, tiny_file) -> None:
        path = tiny_file()
        first = cached_encoder("timm:test_resnet", weights=path, device="cpu")
        with pytest.raises(HcsQcError, match="no encoder 'nothing'"):
            cached_encoder("nothing")
        assert cached_encoder("timm:test_resnet", weights=path, device="cpu") is first

    def test_who_waits_for_another_thread_can_be_stopped(self, tiny_file) -> None:
        path = tiny_file()
        with registry._cache_lock, pytest.raises(Cancelled):
            cached_encoder("timm:test_resnet", weights=path, should_stop=lambda: True)
