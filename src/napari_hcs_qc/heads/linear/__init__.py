"""The default head: solver, folds, calibration, scoring."""
