"""Controls for the fields of an options type, made from the types of the fields by magicgui."""

from __future__ import annotations

import sys
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from magicgui.widgets import create_widget
from pydantic import BaseModel
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QLineEdit

from napari_hcs_qc.gui.widgets.controls import spin_box

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_hcs_qc.gui.widgets.controls import Choices

_NAMES = {"Path": Path}  # which modules of options import for type checkers alone


@dataclass(frozen=True, kw_only=True)
class Option:
    """How a field is offered."""

    tip: str
    text: str = ""  # beside a box to tick
    choices: Choices | None = None
    low: int = 0
    high: int = 1000
    step: int = 1
    if_none: str = ""  # shown for None: in place of the lowest number, or in an empty line


class OptionForm(QObject):
    """The controls by the names of their fields, and their values; a panel lays them out."""

    value_changed = Signal(str)

    def __init__(self, options: type[Any], offered: Mapping[str, Option], parent: QObject) -> None:
        super().__init__(parent)
        types, defaults = _types_and_defaults(options, offered)
        self._fields: dict[str, _Field] = {}
        for name, option in offered.items():
            self._fields[name] = field = _Field(types[name], option)
            field.control.setObjectName(name)
            field.changed.connect(lambda _, name=name: self.value_changed.emit(name))
            if name in defaults:
                field.set_value(defaults[name])

    def __getitem__(self, name: str) -> Any:
        """Give the control of a field."""
        return self._fields[name].control

    def value(self) -> dict[str, Any]:
        """Give the fields as they are set."""
        return {name: field.value() for name, field in self._fields.items()}

    def set_value(self, **values: object) -> None:
        """Show values of fields; nothing is signalled."""
        was_blocked = self.blockSignals(True)
        for name, value in values.items():
            self._fields[name].set_value(value)
        self.blockSignals(was_blocked)

    def set_choices(self, name: str, choices: Mapping[Any, str]) -> None:
        """Offer other choices for a field; the chosen one stays where it is among them."""
        was_blocked = self.blockSignals(True)
        self._fields[name].magic.choices = [(title, key) for key, title in choices.items()]
        self.blockSignals(was_blocked)

    def set_enabled(self, is_enabled: bool) -> None:
        """Let the fields be changed, or not."""
        for field in self._fields.values():
            field.control.setEnabled(is_enabled)


def _types_and_defaults(
    options: type[Any], names: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give type and default of the fields of a pydantic model or a dataclass."""
    if issubclass(options, BaseModel):
        known = options.model_fields
        return (
            {name: _plain(known[name].annotation) for name in names},
            {name: known[name].default for name in names if not known[name].is_required()},
        )
    by_name = {field.name: field for field in fields(options)}
    written = SimpleNamespace(__annotations__={name: by_name[name].type for name in names})
    hints = get_type_hints(written, vars(sys.modules[options.__module__]), _NAMES)
    defaults = {name: by_name[name].default for name in names}
    return hints, {name: value for name, value in defaults.items() if value is not MISSING}


def _plain(hint: Any) -> Any:
    """Leave out what pydantic checks beside the type."""
    return get_type_hints(SimpleNamespace(__annotations__={"it": hint}))["it"]


class _Field:
    """The control of one field.

    Numbers are Qt's own: magicgui's box knows neither a text in place of the lowest number nor
    marks between thousands.
    """

    def __init__(self, hint: Any, option: Option) -> None:
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        self._is_optional = bool(kinds) and len(kinds) < len(get_args(hint))
        kind = kinds[0] if self._is_optional else hint
        self.magic: Any = None
        if kind is int:
            self.control: Any = spin_box(
                option.low, option.high, option.tip, step=option.step, if_low=option.if_none
            )
            self._lowest = option.low
            self.changed: Any = self.control.valueChanged
            return
        choices = option.choices
        settings = (
            {} if choices is None else {"choices": [(_title(c)[0], k) for k, c in choices.items()]}
        )
        self.magic = create_widget(annotation=kind, options=settings)
        self.control, self.changed = self.magic.native, self.magic.changed
        self.control.setToolTip(option.tip)
        for index, choice in enumerate((choices or {}).values()):
            self.control.setItemData(index, _title(choice)[1], Qt.ItemDataRole.ToolTipRole)
        if isinstance(self.control, QLineEdit):
            self.control.setPlaceholderText(option.if_none)
        elif option.text:
            self.control.setText(option.text)

    def value(self) -> Any:
        if self.magic is None:
            number = self.control.value()
            return None if self._is_optional and number == self._lowest else number
        value = self.magic.value
        if isinstance(self.control, QLineEdit):
            value = value.strip()
        return None if self._is_optional and value == "" else value

    def set_value(self, value: Any) -> None:
        if self.magic is None:
            self.control.setValue(self._lowest if value is None else value)
            return
        value = "" if value is None else value
        choices = getattr(self.magic, "choices", None)
        self.magic.value = value if not choices or value in choices else choices[0]


def _title(choice: str | tuple[str, str]) -> tuple[str, str]:
    return choice if isinstance(choice, tuple) else (choice, "")
