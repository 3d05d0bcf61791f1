"""What finds nuclei: ours, and others by name."""
