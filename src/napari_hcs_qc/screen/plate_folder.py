"""The folder of one plate of a screen: its job, what became of it, and its results.

::

    job.json        what is to be done: everything that decides the results, with its fingerprint
    assay/          the plate as an assay of its own, which napari opens
    results/        tables and report.html
    wells.parquet   what the report of the screen needs of each well
    done.json       written last: figures of the plate, and the fingerprint of the job they are of
    problem.json    why it failed, in place of done.json
    log.txt         what the job said
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

State = Literal["done", "failed", "missing"]
_LAST_CHARACTERS = 600  # of a log that ended without a word


@dataclass(frozen=True)
class Standing:
    """Where a plate stands."""

    state: State  # ``missing`` has neither results nor an error that belong to its job
    why: str = ""  # of a failure, the error's words; of what is missing, the reason for doing it


class PlateFolder:
    """One plate's folder in a screen."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def job_path(self) -> Path:
        """What is to be done."""
        return self.path / "job.json"

    @property
    def done_path(self) -> Path:
        """Says that it is done; what the workflow asks for."""
        return self.path / "done.json"

    @property
    def problem_path(self) -> Path:
        """Why it failed."""
        return self.path / "problem.json"

    @property
    def wells_path(self) -> Path:
        """Table of the wells."""
        return self.path / "wells.parquet"

    @property
    def assay(self) -> Path:
        """Folder of the assay."""
        return self.path / "assay"

    @property
    def results(self) -> Path:
        """Folder of tables and report."""
        return self.path / "results"

    @property
    def log_path(self) -> Path:
        """What the job said."""
        return self.path / "log.txt"

    def standing(self, job: dict[str, Any]) -> Standing:
        """Tell where the plate stands with a job."""
        done = _read(self.done_path)
        if done is not None and done.get("fingerprint") == job["fingerprint"]:
            if not self.wells_path.is_file() or not (self.results / "report.html").is_file():
                return Standing("missing", "results were removed")
            if done.get("n_actions") != self.n_actions():
                return Standing("missing", "annotations or verdicts have changed")
            return Standing("done")
        problem = _read(self.problem_path)
        if problem is not None and problem.get("fingerprint") == job["fingerprint"]:
            return Standing("failed", str(problem.get("error", "")))
        if done is not None:
            return Standing("missing", _changed(done.get("job", {}), job))
        return Standing("missing", "not done yet")

    def after(self, job: dict[str, Any]) -> Standing:
        """Tell where the plate stands once its job has ended, however it ended."""
        found = self.standing(job)
        if found.state != "missing":
            return found
        words = (
            "the job ended without a message: killed, out of memory or time, or the disk is full"
        )
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return Standing("missing", f"{words}, or it was never started")
        tail = text.splitlines()[-1][-_LAST_CHARACTERS:] if text else ""
        return Standing("missing", f"{words}" + (f"; its last line: {tail}" if tail else ""))

    def n_actions(self) -> int | None:
        """Count what people did in the plate's assay; None before there is one."""
        path = self.assay / "journal.sqlite"
        if not path.is_file():
            return None
        try:
            return Journal.open(path, create=False).n_actions()
        except HcsQcError:
            return None

    def write_job(self, job: dict[str, Any]) -> None:
        """Keep what is to be done; the same again touches nothing."""
        if _read(self.job_path) != job:
            write_json(self.job_path, job)

    def write_problem(self, fingerprint: str, error: str, *, is_expected: bool) -> None:
        """Keep why a job failed."""
        data = {"fingerprint": fingerprint, "error": error, "is_expected": is_expected}
        write_json(self.problem_path, data)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return read_json(path)
    except HcsQcError:
        return None


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    names = [
        key for key in sorted({*before, *now} - {"fingerprint"}) if before.get(key) != now.get(key)
    ]
    return f"changed: {', '.join(names)}" if names else "not done yet"
