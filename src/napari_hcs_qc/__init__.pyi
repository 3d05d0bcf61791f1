from ._version import __version__
from .api.assay import Assay
from .api.functions import convert, encoders, run, screen
from .assay.annotations.journal_repair import JournalRepair
from .assay.annotations.kinds import Kind
from .assay.scoring.saved_prediction import Prediction
from .assay.store.plate_cells import PlateCells
from .assay.store.plate_entry import PlateEntry
from .assay.store.saved_model import Model
from .encoders.custom_encoder import CustomEncoder
from .errors import HcsQcError, Problem, ProblemsError, WriteError
from .job import Cancelled, Job
from .plates.ome_zarr.convert import Conversion
from .plates.open import open_plate
from .plates.plate import Plate, SiteKey
from .plates.readers.registry import Reader, register_reader
from .screen.running import ScreenResult
from .screen.screen_plan import ScreenPlan
from .study.api.comparing import BenchmarkResult, SensitivityResult, benchmark, sensitivity
from .study.api.data import fetch, simulate
from .study.api.pretraining import pretrain
from .study.datasets.fetch import Fetched
from .study.simulation.synthetic import SimulatedPlate
from .workflow.checking import AssayCheck
from .workflow.encoder_list import EncoderList
from .workflow.export import Exported
from .workflow.labels_in_out import LabelsImported
from .workflow.status import AssayStatus, PlateStatus
from .workflow.steps import RunResult

__all__ = [
    "Assay",
    "AssayCheck",
    "AssayStatus",
    "BenchmarkResult",
    "Cancelled",
    "Conversion",
    "CustomEncoder",
    "EncoderList",
    "Exported",
    "Fetched",
    "HcsQcError",
    "Job",
    "JournalRepair",
    "Kind",
    "LabelsImported",
    "Model",
    "Plate",
    "PlateCells",
    "PlateEntry",
    "PlateStatus",
    "Prediction",
    "Problem",
    "ProblemsError",
    "Reader",
    "RunResult",
    "ScreenPlan",
    "ScreenResult",
    "SensitivityResult",
    "SimulatedPlate",
    "SiteKey",
    "WriteError",
    "__version__",
    "benchmark",
    "convert",
    "encoders",
    "fetch",
    "open_plate",
    "pretrain",
    "register_reader",
    "run",
    "screen",
    "sensitivity",
    "simulate",
]
