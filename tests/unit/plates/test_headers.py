"""What headers and files of the microscope say: names of channels, pixel size, scenes, shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_hcs_qc.errors import UnreadableSiteError
from napari_hcs_qc.plates import SiteKey, open_plate
from napari_hcs_qc.plates.tiff_facts import micrometres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.plates import Plate

STACK = np.arange(4, dtype=np.uint16)[:, None, None] * 100 + np.zeros((4, 32, 48), np.uint16)
NAMES = ["DAPI", "GFP", "RFP", "Cy5"]


def names_of(plate: Plate) -> list[str]:
    return [channel.name for channel in plate.channels]


def ome(axes: str = "CYX", names: list[str] = NAMES, size: float = 0.325, unit: str = "µm") -> Any:
    size_and_unit = {"PhysicalSizeX": size, "PhysicalSizeXUnit": unit}
    return {"axes": axes, **size_and_unit, "Channel": {"Name": names}}


@pytest.mark.parametrize("name", ["p_A01_s1.tif", "p_A01_s1.ome.tif"])
@pytest.mark.parametrize(
    ("size", "unit"), [(0.325, "µm"), (325.0, "nm"), (0.000325, "mm"), (3250.0, "Å")]
)
def test_ome_xml_names_channels_and_pixel_size(
    tmp_path: Path, name: str, size: float, unit: str
) -> None:
    path = tmp_path / name
    tifffile.imwrite(path, STACK, ome=True, metadata=ome(size=size, unit=unit))
    plate = open_plate(tmp_path)
    assert names_of(plate) == NAMES
    assert plate.pixel_size_um == pytest.approx(0.325)
    assert (plate.reasons.channels, plate.reasons.pixel_size) == ("OME-XML", "OME-XML")
    assert plate.read_site(plate.sites[0]).max(axis=(1, 2)).tolist() == [0, 100, 200, 300]


def test_ome_xml_names_the_channel_of_each_file(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES[:2], start=1):
        path = tmp_path / f"p_A01_s1_w{number}.tif"
        tifffile.imwrite(path, STACK[number], ome=True, metadata=ome("YX", [name]))
    plate = open_plate(tmp_path)
    assert names_of(plate) == ["DAPI", "GFP"]
    assert plate.named_like(["w1", "w2"]).channel_index("w2") == 1
    assert plate.named_like(["a", "b"]) is plate
    assert plate.named_like([]) is plate


def test_names_of_files_are_kept_where_an_assay_has_them(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "p_A01_s1_w1.tif", STACK[0], ome=True, metadata=ome("YX", ["DAPI"]))
    plate = open_plate(tmp_path)
    assert names_of(plate) == ["DAPI"]
    of_names = plate.named_like(["w1"])  # as 0.1.0 had it
    assert names_of(plate.as_added(of_names.fingerprint)) == ["w1"]
    assert names_of(plate.as_added(plate.fingerprint)) == ["DAPI"]
    assert names_of(plate.as_added("")) == ["DAPI"]


def test_names_that_do_not_tell_channels_apart_do_not_count(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["Cy3"] * 4}}
    tifffile.imwrite(tmp_path / "p_A01_s1.tif", STACK, ome=True, metadata=metadata)
    plate = open_plate(tmp_path)
    assert names_of(plate) == ["C1", "C2", "C3", "C4"]
    assert plate.pixel_size_um is None


def test_a_companion_file_has_the_metadata(tmp_path: Path) -> None:
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    channels = "".join(f'<Channel ID="C:{n}" Name="{each}"/>' for n, each in enumerate(NAMES))
    (tmp_path / "p.companion.ome").write_text(
        f'<OME xmlns="{schema}"><Image ID="I:0"><Pixels ID="P:0" PhysicalSizeX="0.5" '
        f'PhysicalSizeXUnit="µm">{channels}</Pixels></Image></OME>',
        encoding="utf-8",
    )
    only = '<BinaryOnly MetadataFile="p.companion.ome" UUID="u"/>'
    binary = f'<OME xmlns="{schema}">{only}</OME>'
    tifffile.imwrite(
        tmp_path / "p_A01_s1.ome.tif",
        STACK,
        photometric="minisblack",
        description=binary,
        metadata=None,
    )
    plate = open_plate(tmp_path)
    assert names_of(plate) == NAMES
    assert plate.pixel_size_um == 0.5


def test_fiji_writes_units_and_labels(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "p_A01_s1.tif",
        STACK,
        imagej=True,
        resolution=(1 / 0.65, 1 / 0.65),
        metadata={"axes": "CYX", "unit": "\\u00B5m", "Labels": NAMES},
    )
    plate = open_plate(tmp_path)
    assert names_of(plate) == NAMES
    assert plate.pixel_size_um == pytest.approx(0.65)


def test_labels_that_are_names_of_files_are_no_channels(tmp_path: Path) -> None:
    labels = [f"c:{n}/4 - p_A01_w{n}.tif" for n in range(1, 5)]
    metadata = {"axes": "CYX", "Labels": labels}
    tifffile.imwrite(tmp_path / "p_A01_s1.tif", STACK, imagej=True, metadata=metadata)
    assert names_of(open_plate(tmp_path)) == ["C1", "C2", "C3", "C4"]


def test_metaxpress_names_the_illumination(tmp_path: Path) -> None:
    for number, name in enumerate(("DAPI", "Cy5"), start=1):
        description = (
            '<MetaData><PlaneInfo><prop id="spatial-calibration-state" type="bool" value="on"/>'
            '<prop id="spatial-calibration-x" type="float" value="0.656"/>'
            '<prop id="spatial-calibration-units" type="string" value="um"/>'
            f'<prop id="_IllumSetting_" type="string" value="{name}"/></PlaneInfo></MetaData>'
        )
        path = tmp_path / f"p_A01_s1_w{number}.tif"
        tifffile.imwrite(
            path, STACK[0], description=description, metadata=None, software="MetaSeries"
        )
    plate = open_plate(tmp_path)
    assert names_of(plate) == ["DAPI", "Cy5"]
    assert plate.pixel_size_um == 0.656


@pytest.mark.parametrize(
    ("resolution", "unit", "size"),
    [
        ((1e4 / 0.65, 1e4 / 0.65), "CENTIMETER", 0.65),
        ((25_400 / 0.5, 25_400 / 0.5), "INCH", 0.5),
        ((72, 72), "INCH", None),
        ((300, 300), "INCH", None),
        ((1, 1), "NONE", None),
    ],
)
def test_resolution_tags_are_sizes_where_they_can_be(
    tmp_path: Path, resolution: tuple[float, float], unit: str, size: float | None
) -> None:
    tifffile.imwrite(
        tmp_path / "p_A01_s1_w1.tif", STACK[0], resolution=resolution, resolutionunit=unit
    )
    plate = open_plate(tmp_path)
    assert plate.pixel_size_um == (None if size is None else pytest.approx(size, rel=1e-4))


@pytest.mark.parametrize("unit", ["", "pixel", "px", "reference frame", "s"])
def test_what_is_no_length_is_no_size(unit: str) -> None:
    assert micrometres(0.65, unit) is None
    assert micrometres(0.0, "um") is None
    assert micrometres(0.65, "\u03bcm") == 0.65


def write_scenes(path: Path, n: int = 3) -> None:
    with tifffile.TiffWriter(path, ome=True) as tif:
        for number in range(n):
            tif.write(STACK[number], metadata={"axes": "YX", "Name": f"site {number + 1}"})


def test_scenes_of_a_file_are_sites(tmp_path: Path) -> None:
    write_scenes(tmp_path / "p_A01_w1.tif")
    write_scenes(tmp_path / "p_A02_w1.tif", 2)
    plate = open_plate(tmp_path)
    assert plate.sites == tuple(SiteKey(w, s) for w in ("A01", "A02") for s in (1, 2, 3))
    values = [int(plate.read_site(site).max()) for site in plate.sites[:5]]
    assert values == [0, 100, 200, 0, 100]
    with pytest.raises(UnreadableSiteError, match="holds 2 planes; plane 3 was expected"):
        plate.read_site(plate.sites[5])


def test_scenes_of_files_whose_names_number_sites_are_a_problem(tmp_path: Path) -> None:
    for site in (1, 2):
        write_scenes(tmp_path / f"p_A01_s{site}_w1.tif")
    plate = open_plate(tmp_path)
    assert plate.sites == (("A01", 1), ("A01", 2))
    assert "2 of 3 are not" in str(plate.problems[0])
    assert plate.read_site(plate.sites[1]).max() == 0


# Channels that differ -------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_channels_may_differ_in_size_and_depth(tmp_path: Path, factor: int, dtype: Any) -> None:
    small = np.random.default_rng(0).integers(0, 200, (64 // factor, 64 // factor)).astype(dtype)
    for well in ("A01", "A02", "B01"):
        tifffile.imwrite(tmp_path / f"P_{well}_s1_w1.tif", np.full((64, 64), 300, np.uint16))
        tifffile.imwrite(tmp_path / f"P_{well}_s1_w2.tif", small)
    plate = open_plate(tmp_path)
    assert plate.layout.shape == (64, 64)
    for site in plate.sites:
        pixels = plate.read_site(site)
        assert np.all(pixels[0] == 300)
        assert np.array_equal(pixels[1], small.repeat(factor, axis=0).repeat(factor, axis=1))


def test_a_channel_of_another_form_is_unreadable_alone(tmp_path: Path) -> None:
    for well in ("A01", "A02"):
        tifffile.imwrite(tmp_path / f"P_{well}_s1_w1.tif", np.ones((64, 64), np.uint16))
        tifffile.imwrite(tmp_path / f"P_{well}_s1_w2.tif", np.ones((32, 60), np.uint16))
    plate = open_plate(tmp_path)
    assert plate.read_site(plate.sites[0], [0]).shape == (1, 64, 64)
    with pytest.raises(UnreadableSiteError, match="32×60 px uint16, as all of its channel"):
        plate.read_site(plate.sites[0])


def test_stitched_wells_of_many_sizes_are_filled_up(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = {
        f"A{number:02d}": random.integers(90, 110, (40 + number, 60 - number)).astype(np.uint16)
        for number in range(1, 8)
    }
    for well, image in images.items():
        for wave in (1, 2):
            tifffile.imwrite(tmp_path / f"P_{well}_w{wave}.tif", image * wave)
    plate = open_plate(tmp_path)
    assert plate.layout.shape == (47, 59)
    for site in plate.sites:
        image = images[site.well]
        pixels = plate.read_site(site)
        height, width = image.shape
        assert np.array_equal(pixels[:, :height, :width], [image, image * 2])
        assert np.all(pixels[0, height:] == np.median(image).astype(np.uint16))


# Files of the microscope ----------------------------------------------------------------------

_NAMESPACE = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'


def write_measurement(folder: Path, shape: tuple[int, int], settings: str = "a.mes") -> None:
    channels = "".join(
        f'<bts:MeasurementChannel bts:Ch="{number}" bts:HorizontalPixelDimension="0.325"/>'
        for number in (1, 2)
    )
    (folder / "MeasurementDetail.mrf").write_text(
        f'<?xml version="1.0"?><bts:MeasurementDetail {_NAMESPACE} '
        f'bts:MeasurementSettingFileName="{settings}" bts:ColumnCount="{shape[1]}" '
        f'bts:RowCount="{shape[0]}">{channels}</bts:MeasurementDetail>'
    )
    (folder / "a.mes").write_text(
        f'<?xml version="1.0"?><bts:MeasurementSetting {_NAMESPACE}><bts:ChannelList>'
        '<bts:Channel bts:Ch="1" bts:Target="DAPI" bts:Acquisition="BP445/45"/>'
        '<bts:Channel bts:Ch="2" bts:Target="" bts:Acquisition="BP525/50"/>'
        "</bts:ChannelList></bts:MeasurementSetting>"
    )


@pytest.mark.parametrize("settings", ["a.mes", "A.MES", "renamed.mes"])
def test_cellvoyager_measurement(write_images: Callable[..., Path], settings: str) -> None:
    names = [f"p_{w}_T0001F001L01A0{c}Z01C0{c}.tif" for w in ("C03", "D04") for c in (1, 2)]
    root = write_images(names)
    write_measurement(root, (8, 12), settings)
    plate = open_plate(root)
    assert (plate.shape, plate.pixel_size_um) == ((8, 12), 0.325)
    assert names_of(plate) == ["DAPI", "BP525/50"]
    assert plate.reasons.shape == "MeasurementDetail.mrf"


def test_numbered_wells_count_on_the_plate_of_the_measurement(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    names = ["W0014F0002T0001Z001C2.tif", "W0025F0002T0001Z001C2.tif"]
    root = write_images(names)
    guessed = open_plate(root)
    assert guessed.wells == ("B02", "C01")
    assert "numbered; 8 × 12 wells are assumed" in str(guessed.problems[0])
    assert open_plate(root, plate_shape=384).wells == ("A14", "B01")
    write_measurement(root, (16, 24))
    plate = open_plate(root)
    assert (plate.wells, plate.shape, plate.problems) == (("A14", "B01"), (16, 24), ())


def test_a_damaged_measurement_is_noted(write_images: Callable[..., Path]) -> None:
    root = write_images(["p_C03_T0001F001L01A01Z01C01.tif"])
    (root / "MeasurementDetail.mrf").write_text("<bts:")
    plate = open_plate(root)
    assert "MeasurementDetail.mrf" in str(plate.problems[0])
    assert plate.wells == ("C03",)


@pytest.mark.parametrize("where", ["", "data"])
def test_the_pixel_size_of_scanr_is_beside_or_above_the_images(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "my run" / "data"
    folder.mkdir(parents=True)
    for well in ("A1--W00001", "B2--W00014"):
        path = folder / f"{well}--P00001--Z00000--T00000--GFP.tif"
        tifffile.imwrite(path, np.ones((6, 8), np.uint16))
    (tmp_path / "my run" / "experiment_descriptor.xml").write_text(
        "<?xml version='1.0' encoding='ISO-8859-1'?><LVData><Cluster><Name>acquisition</Name>"
        "<String><Name>plate name</Name><Val>p</Val></String>"
        "<DBL><Name>conversion factor um/pixel</Name><Val>0.3225</Val></DBL></Cluster></LVData>"
    )
    plate = open_plate(tmp_path / "my run" / where)
    assert plate.name == "my run"
    assert plate.pixel_size_um == 0.3225
    assert plate.reasons.pixel_size == "experiment_descriptor.xml"
