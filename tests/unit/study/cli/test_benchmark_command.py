from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from napari_hcs_qc.cli import main
from napari_hcs_qc.cli.bars import Bars
from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.custom_encoder import save_custom_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB
from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec, SourceSpec
from napari_hcs_qc.study.benchmark.features import feature_file
from napari_hcs_qc.study.benchmark.labelled import open_crops

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.study.benchmark.benchmark_spec import BenchmarkSpec

SPEC = """
preset = "grouped"
heads = ["knn", "linear"]
recipes = ["nucleus"]
sizes = [8, 400]
seeds = [0, 1]
[[source]]
name = "crops"
folder = "crops"
abnormal = ["blurred"]
group = "^(P[0-9])"
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Sharp and blurred spots of four plates, and what to compare."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] - 15.5
    for word, width in (("sharp", 3.0), ("blurred", 8.0)):
        folder = tmp_path / "crops" / word
        folder.mkdir(parents=True)
        for number in range(24):
            spot = 150 * np.exp(-(x**2 + y**2) / 2 / width**2) + rng.normal(40, 8, (32, 32))
            image = Image.fromarray(spot.clip(0, 255).astype(np.uint8))
            image.save(folder / f"P{number % 4}_{number:02d}.png")
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


def test_tables_are_filled_once_and_say_what_cannot_be(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["benchmark", str(spec), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["states"]["done"] > 0
    page = (out / "benchmark.html").read_text(encoding="utf-8")
    assert "training cells when whole wells or plates are tested, fewer than requested: 400" in page
    kept = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*/*.json")}
    draws = [json.loads(path.read_text(encoding="utf-8")) for path in kept]
    for draw in draws:
        assert "none on both sides" in draw["protocol"]
        tested = {name.split("/")[-1][:2] for name in draw["cells"]}
        assert len(tested) == 1  # of four plates one is tested
    assert max(one["metrics"]["f1_weighted"] for one in draws) > 0.9
    assert main(["benchmark", str(spec), "--out", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*/*.json")} == kept


def test_all_that_is_wrong_with_a_spec_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "spec.toml"
    path.write_text('heads = ["lineal"]\nsizes = [-1]\n[[source]]\nname = "a"\nfolder = "gone"\n')
    assert main(["benchmark", str(path), "--out", str(tmp_path / "out")]) != 0
    told = capsys.readouterr().err
    for word in ("lineal", "-1", "gone"):
        assert word in told


def test_flags_say_all_that_a_file_says(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[BenchmarkSpec] = []

    def remember(given: BenchmarkSpec, *_: object, **__: object) -> None:
        asked.append(given)
        raise HcsQcError("asked")

    monkeypatch.setattr("napari_hcs_qc.study.benchmark.sources.run_benchmark", remember)
    weights = tmp_path / "w.safetensors"
    weights.touch()
    (tmp_path / "labels.csv").touch()
    np.save(tmp_path / "more.npy", np.zeros((2, 8, 8)))
    text = f"""
