"""One imaged plate: an immutable index of where every plane lies; pixels come on request."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from napari_hcs_qc.errors import HcsQcError, Problem, UnreadableSiteError
from napari_hcs_qc.files import fingerprint
from napari_hcs_qc.plates.file_stamps import Stamps, stamps_of
from napari_hcs_qc.plates.pixels import Layout, UnreadableImageError, inspect_image, read_planes
from napari_hcs_qc.plates.remote import is_remote
from napari_hcs_qc.plates.wells import WellName, parse_well, plate_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

Projection: TypeAlias = Literal["max"] | int
"""How a z stack becomes one plane: its maximum, or the plane with this z number."""

# Is given a site, names of channels, the projection, and what was read.
PixelCheck: TypeAlias = "Callable[[SiteKey, Sequence[str], Projection, NDArray[Any]], None]"
PLANE_COLUMNS = ("well", "site", "channel", "z", "time", "path", "part")
OME_ZARR = "ome-zarr"
GIVEN_SHAPE = "--plate-shape"
_LAYOUT_SITES = 9
_REMOTE_LAYOUT_SITES = 3  # each of which is downloaded


class SiteKey(NamedTuple):
    """One field of view of the plate. As text it is ``A01 s1``."""

    well: str
    site: int

    def __str__(self) -> str:
        return f"{self.well} s{self.site}"


@dataclass(frozen=True)
class Channel:
    """A stain or contrast, by the name the microscope gave it."""

    name: str
    wavelength_nm: float | None = None


@dataclass(frozen=True)
class Reasons:
    """What says how a plate is read, in words; empty where nothing does."""

    shape: str = ""  # a guess from the wells without one
    channels: str = ""
    pixel_size: str = ""


class _Plane(NamedTuple):
    z: int
    time: int
    path: str
    part: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Plate:
    """A plate as it lies on disk. Made by `open_plate`; reads no pixels until asked.

    Parameters
    ----------
    name
        Folder name or plate barcode.
    source
        What was opened.
    format
        ``imagexpress``, ``operetta``, ``scanr``, ``cellvoyager``, ``pattern``, ``loaddata`` or
        ``ome-zarr``.
    shape
        Rows and columns of the plate, a standard format: as something states it, see `reasons`,
        or the smallest with all wells, which is a guess that only grows (`grown`).
    channels
        In the order of the first axis of `read_site`.
    planes
        One row a plane, columns ``well`` (``A01``), ``site``, ``channel`` (index), ``z``,
        ``time``, ``path`` (absolute) and ``part`` (plane number within the file, -1 where the
        file is one plane).
    pixel_size_um
        Where the source states it.
    problems
        What was not understood while opening: files left out, promised files without trace.
    reasons
        What says how it is read.
    time_points
        The numbers that names or metadata give the time points, which `planes` counts from 0.
    plain_channels
        The channels as file names alone call them, where headers call them otherwise.
    series
        Of one time point of a time series: the name of the plate, see `each_time_point`.
    """

    name: str
    source: Path
    format: str
    shape: tuple[int, int]
    channels: tuple[Channel, ...]
    planes: pd.DataFrame
    pixel_size_um: float | None = None
    problems: tuple[Problem, ...] = ()
    reasons: Reasons = Reasons()
    time_points: tuple[int, ...] = (0,)
    plain_channels: tuple[Channel, ...] = ()
    series: str = ""

    def __post_init__(self) -> None:
        missing = [column for column in PLANE_COLUMNS if column not in self.planes.columns]
        if missing:
            raise HcsQcError(
                f"The plane table of plate {self.name} lacks the columns {', '.join(missing)}; "
                f"{', '.join(PLANE_COLUMNS)} were expected."
            )

    def __repr__(self) -> str:
        return (
            f"<Plate {self.name}: {self.format}, {self.shape[0]}×{self.shape[1]} wells, "
            f"{len(self.wells)} imaged, {len(self.sites)} sites, "
            f"channels {', '.join(channel.name for channel in self.channels)}>"
        )

    @property
    def plate_name(self) -> str:
        """Name of the plate itself: of a time point, that of its series."""
        return self.series or self.name

    def grown(self, wells: Iterable[str], reason: str) -> Plate:
        """Give the plate with a shape that has these wells, too, where its shape is a guess."""
        if self.reasons.shape:
            return self
        corner = WellName(self.shape[0] - 1, self.shape[1] - 1)
        shape = plate_shape([corner, *map(parse_well, wells)])
        if shape == self.shape:
            return self
        return replace(self, shape=shape, reasons=replace(self.reasons, shape=reason))

    def as_added(self, fingerprint: str) -> Plate:
        """Give the plate with the names of channels that it had when its fingerprint was taken.

        0.1.0 took them from file names where headers have better ones.
        """
        plain = self.named_like([channel.name for channel in self.plain_channels])
        return plain if plain is not self and plain.fingerprint == fingerprint else self

    def named_like(self, names: Sequence[str]) -> Plate:
        """Give the plate with the channels of its file names where those are what is expected."""
        plain = [channel.name for channel in self.plain_channels]
        if not plain or list(names) != plain or self.plain_channels == self.channels:
            return self
        reasons = replace(self.reasons, channels="the names of the files")
        return replace(self, channels=self.plain_channels, reasons=reasons)

    @cached_property
    def wells(self) -> tuple[str, ...]:
        """Names of the imaged wells, by row and column."""
        return tuple(sorted(self.planes["well"].unique(), key=parse_well))

    @cached_property
    def sites(self) -> tuple[SiteKey, ...]:
        """All sites, by well (row, column) and site number."""
        return tuple(sorted(self._planes, key=lambda key: (parse_well(key.well), key.site)))

    @cached_property
    def _planes(self) -> dict[SiteKey, dict[int, list[_Plane]]]:
        """Planes by site and channel index, in the order of z."""
        index: dict[SiteKey, dict[int, list[_Plane]]] = {}
        columns = [self.planes[column].tolist() for column in PLANE_COLUMNS]
        for well, site, channel, z, time, path, part in zip(*columns, strict=True):
            by_channel = index.setdefault(SiteKey(well, site), {})
            by_channel.setdefault(channel, []).append(_Plane(z, time, path, part))
        for by_channel in index.values():
            for planes in by_channel.values():
                planes.sort()
        return index

    @cached_property
    def _stacked(self) -> frozenset[int]:
        """Channels with more than one z number anywhere on the plate."""
        counts = self.planes.groupby("channel")["z"].nunique()
        return frozenset(int(channel) for channel in counts.index[counts > 1])

    @cached_property
    def fingerprint(self) -> str:
        """Content address: name, format, channels, and every plane with its file's size and date.

        Paths count relative to their common folder, so a plate that is moved keeps its
        fingerprint. Pixels are not read.
        """
        stats = {
            path: [stamps.name, *chain(*(stamp[:2] for stamp in stamps.files))]
            for path, stamps in self._stamps.items()
        }
        columns = [self.planes[column].tolist() for column in PLANE_COLUMNS]
        rows = [[*row[:5], *stats[row[5]], row[6]] for row in sorted(zip(*columns, strict=True))]
        # Those of an OME-Zarr lie in the same files; 0.1.0 knew the first alone.
        is_later = self.format == OME_ZARR and len(self.time_points) == 1 and self.time_points[0]
        return fingerprint(
            {
                **({"time_point": self.time_points[0]} if is_later else {}),
                "name": self.name,
                "format": self.format,
                "channels": [channel.name for channel in self.channels],
                "planes": rows,
            }
        )

    @cached_property
    def files(self) -> str:
        """Address of the files with all dates, also of when anything of them last changed.

        Where it is another, they may be the same with other dates, or others with the same dates.
        """
        return fingerprint(dict(self._stamps.values()))

    @cached_property
    def _stamps(self) -> dict[str, Stamps]:
        return stamps_of(set(self.planes["path"]), is_zarr=self.format == OME_ZARR)

    def known_as(self, fingerprint: str) -> None:
        """Take a fingerprint by which the content of the files is known."""
        self.__dict__["fingerprint"] = fingerprint  # where a cached property is

    @cached_property
    def checks(self) -> list[PixelCheck]:
        """What is given all pixels that are read, and raises where others were expected."""
        return []

    def channel_index(self, channel: str | int) -> int:
        """Index of a channel given by name (in either case) or index.

        Raises
        ------
        HcsQcError
            When there is no such channel; the message lists those there are.
        """
        names = [each.name for each in self.channels]
        if isinstance(channel, int):
            if 0 <= channel < len(names):
                return channel
        elif channel in names:
            return names.index(channel)
        else:
            folded = [name.casefold() for name in names]
            if folded.count(channel.strip().casefold()) == 1:
                return folded.index(channel.strip().casefold())
        listed = ", ".join(f"{index} {name}" for index, name in enumerate(names))
        raise HcsQcError(
            f"Plate {self.name} has no channel {channel!r}; it has {listed}. Give a name or an "
            "index from 0."
        )

    def available_channels(self, site: SiteKey) -> tuple[int, ...]:
        """Give the indices of the channels that have files at a site; none for an unknown site."""
        return tuple(sorted(self._planes.get(SiteKey(*site), {})))

    @property
    def layout(self) -> Layout:
        """Shape in px and dtype of a site as it is read: of the largest of the channels.

        Raises
        ------
        HcsQcError
            When no file of the plate is readable.
        """
        layout, reason = self._layout_or_reason
        if layout is None:
            raise HcsQcError(f"{reason}.")
        return layout

    @cached_property
    def _layout_or_reason(self) -> tuple[Layout | None, str]:
        """The layout, or why there is none: found once, since a plate may be large and damaged."""
        layouts = [layout for layout in self.channel_layouts.values() if layout is not None]
        if layouts:
            heights, widths = zip(*(layout.shape for layout in layouts), strict=True)
            dtype = np.result_type(*(layout.dtype for layout in layouts))
            return Layout((max(heights), max(widths)), dtype), ""
        reasons = self._unreadable or ["it has no files"]
        return None, f"No image of plate {self.name} can be read, for example: {reasons[0]}"

    @cached_property
    def varying(self) -> set[int]:
        """Channels whose images differ in size from site to site, such as stitched wells."""
        return set()

    @cached_property
    def _unreadable(self) -> list[str]:
        """Why files could not be read while the layout was looked for."""
        return []

    @cached_property
    def channel_layouts(self) -> dict[int, Layout | None]:
        """Layout of each channel: that of most of nine sites spread over the plate.

        Channels differ where a camera bins them, or where they are saved with another depth.
        """
        layouts: dict[int, Layout | None] = {}
        for channel in range(len(self.channels)):
            sites = [site for site in self.sites if channel in self._planes[site]]
            most = _REMOTE_LAYOUT_SITES if is_remote(self.source) else _LAYOUT_SITES
            spread = np.linspace(0, len(sites) - 1, most).round().astype(int)
            chosen = [sites[index] for index in dict.fromkeys(spread.tolist())] if sites else []
            counts = Counter(self._layouts_of(chosen, channel))
            if _vary(counts):
                layouts[channel] = _largest(self._layouts_of(sites, channel))
                self.varying.add(channel)
            elif counts:
                layouts[channel] = counts.most_common(1)[0][0]
            else:  # A bad sample must not stop the plate: any readable file will do.
                layouts[channel] = next(self._layouts_of(sites, channel), None)
        return layouts

    def _layouts_of(self, sites: Iterable[SiteKey], channel: int) -> Iterator[Layout]:
        """Layouts of a channel's first planes that can be read."""
        for plane in (self._planes[site][channel][0] for site in sites):
            try:
                if self.format == OME_ZARR:
                    from napari_hcs_qc.plates.ome_zarr.zarr_planes import ome_zarr_layout

                    yield ome_zarr_layout(plane.path)
                else:
                    yield inspect_image(plane.path).layout
            except HcsQcError as error:
                self._unreadable.append(f"{plane.path} {error}")

    def read_site(
        self,
        site: SiteKey,
        channels: Sequence[int] | None = None,
        *,
        projection: Projection = "max",
        time: int = 0,
    ) -> NDArray[Any]:
        """Read the pixels of one site.

        Parameters
        ----------
        site
            One of `sites`.
        channels
            Channel indices, in the order wanted; all channels by default.
        projection
            ``"max"`` for the maximum over z, or a z number of `planes`. A channel that has one
            plane all over the plate gives that plane.
        time
            Time point, from 0.

        Returns
        -------
        ndarray, (n_channels, height, width)
            In the plate's own dtype. Each file is opened once. A channel with fewer pixels than
            others (binned) is scaled to their grid.

        Raises
        ------
        UnreadableSiteError
            When a channel or plane is missing, or a file is damaged, no image, a colour image,
            of another shape or dtype than its channel's, or holds NaN or Inf. The message names
            the site, the file and the reason.
        """
        site = SiteKey(*site)
        wanted = list(range(len(self.channels)) if channels is None else channels)
        by_channel = self._planes.get(site)
        if by_channel is None:
            raise UnreadableSiteError(
                f"Plate {self.name} has no site {site}; it has {len(self.sites)} sites in "
                f"{len(self.wells)} wells."
            )
        jobs: dict[tuple[str, Layout | None], list[tuple[int, _Plane]]] = {}
        for slot, channel in enumerate(wanted):
            for plane in self._choose(site, channel, by_channel.get(channel, []), projection, time):
                own = None if channel in self.varying else self.channel_layouts[channel]
                key = plane.path, own
                jobs.setdefault(key, []).append((slot, plane))
        layout, reason = self._layout_or_reason
        if layout is None:
            raise UnreadableSiteError(f"{site}: {reason}")
        pixels = np.empty((len(wanted), *layout.shape), layout.dtype)
        filled = [False] * len(wanted)
        for (path, expected), slots in jobs.items():
            planes = self._read_file(site, path, expected, slots)
            for (slot, _), grey in zip(slots, planes, strict=True):
                if grey.shape != layout.shape:
                    is_varying = wanted[slot] in self.varying
                    grey = (_padded if is_varying else _scaled)(grey, layout.shape)
                if filled[slot]:
                    np.maximum(pixels[slot], grey, out=pixels[slot])
                else:
                    pixels[slot], filled[slot] = grey, True
        for check in self.checks if time == 0 else ():
            check(site, [self.channels[index].name for index in wanted], projection, pixels)
        return pixels

    def _choose(
        self, site: SiteKey, channel: int, planes: list[_Plane], projection: Projection, time: int
    ) -> list[_Plane]:
        """Planes of one channel to be read, or the error that says what is missing."""
        name = self.channels[self.channel_index(channel)].name
        at_time = [plane for plane in planes if plane.time == time]
        if not at_time:
            when = f" at time point {time}" if planes else ""
            raise UnreadableSiteError(f"{site}: channel {name} has no file{when}.")
        if projection == "max" or channel not in self._stacked:
            return at_time
        chosen = [plane for plane in at_time if plane.z == projection]
        if not chosen:
            have = ", ".join(str(plane.z) for plane in at_time)
            raise UnreadableSiteError(
                f"{site}: channel {name} has no plane z = {projection}; it has {have}."
            )
        return chosen

    def _read_zarr(self, plane: _Plane) -> NDArray[Any]:
        # Imported late: that module imports this one, and zarr is slow to load.
        from napari_hcs_qc.plates.ome_zarr.zarr_planes import read_ome_zarr_plane

        return read_ome_zarr_plane(plane.path, plane.part, plane.z, self.time_points[plane.time])

    def _read_file(
        self, site: SiteKey, path: str, layout: Layout | None, slots: list[tuple[int, _Plane]]
    ) -> list[NDArray[Any]]:
        try:
            if layout is not None and not _is_scaled(layout.shape, self.layout.shape):
                raise UnreadableImageError(
                    f"is {layout}, as all of its channel; {self.layout} as in other channels, or "
                    "that binned, was expected. Export it with the same field of view"
                )
            if self.format == OME_ZARR:
                return [_checked(self._read_zarr(plane), layout) for _, plane in slots]
            return read_planes(path, [plane.part for _, plane in slots], layout=layout)
        except HcsQcError as error:
            raise UnreadableSiteError(f"{site}: {path} {error}") from error


