"""Widgets and charts that panels share."""
