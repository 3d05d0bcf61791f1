"""What people annotated: the journal and what is read from it."""
