"""The public names: light to import, typed, with examples that run, and like the commands."""

from __future__ import annotations

import argparse
import doctest
import importlib
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import napari_hcs_qc
from napari_hcs_qc import Assay, plugins
from napari_hcs_qc.cli.parser import load_command
from napari_hcs_qc.plates.readers import registry
from napari_hcs_qc.plugins import COMMANDS
from napari_hcs_qc.study.cli.pretrain import COMMAND as PRETRAIN
from napari_hcs_qc.study.simulation.synthetic import SyntheticSpec, simulate_plate
from napari_hcs_qc.study.ssl.pretrain_settings import DEFAULT_METHOD

HEAVY = {"torch", "sklearn", "anndata", "matplotlib", "timm", "napari"}
NAMES = [name for name in napari_hcs_qc.__all__ if name != "__version__"]


def _python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- lazy --------------------------------------------------------------------------------


def test_the_import_loads_nothing_heavy() -> None:
    code = "import napari_hcs_qc, sys; print(*sys.modules)"
    loaded = set(_python(code).split())
    assert not loaded & {*HEAVY, "numpy", "pandas", "scipy", "pydantic"}
    # Of ours nothing but the table of what the core finds by name.
    ours = {name for name in loaded if name.startswith("napari_hcs_qc.")}
    assert ours == {"napari_hcs_qc.plugins"}


def test_every_name_can_be_imported_and_no_other() -> None:
    for name in napari_hcs_qc.__all__:
        assert getattr(napari_hcs_qc, name) is not None
    assert set(napari_hcs_qc.__all__) <= set(dir(napari_hcs_qc))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = napari_hcs_qc.nonsense  # type: ignore[attr-defined]


def test_functions_are_not_hidden_by_packages_of_their_name() -> None:
    code = (
        "import napari_hcs_qc.screen.running, napari_hcs_qc.encoders.registry\n"
        "import napari_hcs_qc as hcs; print(callable(hcs.screen), callable(hcs.encoders))"
    )
    assert _python(code).split() == ["True", "True"]


def test_what_the_core_finds_by_name_is_there() -> None:
    for name, place in plugins.FUNCTIONS.items():
        assert getattr(napari_hcs_qc, name) is plugins.load(place)


# ---- like the commands -------------------------------------------------------------------

_ONLY_COMMANDS = {"open", "demo", "info", "completion"}


def _function(command: str) -> Any:
    return getattr(Assay, command, None) or getattr(napari_hcs_qc, command)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - _ONLY_COMMANDS))
def test_a_command_and_its_function_have_the_same_parameters(command: str) -> None:
    parser = argparse.ArgumentParser()
    load_command(command).add_arguments(parser)
    arguments = {action.dest: action for action in parser._actions if action.dest != "help"}
    function = _function(command)
    parameters = dict(inspect.signature(function).parameters)
    if "self" in parameters:
        del parameters["self"]
        del arguments["assay"]  # the object itself
    for name in ("job", "on_report"):
        parameters.pop(name, None)
    assert set(arguments) == set(parameters)
    for name, action in arguments.items():
        default = parameters[name].default
        is_required = action.required if action.option_strings else action.nargs != "?"
        assert is_required == (default is inspect.Parameter.empty), name
        if not is_required:
            given = tuple(action.default) if isinstance(action.default, list) else action.default
            assert given == default, name


def test_the_default_method_is_that_of_the_settings() -> None:
    parser = argparse.ArgumentParser()
    PRETRAIN.add_arguments(parser)
    assert parser.get_default("method") == DEFAULT_METHOD


