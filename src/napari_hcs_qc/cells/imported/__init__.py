"""Cells from other programs, each checked before it is believed."""
