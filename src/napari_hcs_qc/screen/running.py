"""Do a screen: plan it, let Snakemake run the jobs that are missing, and report on all plates."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes
from napari_hcs_qc.heads.threads import n_processors
from napari_hcs_qc.job import NO_JOB, Cancelled, Job
from napari_hcs_qc.screen.bundle import BUNDLE
from napari_hcs_qc.screen.documents import ProblemDocument
from napari_hcs_qc.screen.gather import Gathered, gather
from napari_hcs_qc.screen.screen_plan import ScreenPlan, check_out, plan_screen, write_plan
from napari_hcs_qc.screen.snakemake_engine import BUSY
from napari_hcs_qc.screen.snakemake_engine import LOCK as ENGINE_LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from napari_hcs_qc.screen.screen_spec import ScreenSpec

LOCK = "screen.lock"
HOW_TO_INSTALL = (
    "hcs-qc screen runs its jobs with Snakemake, which is not installed; install it with: pip "
    "install 'napari-hcs-qc[screen]'"
)
_SNAKEFILE = Path(__file__).with_name("Snakefile")
_POLL_S = 0.25
_LOOK_S = 1.0  # how often the folders of the plates are looked at
_ENDING_S = 90.0  # an engine whose parent was killed ends within this


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How the jobs of a screen are run."""

    cores: int | None = None  # processors for local jobs
    jobs: int | None = None  # most jobs at once on a cluster
    threads: int | None = None  # of each job; None takes 4, or as many as there are
    device: str = "auto"  # where encoders run
    profile: str | None = None  # of Snakemake
    executor: str | None = None  # of Snakemake
    more: tuple[str, ...] = ()  # further arguments of Snakemake

    @property
    def threads_of_a_job(self) -> int:
        """Threads of each job."""
        if self.threads is not None:
            return self.threads
        most = 4 if self.cores is None else min(4, self.cores)
        return most if self.executor or self.profile else min(most, n_processors())

    def arguments(self, out: Path) -> list[str]:
        """Arguments of Snakemake."""
        arguments = ["--snakefile", str(_SNAKEFILE), "--directory", str(out.resolve())]
        # Done means that done.json is there, see the Snakefile; and the lock is the engine's.
        arguments += ["--rerun-triggers", "mtime", "--rerun-incomplete", "--keep-going", "--nolock"]
        # Of equal jobs none is better first, and the solver of the other one may not be there.
        arguments += ["--scheduler", "greedy"]
        is_local = self.profile is None and self.executor in (None, "local")
        if self.profile is not None:
            arguments += ["--profile", self.profile]
        if self.executor is not None:
            arguments += ["--executor", self.executor]
        cores = self.cores if self.cores is not None or not is_local else os.cpu_count() or 1
        if cores is not None:
            arguments += ["--cores", str(cores)]
        jobs = self.jobs
        if jobs is None and self.profile is None and not is_local:
            jobs = 50
        if jobs is not None:
            arguments += ["--jobs", str(jobs)]
        return [*arguments, *self.more]


@dataclass(frozen=True, eq=False)
class ScreenResult:
    """What a screen came to."""

    plan: ScreenPlan  # as it was at the start
    gathered: Gathered  # over all plates
    n_done_now: int  # plates that were done this time


def run_screen(
    spec: ScreenSpec, out: Path, options: RunOptions | None = None, *, job: Job = NO_JOB
) -> ScreenResult:
    """Do what of a screen is missing, and report on all of it.

    Started again after a kill, a full disk or a failed plate, it does only what is missing.
    """
    options = options or RunOptions()
    check_out(out)  # before anything is written in it
    with explained_writes(out):
        out.mkdir(parents=True, exist_ok=True)
    with _alone(out, job):
        plan = plan_screen(spec, out, job=job)
        to_do = plan.to_do()
        if to_do:
            if importlib.util.find_spec("snakemake") is None:
                raise HcsQcError(HOW_TO_INSTALL)
            write_plan(plan, threads=options.threads_of_a_job, device=options.device)
            code = _run_engine(plan, options, job)
            _check_engine(plan, code)
        gathered = gather(plan, job=job)
        n_left = len(gathered.failed)
        return ScreenResult(plan, gathered, max(0, len(to_do) - n_left))