# ---- documented --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a plate, its labels, and an assay of it with a model and predictions."""
    folder = tmp_path_factory.mktemp("doctest")
    spec = SyntheticSpec(
        n_wells=8, sites_per_well=1, shape_px=(128, 128), cells_per_mm2=2000.0, n_labels=60, seed=1
    )
    made = simulate_plate(folder / "made", spec)
    napari_hcs_qc.run(
        folder / "assay",
        made.plate_dir,
        labels=made.labels,
        out=folder / "out",
        annotator="Ada",
        head="knn",
        seeds=1,
    )
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_documented_with_an_example_that_runs(
    name: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = getattr(napari_hcs_qc, name)
    module = importlib.import_module(thing.__module__)
    tests = doctest.DocTestFinder().find(thing, name, module=module, globs={})
    assert inspect.getdoc(thing), name
    if inspect.isfunction(thing) or name == "Assay":
        assert any(test.examples for test in tests), name
    monkeypatch.setattr(registry, "_readers", list(registry._readers))
    monkeypatch.chdir(tmp_path)
    for number, test in enumerate(tests):
        folder = tmp_path / str(number)
        shutil.copytree(prepared / "assay", folder / "prepared")
        made = prepared / "made"
        test.globs.update(
            folder=folder,
            plate_path=made / "SIM",
            labels=made / "labels.csv",
            assay_path=folder / "prepared",
            Assay=Assay,
            assay=Assay.open(folder / "prepared"),
        )
        failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
        assert not failed, test.name


@pytest.mark.parametrize("name", [name for name in vars(Assay) if not name.startswith("_")])
def test_every_method_has_an_example(name: str) -> None:
    thing = inspect.getattr_static(Assay, name)
    text = thing.fget.__doc__ if isinstance(thing, property) else getattr(Assay, name).__doc__
    assert ">>> " in (text or "")


# ---- typed -------------------------------------------------------------------------------

_SCRIPT = """
from pathlib import Path

import napari_hcs_qc as hcs


def triage(plate: Path, labels: Path) -> list[str]:
    assay = hcs.Assay.new("assay", [plate])
    cells: dict[str, hcs.PlateCells] = assay.cells(channel="DNA", z="max")
    assay.annotate(labels, annotator="Ada")
    try:
        model: hcs.Model = assay.train(head="knn", job=hcs.Job())
    except hcs.HcsQcError as error:
        return [str(error)]
    predictions: list[hcs.Prediction] = assay.predict(model=model.id)
    assay.verdict("A01", "keep")
    files = assay.export("tables", keep_kinds=["dead"]).files
    plan: hcs.ScreenPlan = hcs.screen("screen.toml", out="out", dry_run=True)
    result: hcs.ScreenResult = hcs.screen("screen.toml", out="out")
    made: hcs.SimulatedPlate = hcs.simulate("made", wells=2)
    hcs.benchmark(out="bench", assay=["assay"], sizes=["all", 50])
    hcs.open_plate(made.plate_dir).read_site(hcs.SiteKey("A01", 1))
    del cells, predictions, plan, result
    return [str(path) for path in files]
"""
_WRONG = """
import napari_hcs_qc as hcs

hcs.Assay.open("assay").verdict("A01", "perhaps")
hcs.simulate("made", wells="two")
hcs.no_such_name
"""


def test_a_script_of_a_user_is_type_checked(tmp_path: Path) -> None:
    scripts = {"right": _SCRIPT, "wrong": _WRONG}
    for name, script in scripts.items():
        (tmp_path / f"{name}.py").write_text(script, encoding="utf-8")
    sources = Path(napari_hcs_qc.__file__).parents[1]
    # With the settings and the cache of the project: strict, and what `mypy` checked is known.
    command = [sys.executable, "-m", "mypy", *(str(tmp_path / f"{name}.py") for name in scripts)]
    done = subprocess.run(
        command,
        cwd=sources.parent,
        env={**os.environ, "MYPYPATH": str(sources)},
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 3, done.stdout + done.stderr
    for error, text in zip(errors, ("perhaps", '"wells"', "no_such_name"), strict=True):
        assert "wrong.py" in error
        assert text in error


# ---- commands that load little -----------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["new", "{folder}/new", "{plate}"],
        ["annotate", "{assay}", "--from", "{labels}"],
        ["verdict", "{assay}", "A01", "keep"],
        ["status", "{assay}"],
        ["encoders", "--assay", "{assay}"],
        ["relocate", "{assay}", "SIM", "{plate}"],
        ["remove", "{assay}", "SIM"],
    ],
    ids=lambda command: command[0],
)
def test_what_needs_no_model_loads_no_library_of_models(
    command: list[str], prepared: Path, tmp_path: Path
) -> None:
    assay = shutil.copytree(prepared / "assay", tmp_path / "assay")
    made = prepared / "made"
    values = {
        "folder": tmp_path, "assay": assay, "plate": made / "SIM", "labels": made / "labels.csv"
    }  # fmt: skip
    code = (
        "import sys; from napari_hcs_qc.cli import main; code = main(sys.argv[1:])\n"
        "print(*sys.modules); sys.exit(code)"
    )
    loaded = _python(code, *(text.format(**values) for text in command)).splitlines()[-1].split()
    assert not HEAVY & set(loaded)
    if command[0] == "status":  # each takes longer to import than all else it does
        assert not {"scipy.stats", "scipy.special", "filelock", "tqdm"} & set(loaded)


@pytest.mark.parametrize("command", ["status", "cells", "predict"])
def test_a_command_opens_a_plate_once(
    command: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_hcs_qc.assay.store import plate_entry
    from napari_hcs_qc.cli import main

    opened = []

    def counted(path: Path, **options: Any) -> Any:
        opened.append(path)
        return napari_hcs_qc.open_plate(path, **options)

    monkeypatch.setattr(plate_entry, "open_plate", counted)
    assay = shutil.copytree(prepared / "assay", tmp_path / "assay")
    assert main([command, str(assay), "--quiet"]) == 0
    assert len(opened) == 1
