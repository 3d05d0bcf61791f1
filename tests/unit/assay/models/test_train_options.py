from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_hcs_qc.assay.models.train_options import TrainOptions, chosen_options, save_options
from napari_hcs_qc.errors import HcsQcError


def kept_in(settings: dict[str, Any]) -> Any:
    """Stand in for an assay folder: only its settings are used."""
    kept = SimpleNamespace(**{"train_options": None, **settings})
    return SimpleNamespace(
        path=Path("assay"), settings=kept, update_settings=lambda **new: vars(kept).update(new)
    )


def test_what_was_chosen_is_given_back() -> None:
    assay = kept_in({})
    assert chosen_options(assay) == TrainOptions()
    options = replace(TrainOptions(), weights=Path("w.pt"), n_seeds=1)
    save_options(assay, options)
    assert chosen_options(assay) == options
    assert assay.settings.train_options["weights"] == "w.pt"


def test_an_option_of_a_later_version_is_passed_over() -> None:
    assert chosen_options(kept_in({"train_options": {"later": 1}})) == TrainOptions()


@pytest.mark.parametrize("said", [3, "linear", {"rgb": 3}, {"weights": 3}])
def test_what_is_no_choice_is_told(said: object) -> None:
    with pytest.raises(HcsQcError, match="choose encoder, recipe and head again"):
        chosen_options(kept_in({"train_options": said}))
