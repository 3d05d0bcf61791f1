"""The arguments of the command line."""

from __future__ import annotations

import pytest

from napari_hcs_qc.cli.parser import make_parser


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
