"""Plates in OME-Zarr: read, written, remote."""
