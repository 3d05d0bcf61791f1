"""Panels of the study."""
