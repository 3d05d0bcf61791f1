"""Damage of any file of an assay is told with the command that mends it, and mended by it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_hcs_qc import Assay, open_plate
from napari_hcs_qc.assay.annotations import journal_schema
from napari_hcs_qc.assay.store import plate_state
from napari_hcs_qc.cli import main
from napari_hcs_qc.encoders.embed import embedding_store
from napari_hcs_qc.files import sha256_of, write_json


@pytest.fixture
def path(assay_copy: Path) -> Path:
    """Give a copy of an assay with all steps done, as another process opens it."""
    embedding_store._SOUND.clear()
    return assay_copy


def only(folder: Path, pattern: str) -> Path:
    [found] = folder.glob(pattern)
    return found


def flip(path: Path, share: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 1
    path.write_bytes(data)


def told(path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that ends because of damage; give its line."""
    out = [str(path.parent / "tables")] if command in ("export", "report") else []
    assert main([command, str(path), *out, "--quiet"]) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return printed.err + printed.out


def test_a_whole_assay_is_checked_part_by_part(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = Assay.open(path).check()
    assert checked.damaged == ()
    kinds = {part.name.split(" ")[0] for part in checked.parts}
    assert kinds - {"copy"} == {  # of the journal, made when another process opens it
        "assay.json",
        "journal.sqlite",
        "platemap.csv",
        "cells",
        "prediction",
        "embeddings",
        "model",
    }
    assert not any("without a checksum" in part.content for part in checked.parts)
    assert main(["check", str(path), "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_damaged"] == 0


def test_a_hole_in_the_embeddings_is_computed_anew(path: Path) -> None:
    assay = Assay.open(path)
    expected = [prediction.table for prediction in assay.predict()]
    store = only(path, "embeddings/*/embeddings.npy")
    whole = store.read_bytes()
    middle = len(whole) // 2
    store.write_bytes(whole[:middle] + bytes(2000) + whole[middle + 2000 :])
    [damaged] = assay.check().damaged
    assert "train or predict computes them anew" in damaged.damage
    predicted = [prediction.table for prediction in assay.predict()]
    pd.testing.assert_frame_equal(predicted[0], expected[0], atol=1e-6)
    assert assay.check().damaged == ()
    np.testing.assert_allclose(
        np.frombuffer(store.read_bytes()[128:], "<f4"),
        np.frombuffer(whole[128:], "<f4"),
        atol=1e-5,
    )


@pytest.mark.parametrize("command", ["status", "export", "report", "check"])
def test_damaged_predictions_are_told_and_predicted_again(
    path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    flip(only(path, "predictions/*/*.parquet"))
    assert "hcs-qc predict" in told(path, command, capsys)
    assert not (path.parent / "tables").exists()
    Assay.open(path).predict()
    assert Assay.open(path).check().damaged == ()


def _without_column(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="predicted_kind")


def _half(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[: len(table) // 2]


def _swapped(table: pd.DataFrame) -> pd.DataFrame:
    other = {"normal": "abnormal", "abnormal": "normal"}
    return table.assign(predicted_class=table["predicted_class"].map(other))


def _beyond(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(p_abnormal=table["p_abnormal"] + 1)


def _infinite(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(p_abnormal=np.float32(np.inf))


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(p_abnormal="0,5")


@pytest.mark.parametrize(
    "change", [_without_column, _half, _swapped, _beyond, _infinite, _as_text, None]
)
def test_a_prediction_of_an_earlier_version_that_cannot_be_one_is_told(
    path: Path, capsys: pytest.CaptureFixture[str], change
) -> None:
    table = only(path, "predictions/*/*.parquet")
    document = table.with_suffix(".json")
    data = json.loads(document.read_text(encoding="utf-8"))
    # Without checksums, as 0.1.0 wrote them.
    write_json(document, {**data, "table_sha256": ""})
    if change is None:
        table.unlink()
    else:
        change(pd.read_parquet(table)).to_parquet(table)
    line = told(path, "export", capsys)
    assert str(table) in line and "hcs-qc predict" in line


@pytest.mark.parametrize("name", ["cells.parquet", "quality.parquet", "cells.json"])
def test_damaged_cells_are_told_and_found_again(
    path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    before = pd.read_parquet(only(path, "plates/*/cells.parquet"))
    flip(only(path, f"plates/*/{name}"))
    assert "hcs-qc cells" in told(path, "export", capsys)
    assert main(["cells", str(path), "--quiet"]) == 0
    after = pd.read_parquet(only(path, "plates/*/cells.parquet"))
    pd.testing.assert_frame_equal(after, before)
    assert main(["check", str(path), "--quiet"]) == 0


@pytest.mark.parametrize(
    "name", ["model.json", "head/head.json", "head/*.safetensors", "annotated.safetensors"]
)
def test_a_damaged_model_is_told(path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    flip(only(path, f"models/*/{name}"))
    assert "rain again" in told(path, "predict", capsys)
    assert "rain again" in told(path, "check", capsys)


def test_shuffled_rows_are_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for pattern in ("predictions/*/*.parquet", "plates/*/cells.parquet"):
        table = only(path, pattern)
        whole = table.read_bytes()
        pd.read_parquet(table).iloc[::-1].to_parquet(table)
        assert "damaged" in told(path, "export", capsys)
        table.write_bytes(whole)
    assert main(["export", str(path), str(path.parent / "tables"), "--quiet"]) == 0


def test_a_damaged_journal_is_told_and_repaired(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = path / "journal.sqlite"
    assay = Assay.open(path)
    expected = assay.annotations()
    data = journal.read_bytes()
    place = data.find(b"SIM", data.find(b"SIM") + 1)
    journal.write_bytes(data[:place] + b"SIL" + data[place + 3 :])
    journal_schema._CHECKED.clear()
    for command in ("status", "train", "export", "check"):
        assert f"hcs-qc repair {path}" in told(path, command, capsys)
    assert main(["repair", str(path), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "1 came from copies" in printed and "lost" not in printed
    pd.testing.assert_frame_equal(Assay.open(path).annotations(), expected)
    assert main(["repair", str(path), "--quiet"]) == 0
    assert "is whole" in capsys.readouterr().out


def test_a_setting_changed_by_hand_says_how_to_go_on(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Assay.open(path)._folder().update_settings(threshold=0.4)
    document = path / "assay.json"
    text = document.read_text(encoding="utf-8").replace("0.4", "0.6")
    document.write_text(text, encoding="utf-8")
    assert 'delete the line "checksum"' in told(path, "status", capsys)


def test_the_plate_map_and_stores_of_others_are_left_alone(path: Path) -> None:
    before = {file: sha256_of(file) for file in path.rglob("*") if file.is_file()}
    Assay.open(path).check()
    after = {file: sha256_of(file) for file in before}
    assert after == before
    shutil.rmtree(path / "embeddings")
    assert Assay.open(path).check().damaged == ()


# ---- a plate is its content ----------------------------------------------------------------


def _touched(folder: Path) -> None:
    for number, file in enumerate(sorted(folder.rglob("*.tif"))):
        os.utime(file, (1_600_000_000 + number, 1_600_000_000 + number))


def test_a_copy_with_other_dates_keeps_everything(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assay = Assay.open(path)
    [entry] = assay.plates
    [expected] = assay.predict()
    copy = tmp_path / "copy" / entry.source.name
    shutil.copytree(entry.source, copy)
    _touched(copy)
    moved, is_same = assay.relocate(entry.name, copy)
    assert is_same and moved.source == copy
    # Its files are compared once for each change of their dates, not at each opening.
    monkeypatch.setattr(plate_state, "content_of", lambda _plate: pytest.fail("hashed again"))
    stores = sorted(each.name for each in (path / "embeddings").iterdir() if each.is_dir())
    assert assay.status().plates[0].predicted_with == "0001"
    [predicted] = assay.predict()
    pd.testing.assert_frame_equal(predicted.table, expected.table)
    assert stores == sorted(each.name for each in (path / "embeddings").iterdir() if each.is_dir())


def test_other_pixels_in_a_copy_are_noticed(path: Path, tmp_path: Path) -> None:
    assay = Assay.open(path)
    [entry] = assay.plates
    copy = tmp_path / "copy" / entry.source.name
    shutil.copytree(entry.source, copy)
    image = sorted(copy.rglob("*.tif"))[3]
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 255
    image.write_bytes(data)
    _, is_same = assay.relocate(entry.name, copy)
    assert not is_same
    assert assay.status().plates[0].n_cells is None


def other_pixels(image: Path, start: int, size: int) -> None:
    """Change pixels as a program does that keeps size and date."""
    status, data = image.stat(), bytearray(image.read_bytes())
    data[start : start + size] = bytes(255 - byte for byte in data[start : start + size])
    image.write_bytes(data)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def own_plate(path: Path, tmp_path: Path) -> tuple[Assay, Path]:
    """Give an assay on a plate of its own, and the image of its first site and channel."""
    assay = Assay.open(path)
    [entry] = assay.plates
    copy = tmp_path / "copy" / entry.source.name
    shutil.copytree(entry.source, copy)
    planes = open_plate(copy).planes
    image = Path(planes["path"][planes["channel"] == 0].iloc[0])
    tifffile.imwrite(image, tifffile.imread(image))  # not compressed
    assay.relocate(entry.name, copy)
    return assay, image


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps no date of such a change")
def test_other_pixels_under_the_same_size_and_date_are_noticed_by_the_next_command(
    own_plate: tuple[Assay, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assay, image = own_plate
    [expected] = assay.predict()
    other_pixels(image, image.stat().st_size // 2, 2000)
    assert "have changed since its cells were found" in told(assay.path, "export", capsys)
    assert main(["predict", str(assay.path), "--quiet"]) == 0
    assert "images: have changed since" in capsys.readouterr().out
    [predicted] = assay.predict()
    assert not np.array_equal(predicted.table["p_abnormal"], expected.table["p_abnormal"])
    # As they were: nothing of what was computed meanwhile is taken for it.
    other_pixels(image, image.stat().st_size // 2, 2000)
    assert "have changed since its cells were found" in told(assay.path, "export", capsys)
    [predicted] = assay.predict()
    np.testing.assert_allclose(predicted.table["p_abnormal"], expected.table["p_abnormal"])


def test_other_pixels_that_no_sample_shows_are_noticed_where_their_site_is_read(
    own_plate: tuple[Assay, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assay, image = own_plate
    [expected] = assay.predict()
    other_pixels(image, 5000, 3000)
    assay.predict()  # no site is read
    written = assay.crops(tmp_path / "crops")
    assert any("hcs-qc cells" in problem.what for problem in written.unreadable)
    assert "have changed since its cells were found" in told(assay.path, "export", capsys)
    [predicted] = assay.predict()
    assert not np.array_equal(predicted.table["p_abnormal"], expected.table["p_abnormal"])
    assert assay.crops(tmp_path / "more").unreadable == ()


def test_cells_found_again_in_other_pixels_are_not_taken_for_those_before(
    own_plate: tuple[Assay, Path],
) -> None:
    assay, image = own_plate
    [expected] = assay.predict()
    other_pixels(image, 5000, 3000)
    assay.cells(again=True)
    [predicted] = assay.predict()
    assert not np.array_equal(predicted.table["p_abnormal"], expected.table["p_abnormal"])
