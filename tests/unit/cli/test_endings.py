"""A command that cannot go on ends in one line, with a code that says why."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc import cli
from napari_hcs_qc.cli import main
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError

if TYPE_CHECKING:
    import argparse


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run ``hcs-qc status`` where the step itself ends in an error."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def run(error: BaseException, *flags: str) -> int:
        def failing(_options: argparse.Namespace, _bars: object) -> Outcome:
            raise error

        def load(_name: str) -> Command:
            return Command("status", "", lambda _parser: None, failing)

        monkeypatch.setattr(cli, "load_command", load)
        return main(["status", str(tmp_path), *flags])

    return run


def test_an_unknown_error_is_a_line_and_a_file(ending, capsys, tmp_path: Path) -> None:
    assert ending(KeyError("well"), "--json") == 3
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert "unexpected KeyError" in line and "report it" in line
    data = json.loads(printed.out)
    assert data["exit_code"] == 3
    details = Path(data["details"]).read_text(encoding="utf-8")
    assert Path(data["details"]).parent == tmp_path
    assert "Traceback" in details and "hcs-qc status" in details and "Python 3" in details


def test_an_unknown_error_where_no_folder_can_be_written(ending, capsys, monkeypatch) -> None:
    def refusing(*_args: object, **_kwargs: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", refusing)
    assert ending(ZeroDivisionError("division by zero")) == 3
    assert "Details could not be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "/data/x.*free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "free some space"),
        (HcsQcError("The plate is\nnot there."), r"The plate is not there\."),
    ],
)
def test_what_a_user_can_act_on_ends_with_2(ending, capsys, error: Exception, text: str) -> None:
    assert ending(error) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert pytest.importorskip("re").search(text, err)
    assert ending(error, "--json") == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


def test_all_problems_are_in_the_data(ending, capsys) -> None:
    problems = [Problem(f"line {n}", "is wrong.") for n in range(8)]
    assert ending(ProblemsError("8 lines", problems), "--json") == 2
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["problems"]) == 8


def test_of_many_problems_the_first_of_each_kind_are_shown(ending, capsys) -> None:
    problems = [
        Problem(f"labels.csv line {n}", f"y_px {n}.5 is outside the image.") for n in range(300)
    ]
    problems.insert(200, Problem("labels.csv line 900", "The site 'x' is not a whole number."))
    assert ending(ProblemsError("labels.csv: 301 of 301 rows are not valid", problems)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 8
    assert "line 0: y_px 0.5 is outside the image. (and 299 more like it); " in lines[0]
    assert "line 900: The site 'x' is not" in lines[0]  # another kind is not crowded out
    assert sum("is outside" in line for line in lines[1:]) == 5
    assert lines[6].strip() == "and 295 more like it (--json lists all)"
    assert ending(ProblemsError("2 rows", [problems[0], problems[200]])) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1  # the line has all of them


@pytest.mark.skipif(os.name != "posix", reason="locales of a POSIX system")
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_with_fewer_characters(encoding: str, tmp_path: Path) -> None:
    missing = tmp_path / "μ–β"
    command = [sys.executable, "-m", "napari_hcs_qc", "status", str(missing), "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, env=environment, check=False, timeout=120)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert "does not exist" in json.loads(done.stdout.decode(encoding))["error"]


@pytest.mark.skipif(os.name != "posix", reason="pipes of a POSIX system")
def test_who_reads_only_the_first_lines_ends_nothing_in_a_traceback() -> None:
    command = f'"{sys.executable}" -m napari_hcs_qc encoders | head -0'
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False, timeout=200)
    assert b"Traceback" not in done.stderr and b"BrokenPipe" not in done.stderr
