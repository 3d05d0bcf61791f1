from __future__ import annotations

import itertools
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import open_plate, parse_well, well_name
from napari_hcs_qc.plates.readers.names.instruments.evident import scanr_shape
from napari_hcs_qc.plates.readers.names.instruments.molecular_devices import (
    is_thumbnail,
    site_in_name,
)
from napari_hcs_qc.plates.readers.names.known_names import FORMATS, NAME_FORMATS, match_name
from napari_hcs_qc.plates.readers.names.place import NO_CHANNEL, NO_Z, Place
from napari_hcs_qc.plates.readers.names.user_pattern import UserPattern

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_hcs_qc.plates.readers.names.name_format import Example, NameFormat

WELLS = st.builds(well_name, st.integers(0, 31), st.integers(0, 47))
WELL_NAMES = ("A01", "A02", "B01", "B02")
GUIDS = st.uuids().map(lambda each: str(each).upper())
EXTENSIONS = st.sampled_from([".tif", ".TIF", ".tiff", ".TIFF", ".png"])
PREFIXES = st.sampled_from(
    ["IXMtest_", "9987_", "mcf-z-stacks-03212011_", "00_a b_c_", "Week1_22123_", "s1_", "w1_x_", ""]
)


@given(
    PREFIXES,
    WELLS,
    st.integers(1, 99),
    st.integers(1, 24),
    st.one_of(st.just(""), GUIDS, GUIDS.map(str.lower)),
    EXTENSIONS,
)
def test_imagexpress_names_round_trip(
    prefix: str, well: str, site: int, channel: int, guid: str, extension: str
) -> None:
    place = Place(well, site, str(channel))
    name = f"{prefix}{well}_s{site}_w{channel}{guid}{extension}"
    assert match_name("imagexpress", "", name) == place
    assert site_in_name(name) == (well, site)
    lacking_site = match_name("imagexpress", "", f"{prefix}{well}_w{channel}{guid}{extension}")
    assert lacking_site == place._replace(site=1)
    lacking_wave = match_name("imagexpress", "", f"{prefix}{well}_s{site}{guid}{extension}")
    assert lacking_wave == place._replace(channel=NO_CHANNEL)
    thumb = f"{prefix}{well}_s{site}_w{channel}_thumb{guid}{extension}"
    assert match_name("imagexpress", "", thumb) is None
    assert is_thumbnail(thumb)


@pytest.mark.parametrize("first", "0123456789ABCDEF")
def test_a_guid_after_the_wavelength_is_not_read_as_a_digit(first: str) -> None:
    guid = first + str(uuid.UUID(int=5)).upper()[1:]
    for channel in ("1", "5", "10"):
        place = match_name("imagexpress", "", f"IXMtest_A02_s1_w{channel}{guid}.tif")
        assert place == Place("A02", 1, channel)


@pytest.mark.parametrize(
    ("folder", "z", "time"),
    [
        ("", NO_Z, 0),
        ("TimePoint_1/ZStep_3", 3, 1),
        ("a/TimePoint_12", NO_Z, 12),
        ("timepoint_2/zstep_0", 0, 2),
        ("MyTimePoint_2", NO_Z, 0),
    ],
)
def test_imagexpress_folders_give_z_and_time(folder: str, z: int, time: int) -> None:
    place = match_name("imagexpress", folder, "9987_B02_s1_w1.TIF")
    assert place == Place("B02", 1, "1", z, time)


@pytest.mark.parametrize(
    "name",
    [
        "img_w1.tif",
        "img_s1.tif",
        "img_s1_w1.tif",
        "a_b7.tif",
        "B02.tif",
        "x_A01_s1_w1.txt",
        "x.tif",
    ],
)
def test_names_without_a_well_are_none_of_imagexpress(name: str) -> None:
    assert match_name("imagexpress", "", name) is None


def test_a_well_alone_is_enough_when_it_is_written_in_full() -> None:
    assert match_name("imagexpress", "", "screen 7_B02.tif") == Place("B02", 1)


