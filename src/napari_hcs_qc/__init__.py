"""Quality control of high-content screens: plates in, flagged cells, sites and wells out.

The names and their types are in ``__init__.pyi``; each is imported when it is first used, so that
``import napari_hcs_qc`` costs next to nothing.
"""

import sys
from types import ModuleType

import lazy_loader

from napari_hcs_qc import plugins

_of_core, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name):  # type: ignore[no-untyped-def]
    return plugins.load(plugins.FUNCTIONS[name]) if name in plugins.FUNCTIONS else _of_core(name)


class _Package(ModuleType):
    """Keeps `screen` and `encoders` functions when the packages of these names are imported."""

    def __setattr__(self, name, value):  # type: ignore[no-untyped-def]
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
