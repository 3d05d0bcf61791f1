"""Batches of mixed crops: complete, the same for any number of processes, honest about gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.unit.study.ssl.conftest import open_source, write_sites

from napari_hcs_qc.cells.crops import cut_crops
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.study.ssl.crop_stream import CropStream
from napari_hcs_qc.study.ssl.distributed import World


def stream_of(folder, batch_size=24, **options):
    scales = options.pop("scales", (16.0,))
    return CropStream([open_source(folder, scales)], batch_size=batch_size, seed=3, **options)


def epoch_of(stream, epoch=0, first=0, left_out=()):
    plan = stream.plan(epoch, left_out)
    size = stream.batch_size
    chunks = [(k, plan[k * size : (k + 1) * size]) for k in range(first, stream.n_steps)]
    return list(stream.batches(chunks))


def crop_of(source, row, view=0):
    key = source.site_of(row)
    raw = source.plate.read_site(key)
    pixels = source.ranges.scale(raw, range(len(raw)))
    one = source.cells.iloc[[row]]
    crops = cut_crops(pixels, one["y_px"], one["x_px"], source.recipe, source.groups)
    return crops[0, view]


def test_an_epoch_shows_every_cell_once_but_for_what_fills_no_batch(sites) -> None:
    stream = stream_of(sites)
    assert stream.n_cells == len(stream.sources[0].cells) == 105
    assert (stream.n_sites, stream.n_steps) == (5, 4)
    shown = []
    for epoch in range(4):
        batches = epoch_of(stream, epoch)
        assert [len(batch.rows) for batch in batches] == [24] * 4
        rows = np.concatenate([batch.rows for batch in batches])
        assert len(set(rows.tolist())) == 96
        shown.append(rows)
    assert not np.array_equal(*shown[:2])
    assert set(np.concatenate(shown).tolist()) == set(range(105))


def test_the_crops_are_those_that_cut_crops_gives(sites) -> None:
    stream = stream_of(sites)
    batch = epoch_of(stream)[1]
    assert batch.crops.shape == (24, 1, 32, 32)
    for row, crop in zip(batch.rows[:5].tolist(), batch.crops, strict=False):
        assert torch.equal(crop, crop_of(stream.sources[0], row))


def test_a_cell_is_shown_in_one_view_of_the_recipe_always_the_same(tmp_path) -> None:
    folder = write_sites(tmp_path / "p", n_channels=2)
    stream = stream_of(folder, scales=(12.0, 24.0))
    source = stream.sources[0]
    views = {}
    for epoch in range(2):
        for batch in epoch_of(stream, epoch):
            for row, crop in zip(batch.rows.tolist(), batch.crops, strict=True):
                fits = [v for v in range(4) if torch.equal(crop, crop_of(source, row, v))]
                assert len(fits) == 1
                assert views.setdefault(row, fits[0]) == fits[0]
    counts = np.bincount(list(views.values()), minlength=4)
    assert counts.min() >= 20  # dealt out over two scales and two channels


def test_fields_are_mixed_and_the_buffer_bounds_how_far(sites) -> None:
    n = 105
    far = stream_of(sites, buffer_cells=200)
    near = stream_of(sites, buffer_cells=1)
    n_sites = [len(set(far._site[batch.rows].tolist())) for batch in epoch_of(far)]
    assert min(n_sites) >= 4
    # Without a buffer the cells of a field follow one another.
    order = near._site[near.plan(0)]
    assert (np.diff(order) != 0).sum() <= 6
    middling = stream_of(sites, buffer_cells=30)
    waiting, most, read = 0, 0, set()
    for row in middling.plan(0).tolist():
        site = int(middling._site[row])
        if site not in read:
            read.add(site)
            waiting += int((middling._site == site).sum())
        most = max(most, waiting)
        waiting -= 1
    assert most <= 30 + 2 * 25 < n


def test_every_number_of_processes_sees_the_same_batches(sites) -> None:
    whole = epoch_of(stream_of(sites))
    parts = [epoch_of(stream_of(sites, world=World(rank, 3))) for rank in range(3)]
    for batch, shares in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.array_equal(batch.rows, np.concatenate([one.rows for one in shares]))
        assert torch.equal(batch.crops, torch.cat([one.crops for one in shares]))
    shares = [stream_of(sites, world=World(rank, 2)).everything(8) for rank in range(2)]
    rows = np.concatenate([rows for share in shares for _, rows in share])
    assert sorted(rows.tolist()) == list(range(105))


def test_from_any_step_on_it_goes_on_as_it_would_have(sites, monkeypatch) -> None:
    whole = epoch_of(stream_of(sites, buffer_cells=10))
    later = stream_of(sites, buffer_cells=10)
    read = []
    plate = later.sources[0].plate
    reading = type(plate).read_site

    def counted(self, key, *rest, **more):
        read.append(key)
        return reading(self, key, *rest, **more)

    monkeypatch.setattr(type(plate), "read_site", counted)
    rest = epoch_of(later, first=3)
    assert torch.equal(rest[0].crops, whole[3].crops)
    assert len(set(read)) < 5  # what came before is not read again


def test_a_sample_is_drawn_from_all_sites_and_several_plates(tmp_path) -> None:
    folders = [write_sites(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    sources = [open_source(folder, seed=seed) for seed, folder in enumerate(folders)]
    stream = CropStream(sources, batch_size=16, n_cells=50, seed=1)
    assert (stream.n_cells, stream.n_steps) == (50, 3)
    assert stream.n_sites >= 9
    assert [one["n_cells"] for one in stream.describe()["plates"]] != [50, 0]
    assert sum(one["n_cells"] for one in stream.describe()["plates"]) == 50
    other = CropStream(sources, batch_size=16, n_cells=50, seed=2)
    assert other.fingerprint != stream.fingerprint
    assert CropStream(sources, batch_size=16, n_cells=50, seed=1).fingerprint == stream.fingerprint
    assert len(stream.few(20)) == 20


def damage(folder, name="tiny_A02_s1_w1.tif"):
    (folder / name).write_bytes(b"not a picture any more")


def test_cells_of_a_site_that_cannot_be_read_are_replaced_and_told(sites) -> None:
    stream = stream_of(sites)
    damage(sites)
    (gone,) = [n for n, (_, key) in enumerate(stream._keys) if str(key) == "A02 s1"]
    batches = epoch_of(stream)
    assert [len(batch.rows) for batch in batches] == [24] * 4
    rows = np.concatenate([batch.rows for batch in batches])
    assert gone not in stream._site[rows]
    assert len(stream.unreadable) == 1
    assert stream.unreadable[0].where.endswith("A02 s1")
    # The next epoch is planned without it: as many steps, some cells twice, never in one batch.
    again = epoch_of(stream, 1, left_out=sorted(stream.left_out))
    assert len(again) == 4
    for batch in again:
        assert len(set(batch.rows.tolist())) == 24
        for row, crop in zip(batch.rows[:3].tolist(), batch.crops, strict=False):
            assert torch.equal(crop, crop_of(stream.sources[0], row))
    fewer = next(stream.batches_of([(0, np.arange(105))]))
    assert len(fewer.rows) == 105 - int((stream._site == gone).sum())


def test_no_readable_site_at_all_is_an_error(sites) -> None:
    stream = stream_of(sites)
    for path in sites.glob("*.tif"):
        path.write_bytes(b"gone")
    with pytest.raises(HcsQcError, match="can be read"):
        epoch_of(stream)
    with pytest.raises(HcsQcError, match="None of the 5 sites"):
        stream.plan(1, range(5))


def test_few_cells_make_a_smaller_batch_and_too_few_are_told(sites) -> None:
    assert stream_of(sites, batch_size=500).batch_size == 105
    assert stream_of(sites, batch_size=500, world=World(0, 2)).batch_size == 104
    with pytest.raises(HcsQcError, match="at least 2 cells"):
        stream_of(sites, n_cells=1)
    source = open_source(sites)
    other = replace(source, recipe=replace(source.recipe, scales=(20.0,)))
    assert CropStream([other], batch_size=24).fingerprint != stream_of(sites).fingerprint
