"""What surrounds the package agrees with it: metadata, manifest, recipe, workflows, modules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from npe2 import PluginManifest

import napari_hcs_qc
from napari_hcs_qc.cli.parser import make_parser

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = Path(napari_hcs_qc.__file__).parent
with (ROOT / "pyproject.toml").open("rb") as _file:
    PROJECT: dict[str, Any] = tomllib.load(_file)["project"]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def read_yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_conda_recipe_requires_what_the_package_requires() -> None:
    recipe = read_yaml("conda/recipe.yaml")
    expected = {}
    for requirement in PROJECT["dependencies"]:
        name, _, limits = re.match(r"([\w.-]+)(\[\w+\])?(.*)", requirement).groups()  # type: ignore[union-attr]
        expected[CONDA_NAMES.get(name, name)] = limits
    required = dict(line.partition(" ")[::2] for line in recipe["requirements"]["run"])
    assert required.pop("python") == ">=${{ python_min }}"
    assert "aiohttp" in required and required.pop("aiohttp") == ""  # fsspec[http]
    assert required == expected
    assert PROJECT["requires-python"] == f">={recipe['context']['python_min']}"
    assert recipe["context"]["version"] == PROJECT["version"].removesuffix(".dev0")
    assert recipe["about"]["license"] == PROJECT["license"]
    assert all((ROOT / path).is_file() for path in recipe["about"]["license_file"])
    [entry_point] = recipe["build"]["python"]["entry_points"]
    assert entry_point == f"hcs-qc = {PROJECT['scripts']['hcs-qc']}"


def test_the_version_is_that_of_the_changelog_and_no_release_before_its_day() -> None:
    headings = re.findall(r"^## \[.+", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    version, dev = re.match(r"(\d+\.\d+\.\d+)(\.dev0)?$", PROJECT["version"]).groups()  # type: ignore[union-attr]
    dated = rf"## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d"
    unreleased = rf"## \[Unreleased\]: {re.escape(version)}"
    assert re.fullmatch(f"{unreleased}|{dated}" if dev else dated, headings[0])


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of the machine that releases")
@pytest.mark.parametrize(
    ("tag", "heading", "is_right"),
    [
        ("v0.2.0", "## [0.2.0] - 2026-12-24", True),
        ("v0.2.0", "## [Unreleased]: 0.2.0", False),
        ("v0.3.0", "## [0.3.0] - 2026-12-24", False),
    ],
)
def test_a_release_has_the_version_of_its_tag(
    tmp_path: Path, tag: str, heading: str, is_right: bool
) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0.dev0"\n', "utf-8")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n", "utf-8")
    steps = read_yaml(".github/workflows/release.yml")["jobs"]["build"]["steps"]
    [script] = [step["run"] for step in steps if "TAG" in step.get("env", {})]
    environment = {**os.environ, "TAG": tag}
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env=environment, check=False, timeout=60
    )
    assert (done.returncode == 0) == is_right
    made = tomllib.loads((tmp_path / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert made == ("0.2.0" if is_right else "0.2.0.dev0")


def test_every_python_that_is_tested_is_named_and_no_other() -> None:
    matrix = read_yaml(".github/workflows/tests.yml")["jobs"]["unit"]["strategy"]["matrix"]
    prefix = "Programming Language :: Python :: 3."
    named = [
        classifier.rpartition(" ")[2]
        for classifier in PROJECT["classifiers"]
        if classifier.startswith(prefix)
    ]
    assert matrix["python"] == named
    assert f">={named[0]}" == PROJECT["requires-python"]
    systems = [name for name in PROJECT["classifiers"] if name.startswith("Operating System")]
    assert len(matrix["os"]) == len(systems)


@pytest.mark.parametrize("workflow", ["tests", "docs", "release"])
def test_a_workflow_asks_for_no_more_rights_than_it_needs(workflow: str) -> None:
    content = read_yaml(f".github/workflows/{workflow}.yml")
    assert content["permissions"] == {"contents": "read"}
    assert "secrets." not in (ROOT / f".github/workflows/{workflow}.yml").read_text("utf-8")


def test_environments_of_tox_that_workflows_run_are_there() -> None:
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for name in re.findall(r"tox run -e ([\w-]+)", path.read_text(encoding="utf-8")):
            assert f"[testenv:{name}]" in tox, f"{path.name}: {name}"


def test_the_manifest_has_an_icon_categories_and_menus_that_are_there() -> None:
    manifest = PluginManifest.from_file(PACKAGE / "napari.yaml")
    assert manifest.categories
    module, _, name = str(manifest.icon).partition(":")
    assert module == "napari_hcs_qc" and (PACKAGE / name).is_file()
    from napari._app_model.constants import MenuId

    menus = set(manifest.contributions.menus or {})
    assert "napari/layers/classify" in menus
    assert menus <= {str(menu.value) for menu in MenuId.contributables()}


def test_the_nextflow_module_gives_options_that_the_command_has() -> None:
    text = (ROOT / "nextflow/modules/local/hcsqc/run/main.nf").read_text(encoding="utf-8")
    [command] = re.findall(r"hcs-qc run (.*?)\n\n", text, re.DOTALL)
    options = re.findall(r"(--[a-z-]+)", command + text.partition("labels_arg =")[2].split("\n")[0])
    assert {"--out", "--labels"} <= set(options)
    known = make_parser("run")._subparsers._group_actions[0].choices["run"]  # type: ignore[union-attr, index, call-overload]
    assert set(options) <= set(known._option_string_actions)


def test_containers_install_extras_that_there_are() -> None:
    extras = set(PROJECT["optional-dependencies"])
    for name in ("Dockerfile", "hcs-qc.def"):
        text = (ROOT / "containers" / name).read_text(encoding="utf-8")
        [named] = re.findall(r'"(?:\.|/source)\[([\w,]+)\]"', text)
        assert set(named.split(",")) <= extras


def test_the_citation_names_the_program_and_the_paper() -> None:
    citation = read_yaml("CITATION.cff")
    assert citation["authors"] == [{"name": PROJECT["authors"][0]["name"]}]
    # That of the code; the default weights, which nobody cites, are Apache-2.0.
    assert PROJECT["license"] == f"{citation['license']} AND Apache-2.0"
    [paper] = citation["references"]
    assert paper["doi"] in (ROOT / "README.md").read_text(encoding="utf-8")
