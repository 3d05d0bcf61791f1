"""The backends themselves: crops in, features out, each called from several threads at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.encoders.backends.choice import BackendName


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
    """A graph in OpenVINO, float32 also where the processor would rather have half precision.

    As many streams of one thread each as there are callers; each caller has a request of its own.
    """

    def __init__(self, graph: bytes, n_streams: int) -> None:
        import openvino

        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
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
    if backend == "openvino":
        return OpenVinoRunner(graph, torch.get_num_threads())
    return OnnxRuntimeRunner(graph)
