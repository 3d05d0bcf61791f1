"""One module per format of plates, registered."""
