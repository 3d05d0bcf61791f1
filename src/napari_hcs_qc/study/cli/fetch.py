"""``hcs-qc fetch``: a public plate, downloaded once, and what to do with it next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import names, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.job import Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dataset", metavar="SET", choices=["bbbc021", "bbbc022"], help="%(choices)s"
    )
    parser.add_argument(
        "--plate", metavar="NAME", required=True, help="such as 20585, or Week1_22123 for bbbc021"
    )
    parser.add_argument(
        "--channels",
        metavar="C,C",
        type=names,
        help="only these, such as w1,w2 or Hoechst,ER; default: all",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="folder for the plates of the set; default: ./SET"
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="mirror; default: $HCS_QC_BBBC_URL, or that of the Broad"
    )
    parser.add_argument("--keep-archives", action="store_true", help="also keep the ZIP files")
    parser.add_argument(
        "--verify", action="store_true", help="verify existing files and repair damaged ones"
    )


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.study.api.data import fetch
    from napari_hcs_qc.study.datasets import SETS

    fetched = fetch(**parameters(options), job=Job(bars.in_bytes()))
    path = shown_path(fetched.path)
    image_set = SETS[options.dataset]
    lines = [f"Note: {note}" for note in fetched.notes]
    if not fetched.is_new:
        lines.append("Nothing to do: everything requested is there.")
    lines.append(
        f"Plate {options.plate}: {count_of(fetched.n_wells, 'well')}, "
        f"{count_of(fetched.n_sites, 'site')}, channels {', '.join(fetched.channels)}, in {path}"
    )
    if fetched.is_new:
        lines += [f"SHA-256 of {name}: {sha256}" for name, sha256 in fetched.hashes.items()]
        lines.append(
            f"The hashes are stored in {shown_path(fetched.registry)} and checked next time."
        )
    lacking = len(fetched.channels) < len(image_set.channels)
    if fetched.downloaded and image_set.has_all_channels_in_one() and lacking:
        lines.append(
            "The other channels are in the kept archive; no new download is needed."
            if options.keep_archives
            else "The archive also held the other channels; use --keep-archives to get them later "
            "without a new download."
        )
    lines.append(f"From: {image_set.title}")
    lines.append(f"Next: hcs-qc new ASSAY {path}")
    data = {
        "path": path,
        "plate": options.plate,
        "channels": list(fetched.channels),
        "n_wells": fetched.n_wells,
        "n_sites": fetched.n_sites,
        "downloaded": list(fetched.downloaded),
        "is_new": fetched.is_new,
        "sha256": fetched.hashes,
        "registry": str(fetched.registry),
        "notes": list(fetched.notes),
    }
    return Outcome(lines, data)


COMMAND = Command(
    "fetch",
    "Download a public plate (BBBC021, BBBC022), ready to open.",
    _add_arguments,
    _run,
)
