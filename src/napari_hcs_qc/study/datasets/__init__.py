"""Plates of the Broad Bioimage Benchmark Collection, downloaded and unpacked to be opened."""

from napari_hcs_qc.study.datasets.fetch import Fetched, fetch_plate
from napari_hcs_qc.study.datasets.sets import BASE_URL, BASE_URL_VARIABLE, SETS

__all__ = ["BASE_URL", "BASE_URL_VARIABLE", "SETS", "Fetched", "fetch_plate"]
