"""Fetch one plate of a public image set: download, check, unpack, describe; once."""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_hcs_qc.download import NotOnServerError, download, forget_part
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes, write_text
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.readers.imagexpress import htd_text
from napari_hcs_qc.study.datasets.archive import DamagedArchiveError, Image, list_images, unpack
from napari_hcs_qc.study.datasets.record import MANIFEST, Manifest, Registry
from napari_hcs_qc.study.datasets.sets import Archive, ImageSet, find_base_url, find_set
from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK_BYTES = 1 << 20


class _OtherHashError(HcsQcError):
    """An archive is not the one that was downloaded first."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A plate that is there now."""

    path: Path  # its folder, for `open_plate`
    channels: tuple[str, ...]  # names of the channels that are there
    n_wells: int
    n_sites: int  # of all wells
    is_new: bool  # whether this call unpacked anything; false when all that was asked for was there
    downloaded: tuple[str, ...]  # archives that this call downloaded
    hashes: dict[str, str]  # SHA-256 of the archives of this plate that are recorded, by name
    registry: Path  # the file they are recorded in
    # What the user should know: damaged archives fetched anew, files found missing
    notes: tuple[str, ...]


def fetch_plate(
    name: str,
    plate: str,
    folder: str | Path,
    *,
    channels: tuple[str, ...] | None = None,
    base_url: str | None = None,
    keep_archives: bool = False,
    verify: bool = False,
    job: Job = NO_JOB,
) -> Fetched:
    """Fetch a plate into ``folder/plate``, which `open_plate` reads with its channels' names.

    What is there already is not fetched again. An unfinished download is gone on with by the next
    call. A truncated or corrupt archive, or one whose hash is not that of its first download, is
    downloaded anew once. The folder gets an ``.HTD`` description with the names of the channels.
    """
    image_set = find_set(name)
    waves = image_set.choose(channels)
    image_set.check_plate(plate)
    url = f"{find_base_url(base_url)}{image_set.folder}/"
    folder = Path(folder).expanduser().absolute()
    with explained_writes(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, plate):
        return _Fetch(image_set, plate, folder, url, keep_archives, job).run(waves, verify=verify)


