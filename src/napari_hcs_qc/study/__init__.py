"""What one cites but does not run on Monday; the core never imports it."""
