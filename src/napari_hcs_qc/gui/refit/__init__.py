"""Predictions that follow each annotation, until the next model is trained."""
