"""The JSON files of a screen: its plan, its model, and the job and outcome of each plate."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from napari_hcs_qc.assay.scoring.saved_prediction import PlateContent
from napari_hcs_qc.documents import Document, Part
from napari_hcs_qc.files import fingerprint
from napari_hcs_qc.old_names import with_new_names
from napari_hcs_qc.plates.plate import Projection
from napari_hcs_qc.plugins import BUILT_IN_DETECTOR

PLAN = "plan.json"


class Stamp(Part):
    """A file, or the files of a folder, with what tells it from another."""

    path: str
    sha256: str | None = None
    """Of the content of a file."""
    files: str | None = None
    """Of the sizes and dates of the files of a folder."""

    @model_serializer(mode="wrap")
    def _given(self, dump: SerializerFunctionWrapHandler) -> dict[str, str]:
        return {name: value for name, value in dump(self).items() if value is not None}


class PlateTask(Part):
    """The plate of a job, as `open_plate` takes it."""

    name: str
    path: str
    pattern: str | None
    image_root: str | None
    chosen_name: str | None
    plate_shape: str | None = None
    time: int | Literal["all"] | None = None
    """``all`` only where the plate could not be opened, so that its time points are not known."""
    is_of_series: bool | None = None
    """Whether it is one time point of a series, which is named after the time."""
    allow_remote: bool | None = None

    @model_serializer(mode="wrap")
    def _given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what 0.1.0 did not have where it is not given, so that its jobs stay done."""
        added = ("plate_shape", "time", "is_of_series", "allow_remote")
        return {
            name: value
            for name, value in dump(self).items()
            if value is not None or name not in added
        }


class CellsTask(Part):
    """How the cells of a job are found."""

    source: Stamp | None
    channel: str | int | None
    z: Projection | None


class ExportTask(Part):
    """What a job exports."""

    exclude_kinds: tuple[str, ...]
    """Abnormal cells of these kinds stay in; as 0.1.0 called it, so that its jobs stay done."""
    exclude_unreviewed: bool


class JobContent(Part):
    """Everything that decides the results of a plate."""

    plate: PlateTask
    images: str | None
    """Fingerprint of the plate; None where it cannot be opened."""
    platemap: Stamp | None
    cells: CellsTask
    export: ExportTask
    model: str
    bundle: str
    version: str

    @property
    def fingerprint(self) -> str:
        """Content address of the job."""
        return fingerprint(self.model_dump(mode="json"))

    def changed_from(self, before: JobContent) -> list[str]:
        """Name what is other than it was."""
        names = sorted(JobContent.model_fields)
        return [name for name in names if getattr(self, name) != getattr(before, name)]


class JobDocument(Document):
    """The file `job.json` of a plate."""

    format: Literal["napari-hcs-qc job"] = "napari-hcs-qc job"
    format_version: Literal[2] = 2
    job: JobContent

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        """0.1.0 wrote the content beside its fingerprint."""
        return {"job": {name: data[name] for name in JobContent.model_fields if name in data}}


class PlateSummary(Part):
    """What a plate is compared by, and what the report of the screen shows of it."""

    name: str
    shape: tuple[int, int]
    n_wells: int
    n_flagged: int
    n_sites: int
    n_unreadable: int
    n_cells: int
    n_scored: int
    n_abnormal: int
    share_abnormal: float | None
    cells_per_site: float | None
    quality: dict[str, dict[str, float]]
    novelty: str
    shift: float | None
    warnings: tuple[str, ...]
    unreadable: tuple[str, ...]
    model: str
    threshold: float
    first_image: str | None


class DoneDocument(Document):
    """The file `done.json` of a plate: written last, the results are there."""

    format: Literal["napari-hcs-qc results"] = "napari-hcs-qc results"
    format_version: Literal[2] = 2
    fingerprint: str
    job: JobContent
    n_actions: int | None
    """Actions in the journal of the plate's assay when the results were made."""
    figures: PlateSummary
    finished: str
    duration_s: float
    versions: dict[str, str]

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        """0.1.0 had other names."""
        renamed: dict[str, Any] = with_new_names(data)
        return renamed


class ProblemDocument(Document):
    """The file `problem.json`: why a job failed."""

    format: Literal["napari-hcs-qc problem"] = "napari-hcs-qc problem"
    format_version: Literal[2] = 2
    fingerprint: str = ""
    """Of the job; empty for that of the model."""
    error: str
    is_expected: bool = True
    """Whether it is an error that a user can act on."""


class BundleSettings(Part):
    """Settings that go with a model."""

    threshold: float
    flag_rule: dict[str, float]
    include_cut: bool = False
    detector: str = BUILT_IN_DETECTOR


class BundleFacts(Part):
    """What decides the content of a bundle, and which one it is."""

    model: str
    files: dict[str, str]
    settings: BundleSettings
    channel: str
    projection: Projection
    mark: str = ""
    """Content address of all above."""
    assay: str = ""

    def marked(self, assay: str) -> BundleFacts:
        """Give the same with its mark."""
        content = self.model_dump(mode="json", exclude={"mark", "assay"})
        return self.model_copy(update={"mark": fingerprint(content), "assay": assay})


class ReferenceRecord(Part):
    """What plates are compared with; the embeddings are in a file beside."""

    wells: tuple[str, ...]
    plates: tuple[PlateContent, ...]
    sha256: str = ""
    """Of that file; empty where 0.1.0 wrote it."""


class BundleDocument(Document):
    """The file `bundle.json` of a model that was copied for a screen."""

    remedy: ClassVar[str] = "Remove its folder and run the same command again."

    format: Literal["napari-hcs-qc bundle"] = "napari-hcs-qc bundle"
    format_version: Literal[2] = 2
    facts: BundleFacts
    channels: tuple[str, ...]
    reference: ReferenceRecord

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        """0.1.0 wrote the facts beside the rest."""
        facts = {name: data.pop(name) for name in BundleFacts.model_fields if name in data}
        return {**data, "facts": facts}


class PlanDocument(Document):
    """The file `plan.json` of a screen, which its workflow reads."""

    format: Literal["napari-hcs-qc screen"] = "napari-hcs-qc screen"
    format_version: Literal[2] = 2
    version: str
    spec: str | None
    assay: str
    model: BundleFacts
    bundle: str
    plates: tuple[str, ...]
    threads: int
    device: str


class PlateOutcome(Part):
    """What stands in the provenance of a screen about one plate."""

    name: str
    fingerprint: str
    job: JobContent
    finished: str
    duration_s: float
    versions: dict[str, str]


class Failure(Part):
    """A plate without results, and why."""

    name: str
    why: str


class ScreenProvenance(Document):
    """The file `provenance.json` of a screen."""

    format: Literal["napari-hcs-qc screen provenance"] = "napari-hcs-qc screen provenance"
    format_version: Literal[2] = 2
    screen: str
    spec: str | None
    spec_text: str | None
    model: BundleFacts
    rule: dict[str, float]
    rule_in_words: tuple[str, ...]
    plates: tuple[PlateOutcome, ...]
    failed: tuple[Failure, ...]
    versions: dict[str, str]
