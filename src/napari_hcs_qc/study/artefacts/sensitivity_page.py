"""The sensitivity to artefacts as CSV, Markdown, SVG, PNG and one HTML page."""

from __future__ import annotations

import base64
import csv
import io
from html import escape
from typing import TYPE_CHECKING, Any

from PIL import Image

from napari_hcs_qc.files import atomic_path, write_text
from napari_hcs_qc.study.artefacts.artefact_kinds import KINDS
from napari_hcs_qc.study.artefacts.measure import severity_at
from napari_hcs_qc.study.artefacts.sensitivity_chart import SIMULATED_SUFFIX, Drawing, draw_curves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_COLUMNS = (
    "encoder", "trained_on", "kind", "severity", "amount", "unit", "n_cells", "called_abnormal",
    "low_95", "high_95", "untouched_called_abnormal",
)  # fmt: skip
_MISSED = 0.5
_FIGURES = {
    "f1_weighted": "weighted F1",
    "precision_abnormal": "precision of abnormal",
    "recall_abnormal": "recall of abnormal",
}


def write_sensitivity(
    provenance: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    accuracy: Sequence[Mapping[str, Any]],
    strips: Mapping[str, NDArray[np.uint8]],
    folder: Path,
) -> list[Path]:
    """Write ``sensitivity.csv``, ``.md``, ``.svg``, ``.png`` and ``.html``."""
    drawing = _drawing(provenance, results)
    path = {suffix: folder / f"sensitivity.{suffix}" for suffix in ("csv", "md", "svg", "png")}
    write_text(path["csv"], _csv(results))
    write_text(path["md"], _markdown(provenance, results, accuracy))
    write_text(path["svg"], drawing.to_svg())
    with atomic_path(path["png"]) as temporary:
        drawing.to_image().save(temporary)
    page = folder / "sensitivity.html"
    write_text(page, _html(provenance, results, accuracy, strips, drawing))
    return [*path.values(), page]


