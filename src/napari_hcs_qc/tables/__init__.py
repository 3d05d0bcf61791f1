"""Tables of other programs: what their columns mean, and where their rows lie on a plate."""
