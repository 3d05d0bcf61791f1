"""From predictions to site and well scores, flags, exports and the report."""
