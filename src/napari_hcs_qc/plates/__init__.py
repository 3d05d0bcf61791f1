"""What was imaged: plates, wells, sites and channels, one module per source format."""
