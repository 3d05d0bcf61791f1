"""The benchmark: protocols, resuming, empty cells, the tables."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from napari_hcs_qc.errors import ProblemsError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.study.benchmark import benchmark_engine
from napari_hcs_qc.study.benchmark.benchmark_plan import plan
from napari_hcs_qc.study.benchmark.benchmark_spec import BenchmarkSpec, SourceSpec, read_spec
from napari_hcs_qc.study.benchmark.labelled import open_crops
from napari_hcs_qc.study.benchmark.output.long_form import paper_rows
from napari_hcs_qc.study.benchmark.output.paper_tables import write_tables
from napari_hcs_qc.study.benchmark.protocol import (
    grouped_draw,
    interval,
    paper_draw,
    paper_sizes,
    transfer_train,
)
from napari_hcs_qc.study.benchmark.results import DrawResult, draw_path, read_results


def classes_of(n_normal: int, n_abnormal: int) -> np.ndarray:
    return np.array(["normal"] * n_normal + ["abnormal"] * n_abnormal)


def without_time(draw):
    return draw.model_copy(update={"seconds": 0.0})


@pytest.fixture
def arrays(tmp_path):
    rng = np.random.default_rng(0)
    classes = np.array(["round", "blurred"] * 40)
    crops = rng.integers(0, 60, (80, 24, 24)).astype(np.uint8)
    crops[classes == "round", 8:16, 8:16] += 120
    path = tmp_path / "crops.npz"
    np.savez(path, crops=crops, classes=classes, groups=np.repeat(np.arange(10), 8).astype(str))
    return SourceSpec(name="made", kind="arrays", path=path, abnormal=("blurred",))


@pytest.fixture
def spec(arrays):
    return BenchmarkSpec(sources=(arrays,), encoders=(), sizes=(0, 10), seeds=(0, 1, 2))


@pytest.mark.parametrize("seed", range(20))
def test_no_well_is_on_both_sides(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 12, 100).astype(str)
    draw = grouped_draw(classes_of(60, 40), groups, seed)
    assert not set(groups[draw.train]) & set(groups[draw.test])
    assert sorted([*draw.train, *draw.test]) == list(range(100))


def test_the_paper_sizes():
    assert paper_sizes(classes_of(240, 900)) == (350, 130)
    assert paper_sizes(classes_of(239, 900)) == (348, 130)
    assert paper_sizes(classes_of(194, 94)) == (136, 52)  # labels.csv


def test_paper_draw_is_balanced_disjoint_and_an_odd_size_has_one_more_normal():
    classes = classes_of(300, 260)
    draw = paper_draw(classes, 3)
    assert not set(draw.train) & set(draw.test)
    assert (classes[draw.test] == "normal").sum() == 65 == len(draw.test) / 2
    assert (classes[draw.train] == "normal").sum() == 175 == len(draw.train) / 2
    assert (classes[draw.train[:25]] == "normal").sum() == 13
    np.testing.assert_array_equal(draw.train, paper_draw(classes, 3).train)
    np.testing.assert_array_equal(draw.train, transfer_train(classes, 3, paper=True))


def test_interval_is_the_t_interval_widened_by_the_overlap():
    values = np.array([0.8, 0.9, 0.85])
    low, high = interval(values)
    assert (high - low) / 2 == pytest.approx(4.302653 * 0.05 / np.sqrt(3), rel=1e-5)
    wide = interval(values, 0.4)
    assert wide[0] < low
    assert interval(values[:1]) is None


def test_figures_are_scikit_learns_and_seeds_reproduce(spec, tmp_path):
    sources = {"made": open_crops(spec.sources[0])}
    planned = benchmark_engine.run(spec, sources, tmp_path / "one")
    results = read_results(tmp_path / "one", planned)
    assert results
    for result in results.values():
        for one in result.draws:
            truth, p = np.array(one.is_abnormal), np.array(one.p_abnormal)
            called, found = p >= 0.5, one.metrics
            assert found["accuracy"] == pytest.approx(accuracy_score(truth, called))
            weighted = f1_score(truth, called, average="weighted")
            assert found["f1_weighted"] == pytest.approx(weighted)
            assert found["auc"] == pytest.approx(roc_auc_score(truth, p))
    again = benchmark_engine.run(spec, sources, tmp_path / "two")
    for key, result in read_results(tmp_path / "two", again).items():
        assert [without_time(one) for one in result.draws] == [
            without_time(one) for one in results[key].draws
        ]


def test_a_second_run_computes_nothing_and_a_stopped_one_goes_on(spec, tmp_path):
    sources = {"made": open_crops(spec.sources[0])}
    filled = []
    with pytest.raises(Cancelled):
        benchmark_engine.run(
            spec,
            sources,
            tmp_path,
            on_cell=lambda one, _result: filled.append(one.key),
            job=Job(should_stop=lambda: bool(filled)),
        )
    assert len(filled) == 1
    benchmark_engine.run(
        spec, sources, tmp_path, on_cell=lambda one, _result: filled.append(one.key)
    )
    assert len(filled) == len(set(filled)) == 2
    planned = benchmark_engine.run(
        spec, sources, tmp_path, on_cell=lambda *_: pytest.fail("computed again")
    )
    assert {one.state for one in planned} == {"done"}
    kept = json.loads(draw_path(tmp_path, filled[0], 0).read_text())
    shown = benchmark_engine.display_crops(sources["made"], kept["cells"][:3])
    assert shown.shape[0] == 3


def test_what_cannot_run_is_empty_with_its_reason(arrays, tmp_path):
    spec = read_spec_of(tmp_path, arrays, 'preset = "paper"\nseeds = [0]\nrecipes = ["nucleus"]\n')
    sources = {"made": open_crops(arrays)}
    planned = plan(spec, sources, tmp_path)
    reasons = {one.cell.encoder: one.reason for one in planned if one.reason}
    assert read_spec_of(tmp_path, arrays, 'preset = "paper"\n').seeds_of("finetune") == (0,)
    assert "weights" in reasons["vgg16"]
    assert "self-supervised" in reasons["simclr"]
    baseline = spec.with_changes(encoders=())
    planned = benchmark_engine.run(baseline, sources, tmp_path)
    write_tables(planned, read_results(tmp_path, planned), tmp_path)
    rows = list(csv.DictReader((tmp_path / "table2.csv").read_text().splitlines()))
    ours = {row["n_train"]: row for row in rows if row["whose"] == "ours"}
    assert ours["350"]["accuracy"] == "" and "58 annotations" in ours["350"]["empty_because"]
    assert float(ours["58"]["accuracy"]) >= 90
    printed = [row for row in rows if row["whose"] == "paper"]
    assert len(printed) == len(paper_rows(2)) == 40
    assert "99.18" in (tmp_path / "benchmark.html").read_text()


def test_a_crop_head_gets_crops(arrays, tmp_path):
    spec = BenchmarkSpec(
        sources=(arrays,), heads=("finetune",), sizes=(10,), seeds=(0,), baseline=False
    )
    sources = {"made": open_crops(arrays)}

    def head(draw):
        assert len(draw.crops) == len(draw.classes) == len(draw.groups) == 10
        return lambda crops: 1 - crops.numpy().max(axis=(1, 2, 3, 4)) * 0.5

    planned = benchmark_engine.run(spec, sources, tmp_path, crop_heads={"finetune": head})
    assert {one.state for one in planned} == {"done"}


def test_all_problems_of_a_file_are_told_at_once(arrays, tmp_path):
    text = 'heads = ["forrest"]\nseeds = [1, 1]\nrecipes = ["tiny"]\nfine_tuned_seeds = -1\n'
    with pytest.raises(ProblemsError) as caught:
        read_spec_of(tmp_path, arrays, text)
    told = str(caught.value)
    assert all(word in told for word in ("forrest", "seeds", "tiny", "fine_tuned_seeds"))
    with pytest.raises(ProblemsError) as caught:
        read_spec_of(tmp_path, arrays, 'sizes = ["ten"]\nwhat = 1\n')
    assert "sizes" in str(caught.value) and "what" in str(caught.value)


def read_spec_of(folder, source, text):
    path = folder / "spec.toml"
    end = f'[[source]]\nname = "made"\narrays = "{source.path}"\nabnormal = ["blurred"]\n'
    path.write_text(text + end)
    return read_spec(path)


def test_a_draw_of_an_earlier_version_is_read_and_a_damaged_one_is_reported(spec, tmp_path):
    planned = benchmark_engine.run(spec, {"made": open_crops(spec.sources[0])}, tmp_path)
    path = draw_path(tmp_path, planned[0].key, 0)
    draw = DrawResult.load(path)
    data = draw.plain()
    del data["format"], data["format_version"], data["groups"]
    data["metrics"] |= {"n_cells": 24, "auc_reason": ""}
    path.write_text(json.dumps(data))
    assert DrawResult.load(path) == draw
    path.write_text(json.dumps({**data, "p_abnormal": ["none"]}))
    with pytest.raises(ProblemsError, match="Delete it; the same benchmark") as caught:
        read_results(tmp_path, planned)
    assert [problem.where for problem in caught.value.problems] == ["p_abnormal 1"]
