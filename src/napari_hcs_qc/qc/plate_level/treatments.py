"""Do flags gather in one treatment? Then they may be its phenotype and not an artefact."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.qc.chance import benjamini_hochberg, hypergeometric_tail
from napari_hcs_qc.text import count_of, percent


def flags_by_treatment(wells: pd.DataFrame, platemap: pd.DataFrame) -> pd.DataFrame:
    """Test for each treatment whether more of its wells are flagged than of the others.

    One-sided exact test of Fisher (the upper tail of the hypergeometric distribution), adjusted
    over treatments. Wells that the plate map does not name or calls empty are left out.
    """
    keys = ["plate", "well"] if "plate" in platemap and "plate" in wells else ["well"]
    twice = platemap.duplicated(keys)
    if twice.any():
        raise HcsQcError(
            f"The plate map names well {platemap.loc[twice, 'well'].iloc[0]} twice; one row for "
            "each well was expected."
        )
    known = wells.merge(platemap[[*keys, "treatment", "role"]], on=keys, how="inner")
    named = known["treatment"].notna() & (known["treatment"].astype(str).str.strip() != "")
    known = known.loc[named & (known["role"] != "empty")]
    counted = known.groupby("treatment", sort=True)["is_flagged"].agg(["size", "sum"])
    n_wells = counted["size"].to_numpy(np.int64)
    n_flagged = counted["sum"].to_numpy(np.int64)
    n_all, n_all_flagged = int(n_wells.sum()), int(n_flagged.sum())
    p_value = [
        hypergeometric_tail(k, n, n_all_flagged, n_all)
        for k, n in zip(n_flagged, n_wells, strict=True)
    ]
    rest = np.where(n_all > n_wells, n_all - n_wells, 1)
    table = pd.DataFrame(
        {
            "treatment": counted.index.astype(str),
            "n_wells": n_wells,
            "n_flagged": n_flagged,
            "share_flagged": n_flagged / n_wells,
            "share_elsewhere": (n_all_flagged - n_flagged) / rest,
            "p_value": np.minimum(p_value, 1.0),
        }
    )
    table["q_value"] = benjamini_hochberg(table["p_value"])
    return table.sort_values(["p_value", "treatment"], kind="stable", ignore_index=True)


def treatment_warnings(table: pd.DataFrame, *, alpha: float = 0.05) -> tuple[str, ...]:
    """Say in which treatments flags gather, one sentence each; empty when in none."""
    gathered = table.loc[(table["q_value"] <= alpha) & (table["n_flagged"] >= 2)]
    return tuple(
        f"Flags are concentrated in treatment {treatment}: {n_flagged} of its "
        f"{count_of(n_wells, 'well')} are flagged, {percent(elsewhere)} of the other wells (q = "
        f"{q_value:.1g}, Fisher's exact test). This may be the phenotype of the treatment and not "
        "an artefact: check before you exclude wells."
        for treatment, n_wells, n_flagged, elsewhere, q_value in zip(
            gathered["treatment"],
            gathered["n_wells"],
            gathered["n_flagged"],
            gathered["share_elsewhere"],
            gathered["q_value"],
            strict=True,
        )
    )
