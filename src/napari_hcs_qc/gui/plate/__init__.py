"""The plate panel: open, map, thumbnails."""
