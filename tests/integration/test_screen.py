"""A screen without its engine: plan, jobs one after another in this process, and the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pandas as pd
import pytest

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_cells import load_cells
from napari_hcs_qc.cli import main, screen_job
from napari_hcs_qc.errors import DamagedError, HcsQcError
from napari_hcs_qc.plugins import DETECTORS
from napari_hcs_qc.screen.bundle import load_bundle, make_bundle
from napari_hcs_qc.screen.gather import gather
from napari_hcs_qc.screen.plate_job import do_plate
from napari_hcs_qc.screen.screen_plan import ScreenPlan, plan_screen, write_plan
from napari_hcs_qc.screen.screen_spec import read_screen

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """
name = "Screen <1>"
assay = "assay"
[[plate]]
glob = "raw/*"
"""


class Page(HTMLParser):
    """Text and attributes of a page, and its elements that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.said: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.said += [(name, value or "") for name, value in attrs]
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.said += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, name: str) -> list[str]:
        return [value for key, value in self.said if key == name]


@dataclass
class Screen:
    root: Path

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def spec(self) -> Path:
        return self.root / "screen.toml"

    def plan(self) -> ScreenPlan:
        return plan_screen(read_screen(self.spec), self.out)

    def work(self) -> dict[str, int]:
        """Do what is missing as the workflow would; gives the exit code of each job."""
        plan = self.plan()
        write_plan(plan, threads=1, device="cpu")
        assert screen_job.main(["model", str(self.out)]) == 0
        keys = [one.plate.key for one in plan.to_do()]
        return {key: screen_job.main(["plate", str(self.out), key]) for key in keys}


@pytest.fixture(scope="module")
def screen(ran: Any, tmp_path_factory: pytest.TempPathFactory) -> Screen:
    """Three plates of which the last is no image at all, worked on once."""
    root = tmp_path_factory.mktemp("screen ü")
    shutil.copytree(ran.result.assay.path, root / "assay")
    for name in ("P1", "P 2{x}", "P3"):
        shutil.copytree(ran.made.plate_dir, root / "raw" / name)
    for image in (root / "raw" / "P 2{x}").rglob("*.tif"):
        if not any(well in image.name for well in ("A01", "B01", "C03")):
            image.unlink()  # fewer cells, so that it takes less time
    for image in (root / "raw" / "P3").rglob("*.tif"):
        image.write_bytes(b"not a TIFF")
    (root / "screen.toml").write_text(SPEC)
    screen = Screen(root)
    assert screen.work() == {"P%202%7Bx%7D": 0, "P1": 0, "P3": 1}
    return screen


def test_a_failed_plate_stands_alone_and_first(screen: Screen) -> None:
    found = gather(screen.plan())
    assert [name for name, _ in found.failed] == ["P3"]
    assert set(found.flags) == {"P1", "P 2{x}"}
    problem = json.loads((screen.out / "plates" / "P3" / "problem.json").read_text())
    assert problem["is_expected"]
    assert problem["error"] in found.failed[0][1]
    text = found.report.read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open
    assert "Screen <1>" in page.text
    assert text.index("could not be analysed") < text.index("flagged plate")
    assert problem["error"] in page.text
    links = [one for one in page.attributes("href") if one.startswith("plates/")]
    assert "plates/P%25202%257Bx%257D/results/report.html" in links
    for link in links:
        assert (screen.out / unquote(link)).is_file(), link
    assert not [one for one in page.attributes("src") if not one.startswith("data:")]


def test_tables_are_those_of_the_plates(screen: Screen, ran: Any) -> None:
    gather(screen.plan())
    wells = pd.read_parquet(screen.out / "wells.parquet")
    mine = wells[wells["Metadata_Plate"] == "P1"].set_index("well")
    results = screen.out / "plates" / "P1" / "results" / "wells.parquet"
    alone = pd.read_parquet(results).set_index("Metadata_Well")
    assert mine["n_cells"].to_dict() == alone["n_cells"].to_dict()
    assert mine["is_flagged"].to_dict() == alone["is_flagged"].to_dict()
    # The same images: every cell has the probability that it has where the model was trained.
    place = ["Metadata_Well", "Metadata_Site", "y_px", "x_px"]
    here, there = (
        pd.read_parquet(path, columns=[*place, "p_abnormal"]).set_index(place)["p_abnormal"]
        for path in (results.with_name("cells.parquet"), ran.out / "cells.parquet")
    )
    assert len(here) == alone["n_cells"].sum()
    assert (here - there.reindex(here.index)).abs().max() < 1e-3
    plates = pd.read_csv(screen.out / "plates.csv").set_index("plate")
    assert plates.loc["P3", "state"] == "failed"
    assert plates.loc["P1", "n_cells"] == alone["n_cells"].sum()
    read = pd.read_csv(screen.out / "wells.csv")
    assert len(read) == len(wells) == 12
    effects = pd.read_csv(screen.out / "position_effects.csv")
    assert {"row A", "column 3"} <= set(effects["place"])
    provenance = json.loads((screen.out / "provenance.json").read_text())
    assert provenance["spec_text"] == SPEC
    assert len(provenance["model"]["files"]) >= 2


