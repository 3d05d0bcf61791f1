"""Flags that follow from a command's function, which declares their types and defaults."""

from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TYPES = {"int": int, "float": float, "str": str, "str | Path": Path}


def add_flags(
    parser: argparse._ActionsContainer,
    function: Callable[..., object],
    texts: Mapping[str, tuple[str, str]],
    read: Mapping[str, Callable[[str], object]] | None = None,
) -> None:
    """Add flags for parameters, each with the name of its value (if it has one) and its help.

    `read` has what reads the values that are written as one text; other sequences are repeated.
    """
    parameters = inspect.signature(function).parameters
    for name, (metavar, text) in texts.items():
        default, annotation = parameters[name].default, str(parameters[name].annotation)
        kind = annotation.removesuffix(" | None")
        flag = f"--{name.replace('_', '-')}"
        options: dict[str, Any] = {"default": default, "help": text}
        if default is inspect.Parameter.empty:
            options = {"required": True, "help": text}
        if metavar:
            options["metavar"] = metavar
        if kind == "bool" and default is None:
            options["action"] = argparse.BooleanOptionalAction
        elif kind == "bool":
            flag = f"--no-{flag[2:]}" if default else flag
            options |= {"dest": name, "action": "store_false" if default else "store_true"}
        elif read and name in read:
            options["type"] = read[name]
        elif kind.startswith("Sequence"):
            options |= {"action": "append", "default": [] if default == () else default}
        elif kind.startswith("Literal"):
            options["choices"] = re.findall(r"'(.+?)'", kind)
        else:
            options["type"] = _TYPES[kind]
        parser.add_argument(flag, **options)
