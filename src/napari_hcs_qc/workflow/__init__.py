"""The steps in order: what a command or a button does."""
