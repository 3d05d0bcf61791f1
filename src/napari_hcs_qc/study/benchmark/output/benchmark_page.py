"""The tables and plots as one HTML page that opens offline."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_hcs_qc.study.benchmark.output.panels import Entry, Line, Panel, PrintedTable


def to_page(tables: Sequence[PrintedTable], charts: Mapping[int, Sequence[str]]) -> str:
    """Set the page."""
    body = "".join(_table(one, charts.get(place, ())) for place, one in enumerate(tables))
    return _PAGE.format(body=body)


def _table(table: PrintedTable, charts: Sequence[str]) -> str:
    plain = [panel for panel in table.panels if not panel.is_detail]
    details = [panel for panel in table.panels if panel.is_detail]
    folded = (
        "<details><summary>Precision and recall of the abnormal class</summary>"
        f"{''.join(map(_panel, details))}</details>"
        if details
        else ""
    )
    reasons = "".join(
        f"<p><sup>{letter}</sup> {escape(why)}.</p>" for letter, why in table.reasons.items()
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    drawn = "".join(f"<figure>{svg}</figure>" for svg in charts)
    return (
        f"<section><h2>{escape(table.title)}</h2>{drawn}{''.join(map(_panel, plain))}{folded}"
        f'<div class="notes">{reasons}{notes}</div></section>'
    )


def _panel(panel: Panel) -> str:
    n = len(panel.figures)
    groups = "".join(f'<th colspan="{n}">{escape(group)}</th>' for group in panel.groups)
    heads = "".join(
        f"<th{_edge(place)}>{escape(figure)}</th>"
        for _ in panel.groups
        for place, figure in enumerate(panel.figures)
    )
    body = "".join(_line(line, n) for line in panel.lines)
    return (
        f'<div class="panel"><table><caption>{escape(panel.title)}</caption>'
        f'<thead><tr><th rowspan="2">Method</th>{groups}</tr><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _line(line: Line, n: int) -> str:
    cells = []
    for start in range(0, len(line.entries), n):
        group = line.entries[start : start + n]
        if group[0].letter:
            cells.append(f'<td colspan="{n}" class="empty edge">–<sup>{group[0].letter}</sup></td>')
        else:
            cells += [
                f"<td{_edge(place)}>{_entry(entry)}</td>" for place, entry in enumerate(group)
            ]
    kind = ' class="paper"' if line.is_paper else ""
    whose = " <small>(paper)</small>" if line.is_paper else ""
    return f'<tr{kind}><th scope="row">{escape(line.name)}{whose}</th>{"".join(cells)}</tr>'


def _edge(place: int) -> str:
    return ' class="edge"' if place == 0 else ""


def _entry(entry: Entry) -> str:
    sd = f"<small> ± {escape(entry.sd)}</small>" if entry.sd else ""
    return f"{escape(entry.text)}{sd}"


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>hcs-qc benchmark</title>
<style>
body{{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:1500px;padding:0 1.5em;
color:#222}}
h2{{margin:2em 0 .4em;border-bottom:2px solid #222;padding-bottom:.2em}}
.panel{{overflow-x:auto;margin:1em 0 1.6em}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums}}
caption{{text-align:left;font-weight:600;padding:.3em 0;white-space:nowrap}}
th,td{{padding:3px 9px;text-align:right;white-space:nowrap}}
thead th{{border-bottom:1px solid #888;font-weight:600;text-align:center;vertical-align:bottom}}
thead tr:first-child th{{border-top:1px solid #222}}
tbody th,thead th[rowspan]{{text-align:left;font-weight:400}}
tbody tr:last-child>*{{border-bottom:1px solid #222}}
.edge,thead tr:first-child th[colspan]{{border-left:1px solid #ddd}}
small{{color:#777;font-size:85%}}
.empty{{text-align:center;color:#999}}
.paper>*,.paper small{{color:#0b4fd8}}
tr:not(.paper)+.paper>*{{border-top:1px solid #bbb}}
tbody tr:hover>*{{background:#f4f6f8}}
.notes{{color:#444;max-width:75em}}.notes p{{margin:.25em 0}}
figure{{display:inline-block;margin:0 1.5em 1em 0;vertical-align:top;max-width:100%}}
figure svg{{max-width:100%;height:auto}}
summary{{cursor:pointer;color:#444}}
</style>
<h1>Benchmark</h1><p>Percent: mean over the draws ± their standard deviation (95 % intervals are
in the CSV files). <b style="color:#0b4fd8">Blue: printed in the paper, on other images.</b>
A dash is a cell that could not be measured; its letter says why.</p>
{body}</html>
"""