class _Fetch:
    """One call of `fetch_plate`."""

    def __init__(
        self, image_set: ImageSet, plate: str, folder: Path, url: str, keep_archives: bool, job: Job
    ) -> None:
        self._set = image_set
        self._plate = plate
        self._url = url
        self._keep = keep_archives
        self._job = job
        self._target = folder / plate
        self._description = self._target / f"{plate}.HTD"
        self._archives = folder / "archives" / plate
        self._staging = folder / f".{plate}.unpacking"
        self._registry = Registry(folder)
        self._manifest = Manifest.read(self._target)
        self._downloaded: list[str] = []
        self._notes: list[str] = []

    def run(self, waves: tuple[str, ...], *, verify: bool) -> Fetched:
        wanted = self._wanted(waves, verify=verify)
        archives = self._set.archives(self._plate, wanted)
        for number, archive in enumerate(archives if wanted else [], start=1):
            count = f" ({number} of {len(archives)})" if len(archives) > 1 else ""
            self._fetch_archive(archive, count)
        if not self._description.exists():
            self._describe()
        self._tidy()
        wells, n_sites, _ = self._manifest.wells_and_sites()
        archives = self._set.archives(self._plate, tuple(self._set.channels))
        records = self._registry.read()
        return Fetched(
            path=self._target,
            channels=tuple(
                channel
                for wave, channel in self._set.channels.items()
                if wave in self._manifest.images
            ),
            n_wells=len(wells),
            n_sites=n_sites,
            is_new=bool(wanted),
            downloaded=tuple(self._downloaded),
            hashes={a.name: records[a.name].sha256 for a in archives if a.name in records},
            registry=self._registry.path,
            notes=tuple(self._notes),
        )

    def _wanted(self, waves: tuple[str, ...], *, verify: bool) -> tuple[str, ...]:
        """Wavelengths that are not here, or not whole."""
        wanted = []
        for wave in waves:
            files = self._manifest.images.get(wave)
            if not files:
                wanted.append(wave)
                continue
            bad = self._manifest.damaged(wave, self._target)
            if verify and not bad:
                bad = self._with_other_checksum(wave)
            if bad:
                wanted.append(wave)
                self._notes.append(
                    f"{len(bad)} of {len(files)} files of {self._set.channels[wave]} were missing "
                    f"or changed and were fetched anew: {a_few(bad)}."
                )
        return tuple(wanted)

    def _with_other_checksum(self, wave: str) -> list[str]:
        files = self._manifest.images[wave]
        total, done, bad = sum(file.size for file in files.values()), 0, []
        for name, file in files.items():
            value = 0
            for block in self._blocks(self._target / name):
                value = zlib.crc32(block, value)
            if value != file.crc:
                bad.append(name)
            done += file.size
            self._job.report(done, total, f"Checking {self._set.channels[wave]}")
        return bad

    def _blocks(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as handle:
            while block := handle.read(_BLOCK_BYTES):
                self._job.check()
                yield block

    def _fetch_archive(self, archive: Archive, count: str) -> None:
        """Download, check and unpack one archive; a bad one is downloaded anew, once."""
        failure: HcsQcError | None = None
        for is_last in (False, True):
            path = self._download(archive.name, count)
            sha256 = self._sha256_of(path, f"Checking {archive.name}{count}")
            try:
                self._check_hash(archive.name, sha256)
                images = self._unpack(path, archive, count)
            except (DamagedArchiveError, _OtherHashError) as error:
                path.unlink()
                if not is_last:
                    failure = error
                    self._notes.append(f"{error} It was downloaded anew.")
                    continue
                raise self._hopeless(archive.name, error) from failure
            self._registry.add(
                archive.name, sha256, path.stat().st_size, f"{self._url}{archive.name}"
            )
            self._add(archive, images)
            return

    def _download(self, name: str, count: str) -> Path:
        path = self._archives / name
        if not path.exists():
            try:
                self._download_to(path, f"Downloading {name}{count}")
            except NotOnServerError as error:
                raise self._no_such_plate(error) from error
            self._downloaded.append(name)
        return path

    def _download_to(self, path: Path, message: str) -> None:
        download(
            f"{self._url}{path.name}",
            path,
            message=message,
            otherwise="or give a mirror with --base-url",
            job=self._job,
        )

    def _sha256_of(self, path: Path, message: str) -> str:
        digest, total, done = hashlib.sha256(), path.stat().st_size, 0
        for block in self._blocks(path):
            digest.update(block)
            done += len(block)
            self._job.report(done, total, message)
        return digest.hexdigest()

    def _check_hash(self, name: str, sha256: str) -> None:
        known = self._registry.read().get(name)
        if known is not None and known.sha256 != sha256:
            raise _OtherHashError(
                f"{name} has the SHA-256 {sha256}; at its first download "
                f"({known.first_downloaded}) it had {known.sha256}."
            )

    def _unpack(self, path: Path, archive: Archive, count: str) -> list[Image]:
        """Unpack the wanted wavelengths into the staging folder."""
        images = list_images(path)
        held = {image.wave for image in images}
        lacking = [wave for wave in archive.waves if wave not in held]
        if lacking:
            raise HcsQcError(
                f"{path} holds the wavelengths {', '.join(f'w{w}' for w in sorted(held))} and not "
                f"{', '.join(f'w{w} ({self._set.channels[w]})' for w in lacking)}; this is not "
                f"the layout of {self._set.folder}. Check the base URL."
            )
        chosen = [image for image in images if image.wave in archive.waves]
        shutil.rmtree(self._staging, ignore_errors=True)
        with explained_writes(self._staging):
            self._staging.mkdir()
        try:
            unpack(
                path,
                chosen,
                self._staging,
                job=self._job,
                message=f"Unpacking {archive.name}{count}",
            )
        except BaseException:
            shutil.rmtree(self._staging, ignore_errors=True)
            raise
        return chosen

    def _add(self, archive: Archive, images: list[Image]) -> None:
        """Move unpacked images into the plate's folder and list them there."""
        with explained_writes(self._target):
            self._target.mkdir(exist_ok=True)
            if not self._manifest.images:
                self._manifest.save(
                    self._target / MANIFEST
                )  # the folder is known as ours, should this be cut short
            for image in images:
                os.replace(self._staging / image.file, self._target / image.file)
            self._staging.rmdir()
        for wave in archive.waves:
            self._manifest.add(wave, (image for image in images if image.wave == wave))
        self._manifest.save(self._target / MANIFEST)
        self._describe()
        if not self._keep:
            (self._archives / archive.name).unlink(missing_ok=True)

    def _describe(self) -> None:
        """Write the plate's description: shape, wells, sites, names of the channels."""
        wells, _, n_sites = self._manifest.wells_and_sites()
        waves = {
            int(wave): name
            for wave, name in self._set.channels.items()
            if wave in self._manifest.images
        }
        text = htd_text(self._set.shape, wells, n_sites, waves)
        write_text(self._description, text)

    def _tidy(self) -> None:
        """Remove the folder of archives where it is empty."""
        for folder in (self._archives, self._archives.parent):
            try:
                folder.rmdir()
            except OSError:  # not empty: archives that are kept, or another plate's
                return

    def _hopeless(self, name: str, error: HcsQcError) -> HcsQcError:
        text = f"{error} It was downloaded twice, with the same result. "
        if isinstance(error, _OtherHashError):
            return HcsQcError(
                f"{text}The file on the server is not the one of then. If you trust it, remove "
                f"the entry {name} from {self._registry.path} and run the same command again."
            )
        return HcsQcError(
            f"{text}The file at {self._url}{name} itself seems damaged, or a proxy changes it; "
            "try again later or give a mirror with --base-url."
        )

    def _no_such_plate(self, error: NotOnServerError) -> HcsQcError:
        """Say which plates there are, where the index of the set can be read."""
        self._tidy()
        text = f"{self._set.folder} has no plate {self._plate} there: {error} "
        plates = self._plates_on_server()
        if not plates:
            return HcsQcError(
                f"{text}A plate such as {self._set.example} was expected; see "
                f"https://bbbc.broadinstitute.org/{self._set.folder}, or check the base URL."
            )
        if self._plate in plates:
            return HcsQcError(f"{text}The set's own list has it; the server may be incomplete.")
        near = [plate for plate in plates if self._plate.casefold() in plate.casefold()]
        hint = f" Did you mean {a_few(near)}?" if near else ""
        return HcsQcError(f"{text}Its {len(plates)} plates are: {', '.join(plates)}.{hint}")

    def _plates_on_server(self) -> list[str]:
        path = self._archives / self._set.index
        try:
            self._download_to(path, f"Reading {self._set.index}")
            return self._set.plates_in(path.read_text(encoding="latin-1"))
        except (HcsQcError, OSError):
            return []  # the plate's own error is reported, without the list
        finally:
            forget_part(path)
            path.unlink(missing_ok=True)
            self._tidy()


@contextmanager
def _alone(folder: Path, plate: str) -> Iterator[None]:
    """Hold the lock of a plate."""
    lock = FileLock(folder / f".{plate}.lock")
    with explained_writes(folder):
        try:
            held = lock.acquire(timeout=0)
        except Timeout as error:  # an OSError as well
            raise HcsQcError(
                f"Another process is fetching {plate} into {folder}; wait until it is done."
            ) from error
    with held:
        yield
