"""HTML reports of a plate and of a screen."""
