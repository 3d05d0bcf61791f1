"""Models of an assay: fitted, validated."""
