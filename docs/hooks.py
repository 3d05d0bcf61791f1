"""What mkdocs does to every page of the site."""

from __future__ import annotations

import re

_CODE = re.compile(r"(<code\b[^>]*>)(.*?)(</code>)", re.DOTALL)
_OPTION = re.compile(r"(?<![\w#-])--[a-z][a-z0-9-]*")


def on_page_content(html: str, **_: object) -> str:
    """Mark the options in code, which browsers break after the dashes (docs/site.css)."""
    return _CODE.sub(
        lambda code: code[1] + _OPTION.sub(r'<span class="option">\g<0></span>', code[2]) + code[3],
        html,
    )
