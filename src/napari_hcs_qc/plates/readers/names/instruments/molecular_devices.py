"""ImageXpress with MetaXpress."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_hcs_qc.plates.readers.names.name_format import (
    GUID,
    WELL,
    Example,
    NameFormat,
    compiled,
    place_of,
)

if TYPE_CHECKING:
    from napari_hcs_qc.plates.readers.names.place import Place

_BARE_WELL = re.compile(r"[A-Z]{1,2}\d\d", re.ASCII)

NAME = compiled(
    # `_s1_w1` and `_w1` after a name without a well are no wells of the rows S and W.
    rf"(?:(?P<before>.*?)_)??(?!(?-i:[swtz])\d[_.]){WELL}"
    r"(?:_s(?P<site>\d+))?(?:_w(?P<channel>\d{1,2}))?(?P<thumb>_thumb)?"
    rf"(?:_z(?P<z>\d+))?(?:_t(?P<time>\d+))?(?:_?(?:{GUID}|\[{GUID}\]))?"
)


def _read(folder: str, match: re.Match[str]) -> Place | None:
    if match["thumb"]:
        return None
    # Any name ends in letters and digits now and then: be strict with a well alone.
    is_bare = all(match[group] is None for group in ("site", "channel", "z", "time"))
    if is_bare and not (match["before"] and _BARE_WELL.fullmatch(match["well"])):
        return None
    return place_of(folder, match)


def is_thumbnail(name: str) -> bool:
    """Whether a file is one of the small previews that MetaXpress writes beside the images."""
    match = NAME.fullmatch(name)
    return match is not None and match["thumb"] is not None


def site_in_name(name: str) -> tuple[str, int] | None:
    """Well and site that an ImageXpress file name states; None where it lacks one."""
    match = NAME.fullmatch(name)
    return (match["well"], int(match["site"])) if match and match["site"] else None


FORMATS = (
    NameFormat(
        name="imagexpress",
        instrument="Molecular Devices ImageXpress (MetaXpress)",
        pattern=NAME,
        read=_read,
        examples=(
            Example("plate_A01_s1_w1.tif", "A01", 1, "1"),
            Example("p_B02_s1_w1_10E01AFB-34C4-416E-A9D3-51B90AB53728.tif", "B02", 1, "1"),
            Example("p_B02_s1_w1_[9AA4D9EA-18E4-4354-8C7D-0202029A8048].tif", "B02", 1, "1"),
            Example("IXMtest_A02_s1_w1051DAA7C-7042-435F-99F0-1E847D9B42CB.tif", "A02", 1, "1"),
            Example("TimePoint_1/ZStep_2/9987_B02_s1_w1.TIF", "B02", 1, "1", 2, 1),
            Example("p_B02_s1_w1_z2.tif", "B02", 1, "1", 2),
            Example("p_B02_s1_w1_z2_t3.tif", "B02", 1, "1", 2, 3),
            Example("p_B02_s1_w1_t3.tif", "B02", 1, "1", time=3),
            Example("p_B02_s1_w1.ome.tif", "B02", 1, "1"),
        ),
        channel_prefix="w",
        metadata=".HTD: plate, wavelengths; TIFF header: wavelength, pixel size",
    ),
)
