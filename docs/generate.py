"""Writes the pages of the site that come from code: ``python docs/generate.py [FOLDER]``.

Commands come from the parser, settings and files from the JSON schemas, the API from the public
names, and the changelog, the contributor guide and the measurements from the files of the root.
``tox run -e docs`` runs this before mkdocs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
SCHEMAS = DOCS / "schemas"
NOTE = "<!-- Written by docs/generate.py; changes here are lost. -->\n\n"

API_GROUPS: dict[str, tuple[str, ...]] = {
    "Assays": ("Assay", "run", "AssayStatus", "PlateStatus", "AssayCheck", "JournalRepair"),
    "Plates": (
        "open_plate", "Plate", "SiteKey", "convert", "Conversion", "register_reader", "Reader",
    ),
    "Cells, annotations, models": (
        "PlateEntry", "PlateCells", "Kind", "LabelsImported", "Model", "Prediction", "Exported",
        "RunResult",
    ),
    "Encoders": ("encoders", "EncoderList", "pretrain", "CustomEncoder"),
    "Screens": ("screen", "ScreenPlan", "ScreenResult"),
    "Comparing": ("benchmark", "BenchmarkResult", "sensitivity", "SensitivityResult"),
    "Data to try things on": ("simulate", "SimulatedPlate", "fetch", "Fetched"),
    "Progress and errors": (
        "Job", "Cancelled", "HcsQcError", "Problem", "ProblemsError", "WriteError",
    ),
}  # fmt: skip
"""Public names by what they are about; `api_page` refuses to leave one out."""


def main(arguments: list[str]) -> None:
    """Write the pages into a folder, by default that of the site's sources."""
    folder = Path(arguments[0]) if arguments else DOCS
    for name, text in pages().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NOTE + text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Give the generated pages by their path in the folder of the site."""
    return {
        "reference/commands.md": commands_page(),
        "reference/api.md": api_page(),
        "reference/settings.md": settings_page(),
        "reference/files.md": files_page(),
        "reference/flag-rules.md": rules_page(),
        "contributing.md": root_page("CONTRIBUTING.md"),
        "changelog.md": root_page("CHANGELOG.md"),
        # Its heading is as the navigation has it.
        "explanations/measurements.md": root_page("benchmarks/README.md", up="../").replace(
            "# Benchmarks\n", "# What was measured on what\n", 1
        ),
        "citing.md": citing_page(),
    } | {
        f"notebooks/{path.stem}.md": notebook_page(path)
        for path in sorted((DOCS / "notebooks").glob("*.ipynb"))
    }


# ---- commands ----------------------------------------------------------------------------


def commands_page() -> str:
    """Describe every command with its arguments and options, as ``--help`` does."""
    from napari_hcs_qc.cli import arguments, parser

    # The help names who runs it; the site names nobody.
    name = patch.object(arguments, "user_name", lambda: "your user name")
    with name, patch.dict(os.environ, COLUMNS="82"):
        return _commands_page(_subparsers(parser.make_parser()))


def _commands_page(commands: Mapping[str, argparse.ArgumentParser]) -> str:
    lines = ["# Commands", "", "`hcs-qc COMMAND --help` says the same.", ""]
    lines += ["| command | what it does |", "|---|---|"]
    lines += [
        f"| [`hcs-qc {name}`](#hcs-qc-{name}) | {_cell(_plain(str(command.description)))} |"
        for name, command in commands.items()
    ]
    common, *_ = (set(_options(command)) for command in commands.values())
    for command in commands.values():
        common &= set(_options(command))
    lines += ["", "## Every command", "", *_table(_options(next(iter(commands.values()))), common)]
    for name, command in commands.items():
        usage = command.format_usage().removeprefix("usage: ").replace("\n       ", "\n")
        lines += ["", f"## hcs-qc {name}", "", _plain(str(command.description)), "", "```text"]
        lines += [*usage.strip().splitlines(), "```"]
        own = {key: action for key, action in _options(command).items() if key not in common}
        if own:
            lines += ["", *_table(own, set(own))]
    return "\n".join(lines) + "\n"


def _subparsers(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    raise ValueError("The parser has no commands.")


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Give what the help of a command lists, by how it is written on the command line."""
    options = {}
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        if action.option_strings and action.nargs != 0:
            metavar = action.metavar or "{" + ",".join(map(str, action.choices or ())) + "}"
            name += f" {metavar if metavar != '{}' else action.dest.upper()}"
        options[name] = action
    return options


