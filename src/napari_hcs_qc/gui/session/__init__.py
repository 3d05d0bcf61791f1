"""The session that all panels talk to, and its background jobs."""
