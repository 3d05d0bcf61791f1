"""Tables in LaTeX."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_hcs_qc.study.benchmark.output.panels import Entry, Line, Panel, PrintedTable

_SPECIAL = {
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
_MOST_COLUMNS = 7
"""With more the table is wider than a page, and is scaled to fit."""

_HEAD = """% Needs \\usepackage[T1]{fontenc}, textcomp, xcolor, graphicx; benchmark.tex has them.
"""

DOCUMENT = r"""% pdflatex benchmark.tex
\documentclass[a4paper,10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage[landscape,margin=15mm]{geometry}
\usepackage{xcolor}
\usepackage{graphicx}
\begin{document}
\input{table1}
\clearpage
\input{table2}
\clearpage
\input{table3}
\end{document}
"""
"""A document of the three tables."""


def escape_latex(text: str) -> str:
    r"""Write any text so that LaTeX prints it letter by letter.

    Line breaks and other white space become single spaces. Letters of European languages stay, as
    pdflatex knows them; any other that is not ASCII is written as ``[U+4E2D]``, since pdflatex
    would stop at it. Other control characters are left out.
    """
    return "".join(_letter(one) for one in " ".join(text.split()))


def _letter(reason: str) -> str:
    if reason in _SPECIAL:
        return _SPECIAL[reason]
    if reason == " " or ("!" <= reason <= "~"):
        return reason
    if (
        unicodedata.category(reason)[0] == "L"
        and "À" <= reason <= "ž"
        and reason not in "ŉſĿŀĦħŦŧĸÐð"
    ):
        return reason
    if unicodedata.category(reason) == "Cc":
        return ""
    return f"[U+{ord(reason):04X}]"


def to_latex(table: PrintedTable) -> str:
    r"""Set a table for ``\input``; the paper's lines are blue."""
    parts = [_HEAD]
    for panel in table.panels:
        parts.append(_float(table.title, panel))
    parts.append(r"\par\noindent")
    told = [escape_latex(note) for note in table.notes]
    told += [
        rf"\textsuperscript{{{one}}} {escape_latex(why)}." for one, why in table.reasons.items()
    ]
    parts.append("{\\footnotesize " + "\\par\n".join(told) + "\\par}")
    return "\n".join(parts) + "\n"


def _float(title: str, panel: Panel) -> str:
    n_figures = len(panel.figures)
    n_columns = n_figures * len(panel.groups)
    is_wide = n_columns > _MOST_COLUMNS
    # Here and no float: dozens of floats in a row are more than LaTeX holds.
    lines = [
        r"\par\bigskip\noindent\begin{minipage}{\textwidth}\centering",
        rf"\textbf{{{escape_latex(title)}.}} {escape_latex(panel.title)}\par\smallskip",
    ]
    if is_wide:
        lines.append(r"\resizebox{\textwidth}{!}{%")
    lines.append(rf"\begin{{tabular}}{{l{('|' + 'r' * n_figures) * len(panel.groups)}}}")
    lines.append(r"\hline")
    spans = [rf"\multicolumn{{{n_figures}}}{{|c}}{{{escape_latex(one)}}}" for one in panel.groups]
    lines.append(" & ".join(["", *spans]) + r" \\")
    heads = [escape_latex(one) for _ in panel.groups for one in panel.figures]
    lines.append(" & ".join(["Method", *heads]) + r" \\ \hline")
    was_ours = False
    for line in panel.lines:
        if line.is_paper and was_ours:
            lines.append(r"\hline")
        was_ours = not line.is_paper
        lines.append(_row(line, n_figures))
    lines += [r"\hline", r"\end{tabular}" + ("}" if is_wide else ""), r"\end{minipage}"]
    return "\n".join(lines)


def _row(line: Line, n_figures: int) -> str:
    cells = [escape_latex(line.name) + (" (paper)" if line.is_paper else "")]
    for start in range(0, len(line.entries), n_figures):
        group = line.entries[start : start + n_figures]
        if group[0].letter:
            cells.append(
                rf"\multicolumn{{{n_figures}}}{{|c}}{{\textendash"
                rf"\textsuperscript{{{group[0].letter}}}}}"
            )
        else:
            cells += [_entry(entry) for entry in group]
    if line.is_paper:
        cells = [rf"\textcolor{{blue}}{{{cell}}}" if cell else "" for cell in cells]
    return " & ".join(cells) + r" \\"


def _entry(entry: Entry) -> str:
    text = escape_latex(entry.text)
    return rf"{text}\,{{\scriptsize$\pm${escape_latex(entry.sd)}}}" if entry.sd else text
