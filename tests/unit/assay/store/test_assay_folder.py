from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import string
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hcs_qc import files
from napari_hcs_qc.assay.store.assay_folder import AssayBusyError, AssayFolder
from napari_hcs_qc.assay.store.plate_entry import folder_name, same_name
from napari_hcs_qc.errors import HcsQcError, ProblemsError, WriteError


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    path = tmp_path / "daten ä" / "plate 1"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def assay(tmp_path: Path) -> AssayFolder:
    return AssayFolder.create(tmp_path / "Mein Assay ü")


def manifest(assay: AssayFolder) -> dict[str, object]:
    data: dict[str, object] = json.loads((assay.path / "assay.json").read_text(encoding="utf-8"))
    return data


# ---- making and opening --------------------------------------------------------------------


def test_a_new_assay_can_be_opened(assay: AssayFolder, plate: Path) -> None:
    entry = assay.add_plate("plate 1", plate, pattern="(?P<well>.*)", fingerprint="abc")
    assay.update_settings(channel="DNA")
    again = AssayFolder.open(assay.path)
    assert again.plates == (entry,)
    assert (entry.name, entry.source, entry.pattern) == (
        "plate 1",
        plate.resolve(),
        "(?P<well>.*)",
    )
    assert (entry.time, entry.series, entry.plate_name) == (None, None, "plate 1")
    assert again.plate("plate 1").fingerprint == "abc"
    assert again.settings.model_extra == {"channel": "DNA"}  # which a later version may know
    assert again.created == assay.created
    assert len(again.journal().annotations()) == 0


def test_open_or_create_can_be_repeated(tmp_path: Path, plate: Path) -> None:
    path = tmp_path / "a" / "b"
    for _ in range(2):
        assay = AssayFolder.open_or_create(path)
        assay.add_plate("p", plate, fingerprint="f")
        assert [entry.name for entry in assay.plates] == ["p"]


def test_create_needs_a_new_or_empty_folder(assay: AssayFolder, tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match="is an assay already"):
        AssayFolder.create(assay.path)
    photos = tmp_path / "photos"
    photos.mkdir()
    assert AssayFolder.create(photos).plates == ()
    others = tmp_path / "others"
    others.mkdir()
    for name in "abcd":
        (others / f"{name}.tif").touch()
    with pytest.raises(HcsQcError, match=r"not empty and not an assay.*a\.tif, b\.tif.*and more"):
        AssayFolder.create(others)
    assert sorted(path.name for path in others.iterdir()) == [f"{name}.tif" for name in "abcd"]
    with pytest.raises(HcsQcError, match="is a file"):
        AssayFolder.create(others / "a.tif")


def test_a_creation_cut_short_can_be_repeated(assay: AssayFolder) -> None:
    (assay.path / "assay.json").unlink()  # which is written last
    (assay.path / ".assay.1234.tmp.json").touch()
    assert AssayFolder.open_or_create(assay.path).plates == ()


def test_what_is_no_assay(tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match=r"no assay\.json.*hcs-qc new"):
        AssayFolder.open(tmp_path)
    with pytest.raises(HcsQcError, match=r"does not exist.*hcs-qc new"):
        AssayFolder.open(tmp_path / "absent")


