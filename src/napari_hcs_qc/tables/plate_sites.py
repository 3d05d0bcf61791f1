"""What a table or file of another program needs to know of a plate: its sites and their names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.plates.readers.names.known_names import NAME_FORMATS, match_name
from napari_hcs_qc.plates.wells import parse_well

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_hcs_qc.plates.plate import Plate

# As cellpose, StarDist, CellProfiler, ilastik and QuPath users name what they save of `image.tif`.
_ENDING = re.compile(
    r"[-_. ]?(?:(?:cp|sd|nuclei|nuclear|nucleus|nuc|dna|dapi|cells?|cyto(?:plasm)?|object|label)"
    r"[-_ ])?(?:masks?|labels?|nuclei|nucleus|seg|segmentation|objects?|cells?|cyto(?:plasm)?|"
    r"outlines?|rois?|roiset|detections|measurements|annotations?|results?|table|points|"
    r"object[-_ ]identities|simple[-_ ]segmentation)$",
    re.IGNORECASE,
)
# Plain names are read here with what the plate has.
_PARTICULAR = tuple(name for name, each in NAME_FORMATS.items() if not each.is_loose)
_WELL = r"(?:^|[-_. /])(?P<well>[A-Z]{1,2}[-_]?\d{1,2})"
_WELL_AND_SITE = re.compile(
    # The number of a site has something before it: `A011` is no site 1 of A01.
    rf"{_WELL}(?:[-_. /]+|(?=[sf]))(?:site|field|fov|pos|s|f)?[-_. ]?"
    r"(?P<site>\d{1,9})(?=$|[-_. ])",
    re.IGNORECASE | re.ASCII,
)
_SITE_ONLY = re.compile(
    r"(?:^|[-_. ])(?:site|field|fov|pos|s|f)[-_. ]?(?P<site>\d{1,9})(?=$|[-_. ])", re.I | re.A
)
_TIME = re.compile(
    r"(?:^|[-_. /])(?:t|tp|time|time[-_]?point|frame)[-_]?(?P<time>\d{1,6})(?=$|[-_. /])",
    re.I | re.A,
)
_WELL_ONLY = re.compile(rf"{_WELL}(?=$|[-_. /])", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, eq=False, kw_only=True)
class PlateSites:
    """The sites of a plate."""

    name: str
    sites: tuple[SiteKey, ...]
    shape: tuple[int, int] | None = None  # height and width of an image in px
    pixel_size_um: float | None = None
    series: str = ""  # of one time point of a series: the name of the plate
    time: int | None = None  # and the number of the time point
    stems: Mapping[str, SiteKey] = field(default_factory=dict)  # by file name without its ending

    @classmethod
    def of(cls, plate: Plate) -> PlateSites:
        """Gather them; stems that several sites share say nothing and are left out."""
        sites_of: dict[str, set[SiteKey]] = {}
        columns = (plate.planes[column].tolist() for column in ("well", "site", "path"))
        for well, site, path in zip(*columns, strict=True):
            sites_of.setdefault(Path(path).stem.casefold(), set()).add(SiteKey(well, site))
        stems = {stem: next(iter(sites)) for stem, sites in sites_of.items() if len(sites) == 1}
        return cls(
            name=plate.name,
            sites=plate.sites,
            shape=plate.layout.shape,
            pixel_size_um=plate.pixel_size_um,
            series=plate.series,
            time=plate.time_points[0] if plate.series else None,
            stems=stems,
        )

    @property
    def first_site(self) -> int:
        """The least number of a site."""
        return min((key.site for key in self.sites), default=1)

    def only_sites(self) -> dict[str, int] | None:
        """Site number by well where every well has one site, so that it need not be named."""
        wells = {key.well for key in self.sites}
        return dict(self.sites) if len(wells) == len(self.sites) else None

    def site_of_file(self, name: str) -> SiteKey | None:
        """Tell the site of a file by its name, or by the folders it lies in; None where unknown."""
        # QuPath names an image of a file with several: `file.tif - image #1`.
        path = PurePosixPath(name.strip().replace("\\", "/").partition(" - ")[0])
        stem = path.name
        while (suffix := PurePosixPath(stem).suffix) and stem.casefold() not in self.stems:
            stem = stem.removesuffix(suffix)
        for text in _shortened(stem):
            if text.casefold() in self.stems:
                return self.stems[text.casefold()]
        for text in _shortened(stem):
            for plate_format in _PARTICULAR:
                place = match_name(plate_format, "", f"{text}.tif")
                if place is not None and (key := _site_key(place.well, place.site)) is not None:
                    return key if self.time in (None, place.time) else None
        short = _shortened(stem)[-1]
        if self.time is not None:
            # Of a series a name has to tell the time, too: at others the same cells lie elsewhere.
            match = _TIME.search(short) or _TIME.search("/".join(path.parts[:-1]))
            if match is None or int(match["time"]) != self.time:
                return None
        for n_folders in range(min(3, len(path.parts))):
            folders = path.parts[len(path.parts) - 1 - n_folders : -1]
            text = "/".join([*folders, *filter(None, [short])])
            match = _WELL_AND_SITE.search(text)
            if match is not None:
                return _site_key(match["well"], int(match["site"]))
        well = next((w for w in path.parts[-2::-1] if _WELL_ONLY.fullmatch(w)), None)
        site = _SITE_ONLY.search(short)
        if well is not None and site is not None:
            return _site_key(well, int(site["site"]))
        only = self.only_sites()
        match = _WELL_ONLY.search("/".join([*path.parts[:-1], short])) if only else None
        if match is not None and (key := _site_key(match["well"], 0)) is not None and only:
            return SiteKey(key.well, only[key.well]) if key.well in only else None
        return None


def _shortened(stem: str) -> list[str]:
    """Stem, and what is left of it without the endings of masks and tables."""
    texts = [stem]
    while (short := _ENDING.sub("", texts[-1])) != texts[-1]:
        texts.append(short)
    return texts


def _site_key(well: str, site: int) -> SiteKey | None:
    try:
        return SiteKey(str(parse_well(well)), site)
    except HcsQcError:
        return None
