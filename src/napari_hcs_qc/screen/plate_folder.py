"""The folder of one plate of a screen: its job, what became of it, and its results.

::

    job.json        what is to be done: everything that decides the results, with its fingerprint
    assay/          the plate as an assay of its own, which napari opens
    results/        tables and report.html
    wells.parquet   what the report of the screen needs of each well
    done.json       written last: figures of the plate, and the fingerprint of the job they are of
    problem.json    why it failed, in place of done.json
    log.txt         what the job printed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.screen.documents import DoneDocument, JobDocument, ProblemDocument

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.screen.documents import JobContent

State = Literal["done", "failed", "missing"]
_LAST_CHARACTERS = 600  # of a log that ended without a message


@dataclass(frozen=True)
class Standing:
    """Where a plate stands."""

    state: State  # ``missing`` has neither results nor an error that belong to its job
    why: str = ""  # of a failure, the error; of what is missing, the reason for doing it


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
        """What the job printed."""
        return self.path / "log.txt"

    def standing(self, job: JobContent) -> Standing:
        """Tell where the plate stands with a job."""
        done = DoneDocument.load_if_valid(self.done_path)
        if done is not None and done.fingerprint == job.fingerprint:
            if not self.wells_path.is_file() or not (self.results / "report.html").is_file():
                return Standing("missing", "results were removed")
            if done.n_actions != self.n_actions():
                return Standing("missing", "annotations or verdicts have changed")
            return Standing("done")
        problem = ProblemDocument.load_if_valid(self.problem_path)
        if problem is not None and problem.fingerprint == job.fingerprint:
            return Standing("failed", problem.error)
        changed = [] if done is None else job.changed_from(done.job)
        return Standing("missing", f"changed: {', '.join(changed)}" if changed else "not done yet")

    def after(self, job: JobContent) -> Standing:
        """Tell where the plate stands once its job has ended, however it ended."""
        standing = self.standing(job)
        if standing.state != "missing":
            return standing
        why = "the job ended without a message: killed, out of memory or time, or the disk is full"
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return Standing("missing", f"{why}, or it was never started")
        tail = text.splitlines()[-1][-_LAST_CHARACTERS:] if text else ""
        return Standing("missing", f"{why}; its last line: {tail}" if tail else why)

    def n_actions(self) -> int | None:
        """Count what people did in the plate's assay; None before there is one."""
        path = self.assay / "journal.sqlite"
        if not path.is_file():
            return None
        try:
            return Journal.open(path, create=False).n_actions()
        except HcsQcError:
            return None

    def read_job(self) -> JobContent:
        """Read what is to be done."""
        return JobDocument.load(self.job_path).job

    def write_job(self, job: JobContent) -> None:
        """Write what is to be done; the same again touches nothing."""
        document = JobDocument(job=job)
        if JobDocument.load_if_valid(self.job_path) != document:
            document.save(self.job_path)

    def write_problem(self, fingerprint: str, error: str, *, is_expected: bool) -> None:
        """Write why a job failed."""
        problem = ProblemDocument(fingerprint=fingerprint, error=error, is_expected=is_expected)
        problem.save(self.problem_path)
