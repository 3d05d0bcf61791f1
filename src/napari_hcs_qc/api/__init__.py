"""The public API: the class `Assay`, and functions for what is not about one assay.

Import from `napari_hcs_qc`; where the modules lie may change.
"""
