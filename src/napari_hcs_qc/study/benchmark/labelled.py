"""Labelled cells of any source, which give their crops for a recipe."""

from __future__ import annotations

import csv
import hashlib
import re
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from skimage.io import imread
from torch.nn import functional

from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.job import Job
    from napari_hcs_qc.study.benchmark.benchmark_spec import SourceSpec

_SUFFIXES = (".png", ".tif", ".tiff")
_LOW, _HIGH = 1.0, 99.9


class LabelledCells(Protocol):
    """Labelled cells; arrays of shape ``(n_cells,)``."""

    @property
    def classes(self) -> NDArray[np.str_]:
        """Give normal or abnormal, of each cell."""
        ...

    @property
    def groups(self) -> NDArray[np.str_]:
        """Give the well or plate of each cell."""
        ...

    @property
    def ids(self) -> NDArray[np.str_]:
        """Give how a person finds each cell again."""
        ...

    @property
    def fingerprint(self) -> str:
        """Content address of pixels and labels."""
        ...

    @property
    def note(self) -> str:
        """Say what to know about the crops."""
        ...

    @property
    def origins(self) -> frozenset[str]:
        """Give content addresses of the wells or crops that the cells are of."""
        ...

    @property
    def n_unlabelled(self) -> int:
        """Count the cells that nobody annotated and that can be sampled; 0 for crops alone."""
        ...

    def crops(self, recipe: CropRecipe, rows: NDArray[np.int64]) -> torch.Tensor:
        """Cut ``(n, n_views, 1 or 3, input_px, input_px)`` float32 in 0..1 of some cells."""
        ...

    def distinct_channels(self, recipe: CropRecipe) -> tuple[int, ...]:
        """Say which channels of its crops are not those before them once more."""
        ...

    def sample(
        self,
        recipe: CropRecipe,
        encoder: Encoder,
        folder: Path,
        job: Job,
    ) -> NDArray[np.float32]:
        """Embed a sample of the cells that nobody annotated, ``(n_cells, n_features)``."""


@dataclass(frozen=True, eq=False)
class FixedCrops:
    """Crops of one size, such as MitoCheck's."""

    # ``(n_cells, side, side)`` float32, scaled to 0..1 by the range of their plate
    pixels: NDArray[np.float32]
    classes: NDArray[np.str_]  # see `LabelledCells`
    groups: NDArray[np.str_]  # see `LabelledCells`
    ids: NDArray[np.str_]  # see `LabelledCells`
    fingerprint: str  # see `LabelledCells`
    note: str  # see `LabelledCells`
    origins: frozenset[str]  # see `LabelledCells`

    @property
    def n_unlabelled(self) -> int:
        """There are no cells but the labelled ones."""
        return 0

    def distinct_channels(self, recipe: CropRecipe) -> tuple[int, ...]:
        """Give the one grey channel, which a colour recipe gets three times."""
        return (0,)

    def sample(
        self,
        recipe: CropRecipe,
        encoder: Encoder,
        folder: Path,
        job: Job,
    ) -> NDArray[np.float32]:
        """Give no rows: there are no cells but the labelled ones."""
        return np.empty((0, 0), np.float32)

    def crops(self, recipe: CropRecipe, rows: NDArray[np.int64]) -> torch.Tensor:
        """Cut the views: the largest scale is the whole crop, the others its centre."""
        side = self.pixels.shape[1]
        n_channels = 3 if recipe.channels == "rgb" else 1
        views = []
        for scale in recipe.scales:
            kept = max(4, round(side * scale / max(recipe.scales)))
            start = (side - kept) // 2
            centre = self.pixels[rows, start : start + kept, start : start + kept]
            view = torch.from_numpy(np.ascontiguousarray(centre))[:, None]
            if kept != recipe.input_px:
                view = functional.interpolate(
                    view,
                    size=(recipe.input_px, recipe.input_px),
                    mode="bilinear",
                    align_corners=False,
                    antialias=kept > recipe.input_px,
                )
            views.append(view.expand(-1, n_channels, -1, -1))
        return torch.stack(views, dim=1)


def open_crops(source: SourceSpec) -> FixedCrops:
    """Read a source of kind ``folder`` or ``arrays``."""
    images, names, groups, ids = (
        _from_folder(source) if source.kind == "folder" else _from_arrays(source)
    )
    unknown = sorted(set(source.abnormal) - set(names))
    if unknown:
        raise HcsQcError(
            f"{source.path} has no class {', '.join(unknown)} to count as abnormal; it has "
            f"{', '.join(sorted(set(names)))}."
        )
    classes = np.where(np.isin(names, source.abnormal), "abnormal", "normal")
    if len(set(classes.tolist())) < 2:
        raise HcsQcError(f"All {len(classes)} crops of {source.path} are {classes[0]}.")
    if len(np.unique(groups)) == len(groups):
        raise HcsQcError(
            f"Each of the {len(groups)} crops of {source.path} would be its own plate, scaled "
            "separately and split as if no two crops shared a plate. Define the plate: by the "
            "group of an array, or by the first (part) of `group` (--group) in a file name."
        )
    digest = hashlib.sha256(images.tobytes())
    digest.update("\n".join([*names, *groups, *ids, *source.abnormal]).encode())
    side = images.shape[1]
    return FixedCrops(
        _scaled(images, groups),
        classes,
        groups,
        ids,
        digest.hexdigest()[:16],
        f"crops of fixed size, native {side} px: the largest view of a recipe is the whole crop; "
        f"intensities scaled by the percentiles {_LOW:g} and {_HIGH:g} of each plate",
        frozenset(hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images),
    )


