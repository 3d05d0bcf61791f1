"""Artefacts of graded severity on real cells, and which of them an encoder misses."""
