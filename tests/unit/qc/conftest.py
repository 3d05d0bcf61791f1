"""Small drawn sites and the tables made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.cells.intensity import ChannelRange, IntensityRanges
from napari_hcs_qc.cells.table import cells_of_site, empty_cells, join_cells
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.plates.wells import well_name
from napari_hcs_qc.qc.export.export_tables import ExportPlate
from napari_hcs_qc.qc.flags import PlateScores, score_plate
from napari_hcs_qc.qc.image_quality import measure_site, quality_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SHAPE = (192, 256)
DIAMETER = 20.0


@dataclass
class Site:
    image: NDArray[np.float64]
    labels: NDArray[np.int32]

    def pixels(self) -> NDArray[np.uint16]:
        return np.clip(np.rint(self.image), 0, 4095).astype(np.uint16)[None]


def draw(seed: int, n_nuclei: int = 48, *, noise: float = 4.0) -> Site:
    """Draw discs of one size on a jittered grid, blurred by 1 px, on a background of 120."""
    rng = np.random.default_rng(seed)
    rows, columns = 6, 8
    cells = rng.permutation(rows * columns)[:n_nuclei]
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.zeros(SHAPE)
    labels = np.zeros(SHAPE, np.int32)
    for label, cell in enumerate(cells, start=1):
        middle_y = (cell // columns + 0.5) * SHAPE[0] / rows + rng.uniform(-4, 4)
        middle_x = (cell % columns + 0.5) * SHAPE[1] / columns + rng.uniform(-4, 4)
        distance = np.hypot(y - middle_y, x - middle_x)
        brightness = rng.normal(700, 60)
        image += brightness / (1 + np.exp((distance - DIAMETER / 2) / 0.8))
        labels[distance <= DIAMETER / 2] = label
    return Site(120 + image + rng.normal(0, noise, SHAPE), labels)


@pytest.fixture(scope="session")
def draw_site() -> Callable[..., Site]:
    return draw


@pytest.fixture(scope="session")
def ranges() -> IntensityRanges:
    return IntensityRanges(
        (
            ChannelRange(
                channel="DNA",
                low=110.0,
                high=950.0,
                saturation_level=4095.0,
                background=120.0,
                dtype="uint16",
            ),
        )
    )


@pytest.fixture(scope="session")
def good_sites() -> list[Site]:
    """Draw 24 sites without any fault, with 38 to 48 nuclei."""
    rng = np.random.default_rng(7)
    return [draw(seed, int(rng.integers(38, 49))) for seed in range(24)]


class PlateOfSites:
    """Collects sites into the tables that `score_plate` takes."""

    def __init__(self, ranges: IntensityRanges) -> None:
        self.ranges = ranges
        self.sites: list[SiteKey] = []
        self.parts: list[pd.DataFrame] = []
        self.rows: list[Any] = []
        self.unreadable: dict[SiteKey, str] = {}

    def add(self, well: str, site: int, drawn: Site) -> None:
        key = SiteKey(well, site)
        pixels = drawn.pixels()
        self.sites.append(key)
        self.parts.append(cells_of_site(drawn.labels, pixels[0], key))
        measured = measure_site(pixels, drawn.labels, self.ranges, diameter_px=DIAMETER)
        self.rows += [(key, quality) for quality in measured]

    def add_unreadable(self, well: str, site: int, why: str) -> None:
        self.sites.append(SiteKey(well, site))
        self.unreadable[SiteKey(well, site)] = why

    def score(self, predictions: pd.DataFrame | None = None, **kwargs: Any) -> PlateScores:
        return score_plate(
            self.sites,
            join_cells(self.parts),
            predictions,
            quality_table(self.rows),
            unreadable=self.unreadable,
            **kwargs,
        )


@pytest.fixture
def plate(ranges: IntensityRanges, good_sites: list[Site]) -> PlateOfSites:
    """Make a plate with 24 good wells of one site each, A01 to B12."""
    made = PlateOfSites(ranges)
    for index, site in enumerate(good_sites):
        made.add(well_name(index // 12, index % 12), 1, site)
    return made


def cells_on(counts: dict[SiteKey, int]) -> pd.DataFrame:
    """Make a table of so many equal cells on each site."""
    parts = []
    for key, n in counts.items():
        part = empty_cells().reindex(range(n))
        part["cell_id"] = np.arange(n)
        part["well"], part["site"] = key.well, key.site
        part["label"] = np.arange(1, n + 1)
        part["y_px"], part["x_px"] = np.arange(n) + 0.25, np.arange(n) + 0.5
        part["area_px"], part["diameter_px"], part["mean_intensity"] = 300.0, 19.5, 800.0
        part["is_cut"], part["source"] = False, "nuclei"
        parts.append(part.astype(empty_cells().dtypes.to_dict()))
    return join_cells(parts)


def predict(abnormal: NDArray[np.bool_]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "p_abnormal": np.where(abnormal, 0.9, 0.1).astype(np.float32),
            "predicted_class": np.where(abnormal, "abnormal", "normal").astype(object),
            "predicted_kind": np.full(len(abnormal), None, dtype=object),
            "annotated_class": np.full(len(abnormal), None, dtype=object),
            "annotated_kind": np.full(len(abnormal), None, dtype=object),
        }
    )


@pytest.fixture(scope="session")
def make_cells() -> Callable[[dict[SiteKey, int]], pd.DataFrame]:
    return cells_on


@pytest.fixture(scope="session")
def make_predictions() -> Callable[[NDArray[np.bool_]], pd.DataFrame]:
    return predict


@pytest.fixture(scope="session")
def no_quality() -> pd.DataFrame:
    return quality_table([])


@pytest.fixture
def scored(no_quality: pd.DataFrame) -> ExportPlate:
    """Judge a plate: 8 wells of 2 sites; A01 s2 is empty, B01 largely abnormal, B04 s1 unread."""
    wells = [well_name(row, column) for row in range(2) for column in range(4)]
    keys = [SiteKey(well, site) for well in wells for site in (1, 2)]
    counts = dict.fromkeys(keys, 40) | {SiteKey("A01", 2): 0, SiteKey("B04", 1): 0}
    cells = cells_on(counts)
    abnormal = (cells["well"] == "B01").to_numpy() & (cells["label"] <= 30).to_numpy()
    predictions = predict(abnormal)
    predictions.loc[predictions["predicted_class"] == "abnormal", "predicted_kind"] = "dead"
    scores = score_plate(
        keys,
        cells,
        predictions,
        no_quality,
        unreadable={SiteKey("B04", 1): "B04 s1: file x.tif is truncated; copy it again."},
    )
    embeddings = np.random.default_rng(0).normal(size=(len(cells), 6)).astype(np.float32)
    verdicts = pd.DataFrame({"well": [], "site": pd.array([], dtype="Int64"), "verdict": []})
    return ExportPlate(
        name="P ä1",
        cells=cells,
        predictions=predictions,
        sites=scores.sites,
        wells=scores.wells,
        verdicts=verdicts,
        quality=None,
        embeddings=embeddings,
    )
