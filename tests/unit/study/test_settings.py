"""Settings that a person writes: every problem at once, with its place and what was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc.errors import ProblemsError
from napari_hcs_qc.study.artefacts.sensitivity_options import SensitivityOptions
from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec, spec_of

if TYPE_CHECKING:
    from pathlib import Path


def problems_of(data: dict[str, object], folder: Path) -> dict[str, str]:
    with pytest.raises(ProblemsError, match=r"^spec\.toml: \d+ problems?: ") as caught:
        spec_of(data, folder, "spec.toml")
    return {problem.where: problem.what for problem in caught.value.problems}


def test_nested_problems_are_reported_with_their_place(tmp_path: Path) -> None:
    problems = problems_of(
        {
            "source": [{"name": "a", "folder": ".", "labls": "x"}, {"name": "b"}],
            "encoder": [{"name": "resnet18"}, {"name": "vgg16", "weigths": "w"}],
            "transfer": [{"train": "a"}],
            "seeds": [1, "two"],
            "baseline": "yes",
            "recipe": ["nucleus"],
        },
        tmp_path,
    )
    assert problems["source 1 labls"] == 'unknown setting; did you mean "labels"?'
    assert "exactly one of plate, assay, folder, arrays" in problems["source 2"]
    assert problems["encoder 2 weigths"] == 'unknown setting; did you mean "weights"?'
    assert "expected train and test" in problems["transfer 1"]
    assert problems["seeds 2"] == "is 'two'; a valid integer was expected (One split each.)."
    assert problems["baseline"].startswith("is 'yes'; a valid boolean was expected (")
    assert problems["recipe"] == 'unknown setting; did you mean "recipes"?'
    assert len(problems) == 7


def test_paths_are_relative_to_the_file_and_the_preset_gives_the_rest(tmp_path: Path) -> None:
    (tmp_path / "own.safetensors").touch()
    own = {"name": "simclr", "weights": "own.safetensors"}
    source = {"name": "a", "folder": "."}
    spec = spec_of({"preset": "paper", "source": [source], "encoder": [own]}, tmp_path, "spec.toml")
    assert spec.sources[0].path == tmp_path
    assert spec.encoders[-1] == EncoderSpec("simclr", tmp_path / "own.safetensors")
    assert [encoder.name for encoder in spec.encoders].count("simclr") == 1
    assert spec.protocol == "paper" and spec.seeds == (0, 1, 2, 3, 4)
    missing = problems_of({"source": [source], "encoder": [{**own, "weights": "no"}]}, tmp_path)
    assert f"{tmp_path / 'no'} does not exist" in missing["encoder"]


def test_options_of_a_sensitivity_analysis() -> None:
    with pytest.raises(ProblemsError) as caught:
        SensitivityOptions(
            encoders=(), head="finetune", kinds=("fog",), severities=(0.0, 0.5), pixel_size_um=1e6
        )
    problems = {problem.where: problem.what for problem in caught.value.problems}
    assert set(problems) == {"encoders", "head", "kinds", "severities 1", "pixel_size_um"}
    assert "choose linear" in problems["head"]
    assert problems["severities 1"] == "is 0.0; greater than 0 was expected."
    with pytest.raises(ProblemsError, match="n_cells: is 0"):
        SensitivityOptions().with_changes(n_cells=0)
