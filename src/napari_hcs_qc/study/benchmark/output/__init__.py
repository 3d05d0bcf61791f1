"""Tables, pages and plots of the benchmark."""
