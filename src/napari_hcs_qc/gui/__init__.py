"""The napari side: readers, sample data and windows."""
