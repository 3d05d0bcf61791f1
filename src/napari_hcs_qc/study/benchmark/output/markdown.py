"""Tables in Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_hcs_qc.study.benchmark.output.panels import Entry, Line, Panel, PrintedTable

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def escape_markdown(text: str) -> str:
    """Escape what Markdown takes for more than text; line breaks become spaces."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def to_markdown(table: PrintedTable) -> str:
    """Set a table; the paper's lines are blue where HTML in Markdown may be, else in italics."""
    parts = [f"## {escape_markdown(table.title)}"]
    for panel in table.panels:
        parts.append(f"**{escape_markdown(panel.title)}**")
        parts.append(_table(panel))
    parts.append("\n".join(f"- {escape_markdown(note)}" for note in table.notes))
    if table.reasons:
        parts.append(
            "\n".join(
                f"- <sup>{letter}</sup> {escape_markdown(text)}"
                for letter, text in table.reasons.items()
            )
        )
    return "\n\n".join(parts) + "\n"


def _table(panel: Panel) -> str:
    # Markdown has one line of headings and nothing that spans: each figure names its group.
    heads = [
        escape_markdown(f"{group} {figure}") for group in panel.groups for figure in panel.figures
    ]
    lines = ["| Method | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    lines += ["| " + " | ".join(_row(line)) + " |" for line in panel.lines]
    return "\n".join(lines)


def _row(line: Line) -> list[str]:
    row = [escape_markdown(line.name), *(_entry(entry) for entry in line.entries)]
    if not line.is_paper:
        return row
    row[0] = f"{row[0]} (paper)"
    return [f'<span style="color:blue">*{text}*</span>' if text else "" for text in row]


def _entry(entry: Entry) -> str:
    if entry.letter:
        return f"–<sup>{entry.letter}</sup>"
    return f"{entry.text} ± {entry.sd}" if entry.sd else entry.text
