"""Settings that a person writes: checked by pydantic, all problems reported at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from napari_hcs_qc.documents import problems_of
from napari_hcs_qc.errors import ProblemsError
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Settings(BaseModel):
    """Frozen settings; a `ProblemsError` lists everything that is wrong with them."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        allow_inf_nan=False,
        # What is said of a field below it is in the documentation.
        use_attribute_docstrings=True,
    )
    title: ClassVar[str] = "The settings"

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explained(error, type(self), self.title) from None

    # Pydantic calls the `__init__` of a nested model only where it is another than its own; here
    # it must not, so that the problems of nested settings are collected with all others.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def read(cls, data: Mapping[str, Any], where: str = "", **context: object) -> Self:
        """Check plain data, as a TOML or JSON file has it; `where` it is from begins the error."""
        try:
            return cls.model_validate(dict(data), context=context)
        except ValidationError as error:
            raise _explained(error, cls, where or cls.title) from None

    def with_changes(self, **changes: Any) -> Self:
        """Give these settings with some changed, checked anew."""
        return type(self)(**{**dict(self), **changes})


def one_of(known: Collection[str]) -> AfterValidator:
    """Check that a name is known."""

    def check(name: str) -> str:
        if name not in known:
            raise ValueError(f"unknown: {name!r}; choose from {', '.join(known)}.")
        return name

    return AfterValidator(check)


def _explained(error: ValidationError, model: type[Settings], where: str) -> ProblemsError:
    problems = list(problems_of(error, model))
    return ProblemsError(f"{where}: {count_of(len(problems), 'problem')}", problems)
