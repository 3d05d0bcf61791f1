"""Embeddings of clicked positions: computed once, kept by position, taken from the plate's own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.assay.embeddings.embed_plate import (
    check_pools,
    embed_annotated,
    embed_plate,
    stored_plate,
)
from napari_hcs_qc.assay.embeddings.positions import PositionStore, embed_positions, position_keys
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import model_encoder
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.encoders.registry import cached_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job


@pytest.fixture
def opened(assay_copy):
    """The assay, its plate, and the model's recipe and encoder."""
    assay = AssayFolder.open(assay_copy)
    model = chosen_model(assay)
    encoder = model_encoder(model.manifest)
    return assay, load_plate(assay, "SIM"), model.recipe, encoder


def table(*positions: tuple[str, int, float, float]) -> pd.DataFrame:
    return pd.DataFrame(positions, columns=["well", "site", "y_px", "x_px"])


class Counting:
    """Counts how many crops an encoder is given."""

    def __init__(self, encoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n, encode = 0, encoder.encode

        def counted(crops, **kwargs):
            self.n += len(crops)
            return encode(crops, **kwargs)

        monkeypatch.setattr(encoder, "encode", counted)


def test_only_positions_that_are_new_are_computed(opened, tmp_path, monkeypatch) -> None:
    _, state, recipe, encoder = opened
    count = Counting(encoder, monkeypatch)
    common = (recipe, encoder, tmp_path)
    clicks = table(("A01", 1, 50.0, 60.0), ("A02", 1, 33.3, 44.4), ("A01", 1, 50.004, 60.0))
    first, unreadable = embed_positions(state.plate, state.plate_cells, clicks, *common)
    n_views = recipe.n_views(1)
    assert count.n == 2 * n_views  # the third is the first to 0.01 px
    assert unreadable == ()
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first[0], first[2])
    more = pd.concat([table(("A01", 1, 50.0, 60.02)), clicks], ignore_index=True)
    again, _ = embed_positions(state.plate, state.plate_cells, more, *common)
    assert count.n == 3 * n_views
    np.testing.assert_array_equal(again[1:], first)
    # As the store of a plate would have them.
    cells = state.plate_cells.cells.head(5)
    rows = stored_plate(state, recipe, encoder, opened[0].embeddings_folder).embeddings[:5]
    here, _ = embed_positions(state.plate, state.plate_cells, cells, *common)
    np.testing.assert_allclose(here, rows, atol=1e-4 * np.abs(rows).max())


def test_a_site_that_cannot_be_read_is_told_and_tried_again(
    opened, tmp_path, made, monkeypatch
) -> None:
    _, state, recipe, encoder = opened
    clicks = table(("A01", 1, 50.0, 60.0), ("A02", 1, 33.3, 44.4))
    read, arguments = type(state.plate).read_site, (recipe, encoder, tmp_path)

    def away(self, site, *args, **kwargs):
        if site.well == "A02":
            raise OSError("the disk is away")
        return read(self, site, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(type(state.plate), "read_site", away)
        rows, [problem] = embed_positions(state.plate, state.plate_cells, clicks, *arguments)
    assert np.isnan(rows[1]).all()
    assert np.isfinite(rows[0]).all()
    assert problem.where == "A02 s1"
    assert "away" in problem.what
    rows, problems = embed_positions(state.plate, state.plate_cells, clicks, *arguments)
    assert np.isfinite(rows).all()
    assert problems == ()


def test_a_stop_keeps_what_was_finished(opened, tmp_path, monkeypatch) -> None:
    _, state, recipe, encoder = opened
    rng = np.random.default_rng(0)
    clicks = table(*(("A01", 1, float(y), float(x)) for y, x in rng.uniform(20, 190, (70, 2))))
    count = Counting(encoder, monkeypatch)
    done: list[int] = []
    with pytest.raises(Cancelled):
        embed_positions(
            state.plate,
            state.plate_cells,
            clicks,
            recipe,
            encoder,
            tmp_path,
            job=Job(lambda n, _total, _text: done.append(n), lambda: bool(done) and done[-1] >= 64),
        )
    before = count.n
    embed_positions(state.plate, state.plate_cells, clicks, recipe, encoder, tmp_path)
    assert count.n - before == 6 * recipe.n_views(1)


def test_a_record_cut_off_or_damaged_is_passed_over(tmp_path) -> None:
    store = PositionStore(tmp_path / "a" / "x.bin", 5)
    assert store.read() == {}
    keys = position_keys(table(("A01", 1, 1, 2), ("P24", 9, 3.456, 7)))
    rows = np.arange(10, dtype=np.float32).reshape(2, 5)
    store.append(keys, rows)
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[:-3])  # a kill
    assert list(store.read()) == [keys[0].tobytes()]
    store.append(keys[1:], rows[1:])  # what was cut off is in nobody's way
    found = store.read()
    np.testing.assert_array_equal(found[keys[1].tobytes()], rows[1])
    assert store.path.read_bytes() == whole
    damaged = bytearray(whole)
    damaged[-1] ^= 1
    store.path.write_bytes(damaged)
    assert list(store.read()) == [keys[0].tobytes()]


