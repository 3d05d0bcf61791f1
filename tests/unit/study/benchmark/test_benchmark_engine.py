"""The engine: leakage through to what is kept, processes, resuming by draw, order, channels."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from skimage.io import imsave

from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.agreement import agreement
from napari_hcs_qc.job import NO_JOB, Cancelled, Job
from napari_hcs_qc.study.benchmark import benchmark_engine
from napari_hcs_qc.study.benchmark.benchmark_spec import (
    BASELINE,
    BenchmarkSpec,
    EncoderSpec,
    SourceSpec,
    spec_of,
)
from napari_hcs_qc.study.benchmark.features import feature_file
from napari_hcs_qc.study.benchmark.labelled import open_crops
from napari_hcs_qc.study.benchmark.output.paper_tables import write_tables
from napari_hcs_qc.study.benchmark.results import draw_path, read_results
from napari_hcs_qc.study.benchmark.time_left import TimeLeft, time_left_text

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def source(tmp_path: Path) -> SourceSpec:
    """Bare crops of ten plates, and their CSV."""
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 60, (80, 24, 24)).astype(np.uint8)
    crops[::2, 8:16, 8:16] += 120
    np.save(tmp_path / "crops.npy", crops)
    rows = [f"{'round' if row % 2 == 0 else 'blurred'},P{row // 8}" for row in range(80)]
    (tmp_path / "crops.csv").write_text("\n".join(["class,group", *rows]) + "\n")
    return SourceSpec(
        name="made", kind="arrays", path=tmp_path / "crops.npy", abnormal=("blurred",)
    )


def _another(source: SourceSpec, name: str) -> SourceSpec:
    """Other crops with the same labels."""
    path = source.path.with_name(f"{name}.npy")
    np.save(path, np.load(source.path) + np.uint8(1))
    return source.with_changes(name=name, path=path, labels=source.path.with_suffix(".csv"))


def test_bare_crops_take_classes_and_plates_from_a_csv(source: SourceSpec, tmp_path: Path) -> None:
    cells = open_crops(source)
    assert cells.classes[:3].tolist() == ["normal", "abnormal", "normal"]
    assert cells.groups[[0, 7, 8, 79]].tolist() == ["P0", "P0", "P1", "P9"]
    other = tmp_path / "other.csv"
    (tmp_path / "crops.csv").rename(other)
    assert open_crops(source.with_changes(labels=other)).fingerprint == cells.fingerprint
    with pytest.raises(HcsQcError, match=r"crops\.csv cannot be read"):
        open_crops(source)
    other.write_text("class,group\nround,P0\nblurred,\n")
    with pytest.raises(HcsQcError, match="row 3: has no group"):
        open_crops(source.with_changes(labels=other))
    other.write_text("class,group\nround,P0\n")
    with pytest.raises(HcsQcError, match="80 crops, 1 classes"):
        open_crops(source.with_changes(labels=other))


def test_no_group_is_trained_on_and_tested_in_what_is_kept(
    source: SourceSpec, tmp_path: Path
) -> None:
    """A leak anywhere between the split and the head would be seen here."""
    spec = BenchmarkSpec(
        sources=(source,), heads=("finetune",), sizes=(0, 10), seeds=(0, 1, 2), baseline=False
    )
    cells = open_crops(source)
    seen: list[set[str]] = []

    def head(draw):
        # The crops themselves say where they are from.
        everything = cells.crops(get_recipe("nucleus"), np.arange(80)).flatten(1)
        rows = [int((everything == crop).all(dim=1).nonzero()[0]) for crop in draw.crops.flatten(1)]
        seen.append(set(cells.groups[rows]))
        assert set(draw.groups) == seen[-1]
        assert draw.classes.tolist() == cells.classes[rows].tolist()
        return lambda crops: np.linspace(0, 1, len(crops))

    planned = benchmark_engine.run(spec, {"made": cells}, tmp_path, crop_heads={"finetune": head})
    group_of = dict(zip(cells.ids.tolist(), cells.groups.tolist(), strict=True))
    n_compared = 0
    by_size = sorted(planned, key=lambda one: one.cell.n_train or 999)
    for one in by_size:
        for seed in one.cell.seeds:
            kept = json.loads(draw_path(tmp_path, one.key, seed).read_text())
            tested = {group_of[name] for name in kept["cells"]}
            assert kept["computed_by"].startswith("torch, ")
            assert tested and not tested & seen[n_compared]
            n_compared += 1
    assert n_compared == len(seen) == 6


def test_processes_give_the_digits_of_a_thread_and_stop_at_once(
    source: SourceSpec, tmp_path: Path
) -> None:
    spec = BenchmarkSpec(
        sources=(source,), encoders=(), heads=("knn",), sizes=(0, 10), seeds=tuple(range(4))
    )
    sources = {"made": open_crops(source)}
    told = []
    for name, n_processes in (("one", 1), ("two", 2)):
        planned = benchmark_engine.run(spec, sources, tmp_path / name, n_processes=n_processes)
        results = read_results(tmp_path / name, planned)
        told.append(
            {
                (key, draw.seed): (draw.p_abnormal, draw.metrics)
                for key, result in results.items()
                for draw in result.draws
            }
        )
    assert told[0] == told[1]
    assert len(told[0]) == 8


def test_a_cancelled_run_answers_within_a_second(
    source: SourceSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_draw: object) -> np.ndarray:
        begun.set()
        go_on.wait(20)
        return np.zeros(1)

    monkeypatch.setattr("napari_hcs_qc.study.benchmark.frozen.score", slow)
    spec = BenchmarkSpec(sources=(source,), encoders=(), sizes=(0,), seeds=(0, 1))
    asked_at: list[float] = []

    def should_stop() -> bool:
        if begun.is_set() and not asked_at:
            asked_at.append(time.perf_counter())
        return begun.is_set()

    try:
        with pytest.raises(Cancelled):
            benchmark_engine.run(
                spec, {"made": open_crops(source)}, tmp_path, job=Job(should_stop=should_stop)
            )
        assert time.perf_counter() - asked_at[0] < 1
    finally:
        go_on.set()


def test_draws_are_kept_one_by_one_and_quick_cells_come_first(
    source: SourceSpec, tmp_path: Path
) -> None:
    spec = BenchmarkSpec(sources=(source,), heads=("finetune",), sizes=(0, 20, 10), seeds=(0, 1))
    sources = {"made": open_crops(source)}
    measured: list[tuple[int, int]] = []
    fails_at = 3
    words: list[str] = []

    def head(draw):
        if len(measured) == fails_at:
            raise Cancelled
        measured.append((len(draw.classes), draw.seed))
        draw.job.report(1, 7, "")
        return lambda crops: np.linspace(0, 1, len(crops))

    def run(into: Path = tmp_path) -> list[str]:
        planned = benchmark_engine.run(
            spec, sources, into, crop_heads={"finetune": head},
            job=Job(lambda _done, _total, message: words.append(message)),
        )  # fmt: skip
        return [one.state for one in planned]

    with pytest.raises(Cancelled):
        run()
    assert measured == [(10, 0), (10, 1), (20, 0)]  # after the frozen head, few annotations first
    assert any("hand-made, forest" in one for one in words)
    assert (
        "step 1 of 7" in words[-2] or "step 1 of 7" in words[-1] or any("step" in w for w in words)
    )
    assert "left" in words[-1]
    fails_at = 99
    assert set(run()) == {"done"}
    assert measured[3:5] == [(20, 1), (56, 0)]
    assert len(measured) == 6
    # More draws of the same: those that were measured stay.
    spec = spec.with_changes(seeds=(0, 1, 2))
    assert set(run()) == {"done"}
    assert [seed for _, seed in measured[6:]] == [2, 2, 2]


def test_fine_tuned_heads_may_be_measured_with_fewer_draws(
    source: SourceSpec, tmp_path: Path
) -> None:
    spec = BenchmarkSpec(
        sources=(source,), heads=("finetune",), sizes=(10,), seeds=(3, 1, 2), fine_tuned_seeds=2
    )
    asked: list[int] = []

    def head(draw):
        asked.append(draw.seed)
        return lambda crops: np.linspace(0, 1, len(crops))

    planned = benchmark_engine.run(
        spec, {"made": open_crops(source)}, tmp_path, crop_heads={"finetune": head}
    )
    assert asked == [3, 1]
    seeds = {one.cell.head: one.cell.seeds for one in planned}
    assert seeds == {"finetune": (3, 1), "forest": (3, 1, 2)}
    write_tables(planned, read_results(tmp_path, planned), tmp_path)
    page = (tmp_path / "benchmark.html").read_text()
    assert "nan" not in page.casefold().replace("nanometre", "")


def test_fine_tuned_heads_may_keep_to_the_crops_they_were_made_for(
    source: SourceSpec, tmp_path: Path
) -> None:
    heads = ("knn", "linear-paper", "finetune-paper", "finetune")
    spec = BenchmarkSpec(
        sources=(source,), recipes=("paper-128px", "nucleus"), heads=heads, sizes=(10,)
    )

    def rows(asked: BenchmarkSpec) -> set[tuple[str, str]]:
        planned = benchmark_engine.plan(asked, {"made": open_crops(source)}, tmp_path)
        return {(one.cell.head, one.cell.recipe) for one in planned}

    everything = {(head, recipe) for head in (*heads, "forest") for recipe in spec.recipes}
    assert rows(spec) == everything
    assert rows(spec.with_changes(fine_tuned_matched=True)) == everything - {
        ("finetune-paper", "nucleus"),
        ("finetune", "paper-128px"),
    }


def test_what_is_trained_on_the_same_cells_is_trained_once(
    source: SourceSpec, tmp_path: Path
) -> None:
    """The paper's Table 3 tests on another screen what its Table 2 trained with most cells."""
    other = _another(source, "other")
    spec = BenchmarkSpec(
        sources=(source, other),
        transfers=(("made", "other"),),
        heads=("finetune",),
        sizes=(350, 10),
        seeds=(0,),
        protocol="paper",
        baseline=False,
    )
    fitted: list[tuple[int, float]] = []

    def head(draw):
        fitted.append((len(draw.crops), float(draw.crops.sum())))
        own = fitted[-1][1] / 1e9
        return lambda crops: np.full(len(crops), own)

    sources = {one.name: open_crops(one) for one in spec.sources}
    planned = benchmark_engine.run(spec, sources, tmp_path, crop_heads={"finetune": head})
    done = [one for one in planned if one.state == "done"]
    assert [n for n, _ in fitted] == [10, 10, 58, 58]  # of either source
    assert len(done) == 5
    results = read_results(tmp_path, planned)
    by = {(one.cell.train, one.cell.test, one.cell.n_train): results[one.key] for one in done}
    same = [by["made", test, 58].draws[0].p_abnormal for test in ("made", "other")]
    assert set(same[0]) == set(same[1]) and [len(one) for one in same] == [22, 80]
    benchmark_engine.run(spec, sources, tmp_path, crop_heads={"finetune": head})
    assert len(fitted) == 4


