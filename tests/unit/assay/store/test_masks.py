from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_hcs_qc.assay.store import masks
from napari_hcs_qc.assay.store.detection import detect
from napari_hcs_qc.assay.store.masks import site_masks
from napari_hcs_qc.cells.table import cells_of_site
from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.plates.plate import Plate, SiteKey

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.plate_cells import PlateCells

_SITES = [SiteKey("A01", 1), SiteKey("A01", 2), SiteKey("B03", 1)]


def _drawn(seed: int, n: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Discs on a noisy background, and their masks with ids that are not 1 to n."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:150, :200]
    image, labels = rng.normal(150, 6, (150, 200)), np.zeros((150, 200), np.uint16)
    for number in range(n):
        centre = 25 + 50 * np.array(divmod(number, 4)) + rng.uniform(-8, 8, 2)
        disc = np.hypot(y - centre[0], x - centre[1]) < rng.uniform(10, 13)
        image[disc] += 600
        labels[disc] = 7 * number + 3
    return image.round().astype(np.uint16), labels


@pytest.fixture
def plate(tmp_path: Path) -> Plate:
    """Three sites, the last without a cell; masks of all of them beside the plate."""
    images, folder = tmp_path / "plate", tmp_path / "masks"
    images.mkdir()
    folder.mkdir()
    for seed, (site, n) in enumerate(zip(_SITES, (11, 8, 0), strict=True)):
        image, labels = _drawn(seed, n)
        tifffile.imwrite(images / f"p_{site.well}_s{site.site}_w1.tif", image)
        tifffile.imwrite(folder / f"p_{site.well}_s{site.site}_w1_mask.tif", labels)
    return open_plate(images)


def _found(plate: Plate, source: Path | None = None) -> PlateCells:
    return detect(plate, plate.source.parent / "assay", source=source)


def _same_cells(labels: NDArray[Any], found: PlateCells, site: SiteKey) -> bool:
    cells = found.cells[
        (found.cells["well"] == site.well) & (found.cells["site"] == site.site)
    ].sort_values("label")
    measured = cells_of_site(labels, None, site)
    return all(
        np.array_equal(measured[name], cells[name]) for name in ("label", "y_px", "x_px", "area_px")
    )


def test_nuclei_found_by_us_have_their_masks_again(plate: Plate) -> None:
    found = _found(plate)
    for site, n in zip(_SITES, (11, 8, 0), strict=True):
        labels = site_masks(plate, found, site)
        assert labels is not None
        assert labels.dtype == np.int32
        assert labels.shape == (150, 200)
        assert len(np.unique(labels)) - 1 == n
        assert _same_cells(labels, found, site)


def test_imported_masks_are_read_with_the_ids_they_had(plate: Plate) -> None:
    folder = plate.source.parent / "masks"
    found = _found(plate, folder)
    for site in _SITES:
        labels = site_masks(plate, found, site)
        assert labels is not None
        expected = tifffile.imread(folder / f"p_{site.well}_s{site.site}_w1_mask.tif")
        np.testing.assert_array_equal(labels, expected)
        assert _same_cells(labels, found, site)
    assert set(found.cells["label"]) >= {3, 10, 17}


def test_imported_positions_have_no_masks(plate: Plate) -> None:
    table = plate.source.parent / "positions.csv"
    table.write_text("well,site,y_px,x_px\nA01,1,20,20\nA01,2,40,40\n")
    found = _found(plate, table)
    assert site_masks(plate, found, _SITES[0]) is None
    table.unlink()
    assert site_masks(plate, found, _SITES[2]) is None


def test_what_all_sites_share_is_looked_up_once(
    plate: Plate, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Plate] = []
    look = masks.plate_diameter
    monkeypatch.setattr(
        masks,
        "plate_diameter",
        lambda plate, **given: (asked.append(plate), look(plate, **given))[1],
    )
    found = _found(plate)
    site_masks(plate, found, _SITES[0])
    site_masks(plate, found, _SITES[1])
    assert asked == [plate]


def test_what_was_looked_up_goes_with_the_cells(plate: Plate) -> None:
    found = _found(plate)
    site_masks(plate, found, _SITES[0])
    gone = weakref.ref(found)
    n = len(masks._MASKS_OF)
    del found
    gc.collect()
    assert gone() is None
    assert len(masks._MASKS_OF) == n - 1


def test_a_site_that_became_unreadable_is_told(plate: Plate) -> None:
    found = _found(plate)
    site_masks(plate, found, _SITES[0])
    (plate.source / "p_A01_s2_w1.tif").write_bytes(b"no image")
    with pytest.raises(UnreadableSiteError, match="A01 s2"):
        site_masks(plate, found, _SITES[1])


def test_masks_that_have_changed_are_not_shown_under_wrong_ids(plate: Plate) -> None:
    folder = plate.source.parent / "masks"
    found = _found(plate, folder)
    path = folder / "p_A01_s1_w1_mask.tif"
    labels = tifffile.imread(path)
    for changed in (np.roll(labels, 3, axis=1), np.where(labels == 10, 11, labels)):
        tifffile.imwrite(path, changed)
        with pytest.raises(HcsQcError, match=r"A01 s1: its masks are not those .* again"):
            site_masks(plate, found, _SITES[0])
    path.write_bytes(b"no image")
    with pytest.raises(HcsQcError, match="p_A01_s1_w1_mask"):
        site_masks(plate, found, _SITES[0])
    assert site_masks(plate, found, _SITES[1]) is not None


def test_masks_that_are_gone_are_told(plate: Plate) -> None:
    folder = plate.source.parent / "masks"
    found = _found(plate, folder)
    (folder / "p_A01_s2_w1_mask.tif").unlink()
    with pytest.raises(HcsQcError, match="A01 s2: its mask is no longer in"):
        site_masks(plate, found, _SITES[1])
    other = _found(plate, folder)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(HcsQcError, match="no longer exists"):
        site_masks(plate, other, _SITES[0])


def test_it_stops_when_told(plate: Plate) -> None:
    found = _found(plate)
    with pytest.raises(Cancelled):
        site_masks(plate, found, _SITES[0], job=Job(should_stop=lambda: True))
    assert site_masks(plate, found, _SITES[0]) is not None


@pytest.mark.slow
@pytest.mark.realdata
def test_every_cell_of_real_sites_has_its_mask_again(shared_data: Path, tmp_path: Path) -> None:
    plate = open_plate(shared_data / "bbbc006_focus")
    found = detect(plate, tmp_path / "assay")
    assert len(found.cells) > 500
    for site in plate.sites[::5]:
        labels = site_masks(plate, found, site)
        assert labels is not None
        assert _same_cells(labels, found, site)
