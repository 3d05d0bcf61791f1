"""The table of instruments in the documentation is that of the program.

After a change of a name format: ``python tests/unit/plates/test_instruments_doc.py``.
"""

from __future__ import annotations

import re
from pathlib import Path

from napari_hcs_qc.plates.readers.names.known_names import NAME_FORMATS, best_format

PATH = Path(__file__).resolve().parents[3] / "docs" / "instruments.md"
_BEGIN, _END = "<!-- formats -->\n", "<!-- end of formats -->\n"
_LOG = re.compile(r"^\| `(?P<path>[^`]+)` \| (?P<format>\S+) \|", re.MULTILINE)


def table() -> str:
    lines = [
        "| instrument | format | example | well | site | channel | z | time | beside the names |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in NAME_FORMATS.values():
        for number, example in enumerate(each.examples):
            cells = [
                each.instrument if number == 0 else "",
                f"`{each.name}`" if number == 0 else "",
                f"`{example.path}`",
                example.well,
                str(example.site),
                example.channel,
                str(example.z) if example.z >= 0 else "",
                str(example.time) if example.time else "",
                each.metadata if number == 0 else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def test_the_table_is_that_of_the_program() -> None:
    text = PATH.read_text(encoding="utf-8")
    assert text.split(_BEGIN)[1].split(_END)[0] == table()


def test_public_names_that_were_tried_are_read_as_logged() -> None:
    tried = list(_LOG.finditer(PATH.read_text(encoding="utf-8").split(_END)[1]))
    assert len(tried) >= 20
    results = {}
    for match in tried:
        folder, _, name = match["path"].rpartition("/")
        name_format, _ = best_format([(folder, name)])
        results[match["path"]] = name_format.name if name_format else "-"
    assert results == {match["path"]: match["format"] for match in tried}


if __name__ == "__main__":
    before, rest = PATH.read_text(encoding="utf-8").split(_BEGIN)
    PATH.write_text(f"{before}{_BEGIN}{table()}{_END}{rest.split(_END)[1]}", encoding="utf-8")
