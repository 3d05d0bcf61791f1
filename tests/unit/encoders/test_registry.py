"""Weights from a hub, a model zoo or a file: fetched once, checked, never random.

All weights here are random, written by the tests themselves; no figure is made from them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import safetensors.torch
import torch

from napari_hcs_qc import download
from napari_hcs_qc.encoders import pretrained, registry
from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.encoder import Encoder
from napari_hcs_qc.encoders.registry import cached_encoder, list_encoders, load_encoder
from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.job import Cancelled, Job

TINY = "timm:test_resnet.r160_in1k"
TINY_PATH = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"


def random_state(family: str, name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_architecture(family, name).module.state_dict()


@pytest.fixture
def hub(weights_server, cache, set_endpoint):
    """A stand-in for Hugging Face's hub that has one tiny model."""
    set_endpoint(weights_server.url)
    state = random_state("timm", "test_resnet")
    weights_server.files[TINY_PATH] = safetensors.torch.save(state)
    return weights_server


def weights_in(cache):
    return [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size > 1000]


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
    encoder = load_encoder(TINY, job=Job(lambda *call: seen.append(call)), device="cpu")
    size = len(hub.files[TINY_PATH])
    last = [call for call in seen if "Downloading the weights" in call[2]][-1]
    assert last[:2] == (size, size)
    assert encoder.weights_sha256 == hashlib.sha256(hub.files[TINY_PATH]).hexdigest()
    assert hub.bodies == [TINY_PATH]

    hub.files.clear()  # now the hub is gone
    again = load_encoder(TINY, device="cpu")
    assert hub.bodies == [TINY_PATH]
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


def hub_cache_entry(cache, repository, name="model.safetensors"):
    """Path of a file in Hugging Face's cache, as its tools lay it out."""
    folder = cache / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    return folder / "snapshots" / "abc" / name


def test_what_other_tools_of_hugging_face_have_downloaded_is_used(hub, cache):
    entry = hub_cache_entry(cache, "timm/test_resnet.r160_in1k")
    entry.write_bytes(hub.files[TINY_PATH])
    load_encoder(TINY, device="cpu")
    assert hub.asked == []


def test_what_0_1_0_has_downloaded_is_used(hub, cache):
    entry = cache / "ours" / "weights" / "timm--test_resnet.r160_in1k" / "model.safetensors"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(hub.files[TINY_PATH])
    load_encoder(TINY, device="cpu")
    assert hub.asked == []


def test_without_a_network_both_ways_out_are_named_at_once(cache, set_endpoint):
    set_endpoint("http://127.0.0.1:9")  # a port on which nobody listens
    began = time.perf_counter()
    with pytest.raises(HcsQcError, match=r"connect to the internet once.*--weights FILE") as error:
        load_encoder("vgg16")
    assert time.perf_counter() - began < 15
    assert "vgg16" in str(error.value)
    assert not weights_in(cache)


def test_offline_mode_asks_nobody(hub, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HcsQcError, match=r"HF_HUB_OFFLINE is set.*connect.*--weights FILE"):
        load_encoder(TINY)
    assert hub.asked == []


def test_the_environment_names_cache_and_mirror_and_forbids_to_ask(hub, tmp_path):
    code = (
        "from napari_hcs_qc.encoders.hub import hub_file; "
        "from napari_hcs_qc.job import NO_JOB; "
        "hub_file('timm/test_resnet.r160_in1k', 'model.safetensors', 'x', NO_JOB)"
    )
    places = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}

    def run(**more):
        environment = {**os.environ, **places, **more}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert "HF_HUB_OFFLINE is set" in run(HF_HUB_OFFLINE="1").stderr
    assert hub.asked == []
    assert run().stderr == ""
    assert hub.bodies == [TINY_PATH]
    assert list((tmp_path / "home" / "hub").glob("*/snapshots/*/model.safetensors"))
    assert run(HF_HUB_OFFLINE="1").returncode == 0


