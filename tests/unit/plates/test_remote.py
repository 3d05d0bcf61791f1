"""Plates on a server: a local one that can fail, and fsspec's memory in place of a bucket."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import open_assay_plate
from napari_hcs_qc.cli import main
from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError
from napari_hcs_qc.plates import open_plate, remote
from napari_hcs_qc.plates.ome_zarr.convert import convert_plate
from napari_hcs_qc.plates.ome_zarr.image_metadata import describe_image
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.study.simulation.synthetic import SyntheticSpec, simulate_plate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_hcs_qc.plates.plate import Plate
    from napari_hcs_qc.study.simulation.synthetic import SyntheticPlate


class Server:
    """Serves a folder; `trouble` says for a path what goes wrong, and how many times."""

    def __init__(self, folder: Path) -> None:
        self.trouble: dict[str, tuple[str, int]] = {}
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.do_GET(is_head=True)

            def do_GET(self, is_head: bool = False) -> None:
                server.asked.append(self.path)
                for end, (kind, left) in server.trouble.items():
                    if self.path.endswith(end) and left > 0:
                        server.trouble[end] = kind, left - 1
                        return self._fail(kind)
                file = folder / self.path.lstrip("/")
                if not file.is_file():
                    return self._answer(404, b"")
                data = file.read_bytes()
                wanted = self.headers.get("Range")
                if wanted:
                    first, _, last = wanted.removeprefix("bytes=").partition("-")
                    start = int(first) if first else len(data) - int(last)
                    stop = int(last) + 1 if first and last else len(data)
                    return self._answer(206, data[start:stop], is_head=is_head)
                return self._answer(200, data, is_head=is_head)

            def _fail(self, kind: str) -> None:
                if kind == "breaks":  # in the middle of what it has announced
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b"x" * 10)
                    self.wfile.flush()
                    self.close_connection = True
                else:
                    self._answer(int(kind), b"")

            def _answer(self, status: int, data: bytes, *, is_head: bool = False) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Accept-Ranges", "bytes")
                self.end_headers()
                if not is_head:
                    self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[Server]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticPlate:
    spec = SyntheticSpec(
        n_wells=4, sites_per_well=1, shape_px=(130, 174), n_labels=24, channels=("DNA",)
    )
    return simulate_plate(tmp_path_factory.mktemp("remote") / "sim", spec)


@pytest.fixture(scope="module")
def folder(made: SyntheticPlate) -> Path:
    """What the server has: the plate as OME-Zarr, and as a LoadData table with its images."""
    root = made.plate_dir.parent.parent / "served"
    root.mkdir()
    plate = open_plate(made.plate_dir)
    convert_plate(plate, root / "plate.zarr", version="0.5")
    lines = ["Metadata_Plate,Metadata_Well,Metadata_Site,PathName_DNA,FileName_DNA"]
    for number, site in enumerate(plate.sites):
        tifffile.imwrite(root / f"{number}.tif", plate.read_site(site)[0])
        lines.append(f"P,{site.well},{site.site},SERVER,{number}.tif")
    (root / "load_data.csv").write_text("\n".join(lines))
    (root / "beside.csv").write_text("\n".join(lines).replace("SERVER", ""))
    return root


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote, "_FIRST_WAIT_S", 0.01)
    from napari_hcs_qc.plates.ome_zarr.remote_zarr import metadata_of

    metadata_of.cache_clear()
    with Server(folder).running() as running:
        yield running


def first_chunk(folder: Path, plate: Plate, site: SiteKey) -> str:
    """Path on the server of the first chunk of a site at full resolution."""
    rows = plate.planes[(plate.planes["well"] == site.well) & (plate.planes["site"] == site.site)]
    image = "/" + rows["path"].iloc[0].split("/", 3)[3]
    level = describe_image(str(folder) + image).level
    files = sorted(path for path in Path(f"{folder}{image}/{level}/c").rglob("*") if path.is_file())
    return "/" + files[0].relative_to(folder).as_posix()


def test_an_address_keeps_its_slashes_through_a_path() -> None:
    for text in ("https://server/a/plate.zarr", "s3://bucket/a.csv"):
        for path in (text, Path(text), remote.as_location(text)):
            location = remote.as_location(path)
            assert str(location) == os.fspath(location) == text
            assert location == remote.as_location(text)
    assert str(remote.as_location("https://server/a/b.zarr") / "A" / "1") == (
        "https://server/a/b.zarr/A/1"
    )
    assert not remote.is_remote("C:/plates/a.zarr")
    assert not remote.is_remote("/plates/https:/a")


def test_an_ome_zarr_plate_reads_as_it_does_from_the_disk(server: Server, folder: Path) -> None:
    here, there = open_plate(folder / "plate.zarr"), open_plate(f"{server.url}/plate.zarr")
    assert there.sites == here.sites
    assert there.channels == here.channels
    assert str(there.source) == f"{server.url}/plate.zarr"
    for site in here.sites:
        np.testing.assert_array_equal(there.read_site(site), here.read_site(site))


@pytest.mark.parametrize("kind", ["breaks", "503"])
def test_what_passes_is_tried_again(server: Server, folder: Path, kind: str) -> None:
    there = open_plate(f"{server.url}/plate.zarr")
    site, other = there.sites[:2]
    end = first_chunk(folder, there, site)
    server.trouble[end] = kind, 2
    here = open_plate(folder / "plate.zarr")
    np.testing.assert_array_equal(there.read_site(site), here.read_site(site))
    assert server.asked.count(end) >= 3
    assert there.layout == here.layout
    server.trouble[end] = kind, 99
    with pytest.raises(UnreadableSiteError, match=r"A01 s\d+: http.*tried 4 times"):
        there.read_site(site)
    np.testing.assert_array_equal(there.read_site(other), here.read_site(other))


def test_a_chunk_that_is_not_there_is_no_black_image(server: Server, folder: Path) -> None:
    there = open_plate(f"{server.url}/plate.zarr")
    site = there.sites[0]
    server.trouble[first_chunk(folder, there, site)] = "404", 99
    with pytest.raises(UnreadableSiteError, match="lacks 1 of the chunks"):
        there.read_site(site)


def test_images_of_a_table_lie_on_a_server(server: Server, folder: Path, tmp_path: Path) -> None:
    here = open_plate(folder / "plate.zarr")
    text = (folder / "load_data.csv").read_text()
    table = tmp_path / "load_data.csv"
    table.write_text(text.replace("SERVER", server.url))
    urls = tmp_path / "urls.csv"
    urls.write_text(
        text.replace("PathName_DNA,FileName_DNA", "URL_DNA").replace("SERVER,", f"{server.url}/")
    )
    for path in (table, urls):
        with pytest.raises(HcsQcError, match=rf"{path} names .*{server.url}\..* --allow-remote"):
            open_plate(path)
    assert server.asked == []
    for path in (table, urls, f"{server.url}/beside.csv"):
        plate = open_plate(path, allow_remote=path in (table, urls))
        for site in here.sites:
            np.testing.assert_array_equal(plate.read_site(site), here.read_site(site))


@pytest.mark.parametrize(
    ("kind", "told"),
    [("404", "does not exist on the server"), ("403", "credentials"), ("503", "tried 4 times")],
)
def test_a_site_that_cannot_be_had_says_why_and_the_others_go_on(
    server: Server, kind: str, told: str
) -> None:
    plate = open_plate(f"{server.url}/beside.csv")
    assert plate.layout.shape == (130, 174)
    server.asked.clear()
    server.trouble["/2.tif"] = kind, 99
    with pytest.raises(UnreadableSiteError, match=rf"{plate.sites[2]}: http.*2\.tif.*{told}"):
        plate.read_site(plate.sites[2])
    assert server.asked.count("/2.tif") == (4 if kind == "503" else 1)
    plate.read_site(plate.sites[3])


def test_no_answer_within_the_time_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(remote, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(remote, "_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.tif"
        with pytest.raises(remote.RemoteError, match="no answer within"):
            remote.fetch(url)


def test_wrong_addresses_are_refused_in_words(server: Server) -> None:
    with pytest.raises(HcsQcError, match=r"nothing\.csv.*does not exist on the server"):
        open_plate(f"{server.url}/nothing.csv")
    with pytest.raises(HcsQcError, match="is not recognised, or the server is not reachable"):
        open_plate(f"{server.url}/folder")
    with pytest.raises(HcsQcError, match="not an OME-Zarr"):
        open_plate(f"{server.url}/nothing.zarr")


def test_a_bucket_is_read_through_fsspec(folder: Path) -> None:
    bucket = fsspec.filesystem("memory")
    for file in folder.rglob("*"):
        if file.is_file():
            bucket.pipe_file(f"/bucket/{file.relative_to(folder).as_posix()}", file.read_bytes())
    here = open_plate(folder / "plate.zarr")
    for path in ("memory://bucket/plate.zarr", "memory://bucket/beside.csv"):
        there = open_plate(path)
        assert there.sites == here.sites
        np.testing.assert_array_equal(there.read_site(here.sites[0]), here.read_site(here.sites[0]))


def test_an_assay_keeps_the_address_of_its_plate(server: Server, tmp_path: Path) -> None:
    assert main(["new", str(tmp_path / "assay"), f"{server.url}/plate.zarr", "--quiet"]) == 0
    assay = AssayFolder.open(tmp_path / "assay")
    (entry,) = assay.plates
    assert str(entry.source) == f"{server.url}/plate.zarr"
    plate = open_assay_plate(assay, entry.name)
    assert plate.read_site(SiteKey(*plate.sites[0])).shape == (1, 130, 174)


@pytest.mark.slow
def test_the_whole_loop_runs_on_a_plate_on_a_server(
    server: Server, folder: Path, made: SyntheticPlate, tmp_path: Path
) -> None:
    there = open_plate(f"{server.url}/plate.zarr")
    gone = there.sites[-1]
    server.trouble[first_chunk(folder, there, gone)] = "503", 10_000
    arguments = ["run", str(tmp_path / "assay"), f"{server.url}/plate.zarr"]
    options = ["--labels", str(made.labels), "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*arguments, *options]) == 0
    assert (tmp_path / "out" / "report.html").is_file()
    sites = pd.read_parquet(tmp_path / "out" / "sites.parquet")
    flagged = sites[sites["Metadata_Well"] == gone.well]
    assert flagged["n_cells"].isna().all()
    assert flagged["flag_reason"].str.contains("tried 4 times").all()
    assert (sites.loc[sites["Metadata_Well"] != gone.well, "n_cells"] > 0).any()
