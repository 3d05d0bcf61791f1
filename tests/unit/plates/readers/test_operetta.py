from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc.plates import open_plate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = [f"Images/r02c03f0{f}p01-ch{c}sk1fk1fl1.tiff" for f in (1, 2) for c in (1, 2)]
IMAGE = """<Image Version="1"><id>0203K1F1P1R1</id><URL>x.tiff</URL><Row>2</Row><Col>3</Col>
<FieldID>1</FieldID><ChannelID>{number}</ChannelID><ChannelName>{name}</ChannelName>
<ImageResolutionX Unit="m">2.9802322387695314E-07</ImageResolutionX>
<MainEmissionWavelength Unit="nm">{wavelength}</MainEmissionWavelength></Image>"""
ENTRY = """<Entry ChannelID="{number}"><ChannelName>{name}</ChannelName>
<ImageResolutionX Unit="m">2.9802322387695314E-07</ImageResolutionX>
<MainEmissionWavelength Unit="nm">{wavelength}</MainEmissionWavelength></Entry>"""
V1 = "http://www.perkinelmer.com/PEHH/HarmonyV5"
V2 = "43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV6"


def index(body: str, namespace: str | None = V1, head: str = "") -> str:
    described = "".join(
        body.format(number=number, name=name, wavelength=wavelength)
        for number, name, wavelength in ((1, "HOECHST 33342", 456), (2, "Alexa 488 µ", 522))
    )
    mark = f' xmlns="{namespace}"' if namespace else ""
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{head}<EvaluationInputData{mark}><Plates><Plate>'
        "<PlateRows>16</PlateRows><PlateColumns>24</PlateColumns></Plate></Plates>"
        f"<Images>{described}</Images></EvaluationInputData>"
    )


@pytest.mark.parametrize("body", [IMAGE, ENTRY])
@pytest.mark.parametrize("namespace", [V1, V2, None])
@pytest.mark.parametrize("place", ["Index.xml", "Images/Index.xml", "Images/Index.idx.xml"])
def test_the_index_gives_names_pixel_size_and_plate(
    write_images: Callable[..., Path], body: str, namespace: str | None, place: str
) -> None:
    root = write_images(NAMES)
    (root / place).write_text(index(body, namespace), encoding="utf-8")
    plate = open_plate(root)
    assert [channel.name for channel in plate.channels] == ["HOECHST 33342", "Alexa 488 µ"]
    assert [channel.wavelength_nm for channel in plate.channels] == [456, 522]
    assert plate.pixel_size_um == pytest.approx(0.29802322)
    assert plate.shape == (16, 24)
    assert plate.wells == ("B03",)
    assert plate.problems == ()
    assert open_plate(root / "Images").name == root.name


def test_without_an_index_the_names_suffice(write_images: Callable[..., Path]) -> None:
    plate = open_plate(write_images(NAMES))
    assert [channel.name for channel in plate.channels] == ["ch1", "ch2"]
    assert plate.pixel_size_um is None
    assert plate.shape == (2, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<EvaluationInputData><Images>", "is damaged or no XML"),
        ("", "is damaged or no XML"),
        ("no xml", "is damaged or no XML"),
        (
            index(IMAGE, head='<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'),
            "declares a document type",
        ),
        (index(IMAGE, head='<!DOCTYPE x [<!ENTITY a "b">]>'), "declares a document type"),
    ],
)
def test_a_bad_index_is_a_problem_not_an_error(
    write_images: Callable[..., Path], text: str, words: str
) -> None:
    root = write_images(NAMES)
    (root / "Index.xml").write_text(text, encoding="utf-8")
    plate = open_plate(root)
    assert [channel.name for channel in plate.channels] == ["ch1", "ch2"]
    assert len(plate.problems) == 1
    assert words in str(plate.problems[0])


def test_planes_and_times_from_the_names(write_images: Callable[..., Path]) -> None:
    names = [f"Images/r01c01f01p{p:02d}-ch1sk{t}fk1fl1.tiff" for p in (1, 2) for t in (1, 2, 3)]
    plate = open_plate(write_images(names))
    assert sorted(set(plate.planes["z"])) == [1, 2]
    assert sorted(set(plate.planes["time"])) == [0, 1, 2]
