"""What the camera does when a cell is framed and the person goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


def _camera(desk: Any) -> np.ndarray:
    camera = desk.viewer.scene.camera
    return np.array([*camera.center, camera.zoom])


def _frame_a_cell(desk: Any) -> None:
    selection = desk.session.selection
    selection.go_to_cell(selection.plate_name, selection.site, *desk.cell(0))


def test_another_site_is_shown_whole_after_a_cell_was_framed(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    whole = _camera(desk)
    _frame_a_cell(desk)
    assert _camera(desk)[-1] > whole[-1]
    _frame_a_cell(desk)
    desk.session.selection.step(1)
    desk.idle()
    np.testing.assert_allclose(_camera(desk), whole)


def test_where_the_person_has_zoomed_stays_at_the_next_site(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    desk.viewer.scene.camera.zoom *= 1.5
    own = _camera(desk)
    _frame_a_cell(desk)
    desk.session.selection.step(1)
    desk.idle()
    np.testing.assert_allclose(_camera(desk), own)
    _frame_a_cell(desk)
    desk.viewer.scene.camera.zoom *= 1.2
    moved = _camera(desk)
    desk.session.selection.step(1)
    desk.idle()
    np.testing.assert_allclose(_camera(desk), moved)


def test_the_status_bar_tells_of_no_cell_of_another_site(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    desk.viewer.status = "cells: a cell of the site on screen"
    desk.session.selection.step(1)
    desk.idle()
    assert desk.viewer.status == "Ready"
    desk.viewer.status = "cells: a cell that was pointed at"
    _frame_a_cell(desk)
    assert desk.viewer.status == "Ready"
