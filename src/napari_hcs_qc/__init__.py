"""Quality control of high-content screens: plates in, flagged cells, sites and wells out."""

from importlib.metadata import version

__version__ = version("napari-hcs-qc")
