"""Arguments of the command line."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any

from napari_hcs_qc import __version__
from napari_hcs_qc.study.ssl.pretrain_settings import DEFAULT_METHOD

_OUT_HELP = "output folder; reused to resume"


def make_parser() -> argparse.ArgumentParser:
    """Build the parser; nothing heavy is imported, so that help is instant."""
    parser = argparse.ArgumentParser(
        prog="hcs-qc",
        description="Quality control of high-content screens: a few annotated cells, an encoder, "
        "and every cell, site and well of the assay checked.",
    )
    parser.add_argument("--version", action="version", version=f"hcs-qc {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the result as JSON")
    common.add_argument("--quiet", action="store_true", help="do not show progress bars")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common])

    new = command("new", "Create an assay from one or more plates.")
    _assay(new)
    new.add_argument("plates", metavar="PLATE", nargs="+", type=Path, help="folder, CSV or .zarr")
    _plate_options(new)

    cells = command("cells", "Find the nuclei of every plate, or import masks or positions.")
    _assay(cells)
    _cells_options(cells)
    cells.add_argument("--plate", metavar="NAME", help="only this plate of the assay")
    cells.add_argument("--again", action="store_true", help="also where cells were found before")

    annotate = command("annotate", "Import annotations from a CSV file.")
    _assay(annotate)
    annotate.add_argument(
        "--from",
        dest="labels",
        metavar="LABELS.csv",
        type=Path,
        required=True,
        help="columns well,site,y_px,x_px,label; plate, kind and annotator are optional",
    )
    _annotator(annotate)

    encoders = command("encoders", "List the encoders and their requirements.")
    encoders.add_argument(
        "--assay", metavar="ASSAY", type=Path, help="also list those trained or imported there"
    )
    encoders.add_argument(
        "--speed", action="store_true", help="measure crops per second on this computer"
    )
    _backend(encoders)

    train = command("train", "Fit a head on the annotated cells and cross-validate it.")
    _assay(train)
    _train_options(train)

    pretrain = command(
        "pretrain",
        "Train an encoder on the assay's unlabelled cells (self-supervised); resumable.",
    )
    _assay(pretrain)
    _pretrain_options(pretrain)

    predict = command("predict", "Classify every cell, site and well with the latest model.")
    _assay(predict)
    predict.add_argument(
        "--plate", metavar="PLATE", help="only this plate; a new one is added to the assay"
    )
    predict.add_argument("--model", metavar="ID", help="an earlier model instead of the latest")
    predict.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    _plate_options(predict, platemap=False)

    export = command("export", "Write the tables of cells, sites and wells.")
    _assay(export)
    export.add_argument("out", metavar="DIR", type=Path, help="folder for the tables")
    _export_options(export)
    export.add_argument(
        "--onto",
        metavar="PROFILES",
        type=Path,
        help="also add the columns to a CellProfiler or CytoTable table, joined by position",
    )

    report = command("report", "Write the report, one HTML file that opens offline.")
    _assay(report)
    report.add_argument("out", metavar="OUT.html", type=Path)
    _keep_kinds(report)

    run = command(
        "run", "Run the whole pipeline: assay, cells, annotations, training, tables, report."
    )
    _assay(run)
    run.add_argument("plate", metavar="PLATE", type=Path, help="folder, CSV or .zarr")
    run.add_argument("--labels", metavar="LABELS.csv", type=Path, required=True)
    run.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder for tables and report"
    )
    _plate_options(run)
    _cells_options(run)
    _annotator(run)
    _train_options(run)
    _export_options(run)

    verdict = command("verdict", "Record the decision on a flagged well or site.")
    _assay(verdict)
    verdict.add_argument("well", metavar="WELL", help="such as A01")
    verdict.add_argument(
        "verdict",
        metavar="VERDICT",
        choices=["keep", "exclude", "look-again", "clear"],
        help="keep, exclude, look-again, or clear to remove the decision",
    )
    verdict.add_argument("--plate", metavar="NAME", help="required if the assay has several plates")
    verdict.add_argument("--site", metavar="N", type=int, help="only this site of the well")
    verdict.add_argument("--note", metavar="TEXT")
    _annotator(verdict)

    bench = command("benchmark", "Compare encoders and heads on labelled cells, in three tables.")
    _benchmark_options(bench)

    sensed = command("sensitivity", "Measure which simulated artefacts an encoder misses.")
    _assay(sensed)
    sensed.add_argument("--out", metavar="DIR", type=Path, required=True, help=_OUT_HELP)
    sensed.add_argument(
        "--encoder",
        metavar="E[=FILE]",
        action="append",
        help="repeatable; FILE.safetensors: its weights; hand-made: the baseline of image features",
    )
    sensed.add_argument(
        "--weights", metavar="FILE", type=Path, help="weights for the encoder (with one --encoder)"
    )
    sensed.add_argument("--recipe", metavar="R", help="nucleus (default), nucleus-mean, ...")
    sensed.add_argument("--head", metavar="H", help="linear (default), linear-paper, knn, forest")
    sensed.add_argument(
        "--kinds",
        metavar="A,B",
        help="gaussian, defocus, saturation, debris, debris-unfocused, fibre, fibre-unfocused, "
        "haze, noise, dead, empty; default: all",
    )
    sensed.add_argument("--severities", metavar="S,T", help="comma-separated; above 0, at most 1")
    sensed.add_argument(
        "--seeds", metavar="N", type=int, default=1, help="number of cross-validation repeats"
    )
    sensed.add_argument(
        "--cells", metavar="N", type=int, default=300, help="maximum number of cells to modify"
    )
    sensed.add_argument(
        "--train-on-simulated",
        metavar="A,B",
        help="also train on simulated cells of these kinds, and compare",
    )
    sensed.add_argument("--numerical-aperture", metavar="NA", type=float, default=0.5)
    sensed.add_argument("--pixel-size", metavar="UM", type=float, help="if the plate has none")
    sensed.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")

    screen = command("screen", "Classify every plate of a screen, and report on all of them.")
    screen.add_argument(
        "spec", metavar="SCREEN.toml", type=Path, help="plates, and the assay with the model"
    )
    screen.add_argument("--out", metavar="DIR", type=Path, required=True, help=_OUT_HELP)
    screen.add_argument(
        "--dry-run", action="store_true", help="only show what would be done, and why"
    )
    _engine_options(screen)

    status = command("status", "Show plates, annotations, models, and what could not be read.")
    _assay(status)

    relocate = command("relocate", "Change a plate's path after its images have moved.")
    _assay(relocate)
    relocate.add_argument("plate", metavar="NAME", help="name of the plate in the assay")
    relocate.add_argument("source", metavar="PLATE", type=Path, help="new path of the plate")
    relocate.add_argument(
        "--image-root", metavar="DIR", type=Path, help="folder of the images of a CSV, if moved"
    )

    remove = command("remove", "Remove a plate from an assay; images and annotations are kept.")
    _assay(remove)
    remove.add_argument("plate", metavar="NAME", help="name of the plate in the assay")

    convert = command("convert", "Write a plate as OME-Zarr (pyramidal, resumable).")
    convert.add_argument("plate", metavar="PLATE", type=Path)
    convert.add_argument("out", metavar="OUT.zarr", type=Path)
    convert.add_argument("--ngff", choices=["0.4", "0.5"], default="0.5", help="NGFF version")
    _plate_options(convert, platemap=False)

    simulate = command("simulate", "Simulate a plate with known artefacts.")
    simulate.add_argument("out", metavar="DIR", type=Path)
    simulate.add_argument("--wells", metavar="N", type=int, default=24, help="number of wells")
    simulate.add_argument("--sites", metavar="N", type=int, default=2, help="sites per well")
    simulate.add_argument(
        "--shape", metavar="HxW", default="520x696", help="height and width of a site in px"
    )
    simulate.add_argument("--clean", action="store_true", help="without artefacts")
    simulate.add_argument("--seed", metavar="N", type=int, default=0)

    fetch = command("fetch", "Download a public plate (BBBC021, BBBC022), ready to open.")
    fetch.add_argument("set", metavar="SET", choices=["bbbc021", "bbbc022"], help="%(choices)s")
    fetch.add_argument(
        "--plate", metavar="NAME", required=True, help="such as 20585, or Week1_22123 for bbbc021"
    )
    fetch.add_argument(
        "--channels", metavar="C,C", help="only these, such as w1,w2 or Hoechst,ER; default: all"
    )
    fetch.add_argument(
        "--out", metavar="DIR", type=Path, help="folder for the plates of the set; default: ./SET"
    )
    fetch.add_argument(
        "--base-url", metavar="URL", help="mirror; default: $HCS_QC_BBBC_URL, or that of the Broad"
    )
    fetch.add_argument("--keep-archives", action="store_true", help="also keep the ZIP files")
    fetch.add_argument(
        "--verify", action="store_true", help="verify existing files and repair damaged ones"
    )

    opened = command("open", "Open an assay in napari: browse, annotate, retrain, review.")
    opened.add_argument(
        "assay",
        metavar="ASSAY",
        type=Path,
        nargs="?",
        help="folder of the assay; default: none open",
    )

    demo = command("demo", "Run the whole pipeline on the sample plate and open it in napari.")
    demo.add_argument("--out", metavar="DIR", type=Path, default=Path("demo"))
    demo.add_argument("--no-window", action="store_true", help="do not open napari")
    return parser


def _assay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("assay", metavar="ASSAY", type=Path, help="folder of the assay")


def _annotator(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--annotator",
        metavar="NAME",
        default=_user_name(),
        help="name to record (if the CSV has no annotator column); default: %(default)s",
    )


def _plate_options(parser: argparse.ArgumentParser, *, platemap: bool = True) -> None:
    group = parser.add_argument_group("reading the plate")
    group.add_argument(
        "--pattern",
        metavar="REGEX",
        help="regular expression of the file names, with the groups well, site and channel",
    )
    group.add_argument(
        "--image-root", metavar="DIR", type=Path, help="folder of the images of a CSV, if moved"
    )
    group.add_argument(
        "--plate-name", metavar="NAME", help="name to give, or which plate of a CSV to open"
    )
    if platemap:
        group.add_argument(
            "--platemap", metavar="CSV", type=Path, help="columns well,treatment,role"
        )


def _cells_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("finding cells")
    group.add_argument(
        "--cells-from" if parser.prog.endswith(" run") else "--from",
        dest="cells_source",
        metavar="FILE",
        type=Path,
        help="masks or positions to import instead of finding nuclei",
    )
    group.add_argument(
        "--channel", metavar="C", help="channel of the nuclei, by name or number from 0"
    )
    group.add_argument("--z", metavar="MAX|N", help="maximum over z (default) or one plane")


def _train_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument("--encoder", metavar="E", help="see 'hcs-qc encoders'")
    group.add_argument(
        "--weights", metavar="FILE", type=Path, help=".safetensors file with its weights"
    )
    group.add_argument("--recipe", metavar="R", help="nucleus (default), nucleus-mean, paper-128px")
    group.add_argument(
        "--rgb", metavar="R,G,B", help="channels of a colour recipe, by name, comma-separated"
    )
    group.add_argument(
        "--head",
        metavar="H",
        help="linear (default), linear-paper, knn, forest; finetune, finetune-paper (take minutes)",
    )
    group.add_argument(
        "--simulated",
        metavar="A,B",
        help="also train on simulated artefacts of these kinds (see 'hcs-qc sensitivity'), such as "
        "defocus,saturation,haze,noise,empty if none of them is annotated",
    )
    group.add_argument(
        "--seeds", metavar="N", type=int, default=5, help="number of cross-validation repeats"
    )
    group.add_argument("--seed", metavar="N", type=int, default=0)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    _backend(group)


def _backend(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--backend",
        metavar="B",
        default="auto",
        help="library that runs the encoder on the CPU: auto (the fastest one installed, or "
        "that in HCS_QC_BACKEND), torch, onnxruntime or openvino",
    )


def _benchmark_options(bench: argparse.ArgumentParser) -> None:
    bench.add_argument(
        "spec", metavar="SPEC.toml", type=Path, nargs="?", help="instead of the flags below"
    )
    bench.add_argument("--out", metavar="DIR", type=Path, required=True, help=_OUT_HELP)
    group = bench.add_argument_group(
        "labelled cells (repeatable; NAME=PATH sets the name; default: last part of the path)"
    )
    for flag, metavar, text in (
        ("--plate", "PLATE", "images, with --labels"),
        ("--assay", "ASSAY", "an assay's annotations"),
        ("--folder", "DIR", "crops as <class>/*.png or .tif"),
        ("--arrays", "FILE", ".npz with crops, classes, groups; or .npy of crops and a CSV"),
    ):
        group.add_argument(flag, metavar=metavar, action="append", help=text)
    group.add_argument(
        "--labels",
        metavar="CSV",
        type=Path,
        action="append",
        help="one per --plate, then per .npy (columns class,group; default: X.csv for X.npy)",
    )
    group.add_argument(
        "--abnormal", metavar="A,B", help="crop classes that count as abnormal (default: abnormal)"
    )
    group.add_argument(
        "--group", metavar="REGEX", help="first group: the plate name within a crop's file name"
    )
    group.add_argument(
        "--transfer",
        metavar="A:B",
        action="append",
        help="train on A, test on B (default: train on the first, test on the others)",
    )
    group = bench.add_argument_group("rows and columns")
    group.add_argument("--preset", choices=["grouped", "paper"], help="sets all of the below")
    group.add_argument(
        "--protocol", choices=["grouped", "paper"], help="split by well, or by cell as in the paper"
    )
    group.add_argument(
        "--encoder",
        metavar="NAME[=WEIGHTS]",
        action="append",
        help="or ASSAY/encoders/NAME; in addition to the preset's; repeatable, like the next two",
    )
    group.add_argument("--recipe", metavar="R", action="append", help="how crops are cut")
    group.add_argument("--head", metavar="H", action="append", help="see 'hcs-qc train --help'")
    group.add_argument(
        "--sizes", metavar="N,N", help="numbers of annotated cells, such as all,50,10"
    )
    group.add_argument("--seeds", metavar="N", type=int, help="number of draws")
    group.add_argument(
        "--fine-tuned-seeds",
        metavar="N",
        type=int,
        help="number of draws for fine-tuned heads, which take minutes each; 0: all",
    )
    group.add_argument(
        "--fine-tuned-matched",
        action=argparse.BooleanOptionalAction,
        help="measure fine-tuned heads only on the crops they were designed for: finetune-paper on "
        "paper-128px, finetune on all others (default with --preset paper)",
    )
    group.add_argument(
        "--no-baseline",
        dest="baseline",
        action="store_false",
        help="omit the row of hand-made features",
    )
    group.add_argument(
        "--no-plate-directions",
        dest="plate_directions",
        action="store_false",
        help="do not give the head linear a sample of the plate's other cells",
    )


def _pretrain_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument(
        "--method",
        metavar="M",
        default=DEFAULT_METHOD,
        help="deepclusterv2 (default; with the preset default the only one better than an "
        "untrained network on BBBC022), simclr, barlow-twins, vicreg, swav",
    )
    group.add_argument("--preset", choices=["default", "paper"], default="default")
    group.add_argument("--epochs", metavar="N", type=int, help="default: the preset's")
    group.add_argument(
        "--batch-size", metavar="N", type=int, help="batch size (sum over processes)"
    )
    group.add_argument("--lr", metavar="X", type=float, help="maximum learning rate")
    group.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="any other setting, such as temperature=0.2; repeatable",
    )
    group.add_argument("--seed", metavar="N", type=int, default=0)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    group = parser.add_argument_group("cells")
    group.add_argument(
        "--plate", metavar="NAME", action="append", help="only this plate (repeatable)"
    )
    group.add_argument(
        "--cells", metavar="N", type=int, help="size of a random sample; default: all cells"
    )
    group.add_argument("--recipe", metavar="R", help="nucleus (default), nucleus-mean, paper-128px")
    group.add_argument("--rgb", metavar="R,G,B", help="channels of a colour recipe")
    group.add_argument("--input-px", metavar="N", type=int, help="size of the training crops")
    group = parser.add_argument_group("encoder")
    group.add_argument("--name", metavar="NAME", help="name of the encoder; default: the method")
    group.add_argument(
        "--start-from",
        metavar="E|FILE",
        help="an encoder (resnet18: ImageNet) or .safetensors file; default: random ResNet18",
    )
    group.add_argument(
        "--weights", metavar="FILE", type=Path, help="local weights for --start-from"
    )
    group.add_argument("--again", action="store_true", help="replace the encoder of that name")
    group.add_argument(
        "--no-compare",
        action="store_true",
        help="do not compare it with untrained networks on the annotated cells afterwards",
    )
    group.add_argument(
        "--import",
        dest="import_from",
        metavar="PATH",
        type=Path,
        help="do not train: import an encoder from another assay (ASSAY/encoders/NAME)",
    )


def _export_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which cells, sites and wells are outliers")
    _keep_kinds(group)
    group.add_argument(
        "--exclude-unreviewed",
        action="store_true",
        help="flagged wells and sites are outliers until a reviewer keeps them",
    )


def _engine_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running the jobs (with Snakemake)")
    group.add_argument("--cores", metavar="N", type=int, help="CPU cores to use; default: all")
    group.add_argument(
        "--jobs", metavar="N", type=int, help="maximum number of cluster jobs at once"
    )
    group.add_argument("--threads", metavar="N", type=int, help="threads per job; default: up to 4")
    group.add_argument("--profile", metavar="P", help="folder or name of a Snakemake profile")
    group.add_argument("--executor", metavar="E", help="slurm, or another executor plugin")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    group.add_argument(
        "--snakemake",
        metavar="OPTIONS",
        default="",
        help="further Snakemake options as one string, for example --snakemake='--retries 2'",
    )


def _keep_kinds(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--keep-kinds",
        metavar="KINDS",
        default="",
        help="kinds that are biology in this assay and are no outliers, such as dead; "
        "comma-separated",
    )
    parser.add_argument(
        "--exclude-kinds", dest="keep_kinds", action=_OldName, default="", help=argparse.SUPPRESS
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


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a user
        return "unknown"
