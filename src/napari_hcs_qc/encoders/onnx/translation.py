"""The translation of a network under way: names and values of its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from napari_hcs_qc.encoders.onnx.onnx_file import OnnxFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor


INPUT = "crops"


class Translation:
    """What is known while the nodes of a network are translated, in order.

    What depends on no input (weights, the weights of centre pooling) is computed here, once.
    """

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        input_shape: tuple[int, ...],
        operators: Mapping[str, Callable[[Translation, fx.Node], str | None]],
    ) -> None:
        self._operators = operators
        self.file = OnnxFile(INPUT, input_shape)
        self._program = program
        self._names: dict[fx.Node, str] = {}
        self._values: dict[fx.Node, Any] = {}
        self._kept: dict[int, tuple[Tensor, str]] = {}
        # Planes that are all alike, one of which stands for all: (node, how many).
        self.alike: dict[fx.Node, int] = {}
        self.pads: dict[fx.Node, tuple[int, int, int, int]] = {}

    def run(self) -> bytes:
        """Translate and give the file."""
        graph = self._program.graph
        self._take_inputs()
        output = next(node for node in graph.nodes if node.op == "output").args[0][0]
        wanted = _reachable(output)
        for node in graph.nodes:
            if node.op == "call_function" and node in wanted:
                self._translate(node)
        return self.file.to_bytes(self.name(output), tuple(output.meta["val"].shape))

    def _take_inputs(self) -> None:
        signature = self._program.graph_signature
        weights = {**self._program.state_dict, **self._program.constants}
        targets = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        for node in self._program.graph.nodes:
            if node.op != "placeholder":
                continue
            if node.name in targets:
                self._values[node] = weights[targets[node.name]].detach()
            else:
                self._names[node] = INPUT

    def _translate(self, node: fx.Node) -> None:
        sources = node.all_input_nodes
        if all(source in self._values for source in sources):
            self._values[node] = self._computed(node)
            return
        operator = str(node.target).removeprefix("aten.")
        base = operator.partition(".")[0]
        is_in_place = base.endswith("_") and not base.endswith("__")
        translate = self._operators.get(base.rstrip("_") if is_in_place else base)
        if translate is None:
            raise UnknownOperatorError(operator)
        name = translate(self, node)
        if name is None:
            return
        self._names[node] = name
        if is_in_place and isinstance(node.args[0], fx.Node):
            # Who asks for the input from here on gets what it has become.
            self._names[node.args[0]] = name

    def _computed(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda each: self._values[each])
        assert callable(node.target)
        with torch.no_grad():
            return node.target(*args, **kwargs)

    def value(self, arg: Any) -> Any:
        """Give an argument that must not depend on the input."""
        if not isinstance(arg, fx.Node):
            return arg
        if arg not in self._values:
            raise UnknownOperatorError(f"{arg.target} as a weight")
        return self._values[arg]

    def name(self, arg: Any) -> str:
        """Give the name under which an argument, a node or a number, stands in the file."""
        if isinstance(arg, fx.Node) and arg not in self._values:
            if arg in self.alike or arg in self.pads:
                self._spell_out(arg)
            return self._names[arg]
        value = self.value(arg)
        if isinstance(value, torch.Tensor):
            kept = self._kept.get(id(value))
            if kept is None:
                # The tensor is kept as well, so that its identity stays its own.
                kept = self._kept[id(value)] = (value, self.constant(value))
            return kept[1]
        return self.file.constant(np.array(float(value), np.float32))

    def constant(self, value: Tensor) -> str:
        """Add a constant of the float32 network."""
        return self.file.constant(value.detach().float().contiguous().numpy())

    def integers(self, values: Sequence[int]) -> str:
        """Add constant integers, such as a shape."""
        return self.file.constant(np.array(values, np.int64))

    def bare_name(self, node: fx.Node) -> str:
        """Give the name of what stands for a node with `alike` or `pads`."""
        return self._names[node]

    def _spell_out(self, node: fx.Node) -> None:
        """Make alike planes and borders real, for whoever cannot do with less."""
        name = self._names[node]
        left, right, top, bottom = self.pads.pop(node, (0, 0, 0, 0))
        if left or right or top or bottom:
            name = self.file.node(
                "Pad", [name, self.integers([0, 0, top, left, 0, 0, bottom, right])]
            )
        if self.alike.pop(node, 0):
            name = self.file.node("Expand", [name, self.integers(shape_of(node))])
        self._names[node] = name


def shape_of(node: fx.Node) -> list[int]:
    """Shape of what a node gives."""
    return [int(length) for length in node.meta["val"].shape]


def _reachable(output: fx.Node) -> set[fx.Node]:
    reached, waiting = {output}, [output]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in reached:
                reached.add(source)
                waiting.append(source)
    return reached


class UnknownOperatorError(Exception):
    """An operator of the network has no translation."""

    def __init__(self, operator: str) -> None:
        super().__init__(f"its operator {operator} has no translation")
