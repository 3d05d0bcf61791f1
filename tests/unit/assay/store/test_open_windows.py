from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.open_windows import OpenWindows, Person
from napari_hcs_qc.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WINDOW = """
import sys
from pathlib import Path
from napari_hcs_qc.assay.store.open_windows import OpenWindows
open_windows = OpenWindows.enter(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
open_windows.leave()
"""


@pytest.fixture
def assay(tmp_path: Path) -> Path:
    return AssayFolder.create(tmp_path / "Mein Assay ü").path


@pytest.fixture
def window(assay: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the assay open in a window until it is told to close it."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", WINDOW, str(assay)], stdin=pipe, stdout=pipe, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def left_behind(assay: Path) -> set[str]:
    return {path.name for path in (assay / "presence").iterdir()} - {"guard.lock"}


def test_another_window_is_told_and_both_know(assay: Path) -> None:
    first = OpenWindows.enter(assay)
    assert first.others == ()
    second = OpenWindows.enter(assay)  # of the same process: two viewers
    (person,) = second.others
    assert person.user == getpass.getuser()
    assert (person.host, person.pid) == (socket.gethostname(), os.getpid())
    assert person.user in str(person)
    assert str(os.getpid()) in str(person)
    assert len(first.others) == 1
    first.leave()
    first.leave()  # closing the viewer after the assay
    assert second.others == ()
    second.leave()
    assert left_behind(assay) == set()


def test_another_process_is_seen_until_it_leaves(
    assay: Path, window: subprocess.Popen[str]
) -> None:
    open_windows = OpenWindows.enter(assay)
    (person,) = open_windows.others
    assert person.pid == window.pid
    assert (open_windows.others, len(left_behind(assay))) == (
        (person,),
        4,
    )  # looking removes nobody
    window.communicate("close\n", timeout=60)
    assert open_windows.others == ()
    open_windows.leave()
    assert left_behind(assay) == set()


def test_a_killed_window_leaves_nobody(assay: Path, window: subprocess.Popen[str]) -> None:
    os.kill(window.pid, signal.SIGKILL)
    window.wait(timeout=60)
    assert len(left_behind(assay)) == 2
    open_windows = OpenWindows.enter(assay)
    assert open_windows.others == ()
    open_windows.leave()
    assert left_behind(assay) == set()


def test_who_came_first_is_named_first_and_half_written_entries_are_passed_over(
    assay: Path,
) -> None:
    windows = [OpenWindows.enter(assay) for _ in range(3)]
    names = sorted(path.stem for path in (assay / "presence").glob("*.json"))
    for since, name in zip(("2025", "2023", "2024"), names, strict=True):
        path = assay / "presence" / f"{name}.json"
        write_json(path, {**read_json(path), "since": since})
    looking = OpenWindows.enter(assay)
    assert [person.since for person in looking.others] == ["2023", "2024", "2025"]
    (assay / "presence" / f"{names[0]}.json").write_text("{", encoding="utf-8")
    assert [person.since for person in looking.others] == ["2023", "2024"]
    assert "since" not in str(Person(user="anna", host="pc", since="once", pid=7))
    for one in (*windows, looking):
        one.leave()


def test_windows_that_come_and_go_at_once_never_lose_each_other(assay: Path) -> None:
    staying = OpenWindows.enter(assay)
    wrong: list[int] = []

    def come_and_go() -> None:
        for _ in range(15):
            open_windows = OpenWindows.enter(assay)
            pids = [person.pid for person in open_windows.others]
            if not pids or set(pids) != {os.getpid()}:
                wrong.append(len(pids))
            open_windows.leave()

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert staying.others == ()
    staying.leave()
    assert left_behind(assay) == set()


def test_it_may_be_left_by_another_thread(assay: Path) -> None:
    open_windows, watching = OpenWindows.enter(assay), OpenWindows.enter(assay)
    thread = threading.Thread(target=open_windows.leave)
    thread.start()
    thread.join()
    assert watching.others == ()
    watching.leave()


def test_a_read_only_assay_is_entered_without_a_trace(
    assay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refusing)
    open_windows = OpenWindows.enter(assay)
    assert open_windows.others == ()
    open_windows.leave()
    monkeypatch.undo()
    assert not (assay / "presence").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_without_write_permission_is_entered(assay: Path) -> None:
    assay.chmod(0o500)
    try:
        open_windows = OpenWindows.enter(assay)
        assert open_windows.others == ()
        open_windows.leave()
    finally:
        assay.chmod(0o700)


def test_an_assay_that_is_gone_is_left_quietly(assay: Path, tmp_path: Path) -> None:
    open_windows = OpenWindows.enter(assay)
    assay.rename(tmp_path / "elsewhere")
    assert open_windows.others == ()
    open_windows.leave()