def test_crops_without_a_plate_are_refused(source: SourceSpec, tmp_path: Path) -> None:
    pixels = np.load(source.path)
    for row, name in enumerate(["a_1", "a_2", "b_1", "b_2"]):
        folder = tmp_path / "crops" / ("round" if row % 2 == 0 else "blurred")
        folder.mkdir(parents=True, exist_ok=True)
        imsave(folder / f"{name}.png", pixels[row], check_contrast=False)
    loose = SourceSpec(name="loose", kind="folder", path=tmp_path / "crops", abnormal=("blurred",))
    with pytest.raises(HcsQcError, match=r"without a plate.*--group"):
        open_crops(loose)
    with pytest.raises(HcsQcError, match=r"Each of the 4 crops .* would be its own plate"):
        open_crops(loose.with_changes(group="^(.+)$"))
    known = open_crops(loose.with_changes(group="^([a-z])_"))
    assert sorted(set(known.groups.tolist())) == ["a", "b"]
    # A range for a plate: what is dim beside the others of its plate stays dim.
    assert known.pixels.max(axis=(1, 2)).min() < 0.5 < known.pixels.max()
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04" + bytes(60))
    with pytest.raises(HcsQcError, match=r"bad\.npz cannot be read"):
        open_crops(SourceSpec(name="bad", kind="arrays", path=tmp_path / "bad.npz"))