@given(WELLS, st.integers(1, 99), st.integers(1, 30), st.integers(1, 9), st.integers(1, 40))
def test_operetta_names_round_trip(well: str, site: int, z: int, channel: int, time: int) -> None:
    row, column = parse_well(well)
    name = f"r{row + 1:02d}c{column + 1:02d}f{site:02d}p{z:02d}-ch{channel}sk{time}fk1fl1.tiff"
    assert match_name("operetta", "Images", name) == Place(well, site, str(channel), z, time)


def test_operetta_rows_on_no_plate_stay_to_be_refused() -> None:
    place = match_name("operetta", "", "r33c01f01p01-ch1sk1fk1fl1.tiff")
    assert place is not None
    with pytest.raises(HcsQcError, match="row 33"):
        parse_well(place.well)


@given(
    WELLS,
    st.integers(1, 99),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from(["GFP", "Cy 5", "a-b"]),
)
def test_scanr_names_round_trip(well: str, site: int, z: int, time: int, channel: str) -> None:
    name = f"{well}--W00013--P{site:05d}--Z{z:05d}--T{time:05d}--{channel}.tif"
    assert match_name("scanr", "", name) == Place(well, site, channel, z, time)


@given(WELLS, st.integers(1, 99), st.integers(1, 30), st.integers(1, 9), st.integers(1, 40))
def test_cellvoyager_names_round_trip(
    well: str, site: int, z: int, channel: int, time: int
) -> None:
    name = f"Assay_Greiner_#655090_{well}_T{time:04d}F{site:03d}L01A01Z{z:02d}C{channel:02d}.tif"
    assert match_name("cellvoyager", "", name) == Place(well, site, str(channel), z, time)


@pytest.mark.parametrize(
    "name",
    [
        "x_A01_s1_w1.tif",
        "r01c01f01p01-ch1sk1fk1fl1.tiff",
        "A1--W00001--P00001--Z00000--T00000--GFP.tif",
        "p_A01_T0001F001L01A01Z01C01.tif",
    ],
)
def test_a_name_fits_one_format_only(name: str) -> None:
    particular = [each for each in NAME_FORMATS.values() if not each.is_loose]
    assert sum(each.match("", name) is not None for each in particular) == 1


@pytest.mark.parametrize(
    ("name_format", "example"),
    [(each, example) for each in NAME_FORMATS.values() for example in each.examples],
    ids=lambda value: getattr(value, "path", getattr(value, "name", "")),
)
def test_every_example_of_an_instrument_is_read(
    write_images: Callable[..., Path], name_format: NameFormat, example: Example
) -> None:
    plate = open_plate(write_images([example.path], folder="plate"))
    assert plate.format == name_format.name
    assert plate.sites == ((example.well, example.site),)
    channel = example.channel
    prefix = name_format.channel_prefix if channel.isdecimal() else ""
    assert [each.name for each in plate.channels] == [f"{prefix}{channel}" if channel else "C1"]
    assert plate.planes["z"].tolist() == [max(example.z, 0)]
    assert plate.time_points == (example.time,)
    assert plate.read_site(plate.sites[0]).shape == (1, 6, 8)


@given(st.text(max_size=60))
def test_any_name_is_read_or_not_but_never_an_error(name: str) -> None:
    for each in FORMATS:
        place = match_name(each, "", f"{name}.tif")
        assert place is None or isinstance(place, Place)


@pytest.mark.parametrize("shape", [(2, 3), (8, 12), (16, 24), (32, 48)])
def test_scanr_well_numbers_tell_the_plate(shape: tuple[int, int]) -> None:
    tail = "--P00001--Z00000--T00000--GFP.tif"
    assert scanr_shape([f"A1--W00001{tail}", f"B2--W{shape[1] + 2:05d}{tail}"]) == shape
    assert scanr_shape([f"A1--W00001{tail}"]) is None
    assert scanr_shape([f"B1--W00007{tail}", f"B1--W00013{tail}"]) is None