def test_only_what_is_missing_is_done(screen: Screen) -> None:
    """What failed is tried again; what is done is not, until something of it changes."""
    states = {one.plate.name: one.standing for one in screen.plan().plates}
    assert [states[name].state for name in ("P1", "P 2{x}", "P3")] == ["done", "done", "failed"]
    done = {path: path.stat().st_mtime_ns for path in screen.out.glob("plates/*/done.json")}
    assert screen.work() == {"P3": 1}
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_a_verdict_makes_its_plate_be_told_anew(screen: Screen) -> None:
    main(["verdict", str(screen.out / "plates" / "P1" / "assay"), "C03", "exclude", "--quiet"])
    planned = {one.plate.name: one.standing for one in screen.plan().plates}
    assert "verdicts" in planned["P1"].why
    assert screen.work() == {"P1": 0, "P3": 1}
    gather(screen.plan())
    wells = pd.read_parquet(screen.out / "wells.parquet").set_index(["Metadata_Plate", "well"])
    assert wells.loc[("P1", "C03"), "verdict"] == "exclude"


def test_what_changed_is_named_and_archived_plates_stay(screen: Screen, tmp_path: Path) -> None:
    copy = Screen(tmp_path / "moved")
    shutil.copytree(screen.root / "out", copy.out)
    for name in ("assay", "raw"):
        (copy.root / name).symlink_to(screen.root / name)
    # Paths are part of a job: this screen's plates lie elsewhere.
    copy.spec.write_text(SPEC)
    assert all(one.is_to_do for one in copy.plan().plates)
    spec = read_screen(screen.spec)
    shutil.move(screen.root / "raw" / "P1", tmp_path / "archive")
    try:
        gone = {one.plate.name: one for one in plan_screen(spec, screen.out).plates}
        assert gone["P1"].standing.state == "done"
        assert "does not exist" in gone["P1"].trouble
    finally:
        shutil.move(tmp_path / "archive", screen.root / "raw" / "P1")
    assert not next(one for one in screen.plan().plates if one.plate.name == "P1").is_to_do
    other = screen.root / "other.toml"
    other.write_text(SPEC + "[export]\nexclude_unreviewed = true\n")
    changed = plan_screen(read_screen(other), screen.out).plates
    assert {one.standing.why for one in changed if one.plate.name != "P3"} == {"changed: export"}


def test_a_job_that_is_done_does_nothing(screen: Screen) -> None:
    plan = screen.plan()
    folder = next(one.folder for one in plan.plates if not one.is_to_do)
    before = folder.done_path.stat().st_mtime_ns
    assert not do_plate(folder)
    assert folder.done_path.stat().st_mtime_ns == before


def test_other_channels_are_refused_in_words(screen: Screen) -> None:
    plan = screen.plan()
    bundle = load_bundle(screen.out / plan.bundle)
    assert bundle.channels == ("DNA",)
    assert bundle.model.id == plan.model.model
    damaged = screen.root / "damaged"
    shutil.copytree(screen.out / plan.bundle, damaged)
    for name in ("reference.npy", f"{bundle.model.id}/head/head.json"):
        path = damaged / name
        whole = path.read_bytes()
        for content in (b"half", whole[:-1] + bytes([whole[-1] ^ 1])):
            path.unlink()  # linked with that of the assay
            path.write_bytes(content)
            with pytest.raises(DamagedError, match=r"damaged.*run the same command again"):
                load_bundle(damaged)
        path.write_bytes(whole)
    assert load_bundle(damaged).channels == ("DNA",)
    facts = plan.model.model_copy(update={"files": {"head": "0"}})
    with pytest.raises(HcsQcError, match="has changed"):
        make_bundle(AssayFolder.open(screen.root / "assay"), facts, screen.root / "new")


def test_the_command_tells_what_it_would_do(
    screen: Screen, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["screen", str(screen.spec), "--out", str(screen.out), "--quiet"]
    assert main([*arguments, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["plate"]: one["state"] for one in told["plates"]}["P3"] == "failed"
    import importlib.util as finder

    find = finder.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "snakemake" else find(name)
    )
    assert main(arguments) == 2
    assert "napari-hcs-qc[screen]" in capsys.readouterr().err
    foreign = screen.root / "raw"
    assert main(["screen", str(screen.spec), "--out", str(foreign), "--quiet"]) == 2
    assert "not the folder of a screen" in capsys.readouterr().err
    assert not (foreign / "screen.lock").exists()


def test_its_plates_get_the_detector_of_the_assay(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_detector.py").write_text(
        "from napari_hcs_qc.cells.nuclei import find_nuclei\n"
        "def find(image, pixel_size_um):\n"
        "    return find_nuclei(image)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DETECTORS, "toy", ("numpy", "toy_detector:find"))
    other = Screen(tmp_path / "screen")
    shutil.copytree(screen.root / "assay", other.root / "assay")
    shutil.copytree(screen.root / "raw" / "P 2{x}", other.root / "raw" / "P2")
    other.spec.write_text(SPEC)
    before = other.plan().model.mark
    AssayFolder.open(other.root / "assay").update_settings(detector="toy")
    plan = other.plan()
    assert plan.model.mark != before  # other cells, so the plates are done again
    assert other.work() == {"P2": 0}
    assay = AssayFolder.open(plan.plates[0].folder.assay)
    assert load_cells(assay.plate_folder("P2")).detector == "toy"
