"""The verb ``fetch``: a public plate, downloaded once, and what to do with it next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.job import Job
from napari_hcs_qc.study.datasets import SETS, fetch_plate
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def fetch(options: argparse.Namespace, bars: Bars) -> tuple[list[str], dict[str, Any]]:
    """Fetch a plate; gives lines for a person, and the same as plain data."""
    channels = None
    if options.channels is not None:
        channels = tuple(one.strip() for one in options.channels.split(",") if one.strip())
    fetched = fetch_plate(
        options.set,
        options.plate,
        Path(options.set) if options.out is None else options.out,
        channels=channels,
        base_url=options.base_url,
        keep_archives=options.keep_archives,
        verify=options.verify,
        job=Job(bars.in_bytes()),
    )
    bars.close()
    path = shown_path(fetched.path)
    image_set = SETS[options.set]
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
            "The archive also held the other channels; use --keep-archives to get them later "
            "without a new download."
            if not options.keep_archives
            else "The other channels are in the kept archive; no new download is needed."
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
    return lines, data