def test_a_user_pattern_reads_the_relative_path() -> None:
    pattern = UserPattern(
        r"^(?P<plate>[^/]+)/(?P<well>[A-P]\d+)/f(?P<site>\d+)_z(?P<z>\d+)_t(?P<time>\d+)_"
        r"(?P<channel>\w+)\.tif$"
    )
    assert pattern.match("p1/B7/f3_z2_t4_DNA.tif") == Place("B7", 3, "DNA", 2, 4, "p1")
    assert pattern.match("p1/B7/f3.tif") is None
    assert UserPattern(r"r(?P<row>\d+)c(?P<column>\d+)").match("r2c3.tif") == Place("B03", 1)
    assert UserPattern(r"(?P<row>[A-P])x(?P<column>\d+)").match("Cx3.tif") == Place("C3", 1)
    no_well = UserPattern(r"r(?P<row>\d+)c(?P<column>\w+)\.").match("r2cx.tif")
    assert no_well == Place("Bx", 1)  # refused where wells are checked
    reason = UserPattern(r"(?P<well>[A-P]\d\d)_(?P<site>\w+)\.").match("A01_x.tif")
    assert isinstance(reason, str)
    assert "'site'" in reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(?P<well>A", "not a valid regular expression"),
        ("(?P<site>1)", "does not capture the well"),
        ("(?P<row>1)", "does not capture the well"),
        ("(?P<well>A)(?P<fov>1)", "fov"),
    ],
)
def test_a_bad_user_pattern_is_refused(text: str, words: str) -> None:
    with pytest.raises(HcsQcError, match=words):
        UserPattern(text)


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["{w}!{s}!{c}.xtif"], None),
        (["x!{w}!field{s}!{c}"], "well site channel"),
        (["img_r{r}_c{c2}_f{s}_488"], "row column site"),
        (["Exp~Row{r0}~Col{r0}~{c}"], "row0 column0 channel"),
        (["img_U0{r}_V0{c2}_X0{s}_end"], "column0 row0 site"),
        (["well{n}x{s}"], "number site"),
        (["{w}_{l}_DAPI"], "well site"),
        (["{w} {s} {c3} extra 17"], "well site channel"),
        (["a--{w}--s{s}--w{c2}--01234567-89ab-cdef-0123-456789abcdef"], "well site channel"),
        (["{w}_f1_DAPI_rep{s}"], "well plate"),
        (["field {s} of {w} ({c}) z{s} t{s}"], "site well channel z time"),
        (["exp~{w}~{h}h~DAPI"], "well time"),
        (["exp~{w}~{h}min~{s}~{c}"], "well time site channel"),
        (["x!{w}!20x!{c}!{s}"], "well channel site"),
        (["x!{w}!{m}x!{c}!{s}"], "well plate channel site"),
        (["scan {w3} {c} {s} end"], "well channel site"),
        (["x!{w}!{d}!{c}!{s}"], "well plate channel site"),
        (["{w} {c3} {s} extra 17"], "well channel site"),
    ],
)
def test_a_refusal_shows_a_pattern_that_reads_the_names(
    write_images: Callable[..., Path], names: list[str], groups: str | None
) -> None:
    values: dict[str, list[Any]] = {
        "w": ["A01", "B02", "P24"], "s": [1, 2], "c": ["DAPI", "Cy5"], "r": [1, 2, 3],
        "r0": [0, 1, 2], "c2": [1, 2], "n": [1, 2, 14], "l": ["a", "b"], "c3": [405, 488],
        "h": [0, 24], "m": [20, 40], "d": [20240131, 20240201], "w3": ["A001", "B002", "P024"],
    }  # fmt: skip
    keys = [key for key in values if "{%s}" % key in names[0]]  # noqa: UP031
    files = [
        f"{names[0].format(**dict(zip(keys, each, strict=True)))}.tif".replace(".xtif.tif", ".tif")
        for each in itertools.product(*(values[key] for key in keys))
    ]
    if groups is None:  # the first form with a mark at which a lab name would be read
        groups = "well site channel"
    root = write_images(files)
    with pytest.raises(HcsQcError, match="This pattern would read them") as caught:
        open_plate(root)
    text = str(caught.value)
    assert sum(name in text for name in files) == 3
    pattern = text.split("--pattern '")[1].split("'.")[0]
    assert list(re.compile(pattern).groupindex) == groups.split()
    of_plate = "plate" in groups
    label = str(values[next(key for key in "mds" if key in keys)][1]) if of_plate else None
    plate = open_plate(root, pattern=pattern, name=label)
    assert len(plate.planes) * (2 if of_plate else 1) == len(files)
    assert {problem.where for problem in plate.problems} <= {"wells", "time points"}


