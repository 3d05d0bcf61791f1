"""What mkdocs does to every page of the site."""

from __future__ import annotations

import re

_CODE = re.compile(r"(<code\b[^>]*>)(.*?)(</code>)", re.DOTALL)
_OPTION = re.compile(r"(?<![\w#-])--[a-z][a-z0-9-]*")
_CELL = re.compile(r"<td\b.*?</td>", re.DOTALL)
_JOINT = re.compile(r"(?<=\w)[_/.](?=[A-Za-z])(?=[^<>]*<)")


def on_page_content(html: str, **_: object) -> str:
    """Say where code may be broken at the end of a line (docs/site.css).

    Browsers break options after their dashes, where they must not; and in the cells of a table
    names anywhere, if not told to do so after an underscore, a slash or a dot.
    """
    html = _CODE.sub(
        lambda code: code[1] + _OPTION.sub(r'<span class="option">\g<0></span>', code[2]) + code[3],
        html,
    )
    return _CELL.sub(
        lambda cell: _CODE.sub(lambda code: _JOINT.sub(r"\g<0><wbr>", code[0]), cell[0]), html
    )
