"""The core's commands, one module each; related ones share."""

from napari_hcs_qc.cli.commands.annotate import ANNOTATE, VERDICT
from napari_hcs_qc.cli.commands.cells import CELLS
from napari_hcs_qc.cli.commands.convert import CONVERT
from napari_hcs_qc.cli.commands.encoders import ENCODERS
from napari_hcs_qc.cli.commands.export import EXPORT, REPORT
from napari_hcs_qc.cli.commands.new import NEW
from napari_hcs_qc.cli.commands.open import OPEN
from napari_hcs_qc.cli.commands.predict import PREDICT
from napari_hcs_qc.cli.commands.relocate import RELOCATE, REMOVE
from napari_hcs_qc.cli.commands.run import RUN
from napari_hcs_qc.cli.commands.screen import SCREEN
from napari_hcs_qc.cli.commands.status import STATUS
from napari_hcs_qc.cli.commands.train import TRAIN

CORE = (
    NEW,
    CELLS,
    ANNOTATE,
    ENCODERS,
    TRAIN,
    PREDICT,
    VERDICT,
    EXPORT,
    REPORT,
    RUN,
    SCREEN,
    STATUS,
    RELOCATE,
    REMOVE,
    CONVERT,
    OPEN,
)
"""In the order of the help."""
