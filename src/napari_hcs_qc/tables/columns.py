"""The one dictionary of column names: what profiling, imaging and annotation tools call things."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

_OBJECT = r"(?:[a-z0-9]+_)??"  # of CellProfiler, such as nuclei_
_MEANINGS: dict[str, tuple[str, ...]] = {
    "plate": (
        r"(?:assay_?)?plate",
        r"(?:assay_?)?plate_?(?:name|id|barcode|label|nr|no|number)",
        r"(?:assay_?|plate_?|measurement_?)?barcode",
        r"measurement|screen_?plate",
    ),
    "well": (
        r"well",
        r"(?:assay_|plate_)?well_?(?:name|id|label|position|pos|coordinates?|coord|no|number|index)",
        r"(?:assay|plate|cpd|destination|dest)_?well(?:_?(?:position|name|id))?",
        r"cpd_well_position|wells",
    ),
    "row": (r"row", r"(?:well|plate)_?row(?:_?(?:name|id|index|number))?"),
    "column": (r"column|col", r"(?:well|plate)_?(?:column|col)(?:_?(?:name|id|index|number))?"),
    "site": (
        r"site|field|fov|field_of_view|fieldofview",
        r"(?:well_|image_)?(?:site|field|fov)_?(?:id|number|no|nr|index|name)?",
        r"field_of_view_?(?:id|number|no)|view|tile|position_?(?:id|number|index)?|series|scene",
    ),
    "time": (
        r"time",
        r"time_?point(?:_?(?:id|number|index|nr|no))?",
        r"t|tp|time_?(?:id|index|number)|frame(?:_?(?:number|index))?",
    ),
    "image_number": (r"image_?number",),
    "table_number": (r"table_?number",),
    "file": (
        r"file_?name_(?:orig_?)?(?:dna|dapi|hoechst\w*|nucle\w*|draq\w*)",
        r"file_?name(?:_\w+)?",
        r"image|image_?(?:file|name|file_?name|path)|source|source_?file|file|label_?image",
    ),
    "object_number": (
        r"nucle(?:i|us)_(?:number_)?object_?number",
        r"(?:number_)?object_?(?:number|no|nr)",
        r"[a-z0-9]+_(?:number_)?object_?number",
        r"object_?(?:id|label)|cell_?(?:id|number|no)|label|roi_?id",
    ),
    "area_px": (
        r"nucle(?:i|us)_areashape_area",
        r"areashape_area|area",
        r"[a-z0-9]+_areashape_area",
        r"(?:nucleus|nuclei|cell|object)_area",
    ),
    "class": (
        r"annotated_class",
        r"class|user_label",
        r"classification|annotations?|category|class_?(?:name|label)|label_?name",
        r"label",  # beside a class it is the number of the object
        r"manual_\w+|qc",
        r"quality|quality_control|qc_?(?:label|class|status)|user_class|human_label|rating|grade",
        r"(?:is_)?(?:abnormal|outlier|bad|artefact|artifact|reject(?:ed)?|fail(?:ed)?|excluded?)",
        r"(?:is_)?(?:normal|good|ok|okay|keep|kept|pass(?:ed)?|healthy)",
    ),
    "kind": (r"annotated_kind", r"kind|reason|defect|artefact_?(?:type|kind)|artifact_?(?:type)"),
    "note": (r"note", r"notes|comments?|remarks?"),
    "annotator": (r"annotator|annotated_by|observer|rater|user|curator|scorer",),
    "treatment": (
        r"treatment",
        r"compound(?:_?name)?|treatment_?name|drug(?:_?name)?|pert_iname|source_compound_name",
        r"perturbation(?:_?name)?|perturbagen|chemical(?:_?name)?|substance|molecule|agent",
        r"sample|sample_?(?:name|id)|condition|content|contents|stimulus|ligand",
        r"broad_?sample|pert_?id|compound_?id|jcp\d*|(?:metadata_)?jcp2022|broad_?id|cas(?:_?no)?",
        r"gene|gene_?(?:symbol|name)|target_?gene|sirna|grna|crispr|orf|symbol|label|name",
        r"solvent",
    ),
    "role": (
        r"role|well_?role|assay_well_role",
        r"control_?type|control|ctrl",
        r"(?:well|content|sample|treatment|pert|perturbation|compound|layout)_?type|type|well_?class",
    ),
}
"""For each meaning its names after `_folded`, the preferred ones first."""

_PREFIX = re.compile(
    r"^(?:metadata_|image_(?=metadata_|plate|well|site|field|fov|barcode|file))+(?=.)"
)
_UNIT = re.compile(r"[\s_]*[\[(]?\s*(?P<unit>µm|μm|um|microns?|micrometers?|px|pixels?)\s*[\])]?$")
_AXES = (
    re.compile(r"(?P<stem>|.*_)(?P<axis>[xy])"),
    re.compile(r"(?P<axis>[xy])_?(?P<stem>(?:centroid|center|centre|coord|position|pos|px)\w*)"),
    re.compile(r"(?P<stem>.*(?:centroid|center_of_the_object|axis|center|centre))_(?P<axis>[012])"),
    re.compile(r"(?P<stem>)(?P<axis>[xy])m"),  # centre of mass, as ImageJ has it
    re.compile(r"(?P<stem>\w*(?:centroid|center|centre|position|pos|coord)|c)(?P<axis>[xy])"),
)
_STEMS = (
    r"nucle(?:i|us)_location_center_",
    r"location_center_",
    r"nucle(?:i|us)_areashape_center_",
    r"areashape_center_",
    r".*nuc.*_location_center_",
    r".*nuc.*_areashape_center_",
    r".*nuc.*(?:centroid|center|centre|position|pos)\w*",
    r"",
    r"(?:.*_)?(?:centroid|center|centre|cent)\w*|c",
    r"(?:.*_)?(?:position|pos|coords?|coordinates?|location|loc)_?\w*",
    r"axis",
    r".*_(?:location|areashape)_center_",
)
"""What stands before the axis in the name of a position, the preferred ones first."""
_NUMBERED = {"center_of_the_object": {"0": "x", "1": "y"}}  # else in the order of an array: y, x


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table, by what they mean."""

    names: dict[str, str]
    unit: str = ""  # of the positions, where their names state it: px or um

    def __contains__(self, meaning: str) -> bool:
        return meaning in self.names

    def __getitem__(self, meaning: str) -> str:
        return self.names[meaning]

    @property
    def has_well(self) -> bool:
        """Whether the well is named, in one column or by row and column."""
        return "well" in self or ("row" in self and "column" in self)

    def __str__(self) -> str:
        parts = [f"{meaning} from {name}" for meaning, name in self.names.items()]
        return ", ".join(parts) + (f" (in {self.unit.replace('um', 'µm')})" if self.unit else "")


