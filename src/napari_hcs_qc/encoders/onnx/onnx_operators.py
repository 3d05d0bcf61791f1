"""A PyTorch network as an ONNX file: how each of its operators is said in operator set 17.

PyTorch's own exporter needs three packages more (onnx, onnxscript, onnx-ir) and some ten seconds
of a processor for each network; an encoder is a few kinds of operators, which are listed here. A
network with any other is told by name, and runs on PyTorch.

A translation takes the `Translation` and a node of the exported graph, and gives the name of its
output in the file; None where the node stands for what it was given. Shapes are constant.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from napari_hcs_qc.encoders.onnx.translation import Translation, UnknownOperatorError, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, fx, nn

    Translate: TypeAlias = Callable[[Translation, fx.Node], str | None]


def to_onnx(module: nn.Module, example: Tensor) -> bytes:
    """Write a network as ONNX, for inputs of the very shape of `example`."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (example,), strict=False)
    return Translation(program, tuple(example.shape), OPERATORS).run()


def _args(node: fx.Node, *defaults: Any) -> list[Any]:
    """Give the arguments behind the first, those left out by their defaults."""
    given = list(node.args[1:])
    return [*given, *defaults[len(given) :]]


def _pair(value: Any) -> list[int]:
    items = [int(item) for item in value] if isinstance(value, (list, tuple)) else [int(value)] * 2
    return items * 2 if len(items) == 1 else items


def _of(node: fx.Node) -> fx.Node:
    source: Any = node.args[0]
    return source  # type: ignore[no-any-return]


def _convolution(to: Translation, node: fx.Node) -> str:
    weight_arg, bias_arg, stride, padding, dilation, groups = _args(node, None, None, 1, 0, 1, 1)
    source = _of(node)
    weight: Tensor = to.value(weight_arg)
    inputs: list[str]
    if to.alike.get(source) == weight.shape[1] and groups == 1:
        # Planes that are all alike: one of them through the sum of the weights.
        summed = weight.double().sum(dim=1, keepdim=True).float()
        inputs = [to.bare_name(source), to.constant(summed)]
    elif source in to.alike:
        inputs = [to.name(source), to.name(weight_arg)]
    else:
        name = to.bare_name(source) if source in to.pads else to.name(source)
        inputs = [name, to.name(weight_arg)]
    if bias_arg is not None:
        inputs.append(to.name(bias_arg))
    attributes: dict[str, Any] = {
        "strides": _pair(stride),
        "dilations": _pair(dilation),
        "group": int(groups),
        "kernel_shape": list(weight.shape[2:]),
    }
    left, right, top, bottom = to.pads.get(source, (0, 0, 0, 0))
    if isinstance(padding, str):
        attributes["auto_pad"] = {"same": "SAME_UPPER", "valid": "VALID"}[padding]
    else:
        rows, columns = _pair(padding)
        attributes["pads"] = [rows + top, columns + left, rows + bottom, columns + right]
    return to.file.node("Conv", inputs, attributes)


def _pad(to: Translation, node: fx.Node) -> str:
    widths, *rest = _args(node, (), "constant", None)
    mode, value = (rest[0], rest[1]) if isinstance(rest[0], str) else ("constant", rest[0])
    source = _of(node)
    if mode != "constant" or value not in (None, 0, 0.0) or len(widths) > 4:
        raise UnknownOperatorError("pad with anything but zeros")
    left, right, top, bottom = (*(int(width) for width in widths), 0, 0)[:4]
    if source in to.pads:
        to.name(source)
    if all("conv2d" in str(user.target) for user in node.users):
        # The convolution has borders of its own.
        to.pads[node] = (left, right, top, bottom)
        if source in to.alike:
            to.alike[node] = to.alike[source]
        return to.bare_name(source)
    dims = len(shape_of(node)) - 2
    before, after = [0] * dims + [top, left], [0] * dims + [bottom, right]
    return to.file.node("Pad", [to.name(source), to.integers([*before, *after])])


def _expand(to: Translation, node: fx.Node) -> str:
    source = _of(node)
    was, shape = shape_of(source), shape_of(node)
    if len(was) == len(shape) == 4 and was == [shape[0], 1, *shape[2:]] and shape[1] > 1:
        to.alike[node] = shape[1]
        return to.name(source)
    return to.file.node("Expand", [to.name(source), to.integers(shape)])


def _batch_norm(to: Translation, node: fx.Node) -> str:
    weight, bias, mean, variance, _training, _momentum, eps, *_ = _args(node, *[None] * 8)
    parts = [to.value(part) for part in (weight, bias, mean, variance)]
    scale = torch.ones_like(parts[2]) if parts[0] is None else parts[0]
    shift = torch.zeros_like(parts[2]) if parts[1] is None else parts[1]
    inputs = [to.name(_of(node)), *map(to.constant, (scale, shift, parts[2], parts[3]))]
    return to.file.node("BatchNormalization", inputs, {"epsilon": float(eps)})


