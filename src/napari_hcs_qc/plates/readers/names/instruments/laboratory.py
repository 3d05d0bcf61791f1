"""Names that people give: a well, a field and a stain, in any usual order and separation."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from napari_hcs_qc.plates.readers.names.name_format import Example, NameFormat, compiled
from napari_hcs_qc.plates.readers.names.place import NO_CHANNEL, NO_Z, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

_STAIN = re.compile(
    r"dapi|hoechst\d*|dna|draq\d|sytox\w*|syto\d*|pi|nuc(?:lei|leus)?|[et]?gfp|mneon\w*|[ect]?yfp"
    r"|[et]?cfp|bfp|rfp|m?cherry|tdtomato|m?kate\d?|fitc|tritc|cy\d(?:\.\d)?|texas ?red|tx ?red"
    r"|(?:alexa|af|a)(?:fluor)?\d{3}|actin|phalloidin|tubulin|er|rna|agp|mito\w*|golgi|wga|cona"
    r"|bright ?field|bf|phase|dic|tl|trans|lamin\w*|edu|ki67|h2b",
    re.IGNORECASE,
)
_WELL = re.compile(r"(?:well)?([A-P](?!0+$)0?\d{1,2})", re.ASCII | re.IGNORECASE)
_NUMBERS = {
    # Also German, French, Spanish, Portuguese and Italian.
    "site": r"f|fld|field|s|site|fov|pos|position|xy|tile|p|img|image|pic|view|spot|roi|region"
    r"|feld|bild|ort|stelle|champ|vue|campo|imagen|imagem|immagine|posicion|posizione",
    "z": r"z|slice|plane",
    "time": r"t|time|tp|timepoint|frame",
    "channel": r"c|ch|channel|w|wv|wave",
}
_NUMBERED = {
    name: re.compile(rf"(?:{words})(\d+)", re.ASCII | re.IGNORECASE)
    for name, words in _NUMBERS.items()
}
_ALONE = re.compile("|".join(_NUMBERS.values()), re.IGNORECASE)
_RUN = re.compile(
    r"(?:run|rep|repl|replicate|plate|scan|batch|exp|experiment|copy|measurement|day|round|cycle)\d*",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z][\w.+ ]*[A-Za-z0-9]", re.ASCII)
_OF_RUN = re.compile(r"\d+x|(?:\d\d)?\d\d[01]\d[0-3]\d", re.IGNORECASE)  # 20x, 240131
_WITH_UNIT = re.compile(
    r"t?(\d+)(?:h|hrs?|hours?|min|mins|minutes?|days?)", re.ASCII | re.IGNORECASE
)


def _read(_folder: str, match: re.Match[str]) -> Place | None:
    stem = match["stem"]
    tokens = [token for token in re.split(r"[/_\-. ]+", stem) if token]
    well = _well_at(tokens)
    if well is None:
        return None
    name = _WELL.fullmatch(tokens[well])
    assert name is not None
    # Wells imaged on two days or with two objectives are imaged twice, as by two runs.
    of_run = [token for token in tokens[well + 1 :] if _OF_RUN.fullmatch(token)]
    values = _values([token for token in tokens[well + 1 :] if token not in of_run])
    if values is None:
        return None
    before = [token for token in re.split(r"[_\-. ]+", os.path.basename(stem)) if token]
    before = before[: before.index(tokens[well])] if tokens[well] in before else []
    before += of_run
    if "channel" not in values:
        for token in reversed(tokens[:well]):
            number = _NUMBERED["channel"].fullmatch(token)
            if number or _STAIN.fullmatch(token):
                values["channel"] = str(int(number[1])) if number else token
                before = [each for each in before if each != token]
                break
    return Place(
        name[1],
        int(values.get("site", 1)),
        values.get("channel", NO_CHANNEL),
        int(values.get("z", NO_Z)),
        int(values.get("time", 0)),
        "_".join(before),
    )


def _well_at(tokens: Sequence[str]) -> int | None:
    """Find the token of the well: ``A01`` goes before ``A1``, ``A001``, and those before ``f1``."""
    wells = [number for number, token in enumerate(tokens) if _WELL.fullmatch(token)]
    ranks = {
        number: (len(tokens[number]) in (2, 4), not tokens[number][0].isupper(), number)
        for number in wells
        if len(tokens[number]) > 2 or tokens[number][0].isupper()
    }
    return min(ranks, key=lambda number: ranks[number]) if ranks else None


def _values(tokens: list[str]) -> dict[str, str] | None:
    """Read what follows the well; None where a part of it is not understood."""
    values: dict[str, str] = {}
    joined: list[str] = []
    for token in tokens:
        before = joined[-1] if joined else ""
        if _ALONE.fullmatch(before) and token.isdecimal():
            joined[-1] += token
        elif re.fullmatch(_NUMBERS["channel"], before, re.IGNORECASE):
            joined[-1] = token
        else:
            joined.append(token)
    was_word = False
    for token in joined:
        key, value = _value(token)
        is_word = key == "channel" and value == token
        if is_word and was_word:
            values["channel"] += f"_{token}"
        elif not key or key in values:
            return None
        else:
            values[key] = value
        was_word = is_word
    return values


def _value(token: str) -> tuple[str, str]:
    """Give what a token tells, and its value; nothing where it is not understood."""
    if match := _WITH_UNIT.fullmatch(token):
        return "time", str(int(match[1]))
    for name, number in _NUMBERED.items():
        if match := number.fullmatch(token):
            return name, str(int(match[1]))
    if token.isdecimal():
        return "site", str(int(token))
    is_other = _RUN.fullmatch(token) or _WELL.fullmatch(token)
    is_word = _STAIN.fullmatch(token) or (_WORD.fullmatch(token) and not is_other)
    return ("channel", token) if is_word else ("", "")


FORMATS = (
    NameFormat(
        name="bbbc013",
        instrument="Broad Bioimage Benchmark Collection (BBBC013, BBBC014)",
        pattern=compiled(r"Channel(?P<channel>\d+)-\d+-(?P<row>[A-P])-(?P<column>\d{1,2})"),
        examples=(Example("Channel1-14-B-02.tif", "B02", 1, "1"),),
        channel_prefix="Channel",
    ),
    NameFormat(
        name="names",
        instrument="plain names of well, field and stain",
        pattern=compiled(r"(?P<stem>.+?)"),
        read=_read,
        is_path=True,
        is_loose=True,
        channel_prefix="C",
        examples=(
            Example("B02_f1_DAPI.tif", "B02", 1, "DAPI"),
            Example("A01/1_DAPI.tif", "A01", 1, "DAPI"),
            Example("screen 7/P24_field_3_ch2.png", "P24", 3, "2"),
            Example("DAPI/b02_s3.tif", "B02", 3, "DAPI"),
            Example("exp1_GFP_B02_pos4_z3_t2.tif", "B02", 4, "GFP", 3, 2),
            Example("plate-P1_well-A01_site-1_channel-DAPI.tif", "A01", 1, "DAPI"),
            Example("A01_F0001_T0001_Z0004_C01.tif", "A01", 1, "1", 4, 1),
            Example("040423_frank_VSV_B02_25_w460.tif", "B02", 25, "460"),
            Example("C7_s2_Texas_Red.tif", "C07", 2, "Texas_Red"),
            Example("B03_Feld2_DAPI.tif", "B03", 2, "DAPI"),
            Example("A001_20x_24h_DAPI_2.tif", "A01", 2, "DAPI", time=24),
        ),
    ),
)
