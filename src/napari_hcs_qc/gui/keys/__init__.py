"""The keys of the desk: which there are, what they do, and when they are ours."""
