"""A whole screen: many plates judged by one model, one job a plate, on Snakemake."""