def find_columns(names: Sequence[str], meanings: Iterable[str]) -> Columns:
    """Find the columns with these meanings, among them ``position`` for two columns y and x."""
    by_folded: dict[str, list[str]] = {}
    for name in names:
        by_folded.setdefault(_folded(name)[0], []).append(name)
    chosen: dict[str, str] = {}
    unit = ""
    for meaning in meanings:
        if meaning == "position":
            pair, unit = _find_position(names)
            chosen |= pair
            continue
        first = next(
            (
                by_folded[folded][0]
                for pattern in _MEANINGS[meaning]
                for folded in by_folded
                if re.fullmatch(pattern, folded) and by_folded[folded][0] not in chosen.values()
            ),
            None,
        )
        if first is not None:
            chosen[meaning] = first
    return Columns(chosen, unit)


def check_twice(path: Path, columns: Columns, names: Collection[str]) -> None:
    """Refuse a table in which a name stands twice, in upper and lower case."""
    folded = [name.strip().casefold() for name in names]
    twice = sorted(
        {name.casefold() for name in columns.names.values() if folded.count(name.casefold()) > 1}
    )
    if twice:
        raise HcsQcError(
            f"{path} has the column {', '.join(twice)} twice, in upper and lower case; rename or "
            "remove one."
        )


def missing_columns(path: Path, missing: str, needed: str, names: Sequence[str]) -> HcsQcError:
    """Say what a table lacks."""
    return HcsQcError(
        f"{path} lacks a column for {missing}; {needed} were expected. It has {a_few(names, 12)}. "
        "Rename the column that means it, or add one."
    )


def _folded(name: str) -> tuple[str, str]:
    """Name in lower case with ``_`` between its words and without what says nothing, and unit."""
    text = name.strip().casefold()
    unit = ""
    match = _UNIT.search(text)
    if match and match.start():
        unit = "px" if match["unit"].startswith("p") else "um"
        text = text[: match.start()]
    text = re.sub(r"[^a-z0-9]+", "_", text).strip("_")
    return _PREFIX.sub("", text), unit


def _find_position(names: Sequence[str]) -> tuple[dict[str, str], str]:
    """Find the two columns of a position, and the unit that their names state."""
    pairs: dict[str, dict[str, str]] = {}
    units: dict[str, str] = {}
    for name in names:
        folded, unit = _folded(name)
        for pattern in _AXES:
            match = pattern.fullmatch(folded)
            if match:
                key = f"{match['stem']}|{unit}"
                pairs.setdefault(key, {}).setdefault(match["axis"], name)
                units[key] = unit
                break
    order = sorted(pairs, key=lambda key: units[key] == "um")  # px before µm, else as they stand
    for stem in _STEMS:
        for key in order:
            own = key.partition("|")[0]
            if not re.fullmatch(stem, own):
                continue
            axes = pairs[key]
            if "x" not in axes and "1" in axes:
                default = {"1": "y", "2": "x"} if "2" in axes else {"0": "y", "1": "x"}
                numbered = _NUMBERED.get(own, default)
                axes = {axis: axes[n] for n, axis in numbered.items() if n in axes}
            if {"x", "y"} <= set(axes):
                return {"y_px": axes["y"], "x_px": axes["x"]}, units[key]
    return {}, ""