def test_a_download_broken_off_is_gone_on_with(hub, monkeypatch):
    import huggingface_hub.constants
    from packaging.version import Version

    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 500)
    hub.cuts = [1000]
    if Version(huggingface_hub.__version__) < Version("1.20"):  # goes on only when asked again
        with pytest.raises(HcsQcError, match="cannot be reached"):
            load_encoder(TINY, device="cpu")
    load_encoder(TINY, device="cpu")
    assert hub.asked == [(TINY_PATH, None), (TINY_PATH, "bytes=1000-")]


def test_a_connection_that_keeps_breaking_is_reported_and_keeps_nothing(hub, cache, monkeypatch):
    import huggingface_hub.file_download

    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda _s: None)
    hub.cuts = [0] * 20
    with pytest.raises(HcsQcError, match=r"cannot be reached \(.+\).*--weights FILE"):
        load_encoder(TINY)
    assert not weights_in(cache)


def test_a_repository_without_safetensors_says_what_to_do(hub):
    hub.files.clear()
    with pytest.raises(HcsQcError, match=r"has no model\.safetensors.*--weights FILE"):
        load_encoder(TINY)


def test_a_download_can_be_stopped_while_the_hub_stalls(hub, cache):
    hub.resume = threading.Event()
    with pytest.raises(Cancelled):
        load_encoder(TINY, job=Job(should_stop=hub.stalled.is_set))
    hub.resume.set()  # what was abandoned ends at the next block
    until = time.monotonic() + 30
    while list(cache.rglob("*.incomplete")) and time.monotonic() < until:
        time.sleep(0.05)
    assert not weights_in(cache)


def test_a_cache_that_cannot_be_written_is_a_write_error(hub, cache):
    cache.mkdir()
    (cache / "hub").write_text("in the way")
    with pytest.raises(WriteError):
        load_encoder(TINY)


def test_a_disk_without_room_is_reported_before_the_download(hub, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(WriteError, match=r"1.0 kB free, and .* needed to download model"):
        load_encoder(TINY)
    assert hub.asked == []


def test_a_damaged_file_in_the_cache_is_named(hub, cache):
    load_encoder(TINY, device="cpu")
    (path,) = cache.rglob("*.safetensors")
    blob = path.resolve()
    blob.write_bytes(blob.read_bytes()[:500])
    with pytest.raises(HcsQcError, match=rf"{blob.name} is damaged.*Delete it"):
        load_encoder(TINY)
    blob.unlink()
    load_encoder(TINY, device="cpu")


def test_a_hub_file_of_another_architecture_is_refused(hub):
    hub.files[TINY_PATH] = safetensors.torch.save(random_state("timm", "test_vit"))
    with pytest.raises(HcsQcError, match="does not fit the architecture"):
        load_encoder(TINY)


def test_the_list_knows_what_has_been_downloaded(cache):
    hub_cache_entry(cache, "timm/resnet18.tv_in1k").write_bytes(b"")
    infos = {info.name: info for info in list_encoders()}
    assert infos["resnet18"].ready
    assert infos["resnet18"].needs == ""
    assert not infos["convnext-tiny"].ready


MODEL = "lab/cells-v1.2"
CONFIG = {
    "architecture": "test_resnet",
    "num_classes": 7,
    "num_features": 96,
    "pretrained_cfg": {
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "input_size": [3, 160, 160],
        "interpolation": "bilinear",
        "classifier": "fc",
        "license": "mit",
    },
}


@pytest.fixture
def model(hub):
    """Put a model of somebody's own on the hub; gives a function that changes its config.json."""
    state = random_state("timm", "test_resnet")
    state["fc.weight"], state["fc.bias"] = torch.zeros((7, 96)), torch.zeros(7)
    hub.files[f"/{MODEL}/resolve/main/model.safetensors"] = safetensors.torch.save(state)

    def write(config):
        hub.files[f"/{MODEL}/resolve/main/config.json"] = json.dumps(config).encode()

    write(CONFIG)
    return write


def test_a_timm_model_on_the_hub_is_loaded_by_its_own_description(hub, model):
    encoder = load_encoder(f"hf:{MODEL}", device="cpu")
    assert encoder.architecture == "timm:test_resnet"
    assert encoder.mean == (0.1, 0.2, 0.3)
    assert encoder.std == (0.4, 0.5, 0.6)
    module = build_architecture("timm", "test_resnet").module
    weights = safetensors.torch.load(hub.files[f"/{MODEL}/resolve/main/model.safetensors"])
    module.load_state_dict({k: v for k, v in weights.items() if k[:2] != "fc"}, strict=False)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (encoder.mean, encoder.std))
    with torch.inference_mode():
        expected = module.forward_features((crops() - mean) / std).mean(dim=(2, 3))
    torch.testing.assert_close(encoder.encode(crops()), expected, rtol=1e-4, atol=1e-5)
    hub.files.clear()
    assert load_encoder(f"hf:{MODEL}", device="cpu").fingerprint == encoder.fingerprint