def _scaled(images: NDArray[Any], groups: NDArray[np.str_]) -> NDArray[np.float32]:
    scaled = np.empty(images.shape, np.float32)
    for group in np.unique(groups):
        here = groups == group
        low, high = np.percentile(images[here], (_LOW, _HIGH))
        scaled[here] = np.clip((images[here] - low) / max(high - low, 1e-6), 0, 1)
    return scaled


def _from_folder(
    source: SourceSpec,
) -> tuple[NDArray[Any], NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]:
    files = crop_files(source.path)
    pattern = re.compile(source.group)
    images: list[NDArray[Any]] = []
    groups: list[str] = []
    problems: list[Problem] = []
    for path in files:
        where = f"{path.parent.name}/{path.name}"
        match = pattern.search(path.stem)
        if match is None or not match[1]:
            what = f"its name has no plate by {source.group!r}; give another group (--group)."
            problems.append(Problem(where, what))
            continue
        try:
            image = imread(path)
        except (OSError, ValueError, SyntaxError) as error:
            problems.append(Problem(where, f"cannot be read: {error}"))
            continue
        if image.ndim != 2 or image.shape[0] != image.shape[1]:
            problems.append(Problem(where, f"has shape {image.shape}; a grey square is needed."))
        elif images and image.shape != images[0].shape:
            problems.append(Problem(where, f"is {image.shape}, the first is {images[0].shape}."))
        else:
            images.append(image)
            groups.append(match[1])
    if problems:
        raise ProblemsError(f"{source.path}: {count_of(len(problems), 'unusable crop')}", problems)
    names = np.array([path.parent.name for path in files])
    ids = np.array([f"{path.parent.name}/{path.name}" for path in files])
    return np.stack(images), names, np.array(groups), ids


def _from_arrays(
    source: SourceSpec,
) -> tuple[NDArray[Any], NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]:
    if source.path.suffix.lower() == ".npy":
        images, names, groups = _from_npy(source)
    else:
        images, names, groups = _from_npz(source.path)
    if images.ndim != 3 or images.shape[1] != images.shape[2] or len(images) == 0:
        raise HcsQcError(f"{source.path}: crops are {images.shape}; expected (n, side, side).")
    if images.dtype.kind not in "uif":
        raise HcsQcError(f"{source.path}: crops are {images.dtype}; numbers were expected.")
    if not len(images) == len(names) == len(groups):
        raise HcsQcError(
            f"{source.path}: {len(images)} crops, {len(names)} classes and {len(groups)} groups."
        )
    ids = np.array([f"{source.path.name}[{row}]" for row in range(len(images))])
    return images, names.astype(str), groups.astype(str), ids


def _from_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    images, names, groups = archive_arrays(path, ("crops", "classes", "groups"))
    return images, names, groups


def _from_npy(source: SourceSpec) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    try:
        images = np.load(source.path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise HcsQcError(f"{source.path} cannot be read as an array: {error}") from error
    names, groups = crop_labels(source.path, source.labels)
    return images, np.array(names, dtype=str), np.array(groups, dtype=str)


def crop_files(folder: Path) -> list[Path]:
    """List the crops of a folder ``<class>/*.png|tif``."""
    try:
        files = [path for path in sorted(folder.glob("*/*")) if path.suffix.lower() in _SUFFIXES]
    except OSError as error:
        raise HcsQcError(f"{folder} cannot be listed: {error}") from error
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        raise HcsQcError(f"{folder} holds no crops; <class>/*.png or .tif files were expected.")
    return files


def archive_arrays(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Read arrays of an .npz file of labelled crops."""
    try:
        # Opened here: NumPy leaves a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error
    ) as error:  # fmt: skip
        raise HcsQcError(
            f"{path} cannot be read ({error}); an .npz file with the arrays crops, classes and "
            "groups was expected, or an .npy file of crops with a CSV beside it."
        ) from error


def crop_labels(path: Path, labels: Path | None = None) -> tuple[list[str], list[str]]:
    """Read class and group of each crop of an .npy file."""
    labels = labels or path.with_suffix(".csv")
    try:
        with labels.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, ValueError, csv.Error) as error:
        raise HcsQcError(
            f"{labels} cannot be read ({error}); a CSV with the columns class and group was "
            f"expected, one row for each crop of {path.name}."
        ) from error
    problems = [
        Problem(f"row {number}", f"has no {name}")
        for number, row in enumerate(rows, start=2)
        for name in ("class", "group")
        if not (row.get(name) or "").strip()
    ]
    if problems:
        raise ProblemsError(
            f"{labels} needs the columns class and group, filled for each crop", problems
        )
    names, groups = ([row[name].strip() for row in rows] for name in ("class", "group"))
    return names, groups