def test_what_a_pattern_takes_for_what_is_said(write_images: Callable[..., Path]) -> None:
    names = [f"x~{w}~{h}h~{c}.tif" for w in WELL_NAMES for h in (6, 24) for c in ("DAPI", "GFP")]
    root = write_images(names)
    with pytest.raises(HcsQcError, match="This pattern would read them") as caught:
        open_plate(root)
    reading = (
        "In the first it takes A01 for the well, 24 for the time point and DAPI for the channel"
    )
    assert reading in str(caught.value)


@pytest.mark.parametrize(
    "form",
    [
        "x~{w}~{treatment}~{site}~{counter}.tif",  # no evidence which number is the site
        "{counter}~{site}~{w}~{treatment}.tif",
    ],
)
def test_no_pattern_is_proposed_without_evidence(
    write_images: Callable[..., Path], form: str
) -> None:
    numbers = itertools.count(100)
    root = write_images(
        form.format(w=well, treatment=treatment, site=site, counter=next(numbers) % 103)
        for well, treatment in zip(WELL_NAMES, ("drug", "DMSO", "drug", "DMSO"), strict=True)
        for site in (1, 2)
        for _ in range(2)
    )
    with pytest.raises(HcsQcError, match="No images of a plate") as caught:
        open_plate(root)
    assert "This pattern" not in str(caught.value)


def test_treatments_and_running_numbers_are_no_channels_and_sites(
    write_images: Callable[..., Path],
) -> None:
    numbers = itertools.count(1)
    names = [
        f"{next(numbers):04d}~{well}~{treatment}~{stain}.tif"
        for well, treatment in zip(WELL_NAMES, ("drug", "DMSO", "drug", "DMSO"), strict=True)
        for stain in ("DAPI", "GFP")
    ]
    with pytest.raises(HcsQcError, match=r"A01 for the well and DAPI for the channel\.") as caught:
        open_plate(write_images(names))
    pattern = str(caught.value).split("--pattern '")[1].split("'.")[0]
    plate = open_plate(write_images(names), pattern=pattern)
    assert [channel.name for channel in plate.channels] == ["DAPI", "GFP"]
    assert len(plate.sites) == 4


@pytest.mark.parametrize("well", ["A1", "A01", "A001"])
def test_wells_by_form_hours_and_magnification_of_plain_names(
    write_images: Callable[..., Path], well: str
) -> None:
    names = [
        f"{well}_20x_{h}h_{c}_{s}.tif" for h in (0, 24) for c in ("DAPI", "GFP") for s in (1, 2)
    ]
    plate = open_plate(write_images(names))
    assert plate.sites == (("A01", 1), ("A01", 2))
    assert plate.time_points == (0, 24)
    assert [channel.name for channel in plate.channels] == ["DAPI", "GFP"]


@pytest.mark.parametrize("stains", [("DAPI",), ("DAPI", "GFP")])
def test_treatments_in_plain_names_are_no_channels(
    write_images: Callable[..., Path], stains: tuple[str, ...]
) -> None:
    treatments = zip(WELL_NAMES, ("DMSO", "drugA", "DMSO", "drugB"), strict=True)
    root = write_images([f"{w}_{each}_{stain}.tif" for w, each in treatments for stain in stains])
    with pytest.raises(HcsQcError, match="This pattern would read them") as caught:
        open_plate(root)
    pattern = str(caught.value).split("--pattern '")[1].split("'.")[0]
    plate = open_plate(root, pattern=pattern)
    assert len(plate.sites) == 4
    names = [channel.name for channel in plate.channels]
    assert names == (list(stains) if len(stains) > 1 else ["C1"])


