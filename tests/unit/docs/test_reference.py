"""Every command, option, setting, column, file and public name is on the site."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import napari_hcs_qc
from napari_hcs_qc.cli.parser import load_command, make_parser
from napari_hcs_qc.plugins import COMMANDS
from napari_hcs_qc.qc.export.dictionary import COLUMNS
from napari_hcs_qc.qc.plate_level.plate_rule import PLATE_CODES, PlateRule
from napari_hcs_qc.qc.rule import FLAG_CODES, FlagRule
from napari_hcs_qc.screen.screen_spec import CellsTable, ExportTable, PlateTable, ScreenFile
from napari_hcs_qc.study.benchmark.benchmark_spec import BenchmarkSpec, SourceSpec

if TYPE_CHECKING:
    from types import ModuleType

SCHEMAS = Path(__file__).resolve().parents[3] / "docs" / "schemas"


def sections(page: str) -> dict[str, str]:
    """Give what stands under each heading of the second level."""
    title, *parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return {"": title, **dict(zip(parts[::2], parts[1::2], strict=True))}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_on_the_page_of_commands(
    name: str, generated: dict[str, str]
) -> None:
    by_title = sections(generated["reference/commands.md"])
    shown = by_title[f"hcs-qc {name}"] + by_title["Every command"]
    parser = argparse.ArgumentParser()
    load_command(name).add_arguments(parser)
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        for option in action.option_strings or [str(action.metavar)]:
            row = rf"^\| `[^`]*(?<![\w-]){re.escape(option)}(?![\w-])"  # not the usage above it
            assert re.search(row, shown, re.MULTILINE), option
    assert load_command(name).help in shown


def test_help_that_has_signs_of_markdown_is_shown_as_it_is(generated: dict[str, str]) -> None:
    page = generated["reference/commands.md"]
    assert r"cqc.\*.is\_outlier or Metadata\_cqc\_\*" in page
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page, flags=re.MULTILINE | re.DOTALL)
    assert re.search(r"(?<!\\)[*_]", prose) is None


def test_hidden_options_are_not_shown(generated: dict[str, str]) -> None:
    assert "--exclude-kinds" not in generated["reference/commands.md"]


def test_the_site_does_not_name_who_builds_it(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")
    page = generator.commands_page()
    assert "somebody-else" not in page
    assert "your user name" in page


def test_every_public_name_is_on_the_page_of_the_api(generated: dict[str, str]) -> None:
    shown = re.findall(r"^::: napari_hcs_qc\.(\w+)$", generated["reference/api.md"], re.MULTILINE)
    assert sorted(shown) == sorted(set(napari_hcs_qc.__all__) - {"__version__"})


def test_a_public_name_that_no_group_has_is_refused(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napari_hcs_qc, "__all__", [*napari_hcs_qc.__all__, "forgotten"])
    with pytest.raises(ValueError, match="forgotten"):
        generator.api_page()


def setting_names() -> list[str]:
    names: list[str] = []
    for model in (ScreenFile, CellsTable, ExportTable, PlateTable, BenchmarkSpec, SourceSpec):
        for name, field in model.model_fields.items():
            names.append(str(field.validation_alias or name))
    return names


def test_every_setting_of_files_is_on_the_page_of_settings_with_its_meaning(
    generated: dict[str, str],
) -> None:
    page = generated["reference/settings.md"]
    for name in setting_names():
        assert f"| `{name}` |" in page
    rows = [line for line in page.splitlines() if re.match(r"\| `", line)]
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_threshold_and_reason_is_on_the_page_of_rules(generated: dict[str, str]) -> None:
    page = generated["reference/flag-rules.md"]
    for rule in (FlagRule(), PlateRule()):
        for field in fields(rule):
            assert f"| `{field.name}` | {getattr(rule, field.name):g} |" in page
        for sentence in rule.describe():
            assert sentence in page
        # The sentences do not round what the table has.
        stated = {float(value) for value in re.findall(r"\d+(?:\.\d+)?", " ".join(rule.describe()))}
        values = [getattr(rule, field.name) for field in fields(rule)]
        assert [v for v in values if not {v, round(100 * v, 6)} & stated] == []
    for code, meaning in (*FLAG_CODES.items(), *PLATE_CODES.items()):
        assert f"| `{code}` | {meaning} |" in page


def test_every_column_is_on_the_page_of_columns(pages: dict[str, str]) -> None:
    for name in COLUMNS:
        assert f"| `{name}` |" in pages["columns.md"]


def test_every_file_with_its_version_and_fields_is_on_the_page_of_files(
    generated: dict[str, str],
) -> None:
    by_title = sections(generated["reference/files.md"])
    for path in SCHEMAS.rglob("*.json"):
        name = path.relative_to(SCHEMAS).with_suffix("").as_posix()
        properties = json.loads(path.read_text(encoding="utf-8"))["properties"]
        shown = by_title[name]
        assert all(f"`{field}`" in shown for field in properties)
        if "format_version" in properties:
            assert f"Format version {properties['format_version']['const']}." in shown


def test_help_of_every_command_says_something_of_every_option() -> None:
    parser = make_parser()
    [subparsers] = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    silent = [
        f"{name} {action.option_strings or action.dest}"
        for name, command in subparsers.choices.items()
        for action in command._actions
        if not action.help
    ]
    assert silent == []
