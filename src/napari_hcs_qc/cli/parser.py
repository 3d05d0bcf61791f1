"""Arguments of the command line."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from napari_hcs_qc import __version__


def make_parser() -> argparse.ArgumentParser:
    """Build the parser; nothing heavy is imported, so that help is instant."""
    parser = argparse.ArgumentParser(
        prog="hcs-qc",
        description="Quality control of high-content screens: a few clicked cells, an encoder, "
        "and every cell, site and well of the assay judged.",
    )
    parser.add_argument("--version", action="version", version=f"hcs-qc {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the outcome as JSON")
    common.add_argument("--quiet", action="store_true", help="draw no progress bar")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common])

    new = command("new", "Make an assay of one or more plates.")
    _assay(new)
    new.add_argument("plates", metavar="PLATE", nargs="+", type=Path, help="folder, CSV or .zarr")
    _plate_options(new)

    cells = command("cells", "Find the nuclei of every plate, or import masks or positions.")
    _assay(cells)
    _cells_options(cells)
    cells.add_argument("--plate", metavar="NAME", help="only this plate of the assay")
    cells.add_argument("--again", action="store_true", help="also where cells are known already")

    annotate = command("annotate", "Take in annotated cells from a CSV.")
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

    encoders = command("encoders", "List the encoders, and what each still needs.")
    encoders.add_argument("--speed", action="store_true", help="measure crops a second here")

    train = command("train", "Fit a head on the annotated cells and cross-validate it.")
    _assay(train)
    _train_options(train)

    predict = command("predict", "Judge every cell, site and well with the latest model.")
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
        help="also add our columns to a CellProfiler or CytoTable table, joined by position",
    )

    report = command("report", "Write the report, one HTML file that opens offline.")
    _assay(report)
    report.add_argument("out", metavar="OUT.html", type=Path)
    _exclude_kinds(report)

    run = command("run", "Do all of it: assay, cells, annotations, training, tables, report.")
    _assay(run)
    run.add_argument("plate", metavar="PLATE", type=Path, help="folder, CSV or .zarr")
    run.add_argument("--labels", metavar="LABELS.csv", type=Path, required=True)
    run.add_argument("--out", metavar="DIR", type=Path, required=True, help="tables and report")
    _plate_options(run)
    _cells_options(run)
    _annotator(run)
    _train_options(run)
    _export_options(run)

    verdict = command("verdict", "Say what becomes of a flagged well or site.")
    _assay(verdict)
    verdict.add_argument("well", metavar="WELL", help="such as A01")
    verdict.add_argument(
        "verdict",
        metavar="VERDICT",
        choices=["keep", "exclude", "look-again", "clear"],
        help="keep, exclude, look-again, or clear to take it back",
    )
    verdict.add_argument("--plate", metavar="NAME", help="needed when the assay has several")
    verdict.add_argument("--site", metavar="N", type=int, help="only this site of the well")
    verdict.add_argument("--note", metavar="TEXT")
    _annotator(verdict)

    bench = command("benchmark", "Compare encoders and heads on labelled cells; three tables.")
    bench.add_argument("spec", metavar="SPEC.toml", type=Path, nargs="?")
    bench.add_argument("--out", metavar="DIR", type=Path, required=True, help="kept and resumed")
    bench.add_argument("--preset", choices=["grouped", "paper"], help="protocol, rows and columns")
    bench.add_argument("--plate", metavar="PLATE", type=Path, help="images, with --labels")
    bench.add_argument("--labels", metavar="LABELS.csv", type=Path)
    bench.add_argument("--crops", metavar="DIR", type=Path, help="<class>/*.png or .tif")
    bench.add_argument(
        "--abnormal", metavar="A,B", default="abnormal", help="folders of abnormal crops"
    )
    bench.add_argument("--encoder", metavar="E", help="one more encoder")
    bench.add_argument("--weights", metavar="FILE", type=Path, help="its weights")

    screen = command("screen", "Judge every plate of a screen, and report on all of them.")
    screen.add_argument(
        "spec", metavar="SCREEN.toml", type=Path, help="plates, and the assay with the model"
    )
    screen.add_argument("--out", metavar="DIR", type=Path, required=True, help="kept and resumed")
    screen.add_argument(
        "--dry-run", action="store_true", help="tell what is to be done, and why; do nothing"
    )
    _engine_options(screen)

    status = command("status", "Show plates, annotations, models and what could not be read.")
    _assay(status)

    relocate = command("relocate", "Tell an assay where a plate has moved to.")
    _assay(relocate)
    relocate.add_argument("plate", metavar="NAME", help="name of the plate in the assay")
    relocate.add_argument("source", metavar="PLATE", type=Path, help="where it is now")
    relocate.add_argument(
        "--image-root", metavar="DIR", type=Path, help="where the images of a CSV are now"
    )

    remove = command("remove", "Take a plate out of an assay; images and annotations stay.")
    _assay(remove)
    remove.add_argument("plate", metavar="NAME", help="name of the plate in the assay")

    convert = command("convert", "Write a plate as OME-Zarr (pyramidal, resumable).")
    convert.add_argument("plate", metavar="PLATE", type=Path)
    convert.add_argument("out", metavar="OUT.zarr", type=Path)
    convert.add_argument("--ngff", choices=["0.4", "0.5"], default="0.5", help="version of NGFF")
    _plate_options(convert, platemap=False)

    simulate = command("simulate", "Make a synthetic plate with known artefacts.")
    simulate.add_argument("out", metavar="DIR", type=Path)
    simulate.add_argument("--wells", metavar="N", type=int, default=24, help="number of wells")
    simulate.add_argument("--sites", metavar="N", type=int, default=2, help="sites a well")
    simulate.add_argument(
        "--shape", metavar="HxW", default="520x696", help="height and width of a site in px"
    )
    simulate.add_argument("--clean", action="store_true", help="without any artefact")
    simulate.add_argument("--seed", metavar="N", type=int, default=0)

    opened = command("open", "Open napari on an assay: look, click, retrain, review.")
    opened.add_argument(
        "assay", metavar="ASSAY", type=Path, nargs="?", help="folder of the assay; none: begin anew"
    )

    demo = command("demo", "Run the main job on the sample plate and open napari on it.")
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
        help="who says so (where the file does not say); default: %(default)s",
    )


def _plate_options(parser: argparse.ArgumentParser, *, platemap: bool = True) -> None:
    group = parser.add_argument_group("how the plate is read")
    group.add_argument(
        "--pattern",
        metavar="REGEX",
        help="regular expression of the file names, with the groups well, site and channel",
    )
    group.add_argument(
        "--image-root", metavar="DIR", type=Path, help="where the images of a CSV are now"
    )
    group.add_argument("--plate-name", metavar="NAME", help="name, or which plate of a CSV")
    if platemap:
        group.add_argument(
            "--platemap", metavar="CSV", type=Path, help="columns well,treatment,role"
        )


def _cells_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how cells are found")
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
    group = parser.add_argument_group("the model")
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
        help="linear (default), linear-paper, knn, forest; finetune, finetune-paper (minutes)",
    )
    group.add_argument("--seeds", metavar="N", type=int, default=5, help="of cross-validation")
    group.add_argument("--seed", metavar="N", type=int, default=0)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def _export_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what counts as an outlier")
    _exclude_kinds(group)
    group.add_argument(
        "--exclude-unreviewed",
        action="store_true",
        help="flagged wells and sites are outliers until somebody keeps them",
    )


def _engine_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how the jobs run (by Snakemake)")
    group.add_argument("--cores", metavar="N", type=int, help="of this computer; default: all")
    group.add_argument("--jobs", metavar="N", type=int, help="most at once on a cluster")
    group.add_argument("--threads", metavar="N", type=int, help="of each job; default: 4 at most")
    group.add_argument("--profile", metavar="P", help="folder or name of a Snakemake profile")
    group.add_argument("--executor", metavar="E", help="slurm, or another executor plugin")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    group.add_argument(
        "--snakemake",
        metavar="OPTIONS",
        default="",
        help="further options of Snakemake in one text, as in --snakemake='--retries 2'",
    )


def _exclude_kinds(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--exclude-kinds",
        metavar="KINDS",
        default="",
        help="kinds that are biology in this assay and stay in, such as dead; comma-separated",
    )


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a user
        return "unknown"
