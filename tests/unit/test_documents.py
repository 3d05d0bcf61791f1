from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest
from pydantic import Field

from napari_hcs_qc.documents import Document, Part, parse_leniently
from napari_hcs_qc.errors import HcsQcError, ProblemsError

if TYPE_CHECKING:
    from pathlib import Path


class Inner(Part):
    size: int | Literal["all"]


class Example(Document):
    remedy: ClassVar[str] = "Make it again."
    format: Literal["example"] = "example"
    format_version: Literal[2] = 2
    name: str
    share: float = 0.5
    parts: tuple[Inner, ...] = ()

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {"name": data.pop("title"), **data}


class Settings(Part, extra="forbid"):
    colour: str = "red"
    width: float = Field(1.0, gt=0)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "example.json"
    made = Example(name="a", parts=(Inner(size=3), Inner(size="all")))
    made.save(path)
    assert json.loads(path.read_text())["format_version"] == 2
    assert Example.load(path) == made
    assert Example.load_if_valid(path) == made
    assert Example.load_if_valid(tmp_path / "none.json") is None
    assert [file.name for file in tmp_path.iterdir()] == ["example.json"]


def test_an_old_file_is_migrated_and_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text('{"title": "a", "later": 1}')
    old = Example.load(path)
    assert old.name == "a"
    assert path.read_text() == '{"title": "a", "later": 1}'
    old.save(path)  # what is not known is kept
    assert json.loads(path.read_text())["later"] == 1


def test_all_problems_are_reported_with_place_value_and_expectation(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    data = {"format_version": 2, "share": float("nan"), "parts": [{"size": "some"}, {}]}
    path.write_text(json.dumps(data))
    with pytest.raises(
        ProblemsError, match=r"bad\.json is damaged, 4 problems. Make it again."
    ) as e:
        Example.load(path)
    problems = {problem.where: problem.what for problem in e.value.problems}
    assert list(problems) == ["name", "share", "parts 1 size", "parts 2 size"]
    assert problems["name"] == problems["parts 2 size"] == "is missing."
    assert problems["share"] == "is nan; a finite number was expected."
    assert problems["parts 1 size"] == "is 'some'; a valid integer or 'all' was expected."
    assert Example.load_if_valid(path) is None


def test_a_newer_file_says_to_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    path.write_text('{"format_version": 3, "title": []}')
    with pytest.raises(HcsQcError, match=r"format version 3; this one reads up to 2.*pip install"):
        Example.load(path)


def test_an_unknown_setting_suggests_the_nearest_and_the_rest_is_used() -> None:
    settings, problems = parse_leniently(
        Settings, {"color": "blue", "width": -1, "colour": "green"}
    )
    assert settings == Settings(colour="green")
    assert [problem.where for problem in problems] == ["width", "color"]
    assert problems[1].what == 'unknown setting; did you mean "colour"?'