def _table(options: Mapping[str, argparse.Action], names: set[str]) -> list[str]:
    lines = ["| argument | meaning |", "|---|---|"]
    for name, action in options.items():
        if name not in names:
            continue
        meaning = (action.help or "").replace("%%", "%")
        default = action.default
        if (
            default not in (None, False, True, argparse.SUPPRESS, (), [])
            and "default" not in meaning
        ):
            shown = ",".join(map(str, default)) if isinstance(default, list | tuple) else default
            meaning = f"{meaning} (default: {shown})".strip()
        if action.required and action.option_strings:
            meaning = f"{meaning} (required)"
        lines.append(f"| `{name}` | {_cell(_plain(meaning))} |")
    return lines


def _plain(text: str) -> str:
    """Give text that is not Markdown, such as ``cqc.*is_outlier``, so that it is shown as it is."""
    return re.sub(r"[*_`\[\]]", r"\\\g<0>", text)


# ---- settings and files ------------------------------------------------------------------


def settings_page() -> str:
    """List the settings of files that people write."""
    from napari_hcs_qc.study.benchmark.benchmark_spec import BenchmarkSpec

    schema = json.loads((SCHEMAS / "screen.json").read_text(encoding="utf-8"))
    lines = [
        "# Settings",
        "",
        "Files in TOML. A setting that is not known is an error that names the nearest known one.",
        "",
        "## A screen",
        "",
        "The file of `hcs-qc screen` ([guide](../screen.md), "
        "[JSON schema](../schemas/screen.json)).",
        "",
        *_tables_of(schema, {"cells": "[cells]", "export": "[export]", "plate": "[[plate]]"}),
        "",
        "### `[rule]`",
        "",
        "When a plate is flagged: [thresholds and their defaults]"
        "(flag-rules.md#plates-of-a-screen).",
        "",
        "## A benchmark",
        "",
        "The file of `hcs-qc benchmark` "
        "([options of the same meaning](commands.md#hcs-qc-benchmark)). `source`, "
        "`transfer` and `encoder` are tables that can be repeated (`[[source]]`).",
        "",
        *_tables_of(BenchmarkSpec.model_json_schema(), {"source": "[[source]]"}),
    ]
    return "\n".join(lines) + "\n"


