"""``hcs-qc fetch``: a public plate, downloaded once, and what to do with it next."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import names, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.job import Job
from napari_hcs_qc.study.api.data import fetch
from napari_hcs_qc.study.cli.flags import add_flags
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dataset", metavar="SET", choices=["bbbc021", "bbbc022"], help="%(choices)s"
    )
    texts = {
        "plate": ("NAME", "such as 20585, or Week1_22123 for bbbc021"),
        "channels": ("C,C", "only these, such as w1,w2 or Hoechst,ER; default: all"),
        "out": ("DIR", "folder for the plates of the set; default: ./SET"),
        "base_url": ("URL", "mirror; default: $HCS_QC_BBBC_URL, or that of the Broad"),
        "keep_archives": ("", "also keep the ZIP files"),
        "verify": ("", "verify existing files and repair damaged ones"),
    }
    add_flags(parser, fetch, texts, {"channels": names})


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
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
    data = {**asdict(fetched), "path": path, "plate": options.plate}
    data |= {"sha256": data.pop("hashes"), "registry": str(fetched.registry)}
    return Outcome(lines, data)


COMMAND = Command(
    "fetch", "Download a public plate (BBBC021, BBBC022), ready to open.", _add_arguments, _run
)
