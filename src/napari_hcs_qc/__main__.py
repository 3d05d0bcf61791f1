"""``python -m napari_hcs_qc`` is ``hcs-qc``."""

import sys

from napari_hcs_qc.cli import main

if __name__ == "__main__":
    sys.exit(main())
