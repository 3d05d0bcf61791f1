"""The benchmark panel: choose, run, watch, look, use, export."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.torch
import torch
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QComboBox,
    QLineEdit,
    QListWidget,
    QPushButton,
    QSpinBox,
    QTableView,
)

from napari_hcs_qc.assay.embeddings.plate_sample import sampled_directions
from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.custom_encoder import save_custom_encoder
from napari_hcs_qc.encoders.registry import cached_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.study.benchmark.benchmark_spec import (
    SSL_METHODS,
    BenchmarkSpec,
    EncoderSpec,
    SourceSpec,
)
from napari_hcs_qc.study.benchmark.results import (
    Figure,
    Planned,
    Result,
    TableCell,
    mean_confusion,
    mistakes,
)
from napari_hcs_qc.study.benchmark.sources import run_benchmark
from napari_hcs_qc.study.gui.benchmark_choice import BenchmarkChoice
from napari_hcs_qc.study.gui.benchmark_detail import BenchmarkDetail
from napari_hcs_qc.study.gui.benchmark_dock import BenchmarkDock
from napari_hcs_qc.study.gui.benchmark_table import BenchmarkTable

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot
    from tests.gui.conftest import Desk

    from napari_hcs_qc.encoders.custom_encoder import CustomEncoder


def button(dock: BenchmarkDock, words: str) -> QPushButton:
    [found] = [one for one in dock.findChildren(QPushButton) if one.text().startswith(words)]
    return found


def tick(choice: BenchmarkChoice, index: int, *names: str) -> None:
    """Tick names of the encoders (0), heads (1) or recipes (2), and no others."""
    shown = choice.findChildren(QListWidget)[index]
    for row in range(shown.count()):
        item = shown.item(row)
        is_on = item.text() in names
        item.setCheckState(Qt.CheckState.Checked if is_on else Qt.CheckState.Unchecked)


def tips(choice: BenchmarkChoice) -> dict[str, str]:
    """Encoders of the list, with their tooltips."""
    shown = choice.findChildren(QListWidget)[0]
    items = [shown.item(row) for row in range(shown.count())]
    return {item.text(): item.toolTip() for item in items}


def chosen(choice: BenchmarkChoice) -> set[str]:
    shown = choice.findChildren(QListWidget)[0]
    items = [shown.item(row) for row in range(shown.count())]
    return {item.text() for item in items if item.checkState() == Qt.CheckState.Checked}


def take(choice: BenchmarkChoice, protocol: str) -> None:
    box = choice.findChild(QComboBox)
    box.setCurrentIndex(box.findData(protocol))
    box.activated.emit(box.currentIndex())


def assay_encoder(assay: Path, name: str) -> CustomEncoder:
    torch.manual_seed(0)
    state = build_architecture("timm", "test_resnet").module.state_dict()
    entries = {"family": "timm", "architecture": "test_resnet", "mean": [0.5] * 3, "std": [0.2] * 3}
    return save_custom_encoder(
        assay / "encoders" / name,
        safetensors.torch.save(state),
        {**entries, "input_px": 64, "n_features": 96},
    )


def own_trained(assay: Path, **_: object) -> CustomEncoder:
    return assay_encoder(assay, "fresh")


def small(dock: BenchmarkDock, *, sizes: str = "all, 10, 999") -> None:
    choice = dock.findChild(BenchmarkChoice)
    assert choice is not None
    tick(choice, 0, "efficientnet-lite0", "vgg16")
    tick(choice, 1, "knn", "linear")
    tick(choice, 2, "nucleus")
    line = choice.findChild(QLineEdit)
    line.setText(sizes)
    line.editingFinished.emit()
    # The spin box has a line edit of its own.
    choice.findChild(QSpinBox).setValue(2)


@pytest.fixture
def dock(desk: Desk, assay_path: Path, qtbot: QtBot) -> BenchmarkDock:
    made = BenchmarkDock(desk.viewer)
    qtbot.addWidget(made)
    desk.open(assay_path)
    return made


def rows(dock: BenchmarkDock) -> list[list[str]]:
    table = dock.findChild(BenchmarkTable)
    return [
        [table.item(row, column).text() for column in range(table.columnCount())]
        for row in range(table.rowCount())
    ]


def test_it_fills_shows_uses_and_exports(
    dock: BenchmarkDock, desk: Desk, qtbot: QtBot, tmp_path: Path
) -> None:
    small(dock)
    dock.run()
    desk.idle()
    assert desk.errors() == []
    boxes = dock.findChildren(QComboBox)
    which = next(box for box in boxes if box.itemText(0).startswith("Table 1"))
    assert [which.itemText(i) for i in range(which.count())] == [
        "Table 1: assay",
        "Table 2: assay",
    ]
    which.setCurrentIndex(1)
    which.activated.emit(1)
    shown = rows(dock)
    entries = {(one[0], one[2], one[3].split()[0]): one[4] for one in shown}
    assert entries["vgg16", "linear", "10"] == "–"
    assert entries["efficientnet-lite0", "linear", "999"] == "–"
    filled = {key: f1 for key, f1 in entries.items() if f1 not in ("–", "…", "")}
    # Two heads of the encoder and the baseline, with 10 and with all.
    assert len(filled) == 6
    assert all(40 < float(f1.split(" ±")[0]) <= 100 for f1 in filled.values())

    # Sorted by F1, the best first, what has no figure last.
    table = dock.findChild(BenchmarkTable)
    table.sortItems(4, Qt.SortOrder.DescendingOrder)
    figures = [row[4] for row in rows(dock)]
    numbers = [float(one.split(" ±")[0]) for one in figures if one != "–"]
    assert numbers == sorted(numbers, reverse=True)
    assert figures[-1] == "–"

    # A line that cannot run says why; one that is filled shows its mistakes.
    detail = dock.findChild(BenchmarkDetail)
    use = button(dock, "Use for my")
    table.setCurrentCell(table.rowCount() - 1, 0)
    assert "Cannot run" in detail.text() and not use.isEnabled()
    names = [(row[0], row[2], row[3]) for row in rows(dock)]
    line = next(i for i, one in enumerate(names) if one[1] == "knn" and one[2] == "10")
    table.setCurrentCell(line, 0)
    desk.idle()
    one = dock.value()
    assert one is not None
    result = dock.results()[one.key]
    assert "weighted F1" in detail.text() and "Split by well" in detail.text()
    assert detail.n_crops() == len(mistakes(result)) > 0
    tested = sum(len(draw.cells) for draw in result.draws) / 2
    assert mean_confusion(result).sum() == pytest.approx(tested)

    # It becomes the assay's, and the tables go to a folder.
    of_others = replace(
        desk.session.options.value(), rgb=("Actin", "DNA", "DNA"), simulated=("defocus",)
    )
    desk.session.options.set_value(of_others)
    use.click()
    assert desk.session.options.value() == TrainOptions(
        recipe="nucleus", head="knn"
    )  # as was measured
    assert ("info", "Selected for the assay: efficientnet-lite0, recipe nucleus, head knn. "
            "Press Retrain to use them.") in desk.messages  # fmt: skip
    dock.export(tmp_path / "tables")
    desk.idle()
    assert (tmp_path / "tables" / "benchmark.html").is_file()
    assert (tmp_path / "tables" / "table2.csv").is_file()

    # The same again computes nothing: every result is as it was.
    files = {path: path.stat().st_mtime_ns for path in
             (desk.session.assay.folder.path / "benchmark" / "cells").iterdir()}  # fmt: skip
    dock.run()
    desk.idle()
    assert files == {path: path.stat().st_mtime_ns for path in files}
    assert dock.value() == one


def test_a_cancelled_run_goes_on_later(dock: BenchmarkDock, desk: Desk, qtbot: QtBot) -> None:
    small(dock)
    dock.run()
    qtbot.waitUntil(lambda: len(dock.results()) >= 1, timeout=120_000)
    desk.session.jobs.cancel_all()
    desk.idle()
    n_before = len(dock.results())
    assert 1 <= n_before < 6
    dock.run()
    desk.idle()
    assert len(dock.results()) == 6


def test_what_cannot_be_is_said_and_nothing_runs(dock: BenchmarkDock, desk: Desk) -> None:
    small(dock, sizes="ten, 3")
    dock.run()
    assert desk.messages[-1][0] == "warning"
    assert "'ten, 3'" in desk.messages[-1][1]
    small(dock, sizes="3")
    dock.run()
    assert "fewer than 4 annotations" in desk.messages[-1][1]
    assert not desk.session.jobs.running


def test_the_papers_protocol_is_one_choice(qtbot: QtBot) -> None:
    choice = BenchmarkChoice()
    qtbot.addWidget(choice)
    box = choice.findChild(QComboBox)
    entries: list[bool] = []
    choice.value_changed.connect(lambda: entries.append(True))
    box.setCurrentIndex(1)
    box.activated.emit(1)
    assert entries == [True]
    with pytest.raises(HcsQcError, match="no labelled cells"):
        choice.value(())
    lists = choice.findChildren(QListWidget)
    ticked = [
        {one.item(row).text() for row in range(one.count())
         if one.item(row).checkState() == Qt.CheckState.Checked}
        for one in lists
    ]  # fmt: skip
    transferred = {"efficientnet-lite0", "vgg16", "resnet18", "convnext-tiny"}
    assert ticked[0] == transferred | set(SSL_METHODS)
    assert {"knn", "linear", "finetune", "finetune-paper"} <= ticked[1]
    assert ticked[2] == {"nucleus", "paper-128px"}
    # None of these is at hand, which their tooltips say; whole wells again: they are gone.
    assert all("train or import it" in tips(choice)[name] for name in SSL_METHODS)
    box.setCurrentIndex(0)
    box.activated.emit(0)
    assert set(tips(choice)) == transferred


def test_fine_tuning_on_matching_crops_is_a_choice_and_the_papers(
    qtbot: QtBot, assay_path: Path
) -> None:
    choice = BenchmarkChoice()
    qtbot.addWidget(choice)
    [box] = [one for one in choice.findChildren(QCheckBox) if "matching crops" in one.text()]
    source = SourceSpec(name="mine", kind="assay", path=assay_path)
    assert not choice.value([source]).fine_tuned_matched
    with qtbot.waitSignal(choice.value_changed):
        box.click()
    assert choice.value([source]).fine_tuned_matched
    take(choice, "grouped")
    assert not box.isChecked()
    take(choice, "paper")
    assert box.isChecked() and choice.value([source]).fine_tuned_matched


def test_the_custom_encoders_of_an_assay_are_rows_like_others(
    dock: BenchmarkDock, desk: Desk, assay_path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(assay_path, other)
    own = assay_encoder(assay_path, "simclr")
    assay_encoder(assay_path, "mine")
    choice = dock.findChild(BenchmarkChoice)
    desk.open(other)
    assert not {"simclr", "mine"} & set(tips(choice))
    desk.open(assay_path)
    assert str(own.weights) in tips(choice)["simclr"] and "mine" in tips(choice)
    take(choice, "paper")
    assert list(tips(choice)).count("simclr") == 1
    spec = choice.value([SourceSpec(name="a", kind="assay", path=own.folder)])
    entries = {one.name: one.weights for one in spec.encoders}
    assert entries["simclr"] == own.weights and entries["swav"] is None and "mine" not in entries

    take(choice, "grouped")
    small(dock, sizes="10")
    tick(choice, 0, "simclr")
    tick(choice, 1, "knn")
    dock.run()
    desk.idle()
    assert desk.errors() == []
    table = dock.findChild(BenchmarkTable)
    [row] = [row for row, one in enumerate(rows(dock)) if one[0] == "simclr"]
    table.setCurrentCell(row, 0)
    desk.idle()
    assert "weighted F1" in dock.findChild(BenchmarkDetail).text()
    button(dock, "Use for my").click()
    # By name: its weights move with the assay.
    assert (
        desk.session.options.value().encoder == "simclr"
        and desk.session.options.value().weights is None
    )

    # Another assay: neither in the list nor measured with the weights of this one.
    desk.open(other)
    assert not {"simclr", "mine"} & set(tips(choice))
    take(choice, "paper")
    spec = choice.value([SourceSpec(name="a", kind="assay", path=other)])
    entries = {one.name: one.weights for one in spec.encoders}
    assert entries["simclr"] is None
    # Where it is in use it is compared, unless a person says no.
    desk.open(assay_path)
    take(choice, "grouped")
    assert "simclr" in chosen(choice)
    tick(choice, 0, "efficientnet-lite0")
    dock.run()
    desk.idle()
    assert chosen(choice) == {"efficientnet-lite0"}


def test_an_encoder_that_is_trained_meanwhile_joins_the_list_and_a_damaged_one_says_so(
    dock: BenchmarkDock, desk: Desk, assay_path: Path
) -> None:
    choice = dock.findChild(BenchmarkChoice)
    job = desk.session.jobs.start("Training", own_trained, assay_path, slot="pretrain")
    desk.idle()
    assert not job.is_running and "fresh" in tips(choice)
    (assay_path / "encoders" / "fresh" / "encoder.json").write_text("{}")
    desk.open(assay_path)
    tick(choice, 0, "fresh")
    assert "cannot run" in tips(choice)["fresh"]
    assert choice.value([SourceSpec(name="a", kind="assay", path=assay_path)]).encoders == (
        EncoderSpec("fresh"),
    )


def test_every_control_has_a_tooltip_and_it_fits_400_px(dock: BenchmarkDock) -> None:
    take(dock.findChild(BenchmarkChoice), "paper")
    for kind in (QAbstractButton, QComboBox, QSpinBox, QListWidget):
        for control in dock.findChildren(kind):
            if not isinstance(control.parent(), QTableView):  # Qt's own, to select all of a table
                assert control.toolTip() or control.parent().toolTip(), control
    assert dock.minimumSizeHint().width() <= 400


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (
            ("torchvision:squeezenet1_1", "efficientnet-lite0"),
            {"squeezenet1_1", "efficientnet-lite0"},
        ),
        (("torchvision:resnet18", "resnet18"), {"torchvision:resnet18", "resnet18"}),
    ],
)
def test_names_are_short_where_that_says_all_and_the_figures_are_seen(
    qtbot: QtBot, names: tuple[str, ...], shown: set[str]
) -> None:
    table = BenchmarkTable()
    qtbot.addWidget(table)
    table.resize(440, 200)
    one = TableCell(
        table=2,
        train="labels",
        test="labels",
        encoder="",
        recipe="nucleus",
        head="",
        n_train=136,
        protocol="paper",
        seeds=(0, 1),
    )
    planned = [
        Planned(
            cell=replace(one, encoder=name, recipe=recipe, head=head),
            key=name + recipe + head,
            state="done",
        )
        for name in names
        for recipe in ("nucleus", "paper-128px")
        for head in ("linear-paper", "finetune-paper")
    ]
    summary = dict.fromkeys(("f1_weighted", "auc", "recall_abnormal"), Figure(0.95, 0.035))
    table.set_cells(planned, {each.key: Result(each.cell, (), summary) for each in planned})
    with qtbot.waitExposed(table):
        table.show()
    lines = [table.item(row, 0) for row in range(table.rowCount())]
    assert {line.text() for line in lines} == shown
    assert {line.toolTip().split(",")[0] for line in lines} == set(names)
    if shown != set(names):
        assert table.columnViewportPosition(4) + table.columnWidth(4) <= table.viewport().width()


def test_a_spec_file_takes_the_place_of_the_assay(
    dock: BenchmarkDock, desk: Desk, assay_path: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "SPEC.toml"
    spec.write_text(
        f'heads = ["knn"]\nsizes = [10]\nseeds = [0]\nbaseline = false\n'
        f'[[source]]\nname = "mine"\nassay = "{assay_path.as_posix()}"\n'
    )
    dock.open_spec(spec)
    dock.run()
    desk.idle()
    assert desk.errors() == []
    assert len(dock.results()) >= 1
    assert (tmp_path / "SPEC-benchmark" / "cells").is_dir()
    bad = tmp_path / "bad.toml"
    bad.write_text("heads = 3")
    dock.open_spec(bad)
    assert "bad.toml" in desk.errors()[-1]


def test_linear_is_given_the_plates_directions_as_in_training(
    assay_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (
        "heads.linear.plate_directions",
        "assay.embeddings.plate_sample",
        "study.benchmark.benchmark_plan",
    ):
        monkeypatch.setattr(f"napari_hcs_qc.{module}.MIN_CELLS", 60)
    source = SourceSpec(name="mine", kind="assay", path=assay_path)
    spec = BenchmarkSpec(
        sources=(source,), heads=("knn", "linear"), sizes=(10,), seeds=(0,), baseline=False
    )
    with monkeypatch.context() as patched:  # as if the plate were not embedded yet
        patched.setattr("napari_hcs_qc.assay.embeddings.plate_sample.stored_plate", lambda *_: None)
        found = run_benchmark(spec, tmp_path)
    linear = [one for one in found.planned if one.cell.head == "linear"]
    assert all(one.cell.directions == (one.cell.head == "linear") for one in found.planned)
    assert "main directions" in found.results[linear[0].key].protocol
    [path] = (tmp_path / "directions").iterdir()
    assay = AssayFolder.open(assay_path)
    states = [load_plate(assay, entry.name) for entry in assay.plates]
    recipe = get_recipe("nucleus").with_diameter(states[0].plate_cells.diameter_px)
    encoder = cached_encoder("efficientnet-lite0", stages=recipe.stages, pooling=recipe.pooling)
    wanted = sampled_directions(states, recipe, encoder, assay.embeddings_folder)
    assert wanted is not None
    with np.load(path) as kept:
        np.testing.assert_allclose(kept["offset"], wanted.offset, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(
            kept["directions"].T @ kept["directions"],
            wanted.directions.T @ wanted.directions,
            rtol=1e-3,
            atol=1e-3 * float(np.square(wanted.directions).max()),
        )
    # Without them it is another measurement; with them a second run samples nothing.
    monkeypatch.setattr("napari_hcs_qc.study.benchmark.sources.sampled_embeddings", None)
    again = run_benchmark(spec, tmp_path).results
    assert {key: list(result.draws) for key, result in again.items()} == {
        key: list(result.draws) for key, result in found.results.items()
    }
    without = run_benchmark(spec.with_changes(plate_directions=False), tmp_path)
    assert not {one.key for one in linear} & set(without.results)
