"""What napari sees: contributions, readers, the desk of all panels."""
