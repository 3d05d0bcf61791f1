"""The sensitivity to artefacts as CSV, Markdown, a chart and one HTML page."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.files import write_text
from napari_hcs_qc.qc.reports.figures import save_chart
from napari_hcs_qc.qc.reports.pages import write_page
from napari_hcs_qc.study.artefacts.artefact_kinds import KINDS
from napari_hcs_qc.study.artefacts.measure import severity_at
from napari_hcs_qc.study.artefacts.sensitivity_chart import (
    SIMULATED_SUFFIX,
    CurvePanel,
    detection_chart,
)
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from matplotlib.figure import Figure
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
    """Write ``sensitivity.csv``, ``.md``, ``.svg``, ``.png``, ``.pdf`` and ``.html``."""
    rows = summary_rows(results)
    chart = _chart(provenance, results)
    texts = {".csv": _csv(results), ".md": _markdown(provenance, rows, accuracy)}
    for suffix, text in texts.items():
        write_text(folder / f"sensitivity{suffix}", text)
    written = [folder / f"sensitivity{suffix}" for suffix in texts]
    written += save_chart(chart, folder / "sensitivity")
    page = folder / "sensitivity.html"
    values = {
        "notes": provenance_lines(provenance),
        "chart": chart,
        "accuracy_header": ("encoder", "trained on", *_FIGURES.values()),
        "accuracy": _accuracy_rows(accuracy),
        "kinds": _kind_views(rows, strips),
        "least": _MISSED,
    }
    write_page(page, "sensitivity.html.jinja", values, __package__)
    return [*written, page]


def summary_rows(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give a row for each kind, encoder and training: shares by severity, and where half is found.

    Keys ``encoder, trained, kind, unit, untouched, shares`` (severity to row) and ``half_at``
    (severity, None where it is never reached).
    """
    rows = []
    for result in results:
        for trained in dict.fromkeys(row["trained"] for row in result["rows"]):
            curve = [row for row in result["rows"] if row["trained"] == trained]
            rows.append(
                {
                    "encoder": result["encoder"],
                    "trained": trained,
                    "kind": result["kind"],
                    "unit": result["unit"],
                    "untouched": next(row for row in curve if row["severity"] == 0),
                    "shares": {row["severity"]: row for row in curve if row["severity"] > 0},
                    "half_at": severity_at(curve, _MISSED),
                }
            )
    return sorted(rows, key=lambda row: list(KINDS).index(row["kind"]))


def provenance_lines(provenance: Mapping[str, Any]) -> list[str]:
    """Describe where the figures come from and how they were measured."""
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
        f"{provenance['n_spoiled']} normal ones have simulated artefacts.",
        f"Encoders: {weights}. Recipe {provenance['recipe']} "
        f"({provenance['recipe_fingerprint']}), head {provenance['head']}, abnormal from "
        f"P = {provenance['threshold']:g} on.",
        f"{provenance['n_folds']} folds by well, {count_of(n_seeds, 'seed')} "
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


def _chart(provenance: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Figure:
    panels: dict[str, CurvePanel] = {}
    for result in results:
        kind = result["kind"]
        last = max(result["rows"], key=lambda row: float(row["severity"]))
        axis = f"severity ({last['severity']:g} is {_amount(last, kind)})"
        panel = panels.setdefault(kind, CurvePanel(kind, axis))
        for trained in dict.fromkeys(row["trained"] for row in result["rows"]):
            name = result["encoder"] + (SIMULATED_SUFFIX if trained == "simulated" else "")
            panel.curves[name] = [row for row in result["rows"] if row["trained"] == trained]
    subtitle = (
        f"{', '.join(provenance['plates'])}: {provenance['n_spoiled']} normal cells, recipe "
        f"{provenance['recipe']}, head {provenance['head']}, {provenance['n_folds']} folds by "
        "well; dotted: the untouched cells"
    )
    title = "Cells with a simulated artefact that are called abnormal (%)"
    return detection_chart(list(panels.values()), title, subtitle)


def _amount(row: Mapping[str, Any], kind: str) -> str:
    """Write a severity in the unit of its kind."""
    unit = KINDS[kind].unit
    if row["amount"] is None:
        return "none"
    if unit.startswith("of "):
        return f"{100 * row['amount']:.3g} % {unit}"
    return f"{row['amount']:.3g} {unit}"


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['called_abnormal']:.0f}"


def _interval(row: Mapping[str, Any]) -> str:
    return f"{100 * row['low']:.0f}–{100 * row['high']:.0f}"


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
    rows: Sequence[Mapping[str, Any]],
    accuracy: Sequence[Mapping[str, Any]],
) -> str:
    severities = _severities(rows)
    table = []
    for row in rows:
        amount = _amount(row["shares"][severities[-1]], row["kind"])
        shares = [row["shares"][severity] for severity in severities]
        table.append(
            [
                row["kind"], row["encoder"], row["trained"], amount, _percent(row["untouched"]),
                *(f"{_percent(share)} ({_interval(share)})" for share in shares), _half(row),
            ]
        )  # fmt: skip
    header = ["kind", "encoder", "trained on", "severity 1", "untouched",
              *(f"{severity:g}" for severity in severities), "half from"]  # fmt: skip
    kinds = dict.fromkeys(row["kind"] for row in rows)
    blocks = [
        "# Simulated artefacts: percent of cells called abnormal, by severity",
        "\n".join(f"- {line}" for line in provenance_lines(provenance)),
        _markdown_table(header, table),
        "## Real annotated cells, the same folds",
        _markdown_table(["encoder", "trained on", *_FIGURES.values()], _accuracy_rows(accuracy)),
        "## Kinds",
        "\n".join(f"- {kind}: {KINDS[kind].meaning}." for kind in kinds),
    ]
    return "\n\n".join(blocks) + "\n"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def _accuracy_rows(accuracy: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [row["encoder"], trained, *(f"{row[trained][name]['mean']:.3f}" for name in _FIGURES)]
        for row in accuracy
        for trained in ("real", "simulated")
        if trained in row
    ]


def _kind_views(
    rows: Sequence[Mapping[str, Any]], strips: Mapping[str, NDArray[np.uint8]]
) -> list[dict[str, Any]]:
    """Give what the page shows of each kind: pictures and shares, a column for each severity."""
    severities = _severities(rows)
    views = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of_kind = [row for row in rows if row["kind"] == kind]
        amounts = [_amount(of_kind[0]["shares"][severity], kind) for severity in severities]
        views.append(
            {
                "name": kind,
                "meaning": KINDS[kind].meaning,
                "header": ("untouched", *amounts),
                "pictures": list(strips[kind]),
                "curves": [
                    {
                        "name": row["encoder"]
                        + (" + simulated" if row["trained"] == "simulated" else ""),
                        "untouched": _percent(row["untouched"]),
                        "shares": [
                            (share["called_abnormal"], _percent(share), _interval(share))
                            for share in (row["shares"][severity] for severity in severities)
                        ],
                        "half": _half(row),
                    }
                    for row in of_kind
                ],
            }
        )
    return views
