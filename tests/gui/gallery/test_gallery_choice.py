from __future__ import annotations

import numpy as np
import pytest

from napari_hcs_qc.gui.gallery.gallery_choice import Choice


def choice(*ids: int) -> Choice:
    return Choice(np.array(ids, dtype=np.int64))


def test_position_is_where_the_cell_is_shown() -> None:
    shown = choice(30, 10, 20)
    assert [shown.position(cell) for cell in (30, 10, 20)] == [0, 1, 2]
    assert [shown.position(cell) for cell in (5, 15, 99)] == [None, None, None]
    assert choice().position(1) is None


def test_cell_given_twice_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Cell 7 is in the list twice"):
        choice(7, 3, 7)


def test_value_is_in_the_order_shown() -> None:
    shown = choice(30, 10, 20)
    shown.choose_ids(np.array([20, 30, 99]))
    assert shown.value().tolist() == [30, 20]


def test_range_goes_from_the_anchor_in_either_direction() -> None:
    shown = choice(*range(10))
    shown.choose(5)
    shown.choose_to(8)
    assert shown.value().tolist() == [5, 6, 7, 8]
    shown.choose_to(3)
    assert shown.value().tolist() == [3, 4, 5]
    assert (shown.current, shown.anchor) == (3, 5)


def test_range_can_add_to_what_is_selected() -> None:
    shown = choice(*range(10))
    shown.choose(0)
    shown.toggle(5)
    shown.choose_to(7, adds=True)
    assert shown.value().tolist() == [0, 5, 6, 7]


def test_range_without_an_anchor_begins_where_it_ends() -> None:
    shown = choice(*range(10))
    shown.choose_to(4)
    assert shown.value().tolist() == [4]


def test_toggle_takes_away_again() -> None:
    shown = choice(*range(3))
    shown.choose(0)
    shown.toggle(2)
    assert shown.value().tolist() == [0, 2]
    shown.toggle(0)
    assert shown.value().tolist() == [2]


def test_another_order_keeps_the_cells_and_not_the_positions() -> None:
    before = choice(1, 2, 3, 4)
    before.choose(1)
    before.toggle(2)
    after = before.with_ids(np.array([4, 3, 9, 2]))
    assert after.value().tolist() == [3, 2]
    assert after.current_id() == 3
    gone = before.with_ids(np.array([1, 4]))
    assert gone.value().tolist() == []
    assert gone.current_id() is None


def test_mask_of_before_is_kept_beside_the_new_places() -> None:
    shown = choice(*range(6))
    shown.choose(5)
    before = shown.is_chosen.copy()
    shown.choose_all(np.array([0, 1]), before)
    assert shown.value().tolist() == [0, 1, 5]
    shown.choose_all(np.array([0]), before)
    assert shown.value().tolist() == [0, 5]
    shown.choose_all(np.array([2]), None)
    assert shown.value().tolist() == [2]
