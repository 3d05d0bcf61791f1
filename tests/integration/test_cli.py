from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from napari_hcs_qc.cli import main
from napari_hcs_qc.cli.parser import make_parser
from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate, SyntheticSpec, simulate_plate

VERBS = [
    "new", "cells", "annotate", "encoders", "train", "predict", "export", "report", "crops", "run",
    "verdict", "status", "relocate", "remove", "convert", "simulate", "open", "demo",
    "benchmark", "fetch", "sensitivity", "pretrain", "screen",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedPlate:
    spec = SyntheticSpec(
        name="SIM",
        wells=("A01", "A02", "B01", "B02"),
        sites_per_well=1,
        shape_px=(200, 240),
        channels=("DNA",),
        seed=2,
        nucleus_diameter_um=14.0,
        cells_per_mm2=1500.0,
        artefact_share=0.0,
        abnormal_share=0.2,
        n_labels=50,
    )
    return simulate_plate(tmp_path_factory.mktemp("Zählung 1"), spec)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        make_parser().parse_args([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "--json" in text
    assert verb in text


def test_help_is_instant() -> None:
    """No torch, pandas or napari for a help text."""
    code = (
        "import sys; from napari_hcs_qc.cli.parser import make_parser; make_parser(); "
        "sys.exit(bool({'torch', 'pandas', 'napari', 'qtpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_core_runs_without_napari_and_qt() -> None:
    code = (
        "import sys\n"
        "for name in ('napari', 'qtpy', 'superqt', 'magicgui', 'PyQt6'): sys.modules[name] = None\n"
        "from napari_hcs_qc.cli import main\n"
        "import napari_hcs_qc.cli.commands\n"
        "sys.exit(main(['encoders', '--quiet']))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "efficientnet-lite0" in done.stdout


def test_the_verbs_one_after_another(
    made: SimulatedPlate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assay = str(tmp_path / "assay")

    def do(*arguments: str) -> dict:
        assert main([*arguments, "--json", "--quiet"]) == 0
        return json.loads(capsys.readouterr().out)

    assert do("new", assay, str(made.plate_dir))["plates"][0]["n_sites"] == 4
    assert do("status", assay)["models"] == []
    found = do("cells", assay)["plates"]["SIM"]
    assert found["n_cells"] > 60
    assert do("annotate", assay, "--from", str(made.labels), "--annotator", "me")["n_new"] == 50
    assert do("annotate", assay, "--from", str(made.labels), "--annotator", "me")["n_new"] == 0
    assert do("train", assay, "--seeds", "1")["model"] == "0001"
    predicted = do("predict", assay)["plates"][0]
    assert predicted["n_scored"] == predicted["n_cells"]
    # A click where no nucleus was found has made a cell.
    assert 0 <= predicted["n_cells"] - found["n_cells"] < 10
    files = do("export", assay, str(tmp_path / "tables"))["files"]
    assert {"cells.parquet", "cells.csv", "sites.csv", "wells.parquet", "cells.h5ad"} <= {
        Path(name).name for name in files
    }
    assert Path(do("report", assay, str(tmp_path / "report.html"))["report"]).is_file()
    assert do("verdict", assay, "B02", "exclude", "--annotator", "me")["action"]
    status = do("status", assay)
    assert status["n_verdicts"] == 1
    assert status["plates"][0]["predicted_with"] == "0001"

    # The same for a person.
    assert main(["status", assay]) == 0
    told = capsys.readouterr().out
    assert "4 wells" in told
    assert "Model 0001: efficientnet-lite0, nucleus, linear" in told


def test_export_onto_profiles_of_another_program(
    made: SimulatedPlate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assay = str(tmp_path / "assay")
    run = ["run", assay, str(made.plate_dir), "--labels", str(made.labels), "--seeds", "1"]
    assert main([*run, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    capsys.readouterr()
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    profiles = pd.DataFrame(
        {
            "Metadata_Plate": "SIM",
            "Metadata_Well": cells["Metadata_Well"],
            "Metadata_Site": cells["Metadata_Site"],
            "Metadata_ObjectNumber": range(1, len(cells) + 1),
            "Nuclei_Location_Center_Y": cells["y_px"] + 1,
            "Nuclei_Location_Center_X": cells["x_px"] - 1,
        }
    ).sample(frac=1, random_state=0)
    profiles.to_csv(tmp_path / "profiles.csv", index=False)
    onto = ["--onto", str(tmp_path / "profiles.csv"), "--json", "--quiet"]
    assert main(["export", assay, str(tmp_path / "t"), *onto]) == 0
    told = json.loads(capsys.readouterr().out)["onto"]
    assert told["n_matched"] == told["n_profiles"] == len(cells)
    joined = pd.read_parquet(told["out"]).set_index("Metadata_ObjectNumber").sort_index()
    assert joined["p_abnormal"].tolist() == cells["p_abnormal"].tolist()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["status", "nowhere"], "does not exist"),
        (["new", "a", "nowhere"], "nowhere"),
        (["run", "a", "{plate}", "--labels", "no.csv", "--out", "o"], "no.csv does not exist"),
        (
            ["run", "a", "{plate}", "--labels", "{labels}", "--out", "o", "--seeds", "0"],
            "seeds is 0",
        ),
        (["run", "a", "{plate}", "--labels", "{labels}", "--out", "o", "--z", "top"], "--z"),
        (
            ["run", "a", "{plate}", "--labels", "{labels}", "--out", "o", "--channel", "GFP"],
            "no channel 'GFP'",
        ),
        (
            ["run", "a", "{plate}", "--labels", "{labels}", "--out", "o", "--keep-kinds", "sad"],
            "'sad' is not one of",
        ),
        (["simulate", "s", "--shape", "big"], "520x696"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    made: SimulatedPlate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [text.format(plate=made.plate_dir, labels=made.labels) for text in arguments]
    assert main([*filled, "--quiet"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("hcs-qc: error: ")
    assert told in lines[0]


def test_all_problems_of_a_label_file_are_told_at_once(
    made: SimulatedPlate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    rows = ["A01,1,20,20,wicked", "Z99,1,20,20,normal", "A01,1,2000,20,normal"]
    rows += ["A01,9,20,20,normal"]
    rows += [f"A01,1,{y},x,normal" for y in range(4)]
    labels.write_text("well,site,y_px,x_px,label\n" + "\n".join(rows) + "\n")
    out = ["--out", str(tmp_path / "out"), "--quiet"]
    code = main(["run", str(tmp_path / "a"), str(made.plate_dir), "--labels", str(labels), *out])
    assert code == 2
    told = capsys.readouterr().err
    for words in ("wicked", "Z99", "2000", "no site 9", "line 9"):
        assert words in told


def test_a_busy_assay_names_who_is_at_work(
    made: SimulatedPlate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assay = tmp_path / "assay"
    assert main(["new", str(assay), str(made.plate_dir), "--quiet"]) == 0
    code = (
        "import sys, time; from pathlib import Path; "
        "from napari_hcs_qc.assay.store.assay_folder import AssayFolder\n"
        "with AssayFolder.open(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(assay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline().strip() == "held"
            capsys.readouterr()
            assert main(["cells", str(assay), "--quiet"]) == 2
            assert f"process {holder.pid}" in capsys.readouterr().err
            # Clicking goes on: the journal takes several writers.
            annotate = ["annotate", str(assay), "--from", str(made.labels), "--quiet"]
            assert main(annotate) == 0
        finally:
            holder.kill()


@pytest.mark.slow
def test_a_run_killed_anywhere_goes_on_and_ends_the_same(
    made: SimulatedPlate, tmp_path: Path
) -> None:
    def command(folder: Path) -> list[str]:
        run = ["run", str(folder / "assay"), str(made.plate_dir), "--labels", str(made.labels)]
        start = [sys.executable, "-m", "napari_hcs_qc", *run]
        return [*start, "--out", str(folder / "out"), "--seeds", "1", "--quiet"]

    whole = tmp_path / "whole"
    whole.mkdir()
    began = time.monotonic()
    subprocess.run(command(whole), check=True, capture_output=True)
    took_s = time.monotonic() - began
    killed = tmp_path / "killed"
    killed.mkdir()
    for part in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9):
        with subprocess.Popen(command(killed), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            try:
                p.wait(timeout=part * took_s)
            except subprocess.TimeoutExpired:
                os.kill(p.pid, signal.SIGKILL)
    subprocess.run(command(killed), check=True, capture_output=True)
    first, second = (
        pd.read_parquet(folder / "out" / "cells.parquet") for folder in (whole, killed)
    )
    assert second["annotated_class"].notna().sum() == 50
    pd.testing.assert_frame_equal(first, second, atol=1e-5)


def test_open_tells_a_wrong_assay_and_a_missing_screen_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["open", str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(["open"]) == 2
    assert "no display here" in capsys.readouterr().err
