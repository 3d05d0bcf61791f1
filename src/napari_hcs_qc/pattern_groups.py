"""The named groups of a pattern of file names; the command line imports them, and nothing more."""

from __future__ import annotations

GROUPS = {
    "well": "name of the well, such as A01",
    "row": "row, as letter or as number from 1",
    "column": "column, from 1",
    "row0": "row, from 0",
    "column0": "column, from 0",
    "number": "number of the well along the rows, from 1",
    "site": "site: a whole number, or one letter in all names",
    "channel": "name or number of the channel",
    "z": "plane, a whole number",
    "time": "time point, a whole number",
    "plate": "name of the plate, of which --plate-name chooses one",
}

PATTERN_HELP = (
    "regular expression that is searched in the path of each image from the plate's folder, with "
    "the named groups "
    + "; ".join(f"{name} ({meaning})" for name, meaning in GROUPS.items())
    + ". Needed are well, or row and column, or number"
)
