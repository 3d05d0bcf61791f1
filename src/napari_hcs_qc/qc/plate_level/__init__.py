"""Whole plates: flags, position effects, treatments."""
