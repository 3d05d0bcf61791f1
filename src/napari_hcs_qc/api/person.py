"""Who annotates where nobody is named."""

from __future__ import annotations

import getpass


def user_name() -> str:
    """Name of the user who is logged in."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a user
        return "unknown"
