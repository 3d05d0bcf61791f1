"""An encoder's network compiled for a backend, checked against PyTorch before it is used."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn

from napari_hcs_qc.encoders.backends.choice import BF16
from napari_hcs_qc.encoders.onnx.onnx_operators import to_onnx
from napari_hcs_qc.encoders.weights import cache_folder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_hcs_qc.encoders.backends.choice import BackendName
    from napari_hcs_qc.encoders.normalise import Normaliser
    from napari_hcs_qc.encoders.stages import StageNetwork

CROPS_AT_ONCE = 4
"""Few, so that the maps between the layers stay in the processor's cache."""

TOLERANCE, TOLERANCE_BF16 = 1e-4, 0.1
"""Largest difference from PyTorch's features, as a share of the largest feature."""

# Goes up whenever the same network would be written in another way.
_EXPORT_VERSION = 1
_MOST_KEPT = 12  # graphs of some 12 MB


class CompiledNetwork:
    """Crops to features through a backend other than PyTorch."""

    def __init__(
        self, backend: BackendName, network: StageNetwork, normaliser: Normaliser, key: str
    ) -> None:
        self.backend = backend
        self._network, self._normaliser, self._key = network, normaliser, key
        self._lock = threading.Lock()
        self._runners: dict[tuple[int, ...], Runner] = {}
        # Grey crops of the presets' side; other shapes are made ready when they come.
        side = normaliser.input_px or 128
        self._runner_for((1, side, side))

    def __call__(self, crops: Tensor) -> Tensor:
        """Encode at most `CROPS_AT_ONCE` crops."""
        sized = self._normaliser.sized(crops)
        runner = self._runner_for(tuple(sized.shape[1:]))
        array = sized.contiguous().numpy()
        if len(array) == CROPS_AT_ONCE:
            return torch.from_numpy(runner(array))
        # The graph is for a constant number, so that a row never depends on how many there are.
        padded = np.zeros((CROPS_AT_ONCE, *array.shape[1:]), np.float32)
        padded[: len(array)] = array
        return torch.from_numpy(runner(padded)[: len(array)])

    def _runner_for(self, shape: tuple[int, ...]) -> Runner:
        runner = self._runners.get(shape)
        if runner is None:
            with self._lock:
                runner = self._runners.get(shape)
                if runner is None:
                    runner = self._runners[shape] = self._make(shape)
        return runner

    def _make(self, shape: tuple[int, ...]) -> Runner:
        generator = torch.Generator().manual_seed(2)
        probe = torch.rand((CROPS_AT_ONCE, *shape), generator=generator)
        with torch.inference_mode():
            expected = self._network(self._normaliser(probe)).numpy()
        key = f"{self._key}-{'x'.join(map(str, probe.shape))}"

        def export() -> bytes:
            return to_onnx(_FromCrops(self._network, self._normaliser), probe)

        def runs_right(graph: bytes) -> Runner:
            runner = make_runner(self.backend, graph)
            allowed = TOLERANCE_BF16 if self.backend == BF16 else TOLERANCE
            check_agrees(runner(probe.numpy()), expected, allowed)
            return runner

        return kept_graph(key, export, runs_right)


def check_agrees(features: np.ndarray, expected: np.ndarray, allowed: float = TOLERANCE) -> None:
    """Refuse features that are not those of PyTorch."""
    if features.shape != expected.shape:
        raise ValueError(f"it gives features of shape {features.shape} instead of {expected.shape}")
    largest = max(1e-6, float(np.abs(expected).max()))
    apart = float(np.abs(features - expected).max()) / largest
    if not apart <= allowed:
        raise ValueError(
            f"its features differ from PyTorch's by {apart:.1e} of the largest one "
            f"(at most {allowed:g} is allowed)"
        )


def kept_graph(key: str, export: Callable[[], bytes], use: Callable[[bytes], Runner]) -> Runner:
    """Use a graph that was exported before; export it where there is none, or none that works.

    An export takes seconds of a processor, a load some hundredths.
    """
    content = {"network": key, "export_version": _EXPORT_VERSION, "torch": str(torch.__version__)}
    path = cache_folder() / "graphs" / f"{fingerprint(content)}.onnx"
    with contextlib.suppress(Exception):  # damaged, or half gone: it is made anew
        made = use(path.read_bytes())
        with contextlib.suppress(OSError):
            path.touch()  # those used last are kept
        return made
    graph = export()
    made = use(graph)
    with contextlib.suppress(HcsQcError, OSError):  # a full disk only costs time at the next start
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(graph)
        _forget_old(path.parent)
    return made


def _forget_old(folder: Path) -> None:
    graphs = sorted(folder.glob("*.onnx"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in graphs[_MOST_KEPT:]:
        path.unlink(missing_ok=True)


class Runner(Protocol):
    """A network made ready for crops of one shape."""

    def __call__(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode ``(n, channels, side, side)``, n being that of the graph, as ``(n, features)``."""


class OnnxRuntimeRunner:
    """A graph in ONNX Runtime, float32.

    One thread a call: the callers' threads are the parallelism, and never wait for each other.
    """

    def __init__(self, graph: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode crops."""
        features: NDArray[np.float32] = self._session.run(None, {self._input: crops})[0]
        return features


class OpenVinoRunner:
    """A graph in OpenVINO, float32 unless something else is asked for, whatever the processor has.

    As many streams of one thread each as there are callers; each caller has a request of its own.
    """

    def __init__(self, graph: bytes, n_streams: int, precision: str = "f32") -> None:
        import openvino

        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": n_streams,
            "INFERENCE_NUM_THREADS": n_streams,
        }
        self._compiled: Any = core.compile_model(core.read_model(graph), "CPU", settings)
        self._local = threading.local()

    def __call__(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode crops."""
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        request.infer({0: crops}, share_inputs=True)
        features: NDArray[np.float32] = np.array(request.get_output_tensor(0).data)
        return features


def make_runner(backend: BackendName, graph: bytes) -> Runner:
    """Load a graph into a backend that is not PyTorch."""
    if backend in ("openvino", BF16):
        precision = "bf16" if backend == BF16 else "f32"
        return OpenVinoRunner(graph, torch.get_num_threads(), precision)
    return OnnxRuntimeRunner(graph)


class _FromCrops(nn.Module):
    """The network with its normalisation before it, in a form that can be exported."""

    def __init__(self, network: StageNetwork, normaliser: Normaliser) -> None:
        super().__init__()
        self.network = network.whole()
        self.mean, self.scale = normaliser.mean.cpu(), normaliser.scale.cpu()
        self.is_even = len(set(self.mean.flatten().tolist())) == 1 and (
            len(set(self.scale.flatten().tolist())) == 1
        )

    def forward(self, crops: Tensor) -> Tensor:
        mean, scale = self.mean, self.scale
        if crops.shape[1] == 1 and self.is_even:
            # One plane, three times: the first convolution then needs it once only.
            images = (crops - mean[:, :1]) * scale[:, :1]
            images = images.expand(-1, 3, -1, -1)
        else:
            images = (crops - mean) * scale
        features: Tensor = self.network(images)
        return features
