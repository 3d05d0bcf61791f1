"""Encoders trained without labels on the assay's own cells."""
