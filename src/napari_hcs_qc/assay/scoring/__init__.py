"""Scores of cells, sites and wells by a model."""
