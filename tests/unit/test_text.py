from __future__ import annotations

from napari_hcs_qc.text import count_of, interval, listing, number, percent


def test_numbers_are_written_as_a_person_reads_them() -> None:
    assert [percent(x) for x in (0, 0.0004, 0.006, 0.0631, 0.0999, 0.41, 1)] == [
        "0 %",
        "0.04 %",
        "0.6 %",
        "6.3 %",
        "10 %",
        "41 %",
        "100 %",
    ]
    assert [number(x) for x in (0, 0.044, 1.13, 12, 12.5, 118.4, -6.2)] == [
        "0",
        "0.04",
        "1.1",
        "12",
        "12.5",
        "118",
        "-6.2",
    ]
    assert interval(0.333, 0.487) == "33–49 %"
    assert interval(0.336, 0.481) == "33–49 %"  # no narrower than it is
    assert interval(0.29, 0.57) == "29–57 %"  # 100 × 0.29 is a little less than 29
    assert interval(0.9968, 1.0) == "99.6–100 %"
    assert interval(0.0, 0.0004) == "0–0.1 %"
    assert count_of(1, "site") == "1 site"
    assert count_of(1200, "site") == "1,200 sites"
    assert listing([2]) == "2"
    assert listing([2, 3, 5]) == "2, 3 and 5"
    assert listing(range(9)) == "0, 1, 2, 3, 4, 5 and 3 more"
