"""What -v and --log-file write, and what bars count."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc import cli
from napari_hcs_qc.cli import main
from napari_hcs_qc.cli.bars import UNITS, Bars, unit_of
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.step_log import LOG
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

SOURCE = Path(cli.__file__).parents[1]
Run = "Callable[[argparse.Namespace, Bars], Outcome]"


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Run ``hcs-qc status`` with another step."""

    def run(step: Run, *flags: str) -> int:
        command = Command("status", "", lambda _parser: None, step)
        monkeypatch.setattr(cli, "load_command", lambda _name: command)
        return main(["status", str(tmp_path), *flags])

    return run


def two_steps(_options: argparse.Namespace, bars: Bars) -> Outcome:
    for done in range(3):
        bars(done, 2, f"Finding nuclei in A0{done + 1}")
    bars(0, 0, "Saving")
    bars.note("A note.")
    return Outcome(["Finished."])


def failing(_options: argparse.Namespace, _bars: Bars) -> Outcome:
    raise HcsQcError("No such plate.")


def crashing(_options: argparse.Namespace, _bars: Bars) -> Outcome:
    raise KeyError("well")


def test_verbose_lists_the_steps_with_what_was_counted(status, capsys) -> None:
    assert status(two_steps, "-v") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["Finished."]
    assert "Finding nuclei in A03 (2 of 2 sites, " in printed.err
    assert "Saving (" in printed.err
    assert "A note." in printed.err
    assert "hcs-qc status" in printed.err and "Python 3" in printed.err


def test_without_a_terminal_there_is_no_bar_but_the_notes(status, capsys) -> None:
    assert status(two_steps) == 0
    assert capsys.readouterr().err.strip() == "A note."


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_quiet_shows_nothing_but_the_result(status, capsys, flag: str) -> None:
    assert status(two_steps, flag) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines() == ["Finished."]


def test_the_log_file_is_appended_to_and_has_the_error(status, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "hcs-qc.log"
    assert status(two_steps, "-q", "--log-file", str(log)) == 0
    assert status(failing, "-q", "--log-file", str(log)) == 2
    text = log.read_text(encoding="utf-8")
    assert "Finding nuclei in A03 (2 of 2 sites" in text
    assert "INFO done" in text
    assert "ERROR ended: HcsQcError: No such plate." in text
    assert "Traceback" not in text


def test_the_log_file_has_the_details_of_an_error_of_the_program(
    status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    log = tmp_path / "hcs-qc.log"
    assert status(crashing, "--log-file", str(log)) == 3
    assert "Traceback" in log.read_text(encoding="utf-8")


def test_a_log_file_that_cannot_be_written_is_an_error(status, capsys, tmp_path: Path) -> None:
    assert status(two_steps, "--log-file", str(tmp_path)) == 2
    assert f"The log file {tmp_path} cannot be written" in capsys.readouterr().err


def test_nothing_is_left_behind(status, tmp_path: Path) -> None:
    before = LOG.level, list(LOG.handlers)
    status(two_steps, "-v", "--log-file", str(tmp_path / "log.txt"))
    assert (LOG.level, list(LOG.handlers)) == before
    assert not LOG.isEnabledFor(logging.INFO)


@pytest.mark.parametrize("start", UNITS)
def test_every_message_that_has_a_unit_is_one_of_the_program(start: str) -> None:
    texts = (path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    assert any(f'"{start}' in text for text in texts if "UNITS = {" not in text)
    assert unit_of(f"{start} of something") == UNITS[start]


def test_a_message_that_does_not_say_what_is_counted_has_no_unit() -> None:
    assert unit_of("Saving model 0001") == ""
