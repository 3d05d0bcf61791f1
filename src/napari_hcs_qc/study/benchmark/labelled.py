"""Labelled cells of any source, which give their crops for a recipe."""

from __future__ import annotations

import csv
import hashlib
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skimage.io import imread
from torch.nn import functional

from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.study.benchmark.benchmark_spec import check_group
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


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledCells(ABC):
    """Labelled cells; arrays of shape ``(n_cells,)``."""

    classes: NDArray[np.str_]  # normal or abnormal
    groups: NDArray[np.str_]  # well or plate
    ids: NDArray[np.str_]  # how a person finds each cell again
    fingerprint: str  # content address of pixels and labels
    note: str  # what to know about the crops
    origins: frozenset[str]  # content addresses of the wells or crops that the cells are of

    @property
    def n_unlabelled(self) -> int:
        """Count the cells that nobody annotated and that can be sampled; 0 for crops alone."""
        return 0

    @abstractmethod
    def crops(self, recipe: CropRecipe, rows: NDArray[np.int64]) -> torch.Tensor:
        """Cut ``(n, n_views, 1 or 3, input_px, input_px)`` float32 in 0..1 of some cells."""

    @abstractmethod
    def distinct_channels(self, recipe: CropRecipe) -> tuple[int, ...]:
        """List the channels of its crops that are not those before them once more."""

    def sample(
        self, recipe: CropRecipe, encoder: Encoder, folder: Path, job: Job
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Embed a sample of the cells that nobody annotated; with traits of them."""
        return np.empty((0, 0), np.float32), np.empty((0, 0))


@dataclass(frozen=True, eq=False, kw_only=True)
class FixedCrops(LabelledCells):
    """Crops of one size, such as MitoCheck's."""

    # ``(n_cells, side, side)`` float32, scaled to 0..1 by the range of their plate
    pixels: NDArray[np.float32]

    def distinct_channels(self, recipe: CropRecipe) -> tuple[int, ...]:
        """Give the one grey channel, which a colour recipe gets three times."""
        return (0,)

    def crops(self, recipe: CropRecipe, rows: NDArray[np.int64]) -> torch.Tensor:
        """Cut the views: the largest scale is the whole crop, the others its centre."""
        side = self.pixels.shape[1]
        n_channels = 3 if recipe.channels == "rgb" else 1
        views = []
        for scale in recipe.scales:
            centre_px = max(4, round(side * scale / max(recipe.scales)))
            start = (side - centre_px) // 2
            centre = self.pixels[rows, start : start + centre_px, start : start + centre_px]
            view = torch.from_numpy(np.ascontiguousarray(centre))[:, None]
            if centre_px != recipe.input_px:
                view = functional.interpolate(
                    view,
                    size=(recipe.input_px, recipe.input_px),
                    mode="bilinear",
                    align_corners=False,
                    antialias=centre_px > recipe.input_px,
                )
            views.append(view.expand(-1, n_channels, -1, -1))
        return torch.stack(views, dim=1)


def open_crops(source: SourceSpec) -> FixedCrops:
    """Read a source of kind ``folder`` or ``arrays``."""
    path = source.path
    names, plates = crop_classes(path, source.group, source.labels)
    images, ids = _folder_images(path) if path.is_dir() else _array_images(path)
    if not len(images) == len(names) == len(plates):
        raise HcsQcError(
            f"{path}: {len(images)} crops, {len(names)} classes and {len(plates)} groups."
        )
    unknown = sorted(set(source.abnormal) - set(names))
    if unknown:
        raise HcsQcError(
            f"{path} has no class {', '.join(unknown)} to count as abnormal; it has "
            f"{', '.join(sorted(set(names)))}."
        )
    classes = np.where(np.isin(names, source.abnormal), "abnormal", "normal")
    if len(set(classes.tolist())) < 2:
        raise HcsQcError(f"All {len(classes)} crops of {path} are {classes[0]}.")
    groups = np.array(plates)
    if len(np.unique(groups)) == len(groups):
        raise HcsQcError(
            f"Each of the {len(groups)} crops of {path} would be its own plate, scaled "
            "separately and split as if no two crops shared a plate. Define the plate: by the "
            "group of an array, or by the first (part) of `group` (--group) in a file name."
        )
    digest = hashlib.sha256(images.tobytes())
    digest.update("\n".join([*names, *plates, *ids, *source.abnormal]).encode())
    return FixedCrops(
        pixels=_scaled(images, groups),
        classes=classes,
        groups=groups,
        ids=np.array(ids),
        fingerprint=digest.hexdigest()[:16],
        note=f"crops of fixed size, native {images.shape[1]} px: the largest view of a recipe is "
        "the whole crop; intensities scaled by the percentiles "
        f"{_LOW:g} and {_HIGH:g} of each plate",
        origins=frozenset(
            hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images
        ),
    )


def _scaled(images: NDArray[Any], groups: NDArray[np.str_]) -> NDArray[np.float32]:
    scaled = np.empty(images.shape, np.float32)
    for group in np.unique(groups):
        here = groups == group
        low, high = np.percentile(images[here], (_LOW, _HIGH))
        scaled[here] = np.clip((images[here] - low) / max(high - low, 1e-6), 0, 1)
    return scaled


def crop_classes(path: Path, group: str, labels: Path | None = None) -> tuple[list[str], list[str]]:
    """Read the class and the plate of all labelled crops; no pixel is read."""
    if path.is_dir():
        try:
            pattern = re.compile(check_group(group))
        except ValueError as error:
            raise HcsQcError(str(error)) from error
        files = _crop_files(path)
        matches = [pattern.search(file.stem) for file in files]
        plates = [match[1] or "" if match else "" for match in matches]
        unnamed = [file.name for file, plate in zip(files, plates, strict=True) if not plate]
        if unnamed:
            raise HcsQcError(
                f"{count_of(len(unnamed), 'file name')} without a plate by {group!r}, the first is "
                f"{unnamed[0]}; give another group (--group)."
            )
        return [file.parent.name for file in files], plates
    if path.suffix.lower() == ".npy":
        return _crop_labels(path, labels or path.with_suffix(".csv"))
    if path.suffix.lower() == ".npz" and path.is_file():
        classes, groups = _archive_arrays(path, ("classes", "groups"))
        return classes.astype(str).tolist(), groups.astype(str).tolist()
    raise HcsQcError(
        f"{path} does not hold labelled crops; a folder <class>/*.png or .tif was expected, or "
        "an .npz or .npy file."
    )


def _folder_images(folder: Path) -> tuple[NDArray[Any], list[str]]:
    images: list[NDArray[Any]] = []
    ids: list[str] = []
    problems: list[Problem] = []
    for path in _crop_files(folder):
        ids.append(f"{path.parent.name}/{path.name}")
        try:
            image = imread(path)
        except (OSError, ValueError, SyntaxError) as error:
            problems.append(Problem(ids[-1], f"cannot be read: {error}"))
            continue
        if image.ndim != 2 or image.shape[0] != image.shape[1]:
            problems.append(Problem(ids[-1], f"has shape {image.shape}; a grey square is needed."))
        elif images and image.shape != images[0].shape:
            problems.append(Problem(ids[-1], f"is {image.shape}, the first is {images[0].shape}."))
        else:
            images.append(image)
    if problems:
        raise ProblemsError(f"{folder}: {count_of(len(problems), 'unusable crop')}", problems)
    return np.stack(images), ids


def _array_images(path: Path) -> tuple[NDArray[Any], list[str]]:
    if path.suffix.lower() == ".npy":
        try:
            images = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise HcsQcError(f"{path} cannot be read as an array: {error}") from error
    else:
        (images,) = _archive_arrays(path, ("crops",))
    if images.ndim != 3 or images.shape[1] != images.shape[2] or len(images) == 0:
        raise HcsQcError(f"{path}: crops are {images.shape}; expected (n, side, side).")
    if images.dtype.kind not in "uif":
        raise HcsQcError(f"{path}: crops are {images.dtype}; numbers were expected.")
    return images, [f"{path.name}[{row}]" for row in range(len(images))]


def _crop_files(folder: Path) -> list[Path]:
    """List the crops of a folder ``<class>/*.png|tif``."""
    try:
        files = [path for path in sorted(folder.glob("*/*")) if path.suffix.lower() in _SUFFIXES]
    except OSError as error:
        raise HcsQcError(f"{folder} cannot be listed: {error}") from error
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        raise HcsQcError(f"{folder} holds no crops; <class>/*.png or .tif files were expected.")
    return files


def _archive_arrays(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
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


def _crop_labels(path: Path, labels: Path) -> tuple[list[str], list[str]]:
    """Read class and group of each crop of an .npy file."""
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
