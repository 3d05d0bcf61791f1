"""Arguments of the command line."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from napari_hcs_qc import __version__
from napari_hcs_qc.study.ssl.pretrain_settings import DEFAULT_METHOD


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
    encoders.add_argument(
        "--assay", metavar="ASSAY", type=Path, help="also those trained on it or imported"
    )
    encoders.add_argument("--speed", action="store_true", help="measure crops a second here")
    _backend(encoders)

    train = command("train", "Fit a head on the annotated cells and cross-validate it.")
    _assay(train)
    _train_options(train)

    pretrain = command(
        "pretrain",
        "Train an encoder on the assay's unlabelled cells (self-supervised); run again to go on.",
    )
    _assay(pretrain)
    _pretrain_options(pretrain)

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
    _benchmark_options(bench)

    sensed = command("sensitivity", "Measure which simulated artefacts an encoder misses.")
    _assay(sensed)
    sensed.add_argument("--out", metavar="DIR", type=Path, required=True, help="kept and resumed")
    sensed.add_argument(
        "--encoder",
        metavar="E[=FILE]",
        action="append",
        help="may be repeated; FILE.safetensors has its weights; hand-made is the baseline",
    )
    sensed.add_argument("--weights", metavar="FILE", type=Path, help="of the one encoder named")
    sensed.add_argument("--recipe", metavar="R", help="nucleus (default), nucleus-mean, ...")
    sensed.add_argument("--head", metavar="H", help="linear (default), linear-paper, knn, forest")
    sensed.add_argument(
        "--kinds",
        metavar="A,B",
        help="gaussian, defocus, saturation, debris, debris-unfocused, fibre, fibre-unfocused, "
        "haze, noise, dead, empty; all by default",
    )
    sensed.add_argument("--severities", metavar="S,T", help="above 0, at most 1")
    sensed.add_argument("--seeds", metavar="N", type=int, default=1, help="divisions into folds")
    sensed.add_argument("--cells", metavar="N", type=int, default=300, help="spoiled at most")
    sensed.add_argument(
        "--train-on-simulated",
        metavar="A,B",
        help="also train on simulated cells of these kinds, and say what it does",
    )
    sensed.add_argument("--numerical-aperture", metavar="NA", type=float, default=0.5)
    sensed.add_argument("--pixel-size", metavar="UM", type=float, help="where the plate lacks it")
    sensed.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")

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

    fetch = command("fetch", "Download a public plate (BBBC021, BBBC022), ready to be opened.")
    fetch.add_argument("set", metavar="SET", choices=["bbbc021", "bbbc022"], help="%(choices)s")
    fetch.add_argument(
        "--plate", metavar="NAME", required=True, help="such as 20585, or Week1_22123 of bbbc021"
    )
    fetch.add_argument(
        "--channels", metavar="C,C", help="only these, such as w1,w2 or Hoechst,ER; default: all"
    )
    fetch.add_argument(
        "--out", metavar="DIR", type=Path, help="folder for plates of the set; default: ./SET"
    )
    fetch.add_argument(
        "--base-url", metavar="URL", help="a mirror; default: $HCS_QC_BBBC_URL, or the Broad's"
    )
    fetch.add_argument("--keep-archives", action="store_true", help="keep the ZIP files as well")
    fetch.add_argument(
        "--verify", action="store_true", help="read all that is there and mend what has changed"
    )

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
    group.add_argument(
        "--simulated",
        metavar="A,B",
        help="also train on simulated artefacts of these kinds (see 'hcs-qc sensitivity'), such as "
        "defocus,saturation,haze,noise,empty where nobody has annotated any",
    )
    group.add_argument("--seeds", metavar="N", type=int, default=5, help="of cross-validation")
    group.add_argument("--seed", metavar="N", type=int, default=0)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    _backend(group)


def _backend(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--backend",
        metavar="B",
        default="auto",
        help="what runs the encoder on the CPU: auto (the quickest installed, or what the "
        "variable HCS_QC_BACKEND says), torch, onnxruntime or openvino",
    )


def _benchmark_options(bench: argparse.ArgumentParser) -> None:
    bench.add_argument(
        "spec", metavar="SPEC.toml", type=Path, nargs="?", help="instead of the flags below"
    )
    bench.add_argument("--out", metavar="DIR", type=Path, required=True, help="kept and resumed")
    group = bench.add_argument_group(
        "labelled cells (each again and again; NAME=PATH calls it NAME, else its last part)"
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
        help="of each --plate, then each .npy in turn (columns class,group; else X.csv by X.npy)",
    )
    group.add_argument(
        "--abnormal", metavar="A,B", help="classes of crops that are abnormal (default: abnormal)"
    )
    group.add_argument(
        "--group", metavar="REGEX", help="its first group is the plate in a crop's file name"
    )
    group.add_argument(
        "--transfer",
        metavar="A:B",
        action="append",
        help="train on A, test on B (default: the first on each other)",
    )
    group = bench.add_argument_group("rows and columns")
    group.add_argument("--preset", choices=["grouped", "paper"], help="protocol, rows and columns")
    group.add_argument(
        "--protocol", choices=["grouped", "paper"], help="split by well, or by cell as the paper"
    )
    group.add_argument(
        "--encoder",
        metavar="NAME[=WEIGHTS]",
        action="append",
        help="or ASSAY/encoders/NAME; beside those of the preset; may be repeated, as the next two",
    )
    group.add_argument("--recipe", metavar="R", action="append", help="how crops are cut")
    group.add_argument("--head", metavar="H", action="append", help="see 'hcs-qc train --help'")
    group.add_argument("--sizes", metavar="N,N", help="numbers of annotations, such as all,50,10")
    group.add_argument("--seeds", metavar="N", type=int, help="number of draws")
    group.add_argument(
        "--fine-tuned-seeds",
        metavar="N",
        type=int,
        help="draws of them for fine-tuned heads, which take minutes each; 0 for all",
    )
    group.add_argument(
        "--fine-tuned-matched",
        action=argparse.BooleanOptionalAction,
        help="fine-tuned heads on the crops they were made for alone: the paper's on the paper's, "
        "ours on all others (so with --preset paper)",
    )
    group.add_argument(
        "--no-baseline",
        dest="baseline",
        action="store_false",
        help="without the row of hand-made features",
    )
    group.add_argument(
        "--no-plate-directions",
        dest="plate_directions",
        action="store_false",
        help="the head linear without a sample of the plate's other cells",
    )


def _pretrain_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the training")
    group.add_argument(
        "--method",
        metavar="M",
        default=DEFAULT_METHOD,
        help="deepclusterv2 (default; the only one that was better than an untrained network on "
        "BBBC022, with the preset default), simclr, barlow-twins, vicreg, swav",
    )
    group.add_argument("--preset", choices=["default", "paper"], default="default")
    group.add_argument("--epochs", metavar="N", type=int, help="instead of the preset's")
    group.add_argument("--batch-size", metavar="N", type=int, help="cells a step, of all processes")
    group.add_argument("--lr", metavar="X", type=float, help="highest learning rate")
    group.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="any other setting, such as temperature=0.2; may be repeated",
    )
    group.add_argument("--seed", metavar="N", type=int, default=0)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    group = parser.add_argument_group("the cells")
    group.add_argument("--plate", metavar="NAME", action="append", help="only this plate; repeat")
    group.add_argument("--cells", metavar="N", type=int, help="a random sample of all cells")
    group.add_argument("--recipe", metavar="R", help="nucleus (default), nucleus-mean, paper-128px")
    group.add_argument("--rgb", metavar="R,G,B", help="channels of a colour recipe")
    group.add_argument("--input-px", metavar="N", type=int, help="side of the crops trained on")
    group = parser.add_argument_group("the encoder")
    group.add_argument("--name", metavar="NAME", help="what it is called; default: the method")
    group.add_argument(
        "--start-from",
        metavar="E|FILE",
        help="an encoder (resnet18: ImageNet) or .safetensors file; default: random ResNet18",
    )
    group.add_argument(
        "--weights", metavar="FILE", type=Path, help="local weights of the encoder to start from"
    )
    group.add_argument("--again", action="store_true", help="replace the encoder of that name")
    group.add_argument(
        "--no-compare",
        action="store_true",
        help="do not hold it against untrained networks on the annotated cells afterwards",
    )
    group.add_argument(
        "--import",
        dest="import_from",
        metavar="PATH",
        type=Path,
        help="train nothing: take in an encoder of another assay (ASSAY/encoders/NAME)",
    )


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
