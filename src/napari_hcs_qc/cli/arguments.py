"""Arguments that several commands share, and how their texts are read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal

from napari_hcs_qc.api.person import user_name
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.pattern_groups import PATTERN_HELP
from napari_hcs_qc.tables.positions_are import POSITIONS_ARE_HELP

OUT_HELP = "output folder; reused to resume"


def parameters(options: argparse.Namespace, *without: str) -> dict[str, Any]:
    """Give what the function of a command takes: it has the command's parameters by name."""
    left_out = {"command", "json", "quiet", "verbose", "log_file", *without}
    return {name: value for name, value in vars(options).items() if name not in left_out}


# ---- texts -------------------------------------------------------------------------------


def names(text: str) -> tuple[str, ...]:
    """Read a list: ``"A,B"``."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _channel(text: str) -> str | int:
    return int(text) if text.isdigit() else text


def _projection(text: str) -> Literal["max"] | int:
    if text.casefold() == "max":
        return "max"
    if not text.isdigit():
        raise HcsQcError(f"--z is {text!r}; 'max' or the number of a plane was expected.")
    return int(text)


def _classes(text: str) -> dict[str, str]:
    pairs = dict(part.rpartition("=")[::2] for part in names(text))
    for word, name in pairs.items():
        if not word or name not in ("normal", "abnormal", "unsure"):
            raise HcsQcError(
                f"--classes has {word}={name}; WORD=normal, WORD=abnormal or WORD=unsure was "
                "expected."
            )
    return pairs


# ---- arguments ---------------------------------------------------------------------------


def add_assay(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the assay."""
    parser.add_argument("assay", metavar="ASSAY", type=Path, help="folder of the assay")


def add_annotator(parser: argparse.ArgumentParser) -> None:
    """Add who annotates."""
    parser.add_argument(
        "--annotator",
        metavar="NAME",
        help="name to record (if the CSV has no annotator column); default: "
        + user_name().replace("%", "%%"),
    )


def add_kind_option(parser: argparse.ArgumentParser) -> None:
    """Add kinds of one's own."""
    parser.add_argument(
        "--add-kind",
        metavar="NAME[:KEY][:COLOUR]",
        action="append",
        default=[],
        help="add a kind of abnormal cells to the assay, such as fibre or fibre:F:#a04020; by "
        "default the next free key and a distinct colour. Can be repeated",
    )


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add where encoders run."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def add_backend(parser: argparse._ActionsContainer) -> None:
    """Add what runs the encoder on the CPU."""
    parser.add_argument(
        "--backend",
        metavar="B",
        default="auto",
        help="library that runs the encoder on the CPU: auto (the fastest one installed, or "
        "that in HCS_QC_BACKEND), torch, onnxruntime, openvino, or openvino-bf16, which is faster "
        "on processors with AMX or AVX-512 BF16 and rounds its numbers to 3 digits",
    )


def _time_point(text: str) -> int | str:
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time point; its number, or all, was expected"
        ) from None


def add_plate_options(parser: argparse.ArgumentParser, *, platemap: bool = True) -> None:
    """Add how a plate is read."""
    group = parser.add_argument_group("reading the plate")
    group.add_argument(
        "--pattern",
        metavar="REGEX",
        help=PATTERN_HELP.replace("%", "%%"),
    )
    group.add_argument(
        "--image-root", metavar="DIR", type=Path, help="folder of the images of a CSV, if moved"
    )
    group.add_argument(
        "--plate-name",
        metavar="NAME",
        help="name to give, or which of several plates, runs or acquisitions to open",
    )
    group.add_argument(
        "--plate-shape",
        metavar="RxC|N",
        help="rows and columns of the plate, such as 8x12, or its number of wells, such as 384; by "
        "default what metadata, names or the plate map say, or the smallest with all wells",
    )
    group.add_argument(
        "--time",
        metavar="N|all",
        type=_time_point,
        help="the only time point to read, by its number in names or metadata, or all: each as a "
        "plate of its own, named after its time; by default the first",
    )
    add_allow_remote(group)
    if platemap:
        group.add_argument(
            "--platemap", metavar="CSV", type=Path, help="columns well,treatment,role"
        )
        group.add_argument(
            "--include-cut",
            action=argparse.BooleanOptionalAction,
            help="train on and count cells that the image border cuts; by default they are left "
            "out. Kept in the assay",
        )


def add_allow_remote(parser: argparse._ActionsContainer) -> None:
    """Add the permission to contact servers."""
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="read images from the servers that a CSV names (URLs); without it they are not "
        "contacted. Kept in the assay",
    )


