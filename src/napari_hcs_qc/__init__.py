"""Quality control of high-content screens: plates in, flagged cells, sites and wells out.

The names and their types are in ``__init__.pyi``; each is imported when it is first used, so that
``import napari_hcs_qc`` costs next to nothing.
"""

import lazy_loader

from napari_hcs_qc import plugins

_of_core, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name):  # type: ignore[no-untyped-def]
    return plugins.load(plugins.FUNCTIONS[name]) if name in plugins.FUNCTIONS else _of_core(name)
