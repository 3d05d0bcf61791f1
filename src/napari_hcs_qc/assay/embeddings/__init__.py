"""Embeddings of an assay's plates and training sets."""
