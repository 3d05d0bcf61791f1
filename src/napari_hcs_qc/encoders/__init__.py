"""Crop to vector: the registry, pretrained and local weights, and the embedding store."""
