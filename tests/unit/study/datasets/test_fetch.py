from __future__ import annotations

import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from filelock import FileLock

from napari_hcs_qc import download
from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.files import sha256_of
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.study.datasets import SETS, fetch_plate

if TYPE_CHECKING:
    from collections.abc import Callable

WELLS = ["A01", "A02", "P24"]
NAMES = {wave: f"BBBC022/BBBC022_v1_images_20585w{wave}.zip" for wave in range(1, 6)}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WAITS_S", (0.01, 0.01, 0.01, 0.01))
    monkeypatch.delenv("HCS_QC_BBBC_URL", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(bbbc_server: Any) -> Any:
    return bbbc_server


@pytest.fixture
def made(bbbc_made: dict[str, Any]) -> dict[str, Any]:
    return bbbc_made


def fetch_w1(server: Any, folder: Path, **options: Any) -> Any:
    return fetch_plate("bbbc022", "20585", folder, channels=("w1",), base_url=server.url, **options)


def test_bbbc022_opens_with_wells_sites_channels_and_pixels(
    server: Any, made: dict[str, Any], tmp_path: Path
) -> None:
    seen: list[tuple[int, int, str]] = []
    fetched = fetch_plate(
        "bbbc022",
        "20585",
        tmp_path / "Zählung 1",
        base_url=server.url,
        job=Job(lambda *call: seen.append(call)),
    )
    assert (fetched.n_wells, fetched.n_sites) == (3, 6)
    plate = open_plate(fetched.path)
    assert plate.name == "20585"
    assert plate.shape == (16, 24)
    names = ["Hoechst", "ER", "Syto", "Ph_golgi", "Mito"]
    assert [channel.name for channel in plate.channels] == names == list(fetched.channels)
    assert plate.problems == ()
    assert [str(well) for well in plate.wells] == WELLS
    for site in plate.sites:
        planes = plate.read_site(site)
        for number, plane in enumerate(planes):
            expected = made["images"]["20585"][site.well, site.site, number + 1]
            np.testing.assert_array_equal(plane, expected)
    # Progress is in bytes, never beyond the total, and ends at it.
    for name in NAMES.values():
        calls = [one for one in seen if one[2].startswith(f"Downloading {Path(name).name}")]
        assert calls[-1][:2] == (len(server.files[name]),) * 2
        assert [done for done, *_ in calls] == sorted(done for done, *_ in calls)
    # Archives are gone, their hashes stay, and there is no litter.
    registry = json.loads(fetched.registry.read_text())["archives"]
    assert fetched.hashes == {name: entry["sha256"] for name, entry in registry.items()}
    kept = sorted(path.name for path in fetched.registry.parent.iterdir() if path.name[0] != ".")
    assert kept == ["20585", "registry.json"]


def test_bbbc021_numbers_its_channels_1_2_4(
    server: Any, made: dict[str, Any], tmp_path: Path
) -> None:
    fetched = fetch_plate("BBBC021", "Week1_22123", tmp_path, base_url=server.url)
    plate = open_plate(fetched.path)
    assert [channel.name for channel in plate.channels] == ["DAPI", "Tubulin", "Actin"]
    assert plate.shape == (8, 12)
    assert plate.problems == ()
    assert len(plate.sites) == 8
    for site in plate.sites:
        for plane, wave in zip(plate.read_site(site), (1, 2, 4), strict=True):
            expected = made["images"]["Week1_22123"][site.well, site.site, wave]
            np.testing.assert_array_equal(plane, expected)


def test_a_second_call_asks_nobody(server: Any, tmp_path: Path) -> None:
    first = fetch_w1(server, tmp_path)
    assert first.is_new
    n_requests = len(server.requests)
    again = fetch_w1(server, tmp_path, verify=True)
    assert not again.is_new
    assert again.downloaded == again.notes == ()
    assert again.hashes == first.hashes
    assert len(server.requests) == n_requests


def test_only_the_channels_asked_for_are_downloaded_and_more_can_follow(
    server: Any, tmp_path: Path
) -> None:
    fetched = fetch_plate("bbbc022", "20585", tmp_path, channels=("mito", "2"), base_url=server.url)
    assert {path for path, _ in server.requests} == {NAMES[2], NAMES[5]}
    plate = open_plate(fetched.path)
    assert [channel.name for channel in plate.channels] == ["ER", "Mito"]
    assert plate.problems == ()
    fetched = fetch_w1(server, tmp_path)
    assert fetched.downloaded == (Path(NAMES[1]).name,)
    plate = open_plate(fetched.path)
    assert [channel.name for channel in plate.channels] == ["Hoechst", "ER", "Mito"]


def test_channels_of_one_archive_come_from_the_archive_that_is_kept(
    server: Any, tmp_path: Path
) -> None:
    def fetch(*channels: str, keep: bool = True) -> Any:
        return fetch_plate(
            "bbbc021", "Week1_22123", tmp_path,
            channels=channels, base_url=server.url, keep_archives=keep,
        )  # fmt: skip

    assert fetch("DAPI").channels == ("DAPI",)
    assert len(list((tmp_path / "Week1_22123").glob("*_w1*.tif"))) == 8
    assert not list((tmp_path / "Week1_22123").glob("*_w4*.tif"))
    second = fetch("w4", keep=False)
    assert second.channels == ("DAPI", "Actin")
    assert second.downloaded == ()
    assert len(server.requests) == 1
    assert not (tmp_path / "archives").exists()


def test_a_broken_connection_is_taken_up_where_it_ended(server: Any, tmp_path: Path) -> None:
    name = NAMES[1]
    size = len(server.files[name])
    server.cuts[name] = [5000, 3000]
    fetched = fetch_w1(server, tmp_path)
    assert server.asked(name) == [None, "bytes=5000-", "bytes=8000-"]
    assert server.sent == size
    assert len(open_plate(fetched.path).sites) == 6


def test_a_server_without_ranges_sends_all_again(server: Any, tmp_path: Path) -> None:
    name = NAMES[1]
    server.ranges = False
    server.cuts[name] = [9000, 5000]
    fetched = fetch_w1(server, tmp_path)
    assert len(server.asked(name)) == 3
    assert server.sent == 9000 + 5000 + len(server.files[name])
    assert len(open_plate(fetched.path).sites) == 6


def test_a_connection_that_keeps_breaking_is_told_and_the_next_call_goes_on(
    server: Any, tmp_path: Path
) -> None:
    name = NAMES[1]
    server.cuts[name] = [7000, 0, 0, 0, 0, 0]
    with pytest.raises(HcsQcError, match=r"5 times in a row; 7.0 kB are kept") as told:
        fetch_w1(server, tmp_path)
    assert "run the same command again" in str(told.value)
    assert not (tmp_path / "20585").exists()
    server.cuts.clear()
    fetch_w1(server, tmp_path)
    assert server.asked(name)[-1] == "bytes=7000-"
    assert server.sent == len(server.files[name])


def test_a_file_that_changed_meanwhile_is_not_joined_to_the_old_part(
    server: Any, tmp_path: Path
) -> None:
    name = NAMES[1]
    whole = server.files[name]
    server.files[name] = bytes(6000) + whole[6000:]
    server.cuts[name] = [6000, 0, 0, 0, 0, 0]
    with pytest.raises(HcsQcError):
        fetch_w1(server, tmp_path)
    server.cuts.clear()
    server.files[name] = whole
    fetched = fetch_w1(server, tmp_path)
    assert server.asked(name)[-1] == "bytes=6000-"
    assert fetched.notes == ()  # joined, they would have been a damaged archive


def test_a_server_that_sends_another_range_is_not_believed(server: Any, tmp_path: Path) -> None:
    name = NAMES[1]
    server.cuts[name] = [6000]
    server.shift = 100
    fetched = fetch_w1(server, tmp_path)
    assert server.asked(name) == [None, "bytes=6000-", None]
    assert fetched.notes == ()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on Windows")
def test_a_killed_download_goes_on(server: Any, tmp_path: Path) -> None:
    server.stall_after = 8192
    code = (
        "import sys; from napari_hcs_qc.study.datasets import fetch_plate; "
        "fetch_plate('bbbc022', '20585', sys.argv[1], channels=('w1',), base_url=sys.argv[2])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), server.url])
    part = tmp_path / "archives" / "20585" / f"{Path(NAMES[1]).name}.part"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (part.exists() and part.stat().st_size):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    have = part.stat().st_size
    assert 0 < have <= 8192
    server.stall_after = None
    server.resume.set()
    fetched = fetch_w1(server, tmp_path)
    assert server.asked(NAMES[1]) == [None, f"bytes={have}-"]
    assert open_plate(fetched.path).problems == ()
    assert not (tmp_path / "archives").exists()


def test_a_server_that_is_busy_is_asked_again(server: Any, tmp_path: Path) -> None:
    server.statuses[NAMES[1]] = [503, 429]
    assert fetch_w1(server, tmp_path).n_sites == 6


@pytest.mark.parametrize("damage", ["truncated", "flipped", "page"])
def test_a_damaged_archive_is_told_and_downloaded_anew(
    server: Any, tmp_path: Path, damage: str
) -> None:
    name = NAMES[1]
    good = server.files[name]
    bad = {
        "truncated": good[: len(good) // 2],
        "flipped": good[:3000] + bytes([good[3000] ^ 0xFF]) + good[3001:],
        "page": b"<!DOCTYPE html><title>Please log in</title>",
    }[damage]
    server.files[name] = bad
    mend = threading.Event()

    def progress(_done: int, _total: int, message: str) -> None:
        if message.startswith("Checking") and not mend.is_set():
            mend.set()
            server.files[name] = good

    fetched = fetch_w1(server, tmp_path, job=Job(progress))
    assert len(server.asked(name)) == 2
    (note,) = fetched.notes
    assert "truncated or corrupt" in note or "cannot be unpacked" in note
    assert "downloaded anew" in note
    if damage == "page":
        assert "<!DOCTYPE html>" in note
    (entry,) = json.loads(fetched.registry.read_text())["archives"].values()
    assert entry["size"] == len(good)
    assert open_plate(fetched.path).problems == ()


def test_an_archive_that_stays_damaged_is_an_error_and_no_hash_is_recorded(
    server: Any, tmp_path: Path
) -> None:
    server.files[NAMES[1]] = server.files[NAMES[1]][:-100]
    with pytest.raises(HcsQcError, match="downloaded twice, with the same result") as told:
        fetch_w1(server, tmp_path)
    assert "try again later" in str(told.value)
    assert not (tmp_path / "registry.json").exists()
    assert not (tmp_path / "20585").exists()
    assert not list(tmp_path.rglob("*.zip"))


def test_another_hash_than_at_the_first_download_is_refused(
    server: Any, bbbc_archive: Callable[..., bytes], tmp_path: Path
) -> None:
    name = NAMES[1]
    fetched = fetch_w1(server, tmp_path)
    first = fetched.hashes[Path(name).name]
    for image in fetched.path.glob("*.tif"):
        image.unlink()
    server.files[name] = bbbc_archive("IXMtest", ["C03"], 1, [1], "x")
    with pytest.raises(HcsQcError, match="not the one of then") as told:
        fetch_w1(server, tmp_path)
    assert first in str(told.value)
    assert "registry.json" in str(told.value)
    assert not list(fetched.path.glob("*.tif"))
    registry = json.loads(fetched.registry.read_text())
    # As version 0.1.0 wrote it: the archives alone.
    registry = registry["archives"]
    del registry[Path(name).name]
    fetched.registry.write_text(json.dumps(registry))
    assert fetch_w1(server, tmp_path).n_wells == 1


def test_files_that_went_or_changed_are_mended(server: Any, tmp_path: Path) -> None:
    fetched = fetch_w1(server, tmp_path)
    one, two, *_ = sorted(fetched.path.glob("*.tif"))
    right = sha256_of(one)
    one.unlink()
    again = fetch_w1(server, tmp_path)
    assert again.is_new
    assert "1 of 6 files of Hoechst" in again.notes[0]
    assert sha256_of(one) == right
    right = two.read_bytes()
    two.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    assert not fetch_w1(server, tmp_path).is_new  # the size is the same
    assert fetch_w1(server, tmp_path, verify=True).is_new
    assert two.read_bytes() == right


@pytest.mark.parametrize("stall_after", [0, 8192])
def test_a_cancel_is_heard_within_a_second_and_the_part_is_kept(
    server: Any, tmp_path: Path, stall_after: int
) -> None:
    server.stall_after = stall_after
    asked: list[float] = []

    def should_stop() -> bool:
        if server.stalled.is_set():
            asked.append(time.monotonic())
        # The blocks sent before the stall have arrived after a moment.
        return bool(asked) and time.monotonic() - asked[0] > 0.3

    with pytest.raises(Cancelled):
        fetch_w1(server, tmp_path, job=Job(should_stop=should_stop))
    assert time.monotonic() - asked[0] < 1.3
    part = tmp_path / "archives" / "20585" / f"{Path(NAMES[1]).name}.part"
    assert part.stat().st_size == stall_after
    assert not (tmp_path / "20585").exists()
    server.stall_after = None
    server.resume.set()
    assert fetch_w1(server, tmp_path).n_sites == 6
    if stall_after:
        assert server.asked(NAMES[1])[-1] == f"bytes={stall_after}-"


@pytest.mark.parametrize("step", ["Checking", "Unpacking"])
def test_a_cancel_after_the_download_keeps_the_archive_and_nothing_half_unpacked(
    server: Any, tmp_path: Path, step: str
) -> None:
    begun = threading.Event()

    def progress(_done: int, _total: int, message: str) -> None:
        if message.startswith(step):
            begun.set()

    with pytest.raises(Cancelled):
        fetch_w1(server, tmp_path, job=Job(progress, begun.is_set))
    assert not (tmp_path / "20585").exists()
    assert not (tmp_path / ".20585.unpacking").exists()
    fetched = fetch_w1(server, tmp_path)
    assert len(server.requests) == 1
    assert len(fetched.hashes) == 1
    assert open_plate(fetched.path).problems == ()


def evil(kind: str, good: bytes) -> bytes:
    content = io.BytesIO(good)
    with zipfile.ZipFile(content, "a") as file:
        if kind == "link":
            link = zipfile.ZipInfo("20585w1/IXMtest_A01_s9_w1.tif")
            link.create_system = 3
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(link, "/etc/passwd")
        else:
            file.writestr(kind, b"owned")
    return content.getvalue()


@pytest.mark.parametrize(
    "kind",
    [
        "../../evil_A01_s1_w1.tif",
        "20585w1/../../evil.txt",
        "/tmp/evil_A01_s1_w1.tif",
        "C:/evil_A01_s1_w1.tif",
        "..\\..\\evil_A01_s1_w1.tif",
        "link",
    ],
)
def test_an_archive_that_leads_outside_is_refused_whole(
    server: Any, tmp_path: Path, kind: str
) -> None:
    server.files[NAMES[1]] = evil(kind, server.files[NAMES[1]])
    folder = tmp_path / "a" / "b"
    with pytest.raises(HcsQcError, match="is not unpacked") as told:
        fetch_w1(server, folder)
    assert ("link" if kind == "link" else "evil") in str(told.value)
    outside = [p for p in tmp_path.rglob("*") if folder not in p.parents and p != folder]
    assert outside == [tmp_path / "a"]
    assert not list(tmp_path.rglob("*.tif"))


def test_two_members_of_one_name_are_refused(server: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(server.files[NAMES[1]])) as file:
        name = next(one for one in file.namelist() if one.endswith(".tif"))
    twice = f"other/{Path(name).name.replace('IXM', 'ixm')}"
    server.files[NAMES[1]] = evil(twice, server.files[NAMES[1]])
    with pytest.raises(HcsQcError, match="second file of this name"):
        fetch_w1(server, tmp_path)


def test_a_plate_that_does_not_exist_names_those_that_do(server: Any, tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match="no plate 20000") as told:
        fetch_plate("bbbc022", "20000", tmp_path, base_url=server.url)
    assert "Its 2 plates are: 20585, 20586" in str(told.value)
    with pytest.raises(HcsQcError, match="no plate 22123") as told:
        fetch_plate("bbbc021", "22123", tmp_path, base_url=server.url)
    assert "Its 2 plates are: Week10_40111, Week1_22123." in str(told.value)
    assert "Did you mean Week1_22123?" in str(told.value)
    del server.files["BBBC022/BBBC022_v1_images_urls.txt"]
    with pytest.raises(HcsQcError, match="A plate such as 20585 was expected"):
        fetch_plate("bbbc022", "20000", tmp_path, base_url=server.url)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == []


def test_no_network_is_told_soon(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}/"
    begun = time.monotonic()
    with pytest.raises(HcsQcError, match="cannot be downloaded: Connection refused") as told:
        fetch_plate("bbbc022", "20585", tmp_path, base_url=url)
    assert time.monotonic() - begun < 5
    assert "nothing was downloaded" in str(told.value)
    assert "--base-url" in str(told.value)


def test_a_refusal_is_told(server: Any, tmp_path: Path) -> None:
    server.statuses[NAMES[1]] = [403]
    with pytest.raises(HcsQcError, match="HTTP 403"):
        fetch_w1(server, tmp_path)


def test_a_disk_without_room_is_told_before_the_download(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(WriteError, match=r"1.0 kB free, and .* kB are needed to download"):
        fetch_w1(server, tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_a_disk_that_fills_up_is_told(server: Any, tmp_path: Path) -> None:
    archives = tmp_path / "archives" / "20585"
    archives.mkdir(parents=True)
    (archives / f"{Path(NAMES[1]).name}.part").symlink_to("/dev/full")
    with pytest.raises(WriteError, match="the disk is full; free some space"):
        fetch_w1(server, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("bbbc099", "x"), "bbbc021"),
        (("bbbc022", "../20585"), "no name of a plate"),
        (("bbbc021", "Week1_22123", ("w3",)), "w4 (Actin)"),
        (("bbbc021", "Week1_22123", ()), "no channel at all was asked for"),
    ],
)
def test_wrong_arguments_say_what_was_expected(
    tmp_path: Path, arguments: tuple[Any, ...], told: str
) -> None:
    with pytest.raises(HcsQcError) as error:
        fetch_plate(*arguments[:2], tmp_path, channels=(arguments[2:] or (None,))[0])
    assert told in str(error.value)


def test_the_base_url_may_come_from_the_environment(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HCS_QC_BBBC_URL", f"{server.url}/")
    assert fetch_plate("bbbc022", "20585", tmp_path, channels=("w3",)).channels == ("Syto",)
    monkeypatch.setenv("HCS_QC_BBBC_URL", "file:///etc")
    with pytest.raises(HcsQcError, match="HCS_QC_BBBC_URL is 'file:///etc'"):
        fetch_plate("bbbc022", "20585", tmp_path)


def test_a_folder_of_other_files_is_left_alone(server: Any, tmp_path: Path) -> None:
    mine = tmp_path / "20585" / "IXMtest_A01_s1_w1.tif"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(HcsQcError, match="was not fetched by this command"):
        fetch_w1(server, tmp_path)
    assert [path.name for path in mine.parent.iterdir()] == [mine.name]
    assert server.requests == []


def test_the_same_plate_is_not_fetched_twice_at_once(server: Any, tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".20585.lock"),
        pytest.raises(HcsQcError, match="Another process is fetching 20585"),
    ):
        fetch_w1(server, tmp_path)


def test_the_layout_of_another_set_is_told(server: Any, tmp_path: Path) -> None:
    server.files[NAMES[1]] = server.files[NAMES[2]]
    with pytest.raises(HcsQcError, match=r"wavelengths w2 and not w1 \(Hoechst\)"):
        fetch_w1(server, tmp_path)


def test_every_set_names_its_own_example() -> None:
    for one in SETS.values():
        (first, *_) = one.archives(one.example, one.choose(None))
        assert first.name.startswith(one.folder)
        assert one.check_plate(one.example) == one.example
