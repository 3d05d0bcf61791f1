from __future__ import annotations

import subprocess
import sys

import torch

from napari_hcs_qc.assay.models.versions import versions


def test_the_version_of_pytorch_is_what_it_says_without_being_imported() -> None:
    assert versions()["torch"] == str(torch.__version__)
    code = (
        "import sys; from napari_hcs_qc.assay.models.versions import versions; versions(); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