def test_sources_that_share_crops_do_not_judge_each_other(
    source: SourceSpec, tmp_path: Path
) -> None:
    twin = source.with_changes(name="twin", abnormal=("round",))
    other = _another(source, "other")
    spec = BenchmarkSpec(
        sources=(source, twin, other),
        transfers=(("made", "twin"), ("made", "other")),
        encoders=(),
        sizes=(0,),
        seeds=(0, 1, 2),
    )
    planned = benchmark_engine.run(
        spec, {one.name: open_crops(one) for one in spec.sources}, tmp_path
    )
    third = {one.cell.test: one for one in planned if one.cell.table == 3}
    assert third["twin"].state == "cannot run"
    assert "share 80 wells or crops" in third["twin"].reason
    # All cells train and all are tested: one draw, whose interval is over the plates.
    assert third["other"].state == "done" and third["other"].cell.seeds == (0,)
    result = read_results(tmp_path, planned)[third["other"].key]
    low, high = result.summary["accuracy"].interval
    draw = result.draws[0]
    p_abnormal = np.array([draw.p_abnormal])
    expected = agreement(
        np.array(draw.is_abnormal), p_abnormal, np.zeros(p_abnormal.shape, int), np.arange(80) // 8
    )
    assert (low, high) == expected.ci95["accuracy"]
    assert "intervals as its wells or plates differ" in result.split