def _layer_norm(to: Translation, node: fx.Node) -> str:
    shape, weight, bias, eps, *_ = _args(node, None, None, None, 1e-5)
    scale = torch.ones(tuple(shape)) if weight is None else to.value(weight)
    inputs = [to.name(_of(node)), to.constant(scale)]
    if bias is not None:
        inputs.append(to.name(bias))
    return to.file.node("LayerNormalization", inputs, {"axis": -len(shape), "epsilon": float(eps)})


def _simple(operator: str, **attributes: Any) -> Translate:
    def translate(to: Translation, node: fx.Node) -> str:
        return to.file.node(operator, [to.name(_of(node))], attributes)

    return translate


def _between(low: float | None, high: float | None) -> Translate:
    def translate(to: Translation, node: fx.Node) -> str:
        ends = _args(node, low, high)
        inputs = [to.name(_of(node)), *("" if end is None else to.name(end) for end in ends)]
        return to.file.node("Clip", inputs)

    return translate


def _silu(to: Translation, node: fx.Node) -> str:
    name = to.name(_of(node))
    return to.file.node("Mul", [name, to.file.node("Sigmoid", [name])])


def _gelu(to: Translation, node: fx.Node) -> str:
    name = to.name(_of(node))
    if node.kwargs.get("approximate", "none") == "none":
        inner = to.file.node("Erf", [to.file.node("Mul", [name, to.name(math.sqrt(0.5))])])
    else:
        cube = to.file.node("Mul", [to.file.node("Mul", [name, name]), name])
        inside = to.file.node("Add", [name, to.file.node("Mul", [cube, to.name(0.044715)])])
        scaled = to.file.node("Mul", [inside, to.name(math.sqrt(2 / math.pi))])
        inner = to.file.node("Tanh", [scaled])
    half = to.file.node("Mul", [name, to.name(0.5)])
    return to.file.node("Mul", [half, to.file.node("Add", [inner, to.name(1.0)])])


def _arithmetic(operator: str) -> Translate:
    def translate(to: Translation, node: fx.Node) -> str:
        if node.kwargs.get("alpha", 1) != 1 or len(node.args) > 2:
            raise UnknownOperatorError(f"{node.target} with alpha")
        return to.file.node(operator, [to.name(node.args[0]), to.name(node.args[1])])

    return translate


def _mean(to: Translation, node: fx.Node) -> str:
    axes, keep = _args(node, None, False)[:2]
    attributes: dict[str, Any] = {"keepdims": int(bool(keep))}
    if axes is not None:
        attributes["axes"] = [int(axis) for axis in axes]
    return to.file.node("ReduceMean", [to.name(_of(node))], attributes)


