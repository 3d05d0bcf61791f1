"""What ``hcs-qc status`` prints again is what it would find out anew."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_hcs_qc import Assay, open_plate
from napari_hcs_qc.cli import main, status_cache
from napari_hcs_qc.workflow import status

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Ran


@pytest.fixture
def assay(ran: Ran, tmp_path: Path) -> Path:
    """An assay beside its plate that a test may change, some seconds old."""
    path = tmp_path / "plates" / "SIM"
    shutil.copytree(ran.made.plate_dir, path)
    # Another test may have looked at the assay that they share.
    shutil.copytree(
        ran.result.assay.path, tmp_path / "assay", ignore=shutil.ignore_patterns("status.json")
    )
    Assay.open(tmp_path / "assay").relocate("SIM", path)
    return tmp_path / "assay"


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 10)


@pytest.fixture
def printed(
    assay: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[Any, bool]]:
    """Run the command; gives what it printed, and whether it found that out anew."""
    looks: list[object] = []
    look = status.assay_status
    monkeypatch.setattr(status, "assay_status", lambda of: looks.append(of) or look(of))

    def run() -> tuple[Any, bool]:
        before = len(looks)
        main(["status", str(assay), "--json"])
        return json.loads(capsys.readouterr().out), len(looks) > before

    return run


def test_it_is_printed_again_while_nothing_has_changed(assay: Path, printed, capsys) -> None:
    first, is_new = printed()
    assert is_new
    assert first["plates"][0]["predicted_with"] == "0001"
    assert printed() == (first, False)
    assert main(["status", str(assay)]) == 0
    lines = capsys.readouterr().out
    (assay / "status.json").unlink()
    assert main(["status", str(assay)]) == 0
    assert capsys.readouterr().out == lines
    # Opening it, which copies the journal, changes nothing.
    assert Assay.open(assay).annotations() is not None
    assert printed() == (first, False)


def _other_pixels(assay: Path) -> None:
    image = min((assay.parent / "plates" / "SIM").rglob("*.tif"))
    before, data = image.stat(), bytearray(image.read_bytes())
    data[-1] ^= 1
    image.write_bytes(data)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))


def _linked_folder(assay: Path) -> None:
    (assay.parent / "elsewhere").mkdir()
    (assay.parent / "elsewhere" / "new.txt").write_text("x")
    (assay.parent / "plates" / "SIM" / "linked").symlink_to(assay.parent / "elsewhere")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a verdict": lambda assay: Assay.open(assay).verdict("A01", "exclude"),
    "no predictions": lambda assay: shutil.rmtree(assay / "predictions"),
    "no model": lambda assay: shutil.rmtree(assay / "models" / "0001"),
    "a damaged model": lambda assay: (assay / "models" / "0001" / "model.json").write_text("{"),
    "other pixels of the same size and date": _other_pixels,
    "an image less": lambda assay: min((assay.parent / "plates").rglob("*.tif")).unlink(),
    "a file more": lambda assay: (assay.parent / "plates" / "SIM" / "x.txt").write_text(""),
    "a file beside": lambda assay: (assay.parent / "plates" / "SIM.HTD").write_text(""),
    "a linked folder": _linked_folder,
    "no plate": lambda assay: (assay.parent / "plates").rename(assay.parent / "moved"),
    "a damaged status": lambda assay: (assay / "status.json").write_text("{}"),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_whatever_changes_is_found_out(assay: Path, printed, change: str) -> None:
    printed()
    assert printed()[1] is False
    time.sleep(0.05)  # dates of some disks go in steps
    CHANGES[change](assay)
    after, is_new = printed()
    assert is_new
    (assay / "status.json").unlink(missing_ok=True)
    assert printed() == (after, True)


@pytest.fixture
def loaddata(ran: Ran, tmp_path: Path) -> Path:
    """An assay of a LoadData table, whose images lie elsewhere."""
    images = tmp_path / "images"
    shutil.copytree(ran.made.plate_dir, images)
    plate = open_plate(images)
    rows = [
        f"{Path(path).name},{Path(path).parent},SIM,{well},{site}"
        for path, well, site in plate.planes[["path", "well", "site"]].itertuples(index=False)
    ]
    header = "FileName_DNA,PathName_DNA,Metadata_Plate,Metadata_Well,Metadata_Site"
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "load_data.csv"
    table.write_text("\n".join([header, *rows, ""]))
    Assay.new(tmp_path / "assay", table)
    return tmp_path / "assay"


@pytest.mark.parametrize("changed", ["images", "tables"])
def test_images_that_a_table_names_are_looked_at(loaddata: Path, changed: str, capsys) -> None:
    for _ in range(2):
        main(["status", str(loaddata)])
    assert "9 wells" in capsys.readouterr().out
    assert status_cache.kept_status(loaddata) is not None
    (loaddata.parent / changed / "unrelated").mkdir()
    assert status_cache.kept_status(loaddata) is not None
    file = min(path for path in (loaddata.parent / changed).rglob("*.*") if path.is_file())
    file.write_bytes(file.read_bytes()[:-1])
    assert status_cache.kept_status(loaddata) is None


def test_one_that_was_moved_is_looked_at(assay: Path, printed, capsys) -> None:
    printed()
    moved = assay.rename(assay.parent / "moved")
    assert main(["status", str(moved)]) == 0
    assert capsys.readouterr().out.startswith(f"Assay {moved}, ")


def test_what_is_not_whole_or_has_just_been_written_is_not_kept(
    assay: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a busy machine may take to the next line.
    monkeypatch.setattr(status_cache, "_SETTLED_S", 600.0)
    (assay.parent / "plates" / "SIM" / "new.txt").write_text("")
    main(["status", str(assay)])
    assert not (assay / "status.json").exists()
    monkeypatch.setattr(status_cache, "_SETTLED_S", -10.0)
    min((assay.parent / "plates").rglob("*.tif")).write_bytes(b"")
    for _ in range(2):
        capsys.readouterr()
        main(["status", str(assay)])
        lines = capsys.readouterr().out
        assert (
            f"have changed since its cells were found; find them again: hcs-qc cells {assay}"
            in lines
        )
        assert not (assay / "status.json").exists()


def test_printing_it_again_imports_no_tables(assay: Path, printed) -> None:
    printed()
    code = (
        "import sys, time\n"
        "from napari_hcs_qc.cli import main\n"
        "now = time.time\n"
        "time.time = lambda: now() + 10\n"
        f"assert main(['status', {str(assay)!r}]) == 0\n"
        "assert not {'pandas', 'numpy', 'pyarrow'} & set(sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"Assay {assay}, ")