def summary_rows(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give a row each kind, encoder and training: shares by severity, and where half is found.

    Keys ``encoder, trained, kind, unit, untouched, shares`` (severity to row) and ``half_at``
    (severity, None where it is never reached).
    """
    rows = []
    for result in results:
        for trained in dict.fromkeys(row["trained"] for row in result["rows"]):
            here = [row for row in result["rows"] if row["trained"] == trained]
            rows.append(
                {
                    "encoder": result["encoder"],
                    "trained": trained,
                    "kind": result["kind"],
                    "unit": result["unit"],
                    "untouched": next(row for row in here if row["severity"] == 0),
                    "shares": {row["severity"]: row for row in here if row["severity"] > 0},
                    "half_at": severity_at(here, _MISSED),
                }
            )
    return sorted(rows, key=lambda row: list(KINDS).index(row["kind"]))


def provenance_lines(provenance: Mapping[str, Any]) -> list[str]:
    """Say in words where the figures come from and how they were measured."""
    weights = ", ".join(
        f"{name} (SHA-256 of its weights {digest[:12]}…)" if digest else f"{name} (random forest)"
        for name, digest in provenance["encoders"].items()
    )
    donors = (
        f"{provenance['n_dead']} annotated dead cells are the ones pasted, for each cell only "
        "those of held-out wells; where there are none, condensed nuclei are drawn"
        if provenance["n_dead"]
        else "no cell is annotated dead, so the dead ones are drawn"
    )
    n_seeds = provenance["seeds"]
    lines = [
        f"Plates {', '.join(provenance['plates'])}: {provenance['n_annotated']} annotated cells "
        f"({provenance['n_abnormal']} abnormal) in {provenance['n_wells']} wells; "
        f"{provenance['n_spoiled']} normal ones are spoiled.",
        f"Encoders: {weights}. Recipe {provenance['recipe']} "
        f"({provenance['recipe_fingerprint']}), head {provenance['head']}, abnormal from "
        f"P = {provenance['threshold']:g} on.",
        f"{provenance['n_folds']} folds by well, {n_seeds} seed{'s' if n_seeds > 1 else ''} "
        f"(0{f' to {n_seeds - 1}' if n_seeds > 1 else ''}); no well is both trained on and tested. "
        "Intervals are Wilson's at 95 % over the cells.",
        f"Artefacts are made on the camera's grey values around each cell, before any resize; "
        f"{donors}.",
        f"Nucleus diameter {provenance['diameter_px']:.1f} px, pixel "
        f"{provenance['pixel_size_um']:.3g} µm ({provenance['pixel_size_from']}), numerical "
        f"aperture {provenance['numerical_aperture']:g}, light of "
        f"{', '.join(f'{value:g}' for value in provenance['wavelengths_um'])} µm, saturation at "
        f"{', '.join(f'{value:g}' for value in provenance['saturation'])}. napari-hcs-qc "
        f"{provenance['version']}.",
    ]
    if provenance["fold_note"]:
        lines.append(str(provenance["fold_note"]))
    if provenance["simulated"]:
        lines.append(
            "Trained on simulated cells as well: to the training cells of each fold as many were "
            f"added as it has abnormal ones, of {', '.join(provenance['simulated'])}, severity 0.5 "
            "to 1."
        )
    return lines


def _curve_name(encoder: str, trained: str) -> str:
    return encoder + (SIMULATED_SUFFIX if trained == "simulated" else "")


def _drawing(provenance: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Drawing:
    panels: dict[str, dict[str, Any]] = {}
    names: dict[str, None] = {}
    for result in results:
        last = max(result["rows"], key=lambda row: row["severity"])
        panel = panels.setdefault(
            result["kind"],
            {
                "title": result["kind"],
                "axis": f"severity ({last['severity']:g} is {_amount(last, result['kind'])})",
                "curves": {},
            },
        )
        for trained in dict.fromkeys(row["trained"] for row in result["rows"]):
            name = _curve_name(result["encoder"], trained)
            names[name] = None
            panel["curves"][name] = [row for row in result["rows"] if row["trained"] == trained]
    subtitle = (
        f"{', '.join(provenance['plates'])}: {provenance['n_spoiled']} normal cells, recipe "
        f"{provenance['recipe']}, head {provenance['head']}, {provenance['n_folds']} folds by "
        "well; dotted: the untouched cells"
    )
    title = "Cells with a simulated artefact that are called abnormal, percent"
    return draw_curves(list(panels.values()), title, subtitle, list(names))


def _amount(row: Mapping[str, Any], kind: str) -> str:
    """Say what a severity is in units."""
    unit = KINDS[kind].unit
    if row["amount"] is None:
        return "none"
    if unit.startswith("of "):
        return f"{100 * row['amount']:.3g} % {unit}"
    return f"{row['amount']:.3g} {unit}"


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['called_abnormal']:.0f}"


def _csv(results: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for result in results:
        untouched = {
            row["trained"]: row["called_abnormal"] for row in result["rows"] if row["severity"] == 0
        }
        for row in result["rows"]:
            amount = "" if row["amount"] is None else row["amount"]
            writer.writerow(
                [
                    result["encoder"], row["trained"], result["kind"], row["severity"], amount,
                    result["unit"], row["n_cells"], row["called_abnormal"], row["low"],
                    row["high"], untouched[row["trained"]],
                ]
            )  # fmt: skip
    return out.getvalue()


def _severities(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    return sorted({severity for row in rows for severity in row["shares"]})


def _half(row: Mapping[str, Any]) -> str:
    return "never" if row["half_at"] is None else f"{row['half_at']:.2f}"


def _markdown(
    provenance: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    accuracy: Sequence[Mapping[str, Any]],
) -> str:
    rows = summary_rows(results)
    severities = _severities(rows)
    header = ["kind", "encoder", "trained on", "severity 1", "untouched",
              *(f"{one:g}" for one in severities), "half from"]  # fmt: skip
    lines = ["# Simulated artefacts: percent of cells called abnormal, by severity", ""]
    lines += [f"- {line}" for line in provenance_lines(provenance)]
    lines += ["", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        last = row["shares"][severities[-1]]
        cells = [row["kind"], row["encoder"], row["trained"], _amount(last, row["kind"])]
        cells += [_percent(row["untouched"])]
        cells += [
            f"{_percent(one)} ({100 * one['low']:.0f}–{100 * one['high']:.0f})"
            for one in (row["shares"][severity] for severity in severities)
        ]
        lines.append("| " + " | ".join([*cells, _half(row)]) + " |")
    lines += ["", "## Real annotated cells, the same folds", ""]
    lines += [
        "| encoder | trained on | " + " | ".join(_FIGURES.values()) + " |",
        "|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in _accuracy_rows(accuracy)]
    lines += ["", "## Kinds", ""]
    lines += [
        f"- {name}: {KINDS[name].meaning}." for name in dict.fromkeys(r["kind"] for r in rows)
    ]
    return "\n".join(lines) + "\n"


def _accuracy_rows(accuracy: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [one["encoder"], trained, *(f"{one[trained][name]['mean']:.3f}" for name in _FIGURES)]
        for one in accuracy
        for trained in ("real", "simulated")
        if trained in one
    ]


def _html(
    provenance: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    accuracy: Sequence[Mapping[str, Any]],
    strips: Mapping[str, NDArray[np.uint8]],
    drawing: Drawing,
) -> str:
    rows = summary_rows(results)
    severities = _severities(rows)
    parts = []
    for name in dict.fromkeys(row["kind"] for row in rows):
        kind = KINDS[name]
        here = [row for row in rows if row["kind"] == name]
        columns = [here[0]["untouched"], *(here[0]["shares"][one] for one in severities)]
        head = "".join(
            f"<th>{'untouched' if one['severity'] == 0 else _amount(one, name)}</th>"
            for one in columns
        )
        pictures = "".join(
            f'<td><img alt="" src="{_data_uri(picture)}"></td>' for picture in strips[name]
        )
        body = "".join(_html_row(row, severities) for row in here)
        parts.append(
            f"<h3>{escape(name)}</h3><p>Severity 1: {escape(kind.meaning)}.</p>"
            f"<table><tr><th></th>{head}<th>half found from severity</th></tr>"
            f"<tr><td></td>{pictures}<td></td></tr>{body}</table>"
        )
    figures = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _accuracy_rows(accuracy)
    )
    heads = "".join(f"<th>{name}</th>" for name in ("encoder", "trained on", *_FIGURES.values()))
    notes = "".join(f"<li>{escape(line)}</li>" for line in provenance_lines(provenance))
    return _PAGE.format(
        notes=notes,
        chart=drawing.to_svg(),
        accuracy=f"<table><tr>{heads}</tr>{figures}</table>",
        kinds="".join(parts),
    )


def _html_row(row: Mapping[str, Any], severities: Sequence[float]) -> str:
    trained = " + simulated" if row["trained"] == "simulated" else ""
    cells = [f"<td>{_percent(row['untouched'])} %</td>"]
    for severity in severities:
        one = row["shares"][severity]
        # What half of the cells hide is what the encoder misses.
        missed = ' class="missed"' if one["called_abnormal"] < _MISSED else ""
        cells.append(
            f"<td{missed}>{_percent(one)} % <small>{100 * one['low']:.0f}–"
            f"{100 * one['high']:.0f}</small></td>"
        )
    return (
        f"<tr><th>{escape(row['encoder'] + trained)}</th>{''.join(cells)}<td>{_half(row)}</td></tr>"
    )


def _data_uri(picture: NDArray[np.uint8]) -> str:
    image = Image.fromarray(picture).resize((84, 84), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Simulated artefacts</title>
<style>body{{font:14px system-ui,sans-serif;margin:2em;color:#222;max-width:1100px}}
table{{border-collapse:collapse}}td,th{{padding:2px 8px;border-bottom:1px solid #ddd;
text-align:left;font-weight:normal}}th{{color:#555}}small{{color:#777}}td img{{display:block}}
.missed{{background:#fbe3d6}}svg{{max-width:100%;height:auto}}</style>
<h1>Which artefacts are missed</h1>
<p>Normal cells of this assay, spoiled by simulated artefacts of rising severity: the share that is
called abnormal, beside that of the untouched cells (the false alarms). Shaded: less than half is
found.</p>
<ul>{notes}</ul>{chart}<h2>Real annotated cells, the same folds</h2>{accuracy}
<h2>Kind by kind</h2><p>The pictures show one cell in its widest crop, at the severities of the
columns.</p>{kinds}</html>
"""