def test_running_numbers_in_plain_names_are_no_sites(write_images: Callable[..., Path]) -> None:
    numbers = itertools.count(1)
    names = [f"{w}_{next(numbers):04d}_{c}.tif" for w in WELL_NAMES for c in ("DAPI", "GFP")]
    root = write_images(names)
    with pytest.raises(HcsQcError, match="A01 for the well and DAPI for the channel") as caught:
        open_plate(root)
    pattern = str(caught.value).split("--pattern '")[1].split("'.")[0]
    assert open_plate(root, pattern=pattern).sites == tuple((well, 1) for well in WELL_NAMES)


def test_dates_in_plain_names_are_no_sites(write_images: Callable[..., Path]) -> None:
    root = write_images([f"{w}_20240131_DAPI_2.tif" for w in WELL_NAMES])
    assert open_plate(root).sites == tuple((well, 2) for well in WELL_NAMES)
    root = write_images([f"{w}_{d}_DAPI.tif" for w in WELL_NAMES for d in (240131, 240201)], "two")
    with pytest.raises(HcsQcError, match="240131 and 240201"):
        open_plate(root)


def test_two_magnifications_are_two_runs(write_images: Callable[..., Path]) -> None:
    root = write_images([f"{w}_{m}x_DAPI.tif" for w in WELL_NAMES for m in (20, 40)])
    with pytest.raises(HcsQcError, match="20x and 40x"):
        open_plate(root)
    assert len(open_plate(root, name="40x").planes) == 4


def test_letters_are_sites_and_other_texts_are_named() -> None:
    pattern = UserPattern(r"(?P<well>[A-P]\d\d)_(?P<site>\w+)_")
    assert "'a' of the pattern's group 'site'" in str(pattern.match("A01_a_x.tif"))
    letters = pattern.with_letters(["A01_a_x.tif", "A01_C_x.tif"])
    assert letters.match("A01_C_x.tif") == Place("A01", 3)
    assert pattern.with_letters(["A01_a_x.tif", "A01_ab_x.tif"]) is pattern


def test_rows_and_columns_count_from_1_or_from_0() -> None:
    from_zero = UserPattern(r"U(?P<column0>\d+)_V(?P<row0>\d+)")
    assert from_zero.match("U01_V00") == Place("A02", 1)
    with pytest.raises(HcsQcError, match=r"counts from 1 and is 00 .*\(\?P<row0>"):
        UserPattern(r"U(?P<column>\d+)_V(?P<row>\d+)").match("U01_V00")


def test_a_pattern_without_a_group_that_tells_files_apart_is_refused(
    write_images: Callable[..., Path],
) -> None:
    root = write_images([f"{w}_f{s}_{c}.tif" for w in ("A01", "B02") for s in (1, 2) for c in "gd"])
    pattern = r"(?P<well>[A-P]\d\d)_f\d+_(?P<channel>\w+)\.tif$"
    with pytest.raises(HcsQcError, match=r"the same place: well A01.*\(\?P<site>…\)"):
        open_plate(root, pattern=pattern)
    with pytest.raises(HcsQcError, match=r"same place.*\(\?P<channel>…\)"):
        open_plate(root, pattern=r"(?P<well>[A-P]\d\d)_f(?P<site>\d+)")


def test_numbered_wells_of_a_pattern(write_images: Callable[..., Path]) -> None:
    root = write_images(["w001.tif", "w014.tif"])
    assert open_plate(root, pattern=r"w(?P<number>\d+)").wells == ("A01", "B02")
    plate = open_plate(root, pattern=r"w(?P<number>\d+)", plate_shape="16x24")
    assert plate.wells == ("A01", "A14")
