"""Well names and plate shapes (SBS/ANSI formats, 6 to 1536 wells)."""
