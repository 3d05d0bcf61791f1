"""``hcs-qc annotate`` and ``verdict``: what people say of cells and of wells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import (
    add_annotator,
    add_assay,
    add_classes,
    add_kind_option,
    add_position_options,
    parameters,
)
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_annotate_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument(
        "--from",
        dest="labels",
        metavar="LABELS",
        type=Path,
        help="table with well, site, position and class (plate, kind and annotator are optional), "
        "by the names that CellProfiler, CPA, ilastik or QuPath give them; GeoJSON; or a folder "
        "with one file for each image",
    )
    add_annotator(parser)
    add_kind_option(parser)
    add_classes(parser)
    add_position_options(parser)


def _annotate(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay
    from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS

    assay = Assay.open(options.assay)
    added = assay.annotate(**parameters(options, "assay"))
    counts = assay.annotations()["class"].value_counts().to_dict()
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    own = assay.kinds[len(BUILT_IN_KINDS) :]
    lines = []
    if options.add_kind:
        keys = (f"{kind.name} (key {kind.key or 'none'}, {kind.colour})" for kind in own)
        lines.append(f"Kinds of this assay, beside those of every one: {', '.join(keys)}.")
    if options.labels is not None:
        lines.append(f"Read: {added.understood}.")
        lines.append(f"Positions: {added.check}; what is on none makes a cell.")
        lines.append(
            f"{count_of(added.n_new, 'annotation')} imported, {added.n_known} already known. "
            f"Now: {text}."
        )
    kinds = [kind.model_dump() for kind in own]
    data = {
        "n_new": added.n_new,
        "n_known": added.n_known,
        "check": added.check,
        "understood": added.understood,
        "classes": counts,
        "added_kinds": kinds,
    }
    return Outcome(lines, data)


def _add_annotations_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument(
        "--export", metavar="CSV", type=Path, help="write every annotation; annotate reads it back"
    )


def _annotations(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    annotations = Assay.open(options.assay).annotations(**parameters(options, "assay"))
    counts = annotations["class"].fillna("people differ").value_counts().to_dict()
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    lines = [f"{count_of(len(annotations), 'annotated cell')}: {text or 'none'}."]
    if options.export is not None:
        lines.append(f"Annotations: {shown_path(options.export)}")
    return Outcome(lines, {"classes": counts, "export": options.export and str(options.export)})


def _add_verdict_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument("well", metavar="WELL", help="such as A01")
    parser.add_argument(
        "verdict",
        metavar="VERDICT",
        choices=["keep", "exclude", "look-again", "clear"],
        help="keep, exclude, look-again, or clear to remove the decision",
    )
    parser.add_argument("--plate", metavar="NAME", help="required if the assay has several plates")
    parser.add_argument("--site", metavar="N", type=int, help="only this site of the well")
    parser.add_argument("--note", metavar="TEXT", help="why, kept with the decision")
    add_annotator(parser)


def _verdict(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    action = Assay.open(options.assay).verdict(**parameters(options, "assay"))
    where = options.well if options.site is None else f"{options.well} site {options.site}"
    texts = {"look-again": "look again", "clear": "verdict removed"}
    text = texts.get(options.verdict, options.verdict)
    return Outcome([f"{where}: {text}."], {"action": action})


ANNOTATE = Command(
    "annotate",
    "Import annotations from a file, or add kinds of abnormal cells.",
    _add_annotate_arguments,
    _annotate,
)
ANNOTATIONS = Command(
    "annotations",
    "Count what people annotated, or write it as a CSV.",
    _add_annotations_arguments,
    _annotations,
)
VERDICT = Command(
    "verdict", "Record the decision on a flagged well or site.", _add_verdict_arguments, _verdict
)
