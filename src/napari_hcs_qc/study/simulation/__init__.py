"""Simulated plates with known artefacts."""