def add_detector(parser: argparse._ActionsContainer) -> None:
    """Add what finds nuclei."""
    parser.add_argument(
        "--detector",
        metavar="NAME",
        help="what finds nuclei: built-in (default), instanseg (pip install "
        "'napari-hcs-qc[instanseg]'), or one of another package. Kept in the assay",
    )


def add_cell_options(parser: argparse.ArgumentParser, *, flag: str) -> None:
    """Add how cells are found; `flag` names what they are imported from."""
    group = parser.add_argument_group("finding cells")
    group.add_argument(
        flag,
        dest="cells_from",
        metavar="FILE",
        type=Path,
        help="masks, outlines or positions to import instead of finding nuclei: a folder or file "
        "of CellProfiler, CytoTable, Cellpose, QuPath, ImageJ, Harmony, ...",
    )
    group.add_argument(
        "--channel",
        metavar="C",
        type=_channel,
        help="channel of the nuclei, by name or number from 0",
    )
    group.add_argument(
        "--z", metavar="MAX|N", type=_projection, help="maximum over z (default) or one plane"
    )
    add_detector(group)


def add_position_options(parser: argparse.ArgumentParser) -> None:
    """Add how positions of another program are read."""
    group = parser.add_argument_group("positions from another program")
    group.add_argument(
        "--positions-are",
        metavar="WHAT",
        type=names,
        default=(),
        help="where they are not px of these images: " + POSITIONS_ARE_HELP.replace("%", "%%"),
    )
    group.add_argument(
        "--image-table",
        metavar="CSV",
        type=Path,
        help="table of images (Image.csv of CellProfiler) where objects name theirs by number; "
        "by default the one beside the file",
    )
    group.add_argument(
        "--accept-positions",
        action="store_true",
        help="import positions although no more of them lie on nuclei than by chance",
    )


def add_classes(parser: argparse.ArgumentParser) -> None:
    """Add what the words of a file mean."""
    parser.add_argument(
        "--classes",
        metavar="WORD=CLASS,...",
        type=_classes,
        help="class (normal, abnormal or unsure) of words of the file, such as "
        "mitotic=normal,smear=abnormal",
    )


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Add what is trained."""
    group = parser.add_argument_group("model")
    group.add_argument("--encoder", metavar="E", help="see 'hcs-qc encoders'")
    group.add_argument(
        "--weights", metavar="FILE", type=Path, help=".safetensors file with its weights"
    )
    group.add_argument("--recipe", metavar="R", help="nucleus (default), nucleus-mean, paper-128px")
    group.add_argument(
        "--rgb",
        metavar="R,G,B",
        type=names,
        default=(),
        help="channels of a colour recipe, by name, comma-separated",
    )
    group.add_argument(
        "--head",
        metavar="H",
        default="linear",
        help="linear (default), linear-paper, knn, forest; finetune, finetune-paper (take minutes)",
    )
    group.add_argument(
        "--simulated",
        metavar="A,B",
        type=names,
        default=(),
        help="also train on simulated artefacts of these kinds (see 'hcs-qc sensitivity'), such as "
        "defocus,saturation,haze,noise,empty if none of them is annotated",
    )
    group.add_argument(
        "--seeds", metavar="N", type=int, default=5, help="number of cross-validation repeats"
    )
    group.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the folds and all random numbers"
    )
    add_device(group)
    add_backend(group)


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add what counts as an outlier."""
    group = parser.add_argument_group("which cells, sites and wells are outliers")
    add_keep_kinds(group)
    group.add_argument(
        "--exclude-unreviewed",
        action="store_true",
        help="flagged wells and sites are outliers until a reviewer keeps them",
    )


def add_keep_kinds(parser: argparse._ActionsContainer) -> None:
    """Add which kinds are no outliers."""
    parser.add_argument(
        "--keep-kinds",
        metavar="KINDS",
        type=names,
        default=(),
        help="kinds that are biology in this assay and are no outliers, such as dead; "
        "comma-separated",
    )
    parser.add_argument(
        "--exclude-kinds",
        dest="keep_kinds",
        action=_OldName,
        type=names,
        default=(),
        help=argparse.SUPPRESS,
    )


class _OldName(argparse.Action):
    """The name that `--keep-kinds` had in 0.1.0, and that meant the opposite of what it did."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        print(
            f"hcs-qc: warning: {option_string} is now called --keep-kinds: these kinds are kept.",
            file=sys.stderr,
        )
        setattr(namespace, self.dest, values)
