"""Damage anywhere in an assay: an error that names it, or the same results; never others."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.integrity.damages import damaged, flipped

from napari_hcs_qc.assay.annotations import journal_schema
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.annotations.journal_repair import repair_journal
from napari_hcs_qc.assay.scoring.plate_scores import score
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.assay.store.saved_model import load_model
from napari_hcs_qc.cli import main
from napari_hcs_qc.encoders.embed.embedding_store import EmbeddingStore
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

N_FLIPS = int(os.environ.get("HCS_QC_FLIPS", "200"))
N_DAMAGES = N_FLIPS // 2


@pytest.fixture(scope="module")
def path(assay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("damaged") / "assay"
    shutil.copytree(assay, copy)
    Journal.open(copy / "journal.sqlite")
    return copy


def _journal(path: Path) -> object:
    journal = Journal.open(path / "journal.sqlite", create=False)
    return journal.annotations().to_csv(), journal.verdicts().to_csv()


def _scores(path: Path) -> object:
    [scored] = score(AssayFolder.open(path))
    wells, table = scored.scores.wells, scored.prediction.table
    return wells.to_csv(), table.to_csv(), scored.warnings, scored.state.cells.to_csv()


def _model(path: Path) -> object:
    model = load_model(path / "models" / "0001")
    rows = np.random.default_rng(0).normal(size=(50, model.head.n_features_in_))
    p = model.head.predict_proba(rows.astype(np.float32))
    assert model.novelty is not None
    return p.tobytes(), model.novelty.ratio(rows.astype(np.float32)).tobytes(), model.manifest


def _embeddings(path: Path) -> object:
    [folder] = [each.parent for each in path.glob("embeddings/*/manifest.json")]
    store = EmbeddingStore.open(folder)
    if not (store.complete and store.is_sound):
        raise HcsQcError("It is computed anew.")
    return np.asarray(store.embeddings).tobytes(), store.unreadable


def _settings(path: Path) -> object:
    assay = AssayFolder.open(path)
    return assay.plates, assay.settings, assay.created


_PARTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "journal": ("journal.sqlite", _journal),
    "cells": ("plates/*/*.*", _scores),
    "predictions": ("predictions/*/*.*", _scores),
    "model": ("models/*/**/*.*", _model),
    "embeddings": ("embeddings/*/*.*", _embeddings),
    "assay.json": ("assay.json", _settings),
}


@pytest.mark.parametrize("part", _PARTS)
@pytest.mark.parametrize("change", [flipped, damaged])
def test_what_is_read_is_what_was_written_or_an_error(
    part: str, change: Callable[[bytes, random.Random], bytes], path: Path
) -> None:
    pattern, read = _PARTS[part]
    files = sorted(file for file in path.glob(pattern) if file.stat().st_size)
    rng = random.Random(f"{part} {change.__name__}")
    expected = read(path)
    n_told = 0
    for _ in range(N_FLIPS if change is flipped else N_DAMAGES):
        file = rng.choice(files)
        whole = file.read_bytes()
        file.write_bytes(change(whole, rng))
        try:
            assert read(path) == expected, file
        except HcsQcError:
            n_told += 1
        finally:
            file.write_bytes(whole)
    assert n_told > 0
    assert read(path) == expected


def test_a_repaired_journal_has_what_was_written_or_says_what_is_lost(
    path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "assay"
    folder.mkdir()
    shutil.copytree(path / "journal-copies", folder / "journal-copies")
    file = folder / "journal.sqlite"
    shutil.copy(path / "journal.sqlite", file)
    Journal(file).annotate("P", "A01", 1, 3.0, 4.0, "normal", None, "Ada")
    whole, expected = file.read_bytes(), _journal(folder)
    rng = random.Random(3)
    for trial in range(N_DAMAGES):
        file.write_bytes((flipped if trial % 2 else damaged)(whole, rng))
        repaired = repair_journal(file)
        assert repaired.lost or _journal(folder) == expected
        for old in folder.glob("journal-damaged-*"):
            old.unlink()


@pytest.mark.parametrize("part", [name for name in _PARTS if name != "assay.json"])
def test_commands_end_in_a_line(
    part: str, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In process, a few of each; what is exported is what was exported before."""
    files = sorted(file for file in path.glob(_PARTS[part][0]) if file.stat().st_size)
    rng = random.Random(part)
    out = tmp_path / "out"
    assert main(["export", str(path), str(out), "--quiet"]) == 0
    expected = (out / "cells.csv").read_bytes()
    for _ in range(max(2, N_FLIPS // 40)):
        file = rng.choice(files)
        whole = file.read_bytes()
        file.write_bytes(damaged(whole, rng))
        journal_schema._CHECKED.clear()
        shutil.rmtree(out)
        capsys.readouterr()
        code = main(["export", str(path), str(out), "--quiet"])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert code in (0, 2), printed.err
        if code == 0:
            assert (out / "cells.csv").read_bytes() == expected, file
        assert main(["check", str(path), "--quiet"]) in (0, 2)
        assert main(["status", str(path)]) in (0, 2)
        file.write_bytes(whole)
        if not out.exists():
            out.mkdir()
    load_plate(AssayFolder.open(path), AssayFolder.open(path).plates[0].name)


@pytest.mark.parametrize("change", [flipped, damaged])
def test_processes_of_their_own_end_in_a_line(
    change: Callable[[bytes, random.Random], bytes], path: Path, tmp_path: Path
) -> None:
    """Twenty of each, over all parts; what is exported is what was exported before, or nothing."""
    rng = random.Random(f"processes {change.__name__}")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "napari_hcs_qc", "export", str(path), str(out), "--quiet"]
    subprocess.run(command, check=True, capture_output=True, timeout=900)
    expected = (out / "cells.csv").read_bytes()
    for trial in range(max(2, N_FLIPS // 10)):
        pattern, _ = list(_PARTS.values())[trial % len(_PARTS)]
        file = rng.choice(sorted(file for file in path.glob(pattern) if file.stat().st_size))
        whole = file.read_bytes()
        shutil.rmtree(out, ignore_errors=True)
        file.write_bytes(change(whole, rng))
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=900)
        finally:
            file.write_bytes(whole)
        assert "Traceback" not in ran.stderr
        assert ran.returncode in (0, 2), ran.stderr
        if ran.returncode == 0:
            assert (out / "cells.csv").read_bytes() == expected, file
        else:
            assert "error" in ran.stderr
            assert not (out / "cells.csv").exists()
