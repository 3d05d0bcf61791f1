"""How the images of each maker's instruments are named."""
