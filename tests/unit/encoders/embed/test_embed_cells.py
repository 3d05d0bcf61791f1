"""Embedding a plate: the right rows, once, whatever the batches, and what stops it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_hcs_qc.cells.crops import cut_crops
from napari_hcs_qc.encoders.embed import crop_reader
from napari_hcs_qc.encoders.embed.embed_cells import embed_cells, store_fingerprint
from napari_hcs_qc.encoders.embed.embedding_store import EmbeddingStore, StoreWriter
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.plates.plate import SiteKey


def embed(inputs, encoder, root, **options):
    return embed_cells(
        inputs.plate, inputs.cells, inputs.ranges, inputs.recipe, encoder, root, **options
    )


def one_by_one(inputs, encoder, groups=((0,), (1,))):
    """The same by the plainest way: one cell after the other."""
    rows = []
    for cell in inputs.cells.itertuples():
        pixels = inputs.plate.read_site(SiteKey(cell.well, cell.site))
        scaled = inputs.ranges.scale(pixels, range(len(pixels)))
        crops = cut_crops(scaled, [cell.y_px], [cell.x_px], inputs.recipe, groups)
        rows.append(encoder.encode(crops[0]).reshape(-1).numpy())
    return np.stack(rows)


def test_each_row_holds_its_cell_of_the_table(inputs, fake_encoder, tmp_path):
    store = embed(inputs, fake_encoder(), tmp_path / "embeddings", batch_size=20, chunk_cells=16)
    assert store.complete
    assert store.unreadable == ()
    # 2 scales × 2 channels × 4 features
    assert store.embeddings.shape == (len(inputs.cells), 16)
    assert isinstance(store.embeddings, np.memmap)
    np.testing.assert_allclose(store.embeddings, one_by_one(inputs, fake_encoder()), atol=1e-6)


@pytest.mark.parametrize(("batch_size", "chunk_cells"), [(1, 1), (4, 256), (1000, 7), (12, 100)])
def test_rows_do_not_depend_on_batches_and_chunks(
    inputs, fake_encoder, tmp_path, batch_size, chunk_cells
):
    expected = embed(inputs, fake_encoder(), tmp_path / "a").embeddings
    store = embed(
        inputs, fake_encoder(), tmp_path / "b", batch_size=batch_size, chunk_cells=chunk_cells
    )
    np.testing.assert_allclose(store.embeddings, expected, atol=1e-6)


def test_a_colour_recipe_reads_only_its_channels(inputs, fake_encoder, tmp_path):
    name = inputs.plate.channels[1].name
    inputs.recipe = replace(inputs.recipe, channels="rgb", rgb=(name, name, name))
    store = embed(inputs, fake_encoder(), tmp_path / "embeddings")
    assert store.manifest.shape[1] == 8
    expected = one_by_one(inputs, fake_encoder(), groups=((1, 1, 1),))
    np.testing.assert_allclose(store.embeddings, expected, atol=1e-6)


def test_cells_of_a_site_need_not_stand_together(inputs, fake_encoder, tmp_path):
    inputs.cells = inputs.cells.sample(frac=1.0, random_state=0, ignore_index=True)
    store = embed(inputs, fake_encoder(), tmp_path / "embeddings")
    np.testing.assert_allclose(store.embeddings, one_by_one(inputs, fake_encoder()), atol=1e-6)


def test_batches_are_filled_across_sites(inputs, fake_encoder, tmp_path):
    encoder = fake_encoder()
    embed(inputs, encoder, tmp_path / "embeddings", batch_size=32, chunk_cells=1000)
    n_crops = 4 * len(inputs.cells)
    assert sum(encoder.calls) == n_crops
    assert set(encoder.calls[:-1]) == {32}


def test_a_second_run_computes_nothing(inputs, fake_encoder, tmp_path):
    first = embed(inputs, fake_encoder(), tmp_path / "embeddings")
    again = fake_encoder()
    store = embed(inputs, again, tmp_path / "embeddings")
    assert again.calls == []
    assert store.folder == first.folder
    np.testing.assert_array_equal(store.embeddings, first.embeddings)


def test_the_folder_is_named_by_all_that_the_rows_depend_on(inputs, fake_encoder):
    def name(**changes):
        return store_fingerprint(
            inputs.plate, inputs.cells, inputs.ranges, inputs.recipe, fake_encoder(), **changes
        )

    names = {name(), name(projection=0)}
    moved = inputs.cells.copy()
    inputs.cells.loc[3, "y_px"] += 1
    names.add(name())
    inputs.cells = moved
    channel = inputs.ranges.channels[0]
    inputs.ranges = replace(inputs.ranges, channels=(replace(channel, high=99.0),) * 2)
    names.add(name())
    inputs.recipe = replace(inputs.recipe, scales=(9.0, 20.0))
    names.add(name())
    assert len(names) == 5
    assert name() == name()


def test_a_plate_without_cells_gives_an_empty_store(inputs, fake_encoder, tmp_path):
    inputs.cells = inputs.cells.iloc[:0]
    store = embed(inputs, fake_encoder(), tmp_path / "embeddings")
    assert store.complete
    assert store.embeddings.shape == (0, 16)
    assert EmbeddingStore.open(store.folder).complete


def test_half_precision_stays_finite(tmp_path):
    writer = StoreWriter(tmp_path / "half", (3, 4), "float16", 2, {})
    for chunk in writer.pending:
        writer.write(chunk, np.full((len(writer.rows(chunk)), 4), 1e6, np.float32))
    half = writer.finish().embeddings
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, np.float16(65504.0))


def test_a_site_unreadable_by_now_is_recorded_and_its_rows_are_nan(
    inputs, plate_folder, fake_encoder, tmp_path
):
    expected = one_by_one(inputs, fake_encoder())
    assert inputs.plate.fingerprint  # taken before the disk goes wrong
    path = plate_folder / "tiny_A01_s2_w1.tif"
    content = path.read_bytes()
    path.write_bytes(content[:300])
    bad = ((inputs.cells["well"] == "A01") & (inputs.cells["site"] == 2)).to_numpy()

    store = embed(inputs, fake_encoder(), tmp_path / "embeddings", batch_size=8, chunk_cells=4)
    assert store.complete
    assert np.isnan(store.embeddings[bad]).all()
    np.testing.assert_allclose(store.embeddings[~bad], expected[~bad], atol=1e-6)
    (problem,) = store.unreadable
    assert problem.where == "A01 s2"
    assert "tiny_A01_s2_w1.tif" in problem.what

    again = fake_encoder()
    assert embed(inputs, again, tmp_path / "embeddings").unreadable == store.unreadable
    assert again.calls == []

    # The disk is back: that site is computed, and little else.
    path.write_bytes(content)
    healed = fake_encoder()
    store = embed(inputs, healed, tmp_path / "embeddings", batch_size=8, chunk_cells=4)
    assert store.unreadable == ()
    np.testing.assert_allclose(store.embeddings, expected, atol=1e-6)
    assert 4 * bad.sum() <= sum(healed.calls) <= 4 * (bad.sum() + 8)


@pytest.mark.parametrize("s_per_crop", [0.01, 0.1])
def test_a_stop_is_obeyed_within_a_second_and_keeps_what_is_done(
    inputs, fake_encoder, tmp_path, s_per_crop
):
    slow = fake_encoder(s_per_crop=s_per_crop)
    stop_at = time.perf_counter() + 1.2

    def should_stop():
        return time.perf_counter() > stop_at

    with pytest.raises(Cancelled):
        embed(
            inputs,
            slow,
            tmp_path / "embeddings",
            batch_size=8,
            chunk_cells=2,
            job=Job(should_stop=should_stop),
        )
    assert time.perf_counter() - stop_at < 1.0
    rest = fake_encoder()
    store = embed(inputs, rest, tmp_path / "embeddings")
    np.testing.assert_allclose(store.embeddings, one_by_one(inputs, rest), atol=1e-6)
    assert sum(slow.calls) + sum(rest.calls) >= 4 * len(inputs.cells)


def test_a_stop_does_not_wait_for_a_read_that_hangs(inputs, fake_encoder, tmp_path, monkeypatch):
    hang = threading.Event()
    monkeypatch.setattr(type(inputs.plate), "read_site", lambda *_a, **_k: hang.wait(20))
    began = time.perf_counter()
    with pytest.raises(Cancelled):
        embed(
            inputs,
            fake_encoder(),
            tmp_path / "embeddings",
            job=Job(should_stop=lambda: time.perf_counter() - began > 0.3),
        )
    assert time.perf_counter() - began < 1.3
    hang.set()


def test_the_reader_does_not_run_ahead_of_the_encoder(
    reopen, tmp_path, plate_folder, fake_encoder, monkeypatch
):
    inputs = reopen(plate_folder)
    read: list[SiteKey] = []
    read_site = type(inputs.plate).read_site

    def counted(self, site, *args, **kwargs):
        read.append(site)
        return read_site(self, site, *args, **kwargs)

    monkeypatch.setattr(type(inputs.plate), "read_site", counted)
    cells_at_call: list[int] = []

    class Watching(fake_encoder):
        def encode(self, crops, **options):
            time.sleep(0.05)  # long enough for the reader to get ahead, if it could
            cells_at_call.append(len(read))
            return super().encode(crops, **options)

    inputs.cells = inputs.cells.groupby(["well", "site"]).head(4)
    embed(inputs, Watching(), tmp_path / "embeddings", batch_size=4)
    # One batch is one cell: two queued, one in hand, one cut; no more than two sites ahead.
    assert cells_at_call[0] <= 2
    assert cells_at_call == sorted(cells_at_call)


def test_an_error_of_the_reader_reaches_the_caller(inputs, fake_encoder, tmp_path):
    inputs.cells.loc[5, "y_px"] = 5000.0
    with pytest.raises(HcsQcError, match="outside the image"):
        embed(inputs, fake_encoder(), tmp_path / "embeddings")


def test_features_that_are_no_numbers_are_refused(inputs, fake_encoder, tmp_path):
    class Broken(fake_encoder):
        def encode(self, crops, **options):
            return super().encode(crops, **options) * torch.nan

    with pytest.raises(HcsQcError, match="not finite numbers"):
        embed(inputs, Broken(), tmp_path / "embeddings")


def test_recipe_and_encoder_must_pool_the_same_stages(inputs, fake_encoder, tmp_path):
    inputs.recipe = replace(inputs.recipe, stages="inner")
    with pytest.raises(HcsQcError, match=r"stages 'inner'.*loaded with 'last'"):
        embed(inputs, fake_encoder(), tmp_path / "embeddings")


def test_recipe_and_encoder_must_pool_alike(inputs, fake_encoder, tmp_path):
    inputs.recipe = replace(inputs.recipe, pooling="centre")
    with pytest.raises(HcsQcError, match="pools by centre"):
        embed(inputs, fake_encoder(), tmp_path / "embeddings")


def test_progress_goes_from_nothing_to_all_cells(inputs, fake_encoder, tmp_path):
    seen: list[tuple[int, int]] = []
    embed(
        inputs,
        fake_encoder(),
        tmp_path / "embeddings",
        batch_size=8,
        job=Job(lambda done, total, _message: seen.append((done, total))),
    )
    assert seen[0] == (0, len(inputs.cells))
    assert seen[-1] == (len(inputs.cells), len(inputs.cells))
    assert seen == sorted(seen)


def test_the_reader_keeps_to_one_thread_and_leaves_the_number_as_it_was(
    inputs, fake_encoder, tmp_path, monkeypatch
):
    torch.set_num_threads(3)
    in_reader: set[int] = set()

    def cut(*args):
        in_reader.add(torch.get_num_threads())
        return cut_crops(*args)

    monkeypatch.setattr(crop_reader, "cut_crops", cut)
    embed(inputs, fake_encoder(), tmp_path / "embeddings")
    assert in_reader == {1}
    assert torch.get_num_threads() == 3
    in_new_thread: list[int] = []
    thread = threading.Thread(target=lambda: in_new_thread.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert in_new_thread == [3]