preset = "paper"
protocol = "grouped"
heads = ["knn", "linear"]
recipes = ["nucleus", "paper-128px"]
sizes = [0, 50]
seeds = [0, 1, 2]
fine_tuned_seeds = 0
fine_tuned_matched = false
baseline = false
plate_directions = false
[[source]]
name = "mine"
plate = "crops"
labels = "labels.csv"
[[source]]
name = "crops"
folder = "crops"
abnormal = ["blurred", "dead"]
group = "^(P[0-9])"
[[source]]
name = "more"
arrays = "more.npy"
abnormal = ["blurred", "dead"]
[[transfer]]
train = "crops"
test = "mine"
[[encoder]]
name = "timm:resnet10t"
weights = "{weights.as_posix()}"
[[encoder]]
name = "resnet18"
"""
    spec.write_text(text)
    out = ["--out", str(tmp_path / "out")]
    assert main(["benchmark", str(spec), *out]) == 2
    flags = [
        "--preset", "paper", "--protocol", "grouped", "--head", "knn", "--head", "linear",
        "--recipe", "nucleus", "--recipe", "paper-128px", "--sizes", "all, 50", "--seeds", "3",
        "--fine-tuned-seeds", "0", "--no-fine-tuned-matched",
        "--no-baseline", "--no-plate-directions", "--plate", f"mine={tmp_path / 'crops'}",
        "--labels", str(tmp_path / "labels.csv"), "--folder", str(tmp_path / "crops"),
        "--abnormal", "blurred,dead", "--group", "^(P[0-9])",
        "--arrays", str(tmp_path / "more.npy"), "--transfer", "crops:mine",
        "--encoder", f"timm:resnet10t={weights}", "--encoder", "resnet18",
    ]  # fmt: skip
    assert main(["benchmark", *out, *flags]) == 2
    assert len(asked) == 2
    assert asked[0] == asked[1]


def test_flags_that_cannot_be_are_told(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    folder = ["--folder", str(tmp_path / "crops")]
    for flags, words in (
        ([str(spec), "--head", "knn", "--no-baseline"], "not both"),
        ([str(spec), "--fine-tuned-matched"], "the file can replace --fine-tuned-matched."),
        ([*folder, "--sizes", "ten"], "'ten'"),
        ([*folder, "--transfer", "crops"], "TRAIN:TEST"),
        ([*folder, "--labels", "x.csv"], "x.csv has no counterpart"),
        ([*folder, "--head", "lineal"], "lineal"),
        ([], "no labelled cells"),
    ):
        assert main(["benchmark", *out, *flags]) == 2
        assert words in capsys.readouterr().err


def test_a_benchmark_that_is_stopped_writes_its_tables(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec.write_text(SPEC.replace('"knn", "linear"', '"knn"').replace("[8, 400]", "[8]"))
    told: list[str] = []

    def stop(self: Bars, done: int, _total: int, message: str) -> None:
        told.append(message)
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Bars, "__call__", stop)
    out = tmp_path / "out"
    assert main(["benchmark", str(spec), "--out", str(out)]) == 130
    assert any("left" in message for message in told)
    page = (out / "benchmark.html").read_text(encoding="utf-8")
    assert "not measured yet" in page
    kept = list((out / "cells").glob("*/*.json"))
    assert len(kept) >= 2
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert main(["benchmark", str(spec), "--out", str(out), "--quiet"]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert "not measured yet" not in (out / "benchmark.html").read_text(encoding="utf-8")


def test_an_encoder_of_an_assay_is_named_by_its_folder(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    state = build_architecture("timm", "test_resnet").module.state_dict()
    told = {"family": "timm", "architecture": "test_resnet", "mean": [0.5] * 3, "std": [0.2] * 3}
    own = save_custom_encoder(
        tmp_path / "assay" / "encoders" / "swav",
        safetensors.torch.save(state),
        {**told, "input_px": 64, "n_features": 96},
    )
    seen = []

    def record(asked: BenchmarkSpec, *_rest: object, **_more: object) -> None:
        seen.append(asked.encoders)
        raise HcsQcError("seen")

    monkeypatch.setattr("napari_hcs_qc.study.benchmark.sources.run_benchmark", record)
    crops = ["--folder", str(spec.parent / "crops"), "--abnormal", "blurred"]
    command = ["benchmark", *crops, "--out", str(tmp_path / "out"), "--preset", "paper"]
    assert main([*command, "--encoder", str(own.folder)]) == 2
    # In the place of the row that had no weights.
    assert [one for one in seen[0] if one.name == "swav"] == [EncoderSpec("swav", own.weights)]
    cells = open_crops(
        SourceSpec(
            name="crops",
            kind="folder",
            path=spec.parent / "crops",
            abnormal=("blurred",),
            group="^(P.)",
        )
    )
    found = np.load(feature_file(cells, seen[0][-1], "nucleus-mean", tmp_path, NO_JOB))
    assert len(found) == 48 and np.isfinite(found).all()
