"""The arguments of the command line."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from napari_hcs_qc.cli import main
from napari_hcs_qc.cli.parser import make_parser
from napari_hcs_qc.plugins import COMMANDS


def test_kinds_that_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    options = make_parser().parse_args(["report", "assay", "r.html", "--keep-kinds", "dead"])
    assert options.keep_kinds == ("dead",)
    assert not capsys.readouterr().err


def test_the_old_name_of_keep_kinds_works_and_warns(capsys: pytest.CaptureFixture[str]) -> None:
    options = make_parser().parse_args(["report", "assay", "r.html", "--exclude-kinds", "dead"])
    assert options.keep_kinds == ("dead",)
    assert "--exclude-kinds is now called --keep-kinds" in capsys.readouterr().err


def test_help_lists_only_the_new_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["export", "--help"])
    text = capsys.readouterr().out
    assert "--keep-kinds" in text and "--exclude-kinds" not in text


def test_wrong_commands_and_options_name_what_was_probably_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments, meant in (
        (["trian", "assay"], "did you mean train?"),
        (["train", "assay", "--encodr", "x"], "did you mean --encoder?"),
        ([], "begin with hcs-qc demo"),
    ):
        with pytest.raises(SystemExit) as stop:
            make_parser().parse_args(arguments)
        assert stop.value.code == 2
        assert meant in capsys.readouterr().err
    with pytest.raises(SystemExit):
        make_parser().parse_args(["xyzzy"])
    assert "did you mean" not in capsys.readouterr().err


def test_wrong_arguments_are_json_where_that_was_requested(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "assay", "--seeds", "many", "--json"])
    assert stop.value.code == 2
    printed = capsys.readouterr()
    data = json.loads(printed.out)
    assert data["exit_code"] == 2
    assert "--seeds" in data["error"] and data["error"] in printed.err


def test_info_lists_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"napari-hcs-qc {version('napari-hcs-qc')}, Python 3")
    assert all(name in text for name in ("torch ", "Devices: cpu", "Cache of napari-hcs-qc"))
    assert main(["info", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["packages"]["torch"] == version("torch")
    assert data["caches"]["napari-hcs-qc"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_completion_script_has_every_command(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in COMMANDS)
    assert "--log-file" in script
