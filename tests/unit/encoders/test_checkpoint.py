"""Checkpoints: read again as they were written, and a full disk is reported as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from napari_hcs_qc.encoders.checkpoint import save_checkpoint
from napari_hcs_qc.errors import WriteError

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    content = {"step": 3, "weights": torch.arange(6.0), "losses": [0.5, 0.25]}
    save_checkpoint(tmp_path / "new" / "state.pt", content)
    read = torch.load(tmp_path / "new" / "state.pt", weights_only=True)
    assert torch.equal(read.pop("weights"), content["weights"])
    assert read == {"step": 3, "losses": [0.5, 0.25]}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["state.pt"]


def test_what_does_not_fit_is_a_message_and_the_one_before_is_kept(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "state.pt"
    save_checkpoint(path, {"step": 1})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(WriteError, match=r"Cannot write .*state\.pt"):
            save_checkpoint(path, {"weights": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]
