"""Kinds of one's own, from the command line to the tables and the report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from napari_hcs_qc import Assay, HcsQcError
from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments, "--quiet"]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.fixture
def labels(made: SimulatedPlate, tmp_path: Path) -> Path:
    """The labels of the plate, with one kind under a name of one's own."""
    table = pd.read_csv(made.labels)
    assert (table["kind"] == "dead").sum() >= 5
    path = tmp_path / "labels.csv"
    table.replace({"kind": {"dead": "Crystal"}}).to_csv(path, index=False)
    return path


def test_a_kind_of_ones_own_is_trained_predicted_kept_and_exported_like_the_others(
    made: SimulatedPlate, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assay, out = str(tmp_path / "assay"), tmp_path / "out"
    run = ["run", assay, str(made.plate_dir), "--labels", str(labels), "--out", str(out)]
    run += ["--seeds", "1"]
    text = refusal(capsys, *run)
    assert "The kind 'crystal' is not one of blur" in text
    assert '--add-kind "crystal"' in text
    answer(capsys, *run, "--add-kind", "crystal:C", "--keep-kinds", "crystal,debris")

    folder = AssayFolder.open(tmp_path / "assay")
    assert [(kind.name, kind.key) for kind in folder.kinds[8:]] == [("crystal", "C")]
    model = chosen_model(folder)
    assert model.kind_head is not None and "crystal" in model.kind_head.kinds_
    assert model.manifest.n_kinds["crystal"] == (pd.read_csv(labels)["kind"] == "Crystal").sum()
    assert "crystal" in (out / "report.html").read_text(encoding="utf-8")

    kept = pd.read_parquet(out / "cells.parquet")
    answer(capsys, "export", assay, str(tmp_path / "all"))
    every = pd.read_parquet(tmp_path / "all" / "cells.parquet")
    annotated = every["annotated_kind"] == "crystal"
    assert annotated.any()
    assert (every["predicted_kind"] == "crystal").any()
    assert every.loc[annotated, "Metadata_cqc_cell_is_outlier"].all()
    assert not kept.loc[annotated, "Metadata_cqc_cell_is_outlier"].any()

    assert "'crystals' is not one of blur" in refusal(
        capsys, "report", assay, str(out / "r.html"), "--keep-kinds", "crystals"
    )


def test_kinds_are_added_from_the_command_line(
    made: SimulatedPlate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assay = str(tmp_path / "assay")
    answer(capsys, "new", assay, str(made.plate_dir))
    added = answer(
        capsys, "annotate", assay, "--add-kind", "fibre", "--add-kind", "neurite:#ff00ff:q"
    )
    fibre, neurite = added["added_kinds"]
    assert (fibre["name"], fibre["key"]) == ("fibre", "9")
    assert neurite == {"name": "neurite", "key": "Q", "colour": "#ff00ff"}
    # Again, without a change; and with another key.
    assert answer(capsys, "annotate", assay, "--add-kind", "fibre") == added
    changed = answer(capsys, "annotate", assay, "--add-kind", "Fibre:F")["added_kinds"]
    assert changed == [{**fibre, "key": "F"}, neurite]
    assert main(["annotate", assay, "--add-kind", "fibre"]) == 0
    assert f"fibre (key F, {fibre['colour']}), neurite (key Q" in capsys.readouterr().out
    assert "There is a kind 'blur' already" in refusal(
        capsys, "annotate", assay, "--add-kind", "blur"
    )
    assert "--from" in refusal(capsys, "annotate", assay)


def test_a_kind_that_annotations_have_is_not_removed(assay_copy: Path, labels: Path) -> None:
    assay = Assay.open(assay_copy)
    with pytest.raises(HcsQcError, match="'crystal' is not one of"):
        assay.annotate(labels)
    crystal = assay.add_kind("crystal")
    assert assay.kinds == (*BUILT_IN_KINDS, crystal)
    assert assay.annotate(labels, annotator="other").n_new > 0
    with pytest.raises(HcsQcError, match=r"cannot be removed: \d+ annotations have it"):
        assay.remove_kind("crystal")
    with pytest.raises(HcsQcError, match="not one of those added to this assay"):
        assay.remove_kind("blur")
    assay.add_kind("unused")
    assert assay.remove_kind("unused").name == "unused"
    assert assay.kinds == (*BUILT_IN_KINDS, crystal)


def test_kinds_in_the_file_are_checked(assay_copy: Path) -> None:
    Assay.open(assay_copy).add_kind("crystal")
    path = assay_copy / "assay.json"
    text = path.read_text(encoding="utf-8")
    for good, bad, message in (
        ('"crystal"', '"Crystal"', "lower-case"),
        ('"crystal"', '"blur"', "There is a kind 'blur' already"),
        ('"key": "9"', '"key": "N"', "taken by normal"),
        ('"key": "9"', '"key": "nine"', "key"),
        ('"colour": "#', '"colour": "', "colour"),
    ):
        assert text.count(good) == 1
        path.write_text(text.replace(good, bad), encoding="utf-8")
        with pytest.raises(HcsQcError, match=f"damaged, 1 problem.*{message}"):
            Assay.open(assay_copy)
