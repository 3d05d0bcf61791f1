"""The image sets that can be fetched: their archives, channels and plates."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import urlsplit

from napari_hcs_qc.errors import HcsQcError

BASE_URL = "https://data.broadinstitute.org/bbbc/"
"""Where the collection is."""

BASE_URL_VARIABLE = "HCS_QC_BBBC_URL"
"""Environment variable that names a mirror of it."""

_PLATE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Archive(NamedTuple):
    """One ZIP file of a plate, and the wavelengths wanted of it."""

    name: str
    waves: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """One image set of the collection."""

    name: str  # as on the command line
    folder: str  # its folder below the base URL
    title: str  # cells, stains, source and licence
    channels: dict[str, str] = field(hash=False)  # names by the wavelength's number in file names
    shape: tuple[int, int]  # rows and columns of its plates
    archive: str  # name of an archive
    index: str  # a small file of the set that names all plates
    index_pattern: str  # finds the plates in it, one a match
    example: str  # one of the plates

    def archives(self, plate: str, waves: tuple[str, ...]) -> list[Archive]:
        """List the archives that hold these wavelengths of a plate."""
        if "{wave}" not in self.archive:
            return [Archive(self.archive.format(plate=plate), waves)]
        return [Archive(self.archive.format(plate=plate, wave=wave), (wave,)) for wave in waves]

    def has_all_channels_in_one(self) -> bool:
        """Whether one archive holds every channel of a plate."""
        return "{wave}" not in self.archive

    def choose(self, channels: tuple[str, ...] | None) -> tuple[str, ...]:
        """Wavelengths of channels given as ``w1``, ``1`` or by name; all of them when None."""
        if channels is None:
            return tuple(self.channels)
        waves = {name.casefold(): wave for wave, name in self.channels.items()}
        waves |= {text: wave for wave in self.channels for text in (wave, f"w{wave}")}
        strange = [text for text in channels if text.strip().casefold() not in waves]
        if strange or not channels:
            known = ", ".join(f"w{wave} ({name})" for wave, name in self.channels.items())
            requested = ", ".join(map(repr, strange)) or "no channel at all"
            raise HcsQcError(
                f"{requested} was asked for, and the channels of {self.folder} are {known}; give "
                "numbers or names of these, comma-separated."
            )
        chosen = {waves[text.strip().casefold()] for text in channels}
        return tuple(wave for wave in self.channels if wave in chosen)

    def check_plate(self, plate: str) -> str:
        """Refuse what cannot be the name of a plate, so that it is no path either."""
        if not _PLATE.fullmatch(plate):
            raise HcsQcError(
                f"{plate!r} is no name of a plate; letters, digits, '-' and '_' were expected, as "
                f"in {self.example}."
            )
        return plate

    def plates_in(self, text: str) -> list[str]:
        """Names of the plates that the set's index lists."""
        return sorted(set(re.findall(self.index_pattern, text)))


SETS = {
    name: ImageSet(name=name, **{**values, "shape": tuple(values["shape"])})
    for name, values in tomllib.loads(
        files(__package__).joinpath("sets.toml").read_text("utf-8")
    ).items()
}
"""Image sets by name."""


def find_set(name: str) -> ImageSet:
    """Image set of that name."""
    image_set = SETS.get(name.casefold())
    if image_set is None:
        raise HcsQcError(f"{name!r} is no image set; {' or '.join(SETS)} was expected.")
    return image_set


def find_base_url(given: str | None) -> str:
    """Give the base URL, ending in ``/``: the one given, or of the environment, or the Broad's."""
    url = given or os.environ.get(BASE_URL_VARIABLE) or BASE_URL
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        source = "--base-url" if given else BASE_URL_VARIABLE
        raise HcsQcError(
            f"{source} is {url!r}; an address was expected that begins with http:// or https://, "
            f"such as {BASE_URL}."
        )
    return url.rstrip("/") + "/"
