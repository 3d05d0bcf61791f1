"""HTML pages from jinja templates: self-contained files that open offline, in one style."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.qc.reports.figures import to_svg
from napari_hcs_qc.text import count_of, number, percent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_BASE = "napari_hcs_qc.qc.reports"


def write_page(
    path: Path, template: str, values: Mapping[str, object], package: str = _BASE
) -> None:
    """Fill a template of the package's folder ``templates``.

    The page is written piece by piece, so that memory does not grow with its pictures.
    """
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader(_BASE)]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        number=number,
        thousands="{:,}".format,
        count_of=count_of,
        data_uri=_data_uri,
        svg=_svg,
    )
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        stream = environment.get_template(template).stream(values)
        stream.enable_buffering(64)
        file.writelines(stream)


def _svg(figure: Figure) -> Markup:
    return Markup(to_svg(figure))  # safe: every text in it was escaped by an XML writer


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    """Encode a picture as a PNG within the page."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise HcsQcError(
            f"A picture of dtype {pixels.dtype} and shape {pixels.shape} was given; uint8, "
            "(height, width) or (height, width, 3), was expected."
        )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