def test_an_old_description_of_one_level_is_read(model):
    flat = {**CONFIG, **CONFIG["pretrained_cfg"]}
    del flat["pretrained_cfg"]
    model(flat)
    assert load_encoder(f"hf:{MODEL}", device="cpu").mean == (0.1, 0.2, 0.3)


def test_other_weights_of_a_model_on_the_hub_come_from_a_file(model, tiny_file):
    path = tiny_file()
    encoder = load_encoder(f"hf:{MODEL}", weights=path, device="cpu")
    assert encoder.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert encoder.mean == (0.1, 0.2, 0.3)


def changed(**changes):
    cfg = {**CONFIG["pretrained_cfg"], **changes.pop("pretrained_cfg", {})}
    return {**CONFIG, **changes, "pretrained_cfg": cfg}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"model_type": "bert"}, "is no timm model"),
        ([1, 2], "JSON object was expected"),
        (changed(architecture="resnet81"), "no architecture 'resnet81'"),
        (changed(architecture="hf-hub:a/b"), "architecture is 'hf-hub:a/b'; a string that matches"),
        (changed(num_classes=10**9), "num_classes is 1000000000; less than"),
        (changed(pretrained_cfg={"mean": [0.5]}), r"pretrained_cfg\.mean"),
        (changed(pretrained_cfg={"std": [0.1, 0, 0.1]}), r"pretrained_cfg\.std 2 is 0; "),
        (changed(pretrained_cfg={"std": [float("nan")] * 3}), r"pretrained_cfg\.std 1 is nan; "),
        (
            changed(pretrained_cfg={"input_size": [1, 64, 64]}),
            r"pretrained_cfg\.input_size 1 is 1; ",
        ),
        (changed(model_args={"checkpoint_path": "/x.pth"}), r"model_args\.checkpoint_path"),
        (changed(num_classes=8), "does not fit the architecture"),
    ],
)
def test_a_description_that_is_not_believed_is_refused(model, config, text):
    model(config)
    with pytest.raises(HcsQcError, match=text):
        load_encoder(f"hf:{MODEL}")


def test_a_model_that_is_not_on_the_hub_is_reported(hub):
    with pytest.raises(HcsQcError, match=r"lab/none.*has no config\.json|no model lab/none"):
        load_encoder("hf:lab/none")


@pytest.fixture
def zoo(weights_server, cache, monkeypatch):
    """A stand-in for PyTorch's model zoo."""

    def serve(content: bytes, digits: str | None = None) -> None:
        digits = digits or hashlib.sha256(content).hexdigest()[:8]
        path = f"/squeezenet1_1-{digits}.pth"
        weights_server.files[path] = content
        monkeypatch.setattr(pretrained, "torchvision_url", lambda _name: weights_server.url + path)

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


def test_torchvision_weights_are_shared_with_torchvision_and_checked_there_too(zoo, cache):
    content = pickled(random_state("torchvision", "squeezenet1_1"))
    zoo(content)
    load_encoder("torchvision:squeezenet1_1", device="cpu")
    (path,) = (cache / "torch" / "hub" / "checkpoints").iterdir()
    load_encoder("torchvision:squeezenet1_1", device="cpu")
    path.write_bytes(content[:-1])
    with pytest.raises(HcsQcError, match=rf"Delete .*{path.name}"):
        load_encoder("torchvision:squeezenet1_1")


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
        ("hf:model", "There is no encoder 'hf:model'"),
        ("hf:../model", "There is no encoder"),
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
            cached_encoder("timm:test_resnet", weights=path, job=Job(should_stop=lambda: True))