def test_an_assay_of_a_newer_version(assay: AssayFolder) -> None:
    data = manifest(assay) | {"format_version": 3, "plates": "of another form"}
    (assay.path / "assay.json").write_text(json.dumps(data), encoding="utf-8")
    for opening in (AssayFolder.open, AssayFolder.open_or_create):
        with pytest.raises(HcsQcError, match=r"newer version.*format version 3.*pip install -U"):
            opening(assay.path)
    assert manifest(assay) == data


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"format": "something"}, "'something'"),
        ({"format_version": "one"}, "'one'"),
        ({"plates": [{"name": "p"}]}, "damaged"),
        ({"plates": ["p"]}, "damaged"),
        ({"settings": 3}, "damaged"),
    ],
)
def test_a_damaged_manifest(assay: AssayFolder, change: dict[str, object], word: str) -> None:
    data = manifest(assay) | change
    (assay.path / "assay.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(HcsQcError, match=word):
        AssayFolder.open(assay.path)
    (assay.path / "assay.json").write_text("{", encoding="utf-8")
    with pytest.raises(HcsQcError, match="cannot be read as JSON"):
        AssayFolder.open(assay.path)


def test_a_lost_journal_is_not_replaced_by_an_empty_one(assay: AssayFolder) -> None:
    assay.journal_path.unlink()
    with pytest.raises(HcsQcError, match="does not exist; restore"):
        AssayFolder.open_or_create(assay.path).journal()
    assert not assay.journal_path.exists()


# ---- plates --------------------------------------------------------------------------------


def test_a_plate_name_is_there_once(assay: AssayFolder, plate: Path, tmp_path: Path) -> None:
    first = assay.add_plate("Plate", plate, fingerprint="f")
    assert assay.add_plate("Plate", plate / ".." / plate.name, fingerprint="g") == first
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(HcsQcError, match=r"already has a plate Plate, from .*plate 1"):
        assay.add_plate("Plate", other)
    with pytest.raises(HcsQcError, match="differs only in upper and lower case"):
        assay.add_plate("PLATE", plate)
    with pytest.raises(HcsQcError, match=r"pattern None.*pattern x"):
        assay.add_plate("Plate", plate, pattern="x")
    with pytest.raises(HcsQcError, match="plate name"):
        assay.add_plate(" ", plate)
    assert assay.plates == (first,)
    with pytest.raises(HcsQcError, match="has no plate 7; its plates: Plate"):
        assay.plate("7")


def test_pattern_and_image_root_need_not_be_said_again(assay: AssayFolder, plate: Path) -> None:
    first = assay.add_plate("p", plate, pattern="x", image_root=plate / "..")
    assert first.image_root == plate.parent.resolve()
    assert assay.add_plate("p", plate) == first
    # A permission is no contradiction, and is not taken back by not being given again.
    assert assay.add_plate("p", plate, allow_remote=True) == replace(first, allow_remote=True)
    assert assay.add_plate("p", plate).allow_remote
    assert AssayFolder.open(assay.path).plate("p").allow_remote


def test_two_programs_may_add_plates(assay: AssayFolder, plate: Path) -> None:
    other = AssayFolder.open(assay.path)
    assay.add_plate("p1", plate)
    other.add_plate("p2", plate)
    assay.update_settings(channel=1)
    assert [entry.name for entry in AssayFolder.open(assay.path).plates] == ["p1", "p2"]


def test_assay_and_plate_can_be_moved_together(assay: AssayFolder, tmp_path: Path) -> None:
    plates = tmp_path / "plates"
    (plates / "p1" / "images").mkdir(parents=True)
    assay.add_plate("p1", plates / "p1", image_root=plates / "p1" / "images")
    moved = tmp_path / "new home"
    moved.mkdir()
    shutil.copytree(plates, moved / "plates")
    shutil.copytree(assay.path, moved / assay.path.name)
    # The copy goes by its own plate, although the old one is still there.
    copy = AssayFolder.open(moved / assay.path.name)
    assert copy.plate("p1").source == moved.resolve() / "plates" / "p1"
    assert copy.plate("p1").image_root == moved.resolve() / "plates" / "p1" / "images"
    assert copy.add_plate("p1", moved / "plates" / "p1") == copy.plate("p1")
    # The assay alone at another depth finds the plate where it was.
    alone = shutil.copytree(assay.path, tmp_path / "x" / "y" / "assay")
    assert AssayFolder.open(alone).plate("p1").source == (plates / "p1").resolve()


def test_a_plate_that_vanished_can_be_relocated(
    assay: AssayFolder, plate: Path, tmp_path: Path
) -> None:
    assay.add_plate("p1", plate, pattern="x", fingerprint="f")
    old, new = plate.resolve(), tmp_path / "elsewhere"
    plate.rename(new)
    with pytest.raises(HcsQcError) as caught:
        AssayFolder.open(assay.path).plate("p1").check_there()
    assert f"no longer at {old}" in str(caught.value)
    assert "relocate ASSAY p1" in str(caught.value)
    with pytest.raises(HcsQcError, match="does not exist"):
        assay.relocate_plate("p1", tmp_path / "nowhere")
    assay.relocate_plate("p1", new)
    entry = AssayFolder.open(assay.path).plate("p1")
    assert (entry.source, entry.pattern, entry.fingerprint) == (new.resolve(), "x", "f")
    entry.check_there()


def test_where_things_are(assay: AssayFolder, plate: Path) -> None:
    assay.add_plate("a/b: ä", plate)
    folder = assay.plate_folder("a/b: ä")
    assert folder == assay.path / "plates" / "a%2Fb%3A ä"
    assert assay.predictions_folder("a/b: ä") == assay.path / "predictions" / "a%2Fb%3A ä"
    with pytest.raises(HcsQcError, match="no plate"):
        assay.plate_folder("c")


NAMES = st.text(
    st.sampled_from(string.ascii_letters + '0./\\:*?"<>| %-äß\t') | st.characters(codec="utf-8"),
    max_size=12,
)


@given(one=NAMES, other=NAMES)
def test_folder_names_are_safe_and_different(one: str, other: str) -> None:
    for name in (one, other):
        if not name.strip() or "\x00" in name:
            with pytest.raises(HcsQcError):
                folder_name(name)
            return
        folder = folder_name(name)
        assert not set(folder) & set('<>:"/\\|?*\n\t')
        assert folder[-1] not in ". "
        assert folder not in (".", "..")
        assert Path("plates", folder).parent == Path("plates")
    assert (folder_name(one) == folder_name(other)) == (one == other)


@pytest.mark.parametrize("name", ["CON", "nul.txt", "..", ".", "com1", ".hidden", "a."])
def test_reserved_folder_names(name: str) -> None:
    assert folder_name(name) != name
    assert not folder_name(name).startswith(".")


def test_names_that_a_file_system_may_not_tell_apart() -> None:
    assert same_name("Plate", "PLATE")
    assert same_name("ä", "a\u0308")
    assert not same_name("a", "b")


# ---- one writer at a time ------------------------------------------------------------------

HOLDER = """
import sys, time
from dataclasses import replace
from pathlib import Path
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
with AssayFolder.open(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_told_who_is_at_work(assay: AssayFolder, plate: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(assay.path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(AssayBusyError, match=rf"process {holder.pid} on .* since 20"):
            assay.add_plate("p", plate)
        assert AssayFolder.open(assay.path).plates == ()  # reading goes on
        assay.journal().annotate("p", "A01", 1, 1, 1, "normal", None, "anna")  # so do people
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    assay.add_plate("p", plate)  # a killed process leaves no lock behind
    assert not (assay.path / "assay.lock.json").exists()


def test_a_step_may_lock_within_a_locked_step(assay: AssayFolder, plate: Path) -> None:
    held = assay.path / "assay.lock.json"
    with assay.lock():
        with AssayFolder.open(assay.path).lock(timeout_s=0.5):
            assay.add_plate("p", plate)
        assert json.loads(held.read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert not held.exists()


def test_another_thread_is_kept_out(assay: AssayFolder) -> None:
    caught: list[BaseException] = []

    def enter() -> None:
        try:
            with assay.lock(timeout_s=0.1):
                pass
        except AssayBusyError as error:
            caught.append(error)

    with assay.lock():
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert f"process {os.getpid()}" in str(caught[0])


def test_an_error_within_frees_the_lock(assay: AssayFolder, plate: Path) -> None:
    with pytest.raises(RuntimeError), assay.lock():
        raise RuntimeError
    assay.add_plate("p", plate)


# ---- disks that refuse ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")]
)
def test_a_write_that_fails_leaves_the_assay_as_it_was(
    assay: AssayFolder, plate: Path, monkeypatch: pytest.MonkeyPatch, number: int, word: str
) -> None:
    before = (assay.path / "assay.json").read_bytes()

    def refusing(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", refusing)
        with pytest.raises(WriteError, match=word):
            assay.add_plate("p", plate)
    assert (assay.path / "assay.json").read_bytes() == before
    assert AssayFolder.open(assay.path).plates == ()
    assay.add_plate("p", plate)  # and the lock is free


READ_ONLY = """
import sys
from dataclasses import replace
from pathlib import Path
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.errors import WriteError
assay = AssayFolder.open_or_create(Path(sys.argv[1]))
print(len(assay.plates), len(assay.journal().annotations()))
for step in (
    lambda: assay.update_settings(a=1),
    lambda: assay.journal().undo("anna"),
    lambda: AssayFolder.create(assay.path / "inner"),
):
    try:
        step()
    except WriteError as error:
        print(error)
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount read-only")
def test_a_read_only_assay_can_be_read(assay: AssayFolder, plate: Path) -> None:
    assay.add_plate("p", plate)
    assay.journal().annotate("p", "A01", 1, 1, 1, "normal", None, "anna")
    mounts = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 77; "$2" -c "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", mounts, "sh", str(assay.path), sys.executable]
    done = subprocess.run(
        [*command, READ_ONLY], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode in (1, 77) and ("permitted" in done.stderr or "denied" in done.stderr):
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "1 1"
    assert len(said) == 4
    assert all("read-only" in line.lower() for line in said[1:])


@pytest.mark.parametrize("value", [0, 0.35, 1])
def test_the_threshold_is_a_setting(assay: AssayFolder, value: float) -> None:
    assert assay.threshold == 0.5
    assay.update_settings(threshold=value)
    assert AssayFolder.open(assay.path).threshold == value
    assay.update_settings(threshold=None)
    assert assay.threshold == 0.5


@pytest.mark.parametrize("value", [-0.1, 1.5, True, "0.5", [0.5]])
def test_a_threshold_that_cannot_be_is_told_where_it_stands(
    assay: AssayFolder, value: object
) -> None:
    with pytest.raises(HcsQcError, match=r"assay\.json .*settings\.threshold: is .* was expected"):
        assay.update_settings(threshold=value)
    data = manifest(assay) | {"settings": {"threshold": value}}
    (assay.path / "assay.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(HcsQcError, match=r"assay\.json .*settings\.threshold: is .* was expected"):
        AssayFolder.open(assay.path)


def test_all_that_is_wrong_with_it_is_reported_at_once(assay: AssayFolder) -> None:
    wrong = {
        "created": 3,
        "plates": [{"name": "p", "source": ""}, {"source": "x"}],
        "settings": {"flag_rule": {"z_limt": 4}},
    }
    data = manifest(assay) | wrong
    (assay.path / "assay.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        AssayFolder.open(assay.path)
    assert [problem.where for problem in caught.value.problems] == [
        "created", "plates 1 source", "plates 2 name", "settings.flag_rule",
    ]  # fmt: skip
    assert 'z_limt: unknown setting; did you mean "z_limit"?' in caught.value.problems[3].what
    assert "Correct the file" in str(caught.value)