def test_a_row_that_fails_is_empty_with_its_reason_and_the_others_go_on(
    source: SourceSpec, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no weights")
    spec = BenchmarkSpec(
        sources=(source,),
        encoders=(EncoderSpec("resnet18", damaged), EncoderSpec("efficientnet-lite0")),
        heads=("knn", "finetune"),
        sizes=(0, 10),
        seeds=(0, 1),
    )
    fails = True
    asked: list[tuple[str, int]] = []

    def head(draw):
        asked.append((draw.encoder.name, draw.seed))
        if fails and draw.encoder.name == "efficientnet-lite0":
            raise HcsQcError("the loss is no number")
        return lambda crops: np.linspace(0, 1, len(crops))

    sources = {"made": open_crops(source)}

    def run():
        return benchmark_engine.run(spec, sources, tmp_path, crop_heads={"finetune": head})

    planned = run()
    found = {(one.cell.encoder, one.cell.head, one.cell.n_train): one for one in planned}
    for size in (0, 10):
        assert found["efficientnet-lite0", "knn", size].state == "done"
        assert found["hand-made", "forest", size].state == "done"
        assert found["resnet18", "finetune", size].state == "done"
        assert found["resnet18", "knn", size].state == "cannot run"
        assert "damaged.safetensors" in found["resnet18", "knn", size].reason
        assert found["efficientnet-lite0", "finetune", size].reason == "the loss is no number"
    # The other draws of a row that failed are not tried.
    assert [one for one in asked if one[0] == "efficientnet-lite0"] == [
        ("efficientnet-lite0", 0)
    ] * 2
    write_tables(planned, read_results(tmp_path, planned), tmp_path)
    assert "the loss is no number" in (tmp_path / "benchmark.html").read_text()
    fails = False
    states = {(one.cell.encoder, one.cell.head): one.state for one in run()}
    assert states["efficientnet-lite0", "finetune"] == "done"


def test_what_cannot_be_split_is_told_and_the_rest_is_measured(
    source: SourceSpec, tmp_path: Path
) -> None:
    lone = _another(source, "lone")
    np.savez(
        tmp_path / "lone.npz",
        crops=np.load(lone.path),
        classes=np.array(["round", "blurred"] * 40),
        groups=np.full(80, "P0"),
    )
    lone = lone.with_changes(path=tmp_path / "lone.npz", labels=None)
    spec = BenchmarkSpec(
        sources=(source, lone),
        transfers=(("made", "lone"),),
        encoders=(),
        sizes=(350, 20),
        seeds=(0, 1),
    )
    sources = {one.name: open_crops(one) for one in spec.sources}
    found = {
        (one.cell.table, one.cell.train, one.cell.test, one.cell.n_train): one
        for one in benchmark_engine.run(spec, sources, tmp_path)
    }
    assert "cannot be split" in found[2, "lone", "lone", 20].reason
    assert found[1, "made", "made", 20].state == "done"  # the largest that can be had
    assert found[2, "made", "made", 350].state == "cannot run"
    assert found[3, "made", "lone", 20].state == "done"
    # The paper's balanced split of a single abnormal cell leaves nothing to train on.
    few = replace(sources["made"], classes=np.array(["abnormal"] + ["normal"] * 79))
    [*rows] = benchmark_engine.plan(
        spec.with_changes(sources=(source,), transfers=(), protocol="paper"),
        {"made": few},
        tmp_path,
    )
    assert {one.state for one in rows} == {"cannot run"}
    assert all("4 or more are needed" in one.reason for one in rows)


def test_encoders_that_cannot_be_told_apart_or_are_unknown_are_refused(
    source: SourceSpec, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").touch()
    two = tuple(EncoderSpec("simclr", tmp_path / f"{name}.safetensors") for name in "ab")
    with pytest.raises(HcsQcError, match=r"simclr: is given more than once"):
        BenchmarkSpec(sources=(source,), encoders=two)
    with pytest.raises(HcsQcError, match=r"resnet81: is unknown"):
        spec_of(
            {"source": [{"name": "made", "arrays": str(source.path)}],
             "encoder": [{"name": "resnet81"}]}, tmp_path, "here",
        )  # fmt: skip


def test_time_left_is_learnt_from_what_was_measured(source: SourceSpec, tmp_path: Path) -> None:
    spec = BenchmarkSpec(sources=(source,), heads=("knn", "finetune"), sizes=(0, 10), seeds=(0,))
    cells = open_crops(source)
    runners = {"finetune": lambda _draw: np.zeros(1)}
    planned = benchmark_engine.plan(spec, {"made": cells}, tmp_path, runners)
    few, many = (
        next(one.cell for one in planned if one.cell.head == "finetune" and one.cell.n_train == n)
        for n in (10, 0)
    )
    left = TimeLeft({"made": 80})
    assert left.seconds([few]) == (0, True)
    left.took(few, 12.0)
    assert left.seconds([few, few]) == (pytest.approx(24), False)
    assert left.seconds([many])[0] > 12
    assert time_left_text(600) == "about 10 min left"
    assert time_left_text(8000, at_least=True) == "more than 2 h 13 min left"


def test_hand_made_features_use_every_distinct_channel(source: SourceSpec, tmp_path: Path) -> None:
    cells = open_crops(source)

    class Coloured:
        classes, groups, ids = cells.classes, cells.groups, cells.ids
        note, n_unlabelled = "", 0

        def __init__(self, channels: tuple[int, ...]) -> None:
            self.channels, self.fingerprint = channels, f"c{channels}"

        def crops(self, recipe, rows):
            grey = cells.crops(recipe, rows)[:, :, :1]
            return torch.cat([grey, grey**2, grey], dim=2)

        def distinct_channels(self, recipe):
            return self.channels

    def features(channels: tuple[int, ...]) -> np.ndarray:
        encoder = EncoderSpec(BASELINE)
        made = Coloured(channels)
        return np.load(feature_file(made, encoder, "paper-128px", tmp_path, NO_JOB))

    one, both = features((0,)), features((0, 1))
    assert both.shape[1] == 2 * one.shape[1]
    # Sums over pixels in another order: the same but for the rounding of some 128 x 128 terms.
    np.testing.assert_allclose(both[:, : one.shape[1]], one, rtol=1e-5, atol=1e-5)
    assert not np.allclose(both[:, one.shape[1] :], one)
    assert cells.distinct_channels(get_recipe("paper-128px")) == (0,)