def _average_to(to: Translation, node: fx.Node) -> str:
    sides, wanted = shape_of(_of(node))[2:], shape_of(node)[2:]
    if wanted == [1, 1]:
        return to.file.node("GlobalAveragePool", [to.name(_of(node))])
    if any(side % want for side, want in zip(sides, wanted, strict=True)):
        raise UnknownOperatorError("adaptive pooling of uneven parts")
    kernel = [side // want for side, want in zip(sides, wanted, strict=True)]
    attributes = {"kernel_shape": kernel, "strides": kernel}
    return to.file.node("AveragePool", [to.name(_of(node))], attributes)


def _max_pool(to: Translation, node: fx.Node) -> str:
    kernel, stride, padding, dilation, ceil = _args(node, None, None, 0, 1, False)
    dilations = {"dilations": _pair(dilation)}
    return _pool(to, node, "MaxPool", kernel, stride, padding, ceil, dilations)


def _average_pool(to: Translation, node: fx.Node) -> str:
    kernel, stride, padding, ceil, counts, divisor = _args(node, None, None, 0, False, True, None)
    if divisor is not None:
        raise UnknownOperatorError("avg_pool2d with a divisor")
    counted = {"count_include_pad": int(bool(counts))}
    return _pool(to, node, "AveragePool", kernel, stride, padding, ceil, counted)


def _pool(
    to: Translation,
    node: fx.Node,
    operator: str,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil: Any,
    more: dict[str, Any],
) -> str:
    attributes = {
        "kernel_shape": _pair(kernel),
        "strides": _pair(stride or kernel),
        "pads": _pair(padding) * 2,
        "ceil_mode": int(bool(ceil)),
        **more,
    }
    return to.file.node(operator, [to.name(_of(node))], attributes)


def _reshape(to: Translation, node: fx.Node) -> str:
    return to.file.node("Reshape", [to.name(_of(node)), to.integers(shape_of(node))])


def _same(to: Translation, node: fx.Node) -> str:
    return to.name(_of(node))


def _cat(to: Translation, node: fx.Node) -> str:
    parts: Any = node.args[0]
    axis = _args(node, 0)[0]
    return to.file.node("Concat", [to.name(part) for part in parts], {"axis": int(axis)})


def _permute(to: Translation, node: fx.Node) -> str:
    n_axes = len(shape_of(node))
    order = [int(axis) % n_axes for axis in _args(node, None)[0]]
    return to.file.node("Transpose", [to.name(_of(node))], {"perm": order})


def _transpose(to: Translation, node: fx.Node) -> str:
    first, second = _args(node, 0, 1)
    order = list(range(len(shape_of(node))))
    order[first], order[second] = order[second], order[first]
    return to.file.node("Transpose", [to.name(_of(node))], {"perm": order})


def _linear(to: Translation, node: fx.Node) -> str:
    weight, bias = _args(node, None, None)
    product = to.file.node("MatMul", [to.name(_of(node)), to.constant(to.value(weight).t())])
    return product if bias is None else to.file.node("Add", [product, to.name(bias)])


def _einsum(to: Translation, node: fx.Node) -> str:
    equation, parts = str(node.args[0]), node.args[1]
    assert isinstance(parts, (list, tuple))
    return to.file.node("Einsum", [to.name(part) for part in parts], {"equation": equation})


def _softmax(to: Translation, node: fx.Node) -> str:
    return to.file.node("Softmax", [to.name(_of(node))], {"axis": int(_args(node, -1)[0])})


def _attention(to: Translation, node: fx.Node) -> str:
    _key, _value, mask, dropout, causal, *_ = _args(node, None, None, None, 0.0, False)
    if mask is not None or causal or dropout:
        raise UnknownOperatorError("attention with a mask")
    query, key, value = (to.name(part) for part in node.args[:3])
    shape = shape_of(_of(node))
    order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    scale: Any = node.kwargs.get("scale") or shape[-1] ** -0.5
    scaled = to.file.node("Mul", [query, to.name(scale)])
    products = to.file.node("MatMul", [scaled, to.file.node("Transpose", [key], {"perm": order})])
    return to.file.node("MatMul", [to.file.node("Softmax", [products], {"axis": -1}), value])


def _slice(to: Translation, node: fx.Node) -> str:
    axis, start, end, step = _args(node, 0, None, None, 1)
    ends = [0 if start is None else int(start), 2**31 - 1 if end is None else int(end)]
    inputs = [to.name(_of(node)), *(to.integers([n]) for n in (*ends, int(axis), int(step)))]
    return to.file.node("Slice", inputs)


def _select(to: Translation, node: fx.Node) -> str:
    axis, index = _args(node, 0, 0)
    return _one_of(to, to.name(_of(node)), int(axis), int(index), shape_of(node))


def _one_of(to: Translation, name: str, axis: int, index: int, shape: Sequence[int]) -> str:
    taken = to.file.node("Gather", [name, to.integers([index])], {"axis": axis})
    return to.file.node("Reshape", [taken, to.integers(shape)])


def _getitem(to: Translation, node: fx.Node) -> str:
    """Give one of the parts of a tensor that was divided."""
    parts, index = _of(node), int(_args(node, 0)[0])
    whole, operator = _of(parts), str(parts.target)
    if "unbind" in operator:
        axis = int(_args(parts, 0)[0])
        return _one_of(to, to.name(whole), axis, index, shape_of(node))
    axis = int(_args(parts, None, 0)[1])
    before = sum(int(part.shape[axis]) for part in parts.meta["val"][:index])
    inputs = [before, before + shape_of(node)[axis], axis, 1]
    return to.file.node("Slice", [to.name(whole), *(to.integers([n]) for n in inputs)])


def _nothing(_to: Translation, _node: fx.Node) -> None:
    return None


OPERATORS: dict[str, Translate] = {
    "conv2d": _convolution,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "expand": _expand,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "relu": _simple("Relu"),
    "relu6": _between(0.0, 6.0),
    "hardtanh": _between(-1.0, 1.0),
    "clamp": _between(None, None),
    "sigmoid": _simple("Sigmoid"),
    "tanh": _simple("Tanh"),
    "silu": _silu,
    "gelu": _gelu,
    "hardswish": _simple("HardSwish"),
    "hardsigmoid": _simple("HardSigmoid", alpha=1 / 6, beta=0.5),
    "add": _arithmetic("Add"),
    "sub": _arithmetic("Sub"),
    "mul": _arithmetic("Mul"),
    "div": _arithmetic("Div"),
    "mean": _mean,
    "adaptive_avg_pool2d": _average_to,
    "max_pool2d": _max_pool,
    "avg_pool2d": _average_pool,
    "cat": _cat,
    "permute": _permute,
    "transpose": _transpose,
    "linear": _linear,
    "matmul": _arithmetic("MatMul"),
    "einsum": _einsum,
    "softmax": _softmax,
    "scaled_dot_product_attention": _attention,
    "slice": _slice,
    "select": _select,
    "<built-in function getitem>": _getitem,
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unbind"), _nothing),
    **dict.fromkeys(("view", "reshape", "flatten", "unsqueeze", "squeeze"), _reshape),
    **dict.fromkeys(
        ("dropout", "contiguous", "clone", "alias", "detach", "to", "feature_dropout"), _same
    ),
}
