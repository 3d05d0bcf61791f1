from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.cells.table import empty_cells
from napari_hcs_qc.plates.plate import SiteKey

PLACES = st.lists(st.tuples(st.sampled_from(["A01", "A02", "AF48"]), st.integers(0, 3)), max_size=9)


def table(places: list[tuple[str, int]]) -> pd.DataFrame:
    wells = pd.Series([well for well, _ in places], dtype=object)
    return pd.DataFrame({"well": wells, "site": np.array([s for _, s in places], dtype=np.int32)})


@settings(max_examples=60)
@given(first=PLACES, further=PLACES)
def test_rows_of_every_site_are_those_of_a_search(
    first: list[tuple[str, int]], further: list[tuple[str, int]]
) -> None:
    for index, places in (
        (CellsBySite.of(table(first)), first),
        (CellsBySite.of(table(first)).with_added(table(further)), first + further),
    ):
        assert len(index) == len(places)
        assert index.sites == tuple(dict.fromkeys(SiteKey(*place) for place in places))
        is_first = index.spread([site.site == 0 for site in index.sites])
        assert is_first.tolist() == [site == 0 for _, site in places]
        assert [index.sites[code] for code in index.code] == [SiteKey(*one) for one in places]
        for site in (*index.sites, SiteKey("B01", 1), SiteKey("A01", 9)):
            expected = [row for row, place in enumerate(places) if SiteKey(*place) == site]
            assert index.rows(site).tolist() == expected
            begin, end = index.span(site)
            assert index.order[begin:end].tolist() == expected


def test_sites_are_plain_keys_and_no_cells_are_no_sites() -> None:
    (site,) = CellsBySite.of(table([("A01", 2)])).sites
    assert (type(site), type(site.well), type(site.site)) == (SiteKey, str, int)
    nothing = CellsBySite.of(empty_cells())
    assert (len(nothing), nothing.sites) == (0, ())
    assert nothing.rows(SiteKey("A01", 1)).tolist() == []
    assert nothing.with_added(table([("A01", 2)])).rows(SiteKey("A01", 2)).tolist() == [0]