def _layout_of(pixels: NDArray[Any]) -> Layout:
    return Layout((pixels.shape[0], pixels.shape[1]), pixels.dtype)


def _is_scaled(shape: tuple[int, int], largest: tuple[int, int]) -> bool:
    """Whether a shape is the largest one, or that with fewer pixels a side, but for rounding."""
    height, width = (large / small for large, small in zip(largest, shape, strict=True))
    return abs(height - width) <= 0.02 * max(height, width)


def _vary(counts: Counter[Layout]) -> bool:
    """Whether images are of many sizes, none of which is that of most."""
    is_one_dtype = len({layout.dtype for layout in counts}) == 1
    return is_one_dtype and len(counts) > 2 and 2 * max(counts.values()) <= counts.total()


def _largest(layouts: Iterable[Layout]) -> Layout:
    shapes, dtypes = zip(*layouts, strict=True)
    heights, widths = zip(*shapes, strict=True)
    return Layout((max(heights), max(widths)), dtypes[0])


def _padded(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Fill up a smaller image below and to the right with its own background."""
    padded = np.full(shape, np.median(plane).astype(plane.dtype), plane.dtype)
    height, width = (min(sides) for sides in zip(shape, plane.shape, strict=True))
    padded[:height, :width] = plane[:height, :width]
    return padded


def _scaled(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Repeat the pixels of a binned plane until it has a shape; no value is changed."""
    rows, columns = (
        np.arange(large) * small // large for large, small in zip(shape, plane.shape, strict=True)
    )
    scaled: NDArray[Any] = plane[np.ix_(rows, columns)]
    return scaled


def _checked(pixels: NDArray[Any], layout: Layout | None) -> NDArray[Any]:
    read_layout = _layout_of(pixels)
    if layout is not None and read_layout != layout:
        raise UnreadableImageError(
            f"is {read_layout}; {layout} was expected, as in most of the plate: export it like the "
            "others"
        )
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise UnreadableImageError(
            "holds NaN or Inf pixels; finite grey values were expected. Export it again as integers"
        )
    return pixels