def _tables_of(schema: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[str]:
    """Write the properties of a schema, and those of the tables in it."""
    yield from _properties(schema)
    for name, title in titles.items():
        yield from ("", f"### `{title}`", "")
        definition = schema["$defs"][_reference(schema["properties"][name])]
        if definition.get("description"):
            yield from (definition["description"].replace("\n", " "), "")
        yield from _properties(definition)


def _properties(schema: Mapping[str, Any]) -> Iterator[str]:
    yield "| setting | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, entry in schema.get("properties", {}).items():
        is_simple = isinstance(entry.get("default"), str | int | float | list)
        default = json.dumps(entry["default"]).replace(', "weights": null', "") if is_simple else ""
        default = f"`{default}`" if default not in ("", "[]") else ""
        meaning = _cell(entry.get("description", "").split("\n\n")[0])
        yield f"| `{name}` | {_cell(_type(entry))} | {default} | {meaning} |"


def _type(entry: Mapping[str, Any]) -> str:
    if "enum" in entry:
        return " or ".join(f"`{value}`" for value in entry["enum"])
    if "const" in entry:
        return f"`{entry['const']}`"
    if "anyOf" in entry:
        types = [_type(part) for part in entry["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(types))
    if entry.get("type") == "array":
        items = entry.get("items") or {}
        inner = _type(items) if items else ""
        if inner == "table" or "prefixItems" in items:
            return "tables"
        return f"list of {inner}s" if inner else "list"
    if "$ref" in entry:
        return "table"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    names |= {"object": "table"}
    kind = str(entry.get("type", "anything"))
    return names.get(kind, kind)


def _reference(entry: Mapping[str, Any]) -> str:
    text = json.dumps(entry)
    found = re.search(r'"\$ref": "#/\$defs/(\w+)"', text)
    assert found is not None, f"no table: {text}"
    return found[1]


def rules_page() -> str:
    """State the rules by which wells and plates are flagged, as the reports do."""
    from napari_hcs_qc.qc.plate_level.plate_rule import PLATE_CODES, PlateRule
    from napari_hcs_qc.qc.rule import FLAG_CODES, FlagRule

    lines = ["# Flag rules", "", "As reports and `provenance.json` state them."]
    for title, rule, codes in (
        ("Sites and wells", FlagRule(), FLAG_CODES),
        ("Plates of a screen", PlateRule(), PLATE_CODES),
    ):
        lines += ["", f"## {title}", ""]
        lines += [f"- {sentence}" for sentence in rule.describe()]
        lines += ["", "| reason | meaning |", "|---|---|"]
        lines += [f"| `{code}` | {meaning} |" for code, meaning in codes.items()]
        lines += ["", "| threshold | default |", "|---|---|"]
        lines += [f"| `{name}` | {value:g} |" for name, value in rule.to_dict().items()]
    return "\n".join(lines) + "\n"


def files_page() -> str:
    """List the JSON files that the program writes, with their versions and fields."""
    lines = [
        "# Files",
        "",
        "JSON files of assays, screens and studies have a `format_version` and a checksum. Older "
        "versions are read; a file of a newer version is refused with the command that upgrades "
        "the program. What an assay folder holds is explained in [Assay folder](assay-folder.md); "
        "[Columns](../columns.md) lists the exported tables.",
    ]
    for path in sorted(SCHEMAS.rglob("*.json"), key=lambda path: (len(path.parts), path.name)):
        schema = json.loads(path.read_text(encoding="utf-8"))
        properties = schema.get("properties", {})
        version = properties.get("format_version", {}).get("const")
        name = path.relative_to(SCHEMAS).as_posix()
        description = " ".join(schema.get("description", schema["title"]).split())
        lines += ["", f"## {name.removesuffix('.json')}", "", description, ""]
        lines += [
            (f"Format version {version}. " if version else "")
            + f"[JSON schema](../schemas/{name})",
            "",
            "Fields: " + ", ".join(f"`{field}`" for field in properties) + ".",
        ]
    return "\n".join(lines) + "\n"


# ---- API ---------------------------------------------------------------------------------


def api_page() -> str:
    """List every public name, with its docstring."""
    import napari_hcs_qc

    grouped = [name for names in API_GROUPS.values() for name in names]
    public = set(napari_hcs_qc.__all__) - {"__version__"}
    if difference := public ^ set(grouped):
        raise ValueError(f"API_GROUPS and __all__ differ: {', '.join(sorted(difference))}.")
    lines = [
        "# Python API",
        "",
        "`import napari_hcs_qc as cqc` imports nothing heavy; each name is loaded when it is first "
        "used. Every command is a method of `Assay`, or a function, of the same name with the same "
        "parameters. What is not on this page is internal.",
    ]
    for title, names in API_GROUPS.items():
        lines += ["", f"## {title}"]
        for name in names:
            lines += ["", f"::: napari_hcs_qc.{name}"]
    return "\n".join(lines) + "\n"


# ---- pages of the root -------------------------------------------------------------------


def root_page(name: str, *, up: str = "") -> str:
    """Give a page of the repository's root, with links as they are in the site."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/([^)]+)\)", rf"]({up}\1)", text)
    return re.sub(r"\]\((CHANGELOG|CONTRIBUTING)\.md", lambda m: f"]({up}{m[1].lower()}.md", text)


def notebook_page(path: Path) -> str:
    """Give a notebook with the texts that it put out as a page."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            if text:
                parts.append(f"```text\n{''.join(text).rstrip()}\n```")
    parts.append(f"[This page as a notebook]({path.name})")
    return "\n\n".join(parts) + "\n"


def citing_page() -> str:
    """Give the citation file and what it is made of."""
    cff = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    return (
        "# Citing\n\nPlease cite the program and the paper whose method it makes usable, Masud, "
        "Cohen et al. (2022), *Comparison of semi-supervised learning methods for High Content "
        "Screening quality control*. "
        "`hcs-qc --version` shows the version, and `provenance.json` beside exported tables "
        "records it with the model and the encoder that were used; cite the encoder's weights, "
        "too (`hcs-qc encoders` lists their licences).\n\n"
        f"`CITATION.cff`:\n\n```yaml\n{cff}```\n"
    )


def _cell(text: str | None) -> str:
    """Give text that a cell of a Markdown table holds."""
    text = " ".join((text or "").split())
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    main(sys.argv[1:])
