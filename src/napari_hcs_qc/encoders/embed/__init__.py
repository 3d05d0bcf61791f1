"""Crops of a plate to a store of embeddings: streamed, resumable."""
