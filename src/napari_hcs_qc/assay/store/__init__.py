"""The files of an assay folder."""
