"""Public functions of this wing; `napari_hcs_qc` finds them through `plugins`."""
