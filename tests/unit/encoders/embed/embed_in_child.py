"""Run by test_resume.py in a process of its own, which is then killed.

Arguments: folder of this file's conftest, folder of the plate, root of the stores, encoder log.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from napari_hcs_qc.encoders.embed.embed_cells import embed_cells

if __name__ == "__main__":
    conftest, plate, root, log = (Path(argument) for argument in sys.argv[1:])
    shared = runpy.run_path(str(conftest))
    inputs = shared["open_inputs"](plate)
    embed_cells(
        inputs.plate,
        inputs.cells,
        inputs.ranges,
        inputs.recipe,
        shared["FakeEncoder"](s_per_crop=0.002, log=log),
        root,
        batch_size=16,
        chunk_cells=16,
    )
