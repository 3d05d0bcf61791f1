"""The prior: what judges the cells of a plate before the first annotation."""
