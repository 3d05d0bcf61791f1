"""Where the cells are and how they are cut: nuclei, imported positions, crops, intensity ranges."""