@contextmanager
def _alone(out: Path, job: Job) -> Iterator[None]:
    """Hold the lock of the screen, once the engine of one that was killed has ended."""
    lock = FileLock(out / LOCK)
    with explained_writes(out / LOCK):
        try:
            lock.acquire(timeout=1.0)
        except Timeout as error:
            raise HcsQcError(
                f"Another process is working on the screen {out}. Wait until it has finished, or "
                "end it, and run the same command again."
            ) from error
    try:
        engine = FileLock(out / ENGINE_LOCK)
        until = time.monotonic() + _ENDING_S
        while True:
            job.check()
            try:
                engine.acquire(timeout=_POLL_S)
                engine.release()
                break
            except Timeout as error:
                job.report(0, 0, "Waiting for the jobs of an earlier run to finish")
                if time.monotonic() > until:
                    raise HcsQcError(
                        f"An earlier Snakemake is still working on the screen {out}. Wait until it "
                        "has finished, or end it, and run the same command again."
                    ) from error
        yield
    finally:
        lock.release()


def _run_engine(plan: ScreenPlan, options: RunOptions, job: Job) -> int:
    """Run Snakemake and report how far it is; gives its exit code."""
    arguments = options.arguments(plan.out)
    log = plan.out / "logs" / "snakemake.log"
    with explained_writes(log):
        log.parent.mkdir(exist_ok=True)
        file = log.open("ab")
    with file:
        file.write(f"\n$ snakemake {shlex.join(arguments)}\n".encode())
        file.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "napari_hcs_qc.screen.snakemake_engine",
             str(plan.out.resolve()), *arguments],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            # Ctrl+C in a terminal comes to this process, which ends the engine by its pipe.
            start_new_session=True,
        )  # fmt: skip
    assert process.stdin is not None
    try:
        return _watch(process, plan, job)
    finally:
        _end(process, process.stdin)


def _watch(process: subprocess.Popen[bytes], plan: ScreenPlan, job: Job) -> int:
    total, looked = len(plan.to_do()), -_LOOK_S
    while True:
        code = process.poll()
        if code is not None:
            return code
        job.check()
        if time.monotonic() - looked >= _LOOK_S:
            counts = Counter(plate.folder.standing(plate.job).state for plate in plan.to_do())
            failed = f", {counts['failed']} failed" if counts["failed"] else ""
            text = f"{counts['done']} of {total} plates done{failed}"
            job.report(counts["done"] + counts["failed"], total, text)
            looked = time.monotonic()
        time.sleep(_POLL_S)


def _end(process: subprocess.Popen[bytes], pipe: IO[bytes]) -> None:
    """End the engine, where it still runs, and wait for it: it ends its jobs first."""
    pipe.close()
    try:
        process.wait(timeout=_ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _check_engine(plan: ScreenPlan, code: int) -> None:
    """Raise when what went wrong is not the failure of plates."""
    if code == 0:
        return
    if code == BUSY:
        raise HcsQcError(
            f"Another Snakemake is working on the screen {plan.out}; wait until it has finished."
        )
    if any(plate.folder.standing(plate.job).state != "missing" for plate in plan.to_do()):
        return  # some came to an end; the report names the others
    if code == 130:
        raise Cancelled
    folder = plan.out / plan.bundle
    problem = ProblemDocument.load_if_valid(folder / "problem.json")
    if not (folder / BUNDLE).is_file() and problem is not None:
        raise HcsQcError(f"The model cannot be used: {problem.error}")
    if any(plate.folder.log_path.is_file() for plate in plan.to_do()):
        return
    log = plan.out / "logs" / "snakemake.log"
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    tail = " / ".join(line.strip() for line in lines[-4:])
    raise HcsQcError(f"Snakemake ended with code {code} before any plate was done: {tail} ({log}).")
