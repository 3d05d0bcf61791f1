"""The encoder and training panels."""
