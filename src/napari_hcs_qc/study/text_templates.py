"""Markdown and LaTeX from jinja templates, with any text printed letter by letter."""

from __future__ import annotations

import re
import unicodedata

import jinja2

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "-{}",  # two of them would become a dash
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "·": r"\ensuremath{\cdot}",
    "µ": r"\ensuremath{\mu}",
    "μ": r"\ensuremath{\mu}",
    "°": r"\ensuremath{{}^\circ}",
    "≥": r"\ensuremath{\geq}",
    "≤": r"\ensuremath{\leq}",
    "→": r"\ensuremath{\rightarrow}",
    "−": r"\ensuremath{-}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def escape_latex(text: str) -> str:
    r"""Write any text so that LaTeX prints it letter by letter.

    Line breaks and other white space become single spaces. Letters of European languages stay, as
    pdflatex knows them; any other that is not ASCII is written as ``[U+4E2D]``, since pdflatex
    would stop at it. Other control characters are left out.
    """
    return "".join(map(_in_latex, " ".join(text.split())))


def escape_markdown(text: str) -> str:
    """Escape what Markdown takes for more than text; line breaks become spaces."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _in_latex(letter: str) -> str:
    category = unicodedata.category(letter)
    is_european = category[0] == "L" and "À" <= letter <= "ž" and letter not in "ŉſĿŀĦħŦŧĸÐð"
    if letter in _LATEX:
        return _LATEX[letter]
    if " " <= letter <= "~" or is_european:
        return letter
    return "" if category == "Cc" else f"[U+{ord(letter):04X}]"


def fill_template(package: str, template: str, **values: object) -> str:
    """Fill a template of the package's folder ``templates``; its braces are LaTeX's own."""
    environment = jinja2.Environment(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=jinja2.PackageLoader(package),
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(latex=escape_latex, markdown=escape_markdown)
    return environment.get_template(template).render(values)
