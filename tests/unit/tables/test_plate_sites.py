"""Which site a file of another program is of."""

from __future__ import annotations

import pytest

from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.tables.plate_sites import PlateSites

SITES = PlateSites(
    name="p",
    sites=(SiteKey("A01", 1), SiteKey("A01", 2), SiteKey("B03", 1)),
    stems={"t_a01_s1_w1": SiteKey("A01", 1), "odd name": SiteKey("B03", 1)},
)


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("T_A01_s1_w1.tif", "A01 s1"),
        ("T_A01_s1_w1.tif - T_A01_s1_w1.tif #1", "A01 s1"),
        ("C:\\data\\T_A01_s1_w1.TIF", "A01 s1"),
        ("T_A01_s1_w1_cp_masks.png", "A01 s1"),
        ("T_A01_s1_w1_seg.npy", "A01 s1"),
        ("T_A01_s1_w1_Object-Identities.tif", "A01 s1"),
        ("T_A01_s1_w1_table.csv", "A01 s1"),
        ("T_A01_s1_w1.ome_nuclei_masks.tif", "A01 s1"),
        ("odd name_labels.tif", "B03 s1"),
        ("A01_s2.csv", "A01 s2"),
        ("A01_2.tif", "A01 s2"),
        ("nuclei-of_B03-f02_labels.tif", "B03 s2"),
        ("A01/2.tif", "A01 s2"),
        ("A01/s2_mask.tif", "A01 s2"),
        ("A01/2/mask.tif", "A01 s2"),
        ("A01/T_s2_mask.tif", "A01 s2"),
        ("r01c01f02p01-ch1sk1fk1fl1_mask.tif", "A01 s2"),
        ("whatever.tif", "None"),
        ("A01.tif", "None"),  # it has two sites
    ],
)
def test_site_of_a_file(name: str, site: str) -> None:
    assert str(SITES.site_of_file(name)) == site


def test_a_well_is_enough_where_each_has_one_site() -> None:
    sites = PlateSites(name="p", sites=(SiteKey("A01", 3), SiteKey("B03", 3)))
    assert sites.site_of_file("B03_mask.tif") == SiteKey("B03", 3)
    assert sites.site_of_file("A01/mask.tif") == SiteKey("A01", 3)
    assert sites.site_of_file("C05_mask.tif") is None
