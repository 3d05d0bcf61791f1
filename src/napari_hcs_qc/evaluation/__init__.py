"""Splits, metrics and cross-validation."""
