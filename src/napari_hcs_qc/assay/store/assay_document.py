"""The file `assay.json`: the plates of an assay and its settings."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue

from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS, Kind, check_distinct
from napari_hcs_qc.documents import Document, Part, accepted_by
from napari_hcs_qc.qc.rule import FlagRule


def _check_beside_the_built_in(kinds: tuple[Kind, ...]) -> None:
    check_distinct((*BUILT_IN_KINDS, *kinds))


class PlateRecord(Part):
    """A plate; its paths are absolute, and as seen from the assay where that is possible."""

    name: str
    source: str = Field(min_length=1)
    source_from_assay: str | None = None
    pattern: str | None = None
    image_root: str | None = None
    image_root_from_assay: str | None = None
    plate_shape: str | None = None
    time: int | None = None
    series: str | None = None
    """Of one time point of a time series: the name of the plate."""
    allow_remote: bool | None = None
    """Whether images may be read from servers that the table of the plate names; by default no."""
    fingerprint: str = ""


class AssaySettings(Part):
    """What people chose for an assay; None and nothing is the default."""

    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """P(abnormal) from which a cell counts as abnormal."""
    flag_rule: Annotated[dict[str, float], accepted_by(FlagRule.from_dict)] = Field(
        default_factory=dict
    )
    """Thresholds of the flag rule that are not the defaults."""
    include_cut: bool | None = None
    """Whether cells that the image border cuts count as others do; no by default."""
    detector: str | None = None
    """What finds nuclei on the plates; ours by default."""
    nuclear_channel: str | None = None
    """Name of the channel that shows nuclei; by default the first named like their stain."""
    projection: Literal["max"] | Annotated[int, Field(ge=0)] | None = None
    """The maximum over z, or the z plane, on which cells are found; the maximum by default."""
    kinds: Annotated[tuple[Kind, ...], accepted_by(_check_beside_the_built_in)] = ()
    """Kinds of abnormal cells that people added, after those that every assay has."""
    model: str | None = None
    """Id of an older model that was restored."""
    platemap: str | None = None
    """Name of the file that the plate map was copied from."""
    platemap_sha256: str | None = None
    """Of the copy; None where an earlier version made it."""
    train_options: JsonValue = None
    """Checked when it is used, see `train_options`: the assay opens whatever stands there."""
    screen_cells: JsonValue = None
    """How the job of a screen found the cells; only compared."""


class AssayDocument(Document):
    """The file `assay.json`."""

    remedy: ClassVar[str] = (
        "Correct the file or restore it from a backup, or make a new assay and move journal.sqlite "
        "into it."
    )

    format: Literal["napari-hcs-qc assay"] = "napari-hcs-qc assay"
    format_version: Literal[2] = 2
    created: str
    plates: tuple[PlateRecord, ...] = ()
    settings: AssaySettings = Field(default_factory=AssaySettings)

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        """0.1.0 called the version of the format `version`."""
        data.pop("version", None)
        return data

    def plain(self) -> dict[str, Any]:
        """Give plain data; what is not set is left out."""
        return self.model_dump(mode="json", exclude_none=True)