def test_a_file_tells_the_length_of_its_rows(tmp_path) -> None:
    store = PositionStore(tmp_path / "x.bin", 5)
    keys = position_keys(table(("A01", 1, 1, 2), ("P24", 9, 3.456, 7)))
    store.append(keys, np.arange(10, dtype=np.float32).reshape(2, 5))
    assert PositionStore.of_file(store.path).count() == (2, 2)
    whole = bytearray(store.path.read_bytes())
    whole[-1] ^= 1
    store.path.write_bytes(whole)
    assert PositionStore.of_file(store.path).count() == (1, 2)
    whole[0] ^= 1
    store.path.write_bytes(whole)
    assert PositionStore.of_file(store.path) is None


def test_a_click_on_a_found_centre_takes_its_row_of_the_plate(opened, monkeypatch) -> None:
    assay, state, recipe, encoder = opened
    count = Counting(encoder, monkeypatch)
    found = state.plate_cells.cells.iloc[[3, 8]]
    said = found[["well", "site", "y_px", "x_px", "cell_id"]].reset_index(drop=True)
    rows = embed_annotated(state, said, recipe, encoder, assay.embeddings_folder)
    assert count.n == 0
    store = stored_plate(state, recipe, encoder, assay.embeddings_folder)
    np.testing.assert_array_equal(rows, store.embeddings[[3, 8]])
    beside = said.assign(y_px=said["y_px"] + 2.0)
    rows = embed_annotated(state, beside, recipe, encoder, assay.embeddings_folder)
    assert count.n == 2 * recipe.n_views(1)
    assert (np.abs(rows - store.embeddings[[3, 8]]).max(axis=1) > 0).all()


def test_without_the_store_of_the_plate_a_click_is_embedded_by_itself(opened, tmp_path) -> None:
    _, state, recipe, encoder = opened
    said = state.plate_cells.cells.head(2)
    rows = embed_annotated(state, said, recipe, encoder, tmp_path)
    assert np.isfinite(rows).all()
    assert stored_plate(state, recipe, encoder, tmp_path) is None


def test_a_click_that_makes_a_cell_costs_one_embedding(opened, monkeypatch) -> None:
    assay, state, recipe, encoder = opened
    count = Counting(encoder, monkeypatch)
    before = embed_plate(state, recipe, encoder, assay.embeddings_folder)
    assert count.n == 0
    assay.journal().annotate("SIM", "B02", 1, 100.0, 120.0, "abnormal", "empty", "tester")
    now = load_plate(assay, "SIM")
    after = embed_plate(now, recipe, encoder, assay.embeddings_folder)
    assert count.n == recipe.n_views(1)
    assert after.rows.shape[0] == before.rows.shape[0] + 1 == len(now.cells)
    np.testing.assert_array_equal(after.rows[:10], before.rows[:10])
    # It is trained on at the same price: none.
    embed_annotated(now, now.training, recipe, encoder, assay.embeddings_folder)
    assert count.n == recipe.n_views(1)


def test_an_encoder_loaded_otherwise_is_refused(opened) -> None:
    _, _, recipe, encoder = opened
    other = cached_encoder(stages="last", pooling="mean")
    with pytest.raises(HcsQcError, match="loaded with 'last' by mean"):
        check_pools(recipe, other)
    check_pools(recipe, encoder)
