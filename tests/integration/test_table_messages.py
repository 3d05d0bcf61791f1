"""Each message about a table names the file and a next step, and after that step it is read.

Of the commands `annotate`, `cells --from`, `export --onto` and `new --platemap`.
"""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc import Assay
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Ran

Step: TypeAlias = "Callable[[Path, str, Tables], list[str]]"
"""Does what a message says, to the file or by the options that it gives."""
UM_PER_PX = 0.656


@dataclass(frozen=True)
class Tables:
    """Tables that are read as they are."""

    labels: pd.DataFrame
    profiles: pd.DataFrame
    platemap: pd.DataFrame

    def of(self, command: str) -> pd.DataFrame:
        found = {"annotate": self.labels, "new": self.platemap}.get(command, self.profiles)
        return found.copy()


@pytest.fixture(scope="module")
def tables(ran: Ran) -> Tables:
    cells = load_plate(AssayFolder.open(ran.result.assay.path), "SIM").plate_cells.cells
    profiles = pd.DataFrame(
        {
            "Metadata_Well": cells["well"],
            "Metadata_Site": cells["site"],
            "Nuclei_Location_Center_X": cells["x_px"],
            "Nuclei_Location_Center_Y": cells["y_px"],
        }
    )
    labels = pd.read_csv(ran.made.labels, keep_default_na=False).assign(annotator="Jürg")
    return Tables(labels, profiles, pd.read_csv(ran.made.platemap, keep_default_na=False))


