from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.errors import HcsQcError, ProblemsError
from napari_hcs_qc.screen.screen_spec import ScreenPlate, read_screen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    AssayFolder.create(tmp_path / "assay")
    for name in ("P2", "P10", "P1"):
        (tmp_path / "raw" / name / "Images").mkdir(parents=True)
    (tmp_path / "map.csv").write_text("well,treatment\nA01,x\n")
    return tmp_path


def write(root: Path, text: str) -> Path:
    path = root / "screen.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_spec(root: Path) -> None:
    spec = read_screen(
        write(
            root,
            """
            name = "My screen"
            assay = "assay"
            model = "0003"
            platemap = "map.csv"
            [cells]
            channel = "DNA"
            z = 2
            [export]
            keep_kinds = ["dead"]
            exclude_unreviewed = true
            [rule]
            z_limit = 5
            [[plate]]
            glob = "raw/*/Images"
            acquired = "files"
            [[plate]]
            path = "late/P 9ü"
            pattern = "(?P<well>.*)"
            platemap = "map.csv"
            cells = "masks"
            acquired = 2026-02-03T09:30:00
            """,
        )
    )
    assert [one.name for one in spec.plates] == ["P1", "P2", "P10", "P 9ü"]
    assert spec.plates[0].path == root / "raw" / "P1" / "Images"
    assert spec.plates[0].platemap == root / "map.csv"
    assert spec.plates[3].acquired == dt.datetime(2026, 2, 3, 9, 30)
    assert spec.plates[3].cells == root / "masks"
    assert spec.ordered_by == "acquired"
    assert (spec.model, spec.channel, spec.projection) == ("0003", "DNA", 2)
    assert spec.keep_kinds == ("dead",)
    assert spec.exclude_unreviewed
    assert spec.rule.z_limit == 5


def test_all_that_is_wrong_is_told_at_once(root: Path) -> None:
    text = """
    asay = "assay"
    assay = "nowhere"
    platemap = "gone.csv"
    [cells]
    z = "top"
    [rule]
    blur_ratio = 0.5
    noise_ratio = -1
    [[plate]]
    path = "a"
    glob = "b"
    [[plate]]
    glob = "none/*"
    [[plate]]
    path = "raw/P1"
    pattern = "("
    acquired = "yesterday"
    [[plate]]
    path = "elsewhere/P1"
    order = "first"
    """
    with pytest.raises(ProblemsError) as told:
        read_screen(write(root, text))
    problems = "\n".join(str(one) for one in told.value.problems)
    for word in (
        'asay: unknown setting; did you mean "assay"?', "nowhere is not an assay",
        "gone.csv is not a file", "cells.z",
        "rule.blur_ratio", "rule.noise_ratio", "plate 1: needs either a path, or a glob",
        "plate 2: nothing matches", "not a regular expression", "yesterday", "'first'",
        "plate P1: is given twice",
    ):  # fmt: skip
        assert word in problems, word
    assert len(told.value.problems) == 12


def test_kinds_to_keep_are_those_of_the_assay(root: Path) -> None:
    path = write(
        root, 'assay = "assay"\n[export]\nkeep_kinds = ["fibre"]\n[[plate]]\npath = "raw/P1"'
    )
    with pytest.raises(ProblemsError, match=r"export.keep_kinds: The kind 'fibre' is not one of"):
        read_screen(path)
    AssayFolder.open(root / "assay").add_kind("fibre")
    assert read_screen(path).keep_kinds == ("fibre",)


def test_an_assay_that_cannot_be_read_is_a_problem_of_the_file(root: Path) -> None:
    (root / "assay" / "assay.json").write_text("{}")
    with pytest.raises(ProblemsError, match=r"assay: .*assay.json is damaged"):
        read_screen(write(root, 'assay = "assay"\n[[plate]]\npath = "raw/P1"\n'))


def test_the_old_name_of_keep_kinds_works_and_warns(root: Path) -> None:
    text = (
        'assay = "assay"\n[export]\nexclude_kinds = ["dead"]\n[[plate]]\npath = "raw/P1/Images"\n'
    )
    with pytest.warns(FutureWarning, match="keep_kinds"):
        spec = read_screen(write(root, text))
    assert spec.keep_kinds == ("dead",)


def test_times_on_some_plates_only_are_no_order(root: Path) -> None:
    text = 'assay = "assay"\n[[plate]]\npath = "a"\norder = 1\n[[plate]]\npath = "b"\n'
    with pytest.raises(ProblemsError, match="order: is missing on b"):
        read_screen(write(root, text))
    assert read_screen(write(root, text + "order = 2")).ordered_by == "order"


def test_a_plate_that_is_not_there_is_no_problem_of_the_file(root: Path) -> None:
    spec = read_screen(write(root, 'assay = "assay"\n[[plate]]\npath = "gone/P7.csv"\n'))
    assert [(one.name, one.chosen_name) for one in spec.plates] == [("P7", None)]
    assert spec.ordered_by == "list"


def test_a_repeated_folder_is_named_once(root: Path) -> None:
    (root / "x" / "Q1" / "Q1").mkdir(parents=True)
    (root / "x" / "Q2" / "run").mkdir(parents=True)
    spec = read_screen(write(root, 'assay = "assay"\n[[plate]]\nglob = "x/*/*"\n'))
    assert [one.name for one in spec.plates] == ["Q1", "Q2 run"]


@pytest.mark.parametrize("text", ["", "assay = ", "plate = 3\nassay = 'assay'", "[[plate]]\n"])
def test_no_screen(root: Path, text: str) -> None:
    with pytest.raises(HcsQcError):
        read_screen(write(root, text))
    with pytest.raises(HcsQcError, match="cannot be read"):
        read_screen(root / "missing.toml")


@given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12))
@settings(max_examples=60)
def test_a_folder_needs_no_care_and_is_another_for_another_name(one: str, other: str) -> None:
    keys = []
    for name in (one, other):
        try:
            keys.append(ScreenPlate(name=name, path=Path("x")).key)
        except HcsQcError:
            return
    for key in keys:
        assert not set(key) & set(" /\\{}'\"$*?`;&|<>()[]~#!\n\t")
        assert key not in (".", "..")
    assert (keys[0] == keys[1]) == (one == other)
