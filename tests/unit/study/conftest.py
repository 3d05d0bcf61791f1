"""A small server of public plates, for the tests of downloads."""

from __future__ import annotations

import io
import re
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pytest
import tifffile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

BBBC022_WELLS = ["A01", "A02", "P24"]
_BBBC022 = {wave: f"BBBC022/BBBC022_v1_images_20585w{wave}.zip" for wave in range(1, 6)}
_BBBC021 = "BBBC021/BBBC021_v1_images_Week1_22123.zip"


@dataclass
class BbbcServer:
    """What is served, and how badly.

    Parameters
    ----------
    files
        Path to content.
    ranges
        Whether ``Range`` is understood.
    shift
        Bytes by which an answer begins later than asked.
    cuts
        Path to lengths: the next responses of it are cut after that many bytes of body.
    statuses
        Path to status codes that the next requests of it are answered with.
    stall_after
        Bytes of body after which nothing more comes, until `resume` is set.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    shift: int = 0
    cuts: dict[str, list[int]] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    stall_after: int | None = None
    stalled: threading.Event = field(default_factory=threading.Event)
    resume: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def __enter__(self) -> BbbcServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/bbbc"
        return self

    def __exit__(self, *_: object) -> None:
        self.resume.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def asked(self, name: str) -> list[str | None]:
        """Ranges of all requests for a file."""
        return [span for path, span in self.requests if path.endswith(name)]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                try:
                    server._answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        return Handler

    def _answer(self, to: BaseHTTPRequestHandler) -> None:
        path = to.path.removeprefix("/bbbc/")
        self.requests.append((path, to.headers.get("Range")))
        if self.statuses.get(path):
            to.send_error(self.statuses[path].pop(0))
            return
        content = self.files.get(path)
        if content is None:
            to.send_error(404)
            return
        tag = f'"{hash(content)}"'
        start = 0
        found = re.fullmatch(r"bytes=(\d+)-", to.headers.get("Range") or "")
        if self.ranges and found and to.headers.get("If-Range", tag) == tag:
            start = int(found[1]) + self.shift
            to.send_response(206)
            to.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            to.send_response(200)
        to.send_header("ETag", tag)
        to.send_header("Content-Length", str(len(content) - start))
        to.end_headers()
        body = content[start:]
        cuts = self.cuts.get(path)
        body = body[: cuts.pop(0)] if cuts else body
        for at in range(0, len(body), 4096):
            if self.stall_after is not None and at >= self.stall_after:
                to.wfile.flush()
                self.stalled.set()
                self.resume.wait(30)
            to.wfile.write(body[at : at + 4096])
            self.sent += len(body[at : at + 4096])
        to.wfile.flush()
        to.close_connection = True


def _noise(number: int) -> NDArray[np.uint16]:
    """Noise, so that it does not compress and an archive has some length."""
    return np.random.default_rng(number).integers(0, 4096, (32, 40), dtype=np.uint16)


def _archive(
    prefix: str, wells: list[str], n_sites: int, waves: list[int], folder: str
) -> tuple[bytes, dict[tuple[str, int, int], NDArray[np.uint16]]]:
    """Build a ZIP file of the collection's layout; gives the pixels by well, site and wave."""
    content, images = io.BytesIO(), {}
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{folder}/", b"")
        file.writestr(f"{folder}/Thumbs.db", b"not an image")
        for well in wells:
            for site in range(1, n_sites + 1):
                for wave in waves:
                    number = len(images) + 1000 * wave
                    tiff = io.BytesIO()
                    tifffile.imwrite(tiff, _noise(number), metadata=None)
                    guid = str(UUID(int=number << 64 | number)).upper()
                    name = f"{folder}/{prefix}_{well}_s{site}_w{wave}{guid}.tif"
                    file.writestr(name, tiff.getvalue())
                    images[well, site, wave] = _noise(number)
    return content.getvalue(), images


@pytest.fixture(scope="session")
def bbbc_made() -> dict[str, Any]:
    files: dict[str, bytes] = {}
    images: dict[str, Any] = {"20585": {}}
    for wave, name in _BBBC022.items():
        folder = f"BBBC022_v1_images_20585w{wave}"
        files[name], some = _archive("IXMtest", BBBC022_WELLS, 2, [wave], folder)
        images["20585"] |= some
    week = _archive("Week1_150607", ["B02", "G11"], 4, [1, 2, 4], "Week1_22123")
    files[_BBBC021], images["Week1_22123"] = week
    files["BBBC022/BBBC022_v1_images_urls.txt"] = b"\n".join(
        f"http://www.broadinstitute.org/bbbc/BBBC022/BBBC022_v1_images_{plate}w{wave}.zip".encode()
        for plate in (20585, 20586)
        for wave in range(1, 6)
    )
    files["BBBC021/BBBC021_v1_image.csv"] = (
        b'"TableNumber","Image_FileName_DAPI","Image_PathName_DAPI","Image_Metadata_Plate_DAPI"\n'
        b'4,"Week1_150607_B02_s1_w1A.tif","Week1/Week1_22123","Week1_22123"\n'
        b"5,Week10_200907_B02_s1_w1A.tif,Week10/Week10_40111,Week10_40111\n"
    )
    return {"files": files, "images": images}


@pytest.fixture
def bbbc_server(bbbc_made: dict[str, Any]) -> Iterator[BbbcServer]:
    with BbbcServer(files=dict(bbbc_made["files"])) as running:
        yield running


@pytest.fixture
def bbbc_archive() -> Callable[..., bytes]:
    """Build an archive: prefix, wells, number of sites, wavelengths, folder."""
    return lambda *layout: _archive(*layout)[0]
