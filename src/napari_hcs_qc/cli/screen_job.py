"""One job of a screen, as its workflow starts it; what goes wrong is kept for the report.

``python -m napari_hcs_qc.cli.screen_job plate OUT KEY`` does one plate, and ``model OUT`` copies
the model that judges it.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.job import Job
from napari_hcs_qc.screen.documents import PLAN, PlanDocument, ProblemDocument
from napari_hcs_qc.screen.plate_folder import PlateFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FAILED = 1
_INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Do one job; gives its exit code."""
    what, out, *rest = arguments
    root = Path(out).resolve()
    plan = PlanDocument.load(root / PLAN)
    if what == "model":
        return _run(lambda: _model(root, plan), lambda text, _: _model_problem(root, plan, text))
    folder = PlateFolder(root / "plates" / rest[0])
    fingerprint = folder.read_job().fingerprint
    return _run(
        lambda: _plate(folder, plan),
        lambda text, is_expected: folder.write_problem(fingerprint, text, is_expected=is_expected),
    )


def _run(work: Callable[[], None], keep: Callable[[str, bool], None]) -> int:
    """Do `work`; what it raises is printed, and kept where it is not an interruption."""
    try:
        work()
    except KeyboardInterrupt:
        print("stopped")
        return _INTERRUPTED
    except HcsQcError as error:
        print(f"error: {error}")
        _kept(keep, str(error), True)
        return _FAILED
    except Exception as error:  # noqa: BLE001 - whatever it is, the other plates go on
        traceback.print_exc(file=sys.stdout)
        _kept(keep, f"unexpected {type(error).__name__}: {error}", False)
        return _FAILED
    return 0


def _kept(keep: Callable[[str, bool], None], text: str, is_expected: bool) -> None:
    try:
        keep(text, is_expected)
    except WriteError as error:  # a full disk holds no file about being full
        print(f"error: {error}")


def _plate(folder: PlateFolder, plan: PlanDocument) -> None:
    from napari_hcs_qc.screen.plate_job import do_plate

    done = do_plate(folder, device=plan.device, job=Job(_Steps()))
    print("done" if done else "already done")


def _model(root: Path, plan: PlanDocument) -> None:
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.screen.bundle import make_bundle

    folder = root / plan.bundle
    (folder / "problem.json").unlink(missing_ok=True)
    make_bundle(AssayFolder.open(Path(plan.assay)), plan.model, folder, job=Job(_Steps()))
    print("done")


def _model_problem(root: Path, plan: PlanDocument, text: str) -> None:
    ProblemDocument(error=text).save(root / plan.bundle / "problem.json")


class _Steps:
    """Prints each new step and every tenth of it: a log is no terminal."""

    def __init__(self) -> None:
        self._last = ("", -1)

    def __call__(self, done: int, total: int, message: str) -> None:
        tenth = 10 * done // total if total else 0
        step = " ".join(word for word in message.split() if not any(c.isdigit() for c in word))
        if (step, tenth) != self._last:
            self._last = (step, tenth)
            print(f"{message} ({done}/{total})" if total else message, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
