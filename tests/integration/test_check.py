"""Whatever file of an assay is damaged, ``check`` names it, or nothing depends on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save

from napari_hcs_qc import Assay
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.encoders.custom_encoder import save_custom_encoder
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Ran


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def deleted(path: Path) -> None:
    path.unlink()


OTHERS = (truncated, emptied, deleted)

# What is made again where it is not there.
MADE_AGAIN = ("journal-copies/", "embeddings/positions/", "plates/SIM/content.json")
OF_NO_MEANING = (".lock", ".lock.json")  # who was writing


@pytest.fixture(scope="module")
def whole(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an assay with everything in it: verdicts, an encoder, images with other dates."""
    folder = tmp_path_factory.mktemp("whole")
    path = Path(shutil.copytree(ran.result.assay.path, folder / "assay"))
    assay = Assay.open(path)
    [entry] = assay.plates
    copy = Path(shutil.copytree(entry.source, folder / entry.source.name))
    for image in copy.rglob("*.tif"):
        os.utime(image, (1_600_000_000, 1_600_000_000))
    assay.relocate(entry.name, copy)
    assay.verdict("A01", "keep", annotator="Ada")
    manifest = {
        "family": "torchvision",
        "architecture": "resnet18",
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
        "input_px": 64,
        "n_features": 512,
    }
    weights = save({"weight": np.ones((8, 8), np.float32)})
    save_custom_encoder(path / "encoders" / "mine", weights, manifest)
    assert Assay.open(path).check().damaged == ()
    return path


def _is_named(path: Path, file: Path) -> bool:
    """Whether the check, or opening the assay, says what is wrong and what mends it."""
    try:
        damaged = Assay.open(path).check().damaged
    except HcsQcError as error:
        return file.name in str(error)
    short = [part.damage for part in damaged if part.damage.count(" ") <= 8]
    assert short == []
    return len(damaged) > 0


def _journal(path: Path) -> tuple[str, str]:
    journal = Journal(path / "journal.sqlite")
    return journal.annotations().to_csv(), journal.verdicts().to_csv()


@pytest.mark.parametrize(
    "damage", [flipped, *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)]
)
def test_damage_of_any_file_is_named(damage: Callable[[Path], None], whole: Path) -> None:
    before, places = _journal(whole), set()
    for file in sorted(path for path in whole.rglob("*") if path.is_file()):
        name, kept = file.relative_to(whole).as_posix(), file.read_bytes()
        if name.endswith(OF_NO_MEANING) or not kept:
            continue
        places.add(name.split("/")[0])
        damage(file)
        try:
            if not _is_named(whole, file):
                is_made_again = damage is not flipped and name.startswith(MADE_AGAIN)
                # What SQLite leaves unused in its file may be anything.
                is_unused = damage is flipped and file.suffix == ".sqlite"
                assert is_made_again or (is_unused and _journal(whole) == before), name
        finally:
            file.write_bytes(kept)
    assert places == {
        "assay.json",
        "embeddings",
        "encoders",
        "journal-copies",
        "journal.sqlite",
        "models",
        "platemap.csv",
        "plates",
        "predictions",
    }
    assert Assay.open(whole).check().damaged == ()