@pytest.fixture(scope="module")
def assays(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A scored assay, and one whose cells are not known."""
    folder = tmp_path_factory.mktemp("assays of messages")
    scored = folder / "scored"
    shutil.copytree(ran.result.assay.path, scored)
    Assay.new(folder / "plain", [ran.made.plate_dir])
    exported = shutil.copytree(scored, folder / "exported")
    return {
        "annotate": scored, "export": exported, "cells": folder / "plain", "new": folder / "new"
    }  # fmt: skip


def positions(table: pd.DataFrame) -> list[str]:
    return [name for name in table if name.endswith(("y_px", "x_px", "_X", "_Y"))]


# ---- what is wrong with a file -----------------------------------------------------------------


def in_um(table: pd.DataFrame) -> pd.DataFrame:
    table[positions(table)] *= UM_PER_PX
    return table


def swapped(table: pd.DataFrame, wells: int = 99) -> pd.DataFrame:
    y, x = positions(table)
    well = table.columns[0]
    rows = table[well].isin(sorted(table[well].unique())[:wells])
    table.loc[rows, [y, x]] = table.loc[rows, [x, y]].to_numpy(copy=True)
    return table


def anywhere(table: pd.DataFrame) -> pd.DataFrame:
    random = np.random.default_rng(0)
    table[positions(table)] = random.uniform(0, 200, (len(table), 2))
    return table


def two_plates(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table.assign(**{column: np.where(np.arange(len(table)) % 2, "BR1", "BR2")})


def twice_otherwise(table: pd.DataFrame) -> pd.DataFrame:
    other = {"normal": "abnormal", "abnormal": "normal"}
    last = table.iloc[[0]].assign(label=other[table["label"].iloc[0]], kind="")
    return pd.concat([table, last])


# ---- next steps --------------------------------------------------------------------------------


def option(name: str) -> Step:
    """The option as the message spells it."""

    def step(_path: Path, error: str, _tables: Tables) -> list[str]:
        match = re.search(rf"--{name}(?: ('[^']*'|\"[^\"]*\"|[^\s,]+))?", error)
        assert match is not None, error
        value = shlex.split(match[1].rstrip("."))[0] if match[1] else None
        return [f"--{name}"] if value is None else [f"--{name}", value.replace("CLASS", "normal")]

    return step


def accept(_path: Path, error: str, _tables: Tables) -> list[str]:
    assert "give --accept-positions." in error
    return ["--accept-positions"]


def mend(words: str) -> Step:
    """Correct the file, as these words of the message ask for."""

    def step(path: Path, error: str, tables: Tables) -> list[str]:
        assert words in error, error
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.write_bytes(csv(tables.of(path.stem)))
        return []

    return step


def csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def unclear(words: bytes) -> Callable[[pd.DataFrame], bytes]:
    return lambda table: csv(table).replace(b"\n", words + b"\n", 1)


CASES: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame | bytes | None], Step]] = [
    # words and rows
    ("annotate", lambda t: t.assign(label=["it is", "odd"] * (len(t) // 2), kind=""),
     option("classes")),
    ("annotate", lambda t: t.assign(label="abnormal", kind="fibre"), option("add-kind")),
    ("annotate", twice_otherwise, mend("remove one of the two")),
    ("annotate", lambda t: t.assign(well="Q99"), mend("correct or remove them")),
    ("annotate", lambda t: t.assign(site=[77, *t["site"][1:]]), mend("correct or remove them")),
    ("annotate", lambda t: t.rename(columns={"label": "my word"}), mend("Rename the column")),
    ("annotate", lambda t: t.rename(columns={"y_px": "up"}), mend("Rename the column")),
    ("annotate", lambda t: two_plates(t, "plate"), mend("Rename them")),
    ("annotate", lambda t: t[:0], mend("Annotate some")),
    # positions
    ("annotate", in_um, option("positions-are")),
    ("annotate", swapped, option("positions-are")),
    ("annotate", lambda t: swapped(t, 3), mend("Correct the rows of these wells")),
    ("annotate", anywhere, accept),
    ("annotate", lambda t: anywhere(t)[:12].assign(plate="BR9"),
     mend("Give the file of this plate")),
    ("cells", in_um, option("positions-are")),
    ("cells", lambda t: swapped(t, 3), mend("Correct the rows of these wells")),
    ("cells", anywhere, accept),
    ("cells", lambda t: t.assign(Metadata_Site=0), option("positions-are")),
    ("export", in_um, option("positions-are")),
    ("export", anywhere, mend("Check that they are px")),
    ("export", lambda t: t.assign(Metadata_Site=9), option("positions-are")),
    # columns
    ("cells", lambda t: t.drop(columns="Metadata_Well"), mend("Rename the column that means it")),
    ("cells", lambda t: t.assign(Metadata_Well="Q9"), mend("correct this")),
    ("export", lambda t: t.drop(columns="Metadata_Well"), mend("Rename the column that means it")),
    ("export", lambda t: t.assign(p_abnormal=1), mend("give the table without them")),
    ("export", lambda t: two_plates(t, "Metadata_Plate"), mend("Rename them")),
    # plate maps
    ("new", lambda t: t.rename(columns={"treatment": "what"}), mend("Rename the columns")),
    ("new", lambda t: t.assign(role="boss"), mend("correct these lines")),
    ("new", lambda t: t.assign(well=t["well"] + "x"), mend("correct these lines")),
    ("new", lambda t: pd.concat([t, t[:1].assign(treatment="else")]),
     mend("remove one of the two")),
    ("new", lambda t: t.assign(well=[f"{w[0]}{int(w[1:]) - 1}" for w in t["well"]]), mend("Add 1")),
    ("new", lambda t: t.assign(well=[f"{w[0]}{int(w[1:]) + 20}" for w in t["well"]]),
     mend("give the map of this one")),
    ("new", lambda t: two_plates(t, "Barcode"), mend("rename it in the map")),
    ("new", lambda t: t[:0], mend("Add them")),
    # files
    ("annotate", lambda _: None, mend("Check its path")),
    ("cells", lambda _: None, mend("Check its path")),
    ("new", lambda _: None, mend("Check its path")),
    ("annotate", lambda _: b"", mend("save it again")),
    ("cells", lambda _: b"", mend("save it again")),
    ("annotate", lambda _: b"\xd0\xcf\x11\xe0 workbook", mend("CSV UTF-8")),
    ("new", lambda _: b"\xd0\xcf\x11\xe0 workbook", mend("CSV UTF-8")),
    ("new", lambda _: b"SQLite format 3\x00", mend("Export its table as CSV")),
    ("annotate", lambda _: b"well,treatment\nA01,\x00\x01\xfe\n", mend("CSV UTF-8")),
    ("new", lambda _: "well,x\nA01,ä\nA02,".encode() + b"\xe4\n", mend("Correct this line")),
    ("new", lambda _: b"PAR1 cut off", mend("save it again")),
    ("cells", lambda _: b"PAR1 cut off", mend("Write it again")),
    ("new", lambda _: b"PK\x03\x04 cut off", mend("CSV UTF-8")),
    ("annotate", lambda t: csv(t) + b"A01,1\n", mend("correct them")),
    ("new", lambda t: csv(t) + b"A01,1\n", mend("correct them")),
    ("annotate", unclear(b",well,well"), mend("rename or remove one")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "wrong", "step"), CASES, ids=[f"{n} {case[0]}" for n, case in enumerate(CASES)]
)
def test_the_next_step_of_a_message_helps(
    command: str,
    wrong: Callable[[pd.DataFrame], pd.DataFrame | bytes | None],
    step: Step,
    tables: Tables,
    assays: dict[str, Path],
    ran: Ran,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / f"{command}.csv"
    content = wrong(tables.of(command))
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else csv(content))
    assay = str(assays[command])
    arguments = {
        "annotate": ["annotate", assay, "--from", str(path), "--annotator", "anna"],
        "cells": ["cells", assay, "--from", str(path), "--quiet"],
        "export": ["export", assay, str(tmp_path / "out"), "--onto", str(path), "--quiet"],
        "new": ["new", assay, str(ran.made.plate_dir), "--platemap", str(path)],
    }[command]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert path.name in error.splitlines()[0] and "unexpected" not in error
    more = step(path, error, tables)
    assert main([*arguments, *more]) == 0, capsys.readouterr().err
