from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.wells import well_name
from napari_hcs_qc.qc.chance import benjamini_hochberg
from napari_hcs_qc.qc.plate_level.treatments import flags_by_treatment, treatment_warnings


def tables(flagged: dict[str, tuple[int, int]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make wells and plate map of treatment -> (flagged wells, wells)."""
    wells, platemap = [], []
    for treatment, (n_flagged, n_wells) in flagged.items():
        for index in range(n_wells):
            name = well_name(len(wells) // 24, len(wells) % 24)
            wells.append((name, index < n_flagged))
            platemap.append((name, treatment, "control" if treatment == "DMSO" else "sample"))
    return (
        pd.DataFrame(wells, columns=["well", "is_flagged"]),
        pd.DataFrame(platemap, columns=["well", "treatment", "role"]),
    )


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.integers(1, 9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
        min_size=1,
    )
)
@settings(max_examples=40)
def test_p_values_are_those_of_fishers_exact_test(flagged: dict[str, tuple[int, int]]) -> None:
    table = flags_by_treatment(*tables(flagged)).set_index("treatment")
    total_hit = sum(hit for hit, _ in flagged.values())
    total = sum(n for _, n in flagged.values())
    for treatment, (hit, n) in flagged.items():
        cells = [[hit, n - hit], [total_hit - hit, total - n - total_hit + hit]]
        expected = stats.fisher_exact(cells, alternative="greater").pvalue
        assert table.loc[treatment, "p_value"] == pytest.approx(expected)
        assert table.loc[treatment, "n_wells"] == n
        assert table.loc[treatment, "share_flagged"] == pytest.approx(hit / n)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_q_values_are_those_of_benjamini_and_hochberg(p_values: list[float]) -> None:
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))


def test_a_treatment_in_which_flags_gather_is_named() -> None:
    table = flags_by_treatment(*tables({"DMSO": (1, 30), "taxol": (5, 6), "x": (1, 12)}))
    (warning,) = treatment_warnings(table)
    assert "treatment taxol: 5 of its 6 wells are flagged, 4.8 % of the other wells" in warning
    assert "may be the phenotype" in warning


def test_scattered_flags_give_no_warning() -> None:
    table = flags_by_treatment(*tables({"DMSO": (2, 30), "taxol": (1, 2), "x": (1, 12)}))
    assert treatment_warnings(table) == ()
    assert treatment_warnings(flags_by_treatment(*tables({"a": (0, 5)}))) == ()


def test_wells_called_empty_and_wells_without_treatment_are_left_out() -> None:
    wells, platemap = tables({"DMSO": (0, 20), "none": (10, 10), "taxol": (4, 4)})
    platemap.loc[platemap["treatment"] == "none", "role"] = "empty"
    platemap.loc[0, "treatment"] = np.nan
    wells.loc[len(wells)] = ["P24", True]
    table = flags_by_treatment(wells, platemap)
    assert dict(zip(table["treatment"], table["n_wells"], strict=True)) == {"taxol": 4, "DMSO": 19}
    assert table["p_value"].iloc[0] == pytest.approx(1 / 8855)  # 1 / C(23, 4)


def test_plates_are_kept_apart() -> None:
    wells = pd.DataFrame({"plate": ["p", "q"], "well": ["A01", "A01"], "is_flagged": [True, False]})
    platemap = wells[["plate", "well"]].assign(treatment=["a", "b"], role="sample")
    table = flags_by_treatment(wells, platemap).set_index("treatment")
    assert table["n_flagged"].to_dict() == {"a": 1, "b": 0}


def test_a_plate_map_that_names_a_well_twice_is_refused() -> None:
    wells, platemap = tables({"a": (1, 2)})
    with pytest.raises(HcsQcError, match="well A01 twice"):
        flags_by_treatment(wells, pd.concat([platemap, platemap.iloc[:1]]))
