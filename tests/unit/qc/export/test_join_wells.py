"""Our columns of wells joined onto profiles of whole wells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.export.export_tables import ExportPlate, well_table
from napari_hcs_qc.qc.export.join_profiles import MATCHED
from napari_hcs_qc.qc.export.join_wells import is_of_wells, join_wells
from napari_hcs_qc.tables.plate_sites import PlateSites
from napari_hcs_qc.tables.profiles import open_profiles

if TYPE_CHECKING:
    from pathlib import Path


def test_wells_are_joined_by_name(scored: ExportPlate, tmp_path: Path) -> None:
    wells = well_table(scored)
    named = wells["Metadata_Well"].tolist()
    profiles = pd.DataFrame(
        {
            "Metadata_Barcode": "BR1",  # one plate by another name
            "Metadata_well_position": [*(well.lower() for well in reversed(named)), "P24"],
            "Cells_Texture": range(len(named) + 1),
        }
    )
    path = tmp_path / "wells.csv"
    profiles.to_csv(path, index=False)
    plates = {scored.name: PlateSites(name=scored.name, sites=tuple(SiteKey(w, 1) for w in named))}
    source = open_profiles(path)
    assert is_of_wells(source)
    result = join_wells(wells, source, path, tmp_path / "out.parquet", plates)
    assert str(result) == f"{len(named)} of {len(named) + 1} wells matched by name"
    joined = pd.read_parquet(result.out)
    assert joined["Cells_Texture"].tolist() == list(range(len(named) + 1))
    assert joined["n_cells"].tolist()[:-1] == wells["n_cells"].tolist()[::-1]
    outlier = joined["Metadata_cqc_well_is_outlier"]
    assert outlier.tolist() == [*wells["Metadata_cqc_well_is_outlier"][::-1], False]
    assert joined[MATCHED].tolist() == [True] * len(named) + [False]
    other = profiles.iloc[-1:]
    other.to_csv(path, index=False)
    with pytest.raises(HcsQcError, match="None of the 1 wells"):
        join_wells(wells, open_profiles(path), path, tmp_path / "o.parquet", plates)


def test_profiles_of_cells_are_none_of_wells(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for name in ("Metadata_Site", "ObjectNumber", "ImageNumber"):
        path.write_text(f"Metadata_Well,{name}\nA01,1\n")
        assert not is_of_wells(open_profiles(path))
