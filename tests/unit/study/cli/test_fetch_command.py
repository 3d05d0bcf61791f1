from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from napari_hcs_qc import download
from napari_hcs_qc.cli import main
from napari_hcs_qc.plates import open_plate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bbbc_server: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "WAITS_S", (0.01,))
    monkeypatch.setenv("HCS_QC_BBBC_URL", bbbc_server.url)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_fetch_says_what_is_there_and_what_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # bars are for terminals
    fetch = ["fetch", "bbbc022", "--plate", "20585", "--channels", "w1,Mito"]
    assert main(fetch) == 0
    out, err = capsys.readouterr()
    assert "3 wells, 6 sites, channels Hoechst, Mito" in out
    assert "SHA-256 of BBBC022_v1_images_20585w1.zip: " in out
    assert f"Next: hcs-qc new ASSAY {tmp_path / 'bbbc022' / '20585'}" in out
    assert "Downloading BBBC022_v1_images_20585w5.zip (2 of 2)" in err
    assert "kB" in err or "B/s" in err
    n_lines = len(out.splitlines())

    assert main(fetch) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("Nothing to do: everything requested is there.")
    assert "SHA-256" not in out
    assert len(out.splitlines()) < n_lines

    assert main([*fetch, "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["is_new"] is False
    assert told["channels"] == ["Hoechst", "Mito"]
    assert len(open_plate(told["path"]).sites) == told["n_sites"] == 6


def test_a_fetched_plate_makes_an_assay(capsys: pytest.CaptureFixture[str]) -> None:
    one = ["fetch", "bbbc021", "--plate", "Week1_22123", "--out", "here", "--channels", "Actin"]
    assert main([*one, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "use --keep-archives" in out
    assert main(["new", "assay", "here/Week1_22123", "--json", "--quiet"]) == 0
    (plate,) = json.loads(capsys.readouterr().out)["plates"]
    assert plate["name"] == "Week1_22123"
    assert plate["channels"] == ["Actin"]
    assert plate["problems"] == []


def test_a_wrong_plate_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "bbbc021", "--plate", "22123", "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "Did you mean Week1_22123?" in err
