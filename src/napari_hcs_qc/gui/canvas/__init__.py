"""Layers on napari's canvas."""
