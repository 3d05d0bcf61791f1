"""Write a network in the ONNX format: the few messages of its protocol buffers that are needed.

Field numbers are those of ``onnx.proto3`` (ONNX 1.12, operator set 17, IR version 8), which later
versions read. The package `onnx` would do the same, with a code generator's worth of dependencies
for what is twenty lines of bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Attribute: TypeAlias = "int | float | str | Sequence[int]"

_IR_VERSION, _OPERATOR_SET = 8, 17
_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_DATA_TYPES = {"float32": _FLOAT, "int64": _INT64}


@dataclass
class OnnxFile:
    """A network that grows node by node; every name is unique."""

    input_name: str  # the only input, float32
    input_shape: tuple[int, ...]  # the only input, float32
    _nodes: list[bytes] = field(default_factory=list)
    _constants: list[bytes] = field(default_factory=list)
    _n_names: int = 0

    def new_name(self) -> str:
        """Give a name that is not used yet."""
        self._n_names += 1
        return f"v{self._n_names}"

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add constant values and give their name."""
        name = self.new_name()
        message = b"".join(_integer(1, length) for length in values.shape)
        message += _integer(2, _DATA_TYPES[values.dtype.name])
        message += _text(8, name)
        message += _bytes(9, np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")))
        self._constants.append(message)
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Attribute] | None = None,
    ) -> str:
        """Add a node of one output and give that output's name."""
        output = self.new_name()
        message = b"".join(_text(1, name) for name in inputs) + _text(2, output)
        # ONNX Runtime 1.20 and 1.21 make new names of those of nodes, which have to differ.
        message += _text(3, output) + _text(4, operator)
        for name, value in (attributes or {}).items():
            message += _bytes(5, _attribute(name, value))
        self._nodes.append(message)
        return output

    def to_bytes(self, output: str, output_shape: tuple[int, ...]) -> bytes:
        """Give the file with one output."""
        graph = b"".join(_bytes(1, node) for node in self._nodes)
        graph += _text(2, "encoder")
        graph += b"".join(_bytes(5, constant) for constant in self._constants)
        graph += _bytes(11, _value(self.input_name, self.input_shape))
        graph += _bytes(12, _value(output, output_shape))
        return (
            _integer(1, _IR_VERSION)
            + _text(2, "napari-hcs-qc")
            + _bytes(7, graph)
            + _bytes(8, _text(1, "") + _integer(2, _OPERATOR_SET))
        )


def _attribute(name: str, value: Attribute) -> bytes:
    message = _text(1, name)
    if isinstance(value, str):
        return message + _text(4, value) + _integer(20, 3)
    if isinstance(value, int):
        return message + _integer(3, value) + _integer(20, 2)
    if isinstance(value, float):
        return message + _key(2, 5) + struct.pack("<f", value) + _integer(20, 1)
    return message + b"".join(_integer(8, item) for item in value) + _integer(20, 7)


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dimensions = b"".join(_bytes(1, _integer(1, length)) for length in shape)
    tensor = _integer(1, _FLOAT) + _bytes(2, dimensions)
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _integer(number: int, value: int) -> bytes:
    return _key(number, 0) + _varint(value)


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _bytes(number: int, value: bytes | NDArray[np.generic]) -> bytes:
    data = value if isinstance(value, bytes) else value.tobytes()
    return _key(number, 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # negative numbers are written as their two's complement
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
