"""What Get started and the guide to profiles tell the reader to type, typed; the notebooks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("start/install.md", "start/first-plate.md", "guides/profiles.md")
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def as_printed(text: str) -> str:
    """Give a pattern of an output on a page, where … stands for anything that is left out."""
    return ".*?".join(re.escape(part) for part in text.strip().split("…"))


def test_the_blocks_of_the_pages_run_one_after_another(tmp_path: Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DISPLAY", "WAYLAND_DISPLAY")  # no window opens, and that is said
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    printed, not_printed = "", []
    for page in PAGES:
        blocks = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
        assert blocks, page
        code = "\n".join(block for language, block in blocks if language == "python")
        script = "\n".join(block for language, block in blocks if language == "bash")
        for command in (["bash", "-euc", script], [sys.executable, "-c", code]):
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, env=environment, cwd=tmp_path
            )
            assert done.returncode == 0, f"{page}:\n{done.stdout}\n{done.stderr}"
            printed += done.stdout
        not_printed += [
            f"{page}:\n{text}"
            for text in OUTPUT.findall((DOCS / page).read_text(encoding="utf-8"))
            if not re.search(as_printed(text), printed, re.DOTALL)
        ]
    assert not_printed == [], printed
    assert "There is no display here" in printed
    assert (tmp_path / "my-tables" / "wells.csv").is_file()
    truth = pd.read_parquet(tmp_path / "demo" / "sample" / "truth_cells.parquet")
    assert 1 / 3 < (truth["class"] == "abnormal").mean() < 0.4  # "more than a third"
    listed = (DOCS / "reference" / "assay-folder.md").read_text(encoding="utf-8")
    for path in (tmp_path / "my-assay").iterdir():
        assert f"`{path.name}" in listed, path.name


# Runs the cells as Jupyter does; prints what each puts out, as JSON.
NOTEBOOK = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

shell, printed = InteractiveShell.instance(), []
shell.displayhook.write_output_prompt = lambda: None
for code in json.load(sys.stdin):
    with capture_output() as captured:
        result = shell.run_cell(code)
    result.raise_error()
    printed.append(captured.stdout)
json.dump(printed, sys.stdout)
"""
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.mark.parametrize("path", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_puts_out_what_was_saved_with_it(path: Path, tmp_path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK],
        input=json.dumps(["".join(cell["source"]) for cell in codes]),
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for cell, printed in zip(codes, json.loads(done.stdout), strict=True):
        saved = "\n".join(
            "".join(output.get("text") or output["data"]["text/plain"])
            for output in cell["outputs"]
        )
        as_text = [" ".join(NUMBER.sub("0", text).split()) for text in (printed, saved)]
        assert as_text[0] == as_text[1]
        numbers = [[float(found) for found in NUMBER.findall(text)] for text in (printed, saved)]
        # Another processor rounds otherwise.
        assert numbers[0] == pytest.approx(numbers[1], rel=0.1, abs=0.05), printed
