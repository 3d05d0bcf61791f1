"""The annotation panel."""
