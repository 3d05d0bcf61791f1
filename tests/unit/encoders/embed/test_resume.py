"""A store survives kills, full disks and damage, and loses at most one chunk."""

from __future__ import annotations

import errno
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_hcs_qc.encoders.embed import embedding_store
from napari_hcs_qc.encoders.embed.embed_cells import embed_cells
from napari_hcs_qc.encoders.embed.embedding_store import EmbeddingStore
from napari_hcs_qc.errors import HcsQcError, WriteError

HERE = Path(__file__).parent
CHUNK_CELLS = 16
N_VIEWS = 4


def embed(inputs, encoder, root):
    return embed_cells(
        inputs.plate,
        inputs.cells,
        inputs.ranges,
        inputs.recipe,
        encoder,
        root,
        batch_size=16,
        chunk_cells=CHUNK_CELLS,
    )


def n_logged(log):
    return sum(int(line) for line in log.read_text().split()) if log.exists() else 0


def test_killed_at_random_moments_it_loses_at_most_a_chunk_each_time(
    inputs, plate_folder, fake_encoder, tmp_path
):
    root, log = tmp_path / "embeddings", tmp_path / "calls.log"
    command = [sys.executable, HERE / "embed_in_child.py", HERE.parent / "conftest.py"]
    command = [str(part) for part in [*command, plate_folder, root, log]]
    n_crops = N_VIEWS * len(inputs.cells)
    rng = random.Random(3)
    n_kills = 0
    for goal in (0.2, 0.6):
        child = subprocess.Popen(command)
        try:
            while child.poll() is None and n_logged(log) < goal * n_crops:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.05))
            assert child.poll() is None, "the child ended before it could be killed"
        finally:
            child.kill()
            child.wait()
        n_kills += 1
    (folder,) = root.iterdir()
    with pytest.raises(HcsQcError, match="not complete"):
        _ = EmbeddingStore.open(folder).embeddings

    last = fake_encoder()
    store = embed(inputs, last, root)
    assert store.complete
    undisturbed = embed(inputs, fake_encoder(), tmp_path / "other")
    np.testing.assert_array_equal(store.embeddings, undisturbed.embeddings)
    n_encoded = n_logged(log) + sum(last.calls)
    assert n_crops <= n_encoded <= n_crops + n_kills * CHUNK_CELLS * N_VIEWS
    assert sum(last.calls) < 0.6 * n_crops


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_failing_disk_is_told_and_the_store_goes_on_later(
    inputs, fake_encoder, tmp_path, monkeypatch, number
):
    write_at, n_writes = embedding_store.write_at, 0

    def failing(handle, offset, data):
        nonlocal n_writes
        n_writes += 1
        if n_writes == 8:  # header, then rows and journal by turns: the rows of chunk 4
            handle.seek(offset)
            handle.write(data[: len(data) // 2])
            raise OSError(number, "injected")
        write_at(handle, offset, data)

    monkeypatch.setattr(embedding_store, "write_at", failing)
    first = fake_encoder()
    with pytest.raises(WriteError, match=r"embeddings\.npy|done\.jsonl"):
        embed(inputs, first, tmp_path / "embeddings")
    rest = fake_encoder()
    monkeypatch.setattr(embedding_store, "write_at", write_at)
    store = embed(inputs, rest, tmp_path / "embeddings")
    expected = embed(inputs, fake_encoder(), tmp_path / "other")
    np.testing.assert_array_equal(store.embeddings, expected.embeddings)
    n_crops = N_VIEWS * len(inputs.cells)
    assert sum(first.calls) + sum(rest.calls) <= n_crops + N_VIEWS * CHUNK_CELLS


def test_a_line_of_the_journal_cut_short_is_not_believed(
    inputs, fake_encoder, tmp_path, monkeypatch
):
    write_at, n_writes = embedding_store.write_at, 0

    def failing(handle, offset, data):
        nonlocal n_writes
        n_writes += 1
        if n_writes == 7:
            handle.write(data[:-5])
            raise OSError(errno.ENOSPC, "injected")
        write_at(handle, offset, data)

    monkeypatch.setattr(embedding_store, "write_at", failing)
    with pytest.raises(WriteError):
        embed(inputs, fake_encoder(), tmp_path / "embeddings")
    monkeypatch.setattr(embedding_store, "write_at", write_at)
    store = embed(inputs, fake_encoder(), tmp_path / "embeddings")
    lines = (store.folder / "done.jsonl").read_text().splitlines()
    chunks = [json.loads(line)["chunk"] for line in lines]
    assert chunks == list(range(-(-len(inputs.cells) // CHUNK_CELLS)))


def test_a_disk_too_small_is_told_before_anything_is_computed(
    inputs, fake_encoder, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    encoder = fake_encoder()
    with pytest.raises(WriteError, match="GB are needed"):
        embed(inputs, encoder, tmp_path / "embeddings")
    assert encoder.calls == []


def test_a_root_that_is_a_file_is_a_write_error(inputs, fake_encoder, tmp_path):
    (tmp_path / "embeddings").write_text("in the way")
    with pytest.raises(WriteError, match="embeddings"):
        embed(inputs, fake_encoder(), tmp_path / "embeddings")


def damage_shortened(folder):
    path = folder / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:-1])


def damage_overwritten(folder):
    with (folder / "embeddings.npy").open("rb+") as handle:
        handle.write(b"\0" * 64)


def damage_deleted(folder):
    (folder / "embeddings.npy").unlink()


def damage_manifest(folder):
    (folder / "manifest.json").write_text('{"format_version": 1')


@pytest.mark.parametrize(
    "damage", [damage_shortened, damage_overwritten, damage_deleted, damage_manifest]
)
def test_a_damaged_store_is_found_out_and_computed_anew(inputs, fake_encoder, tmp_path, damage):
    store = embed(inputs, fake_encoder(), tmp_path / "embeddings")
    expected = np.array(store.embeddings)
    del store
    (folder,) = (tmp_path / "embeddings").iterdir()
    damage(folder)
    encoder = fake_encoder()
    store = embed(inputs, encoder, tmp_path / "embeddings")
    assert sum(encoder.calls) == N_VIEWS * len(inputs.cells)
    np.testing.assert_array_equal(store.embeddings, expected)


def test_who_holds_the_rows_of_a_store_made_anew_keeps_them(
    inputs, fake_encoder, tmp_path, monkeypatch
):
    store = embed(inputs, fake_encoder(), tmp_path / "embeddings")
    held = store.embeddings
    expected = np.array(held)
    damage_manifest(store.folder)

    def disk_full(handle, offset, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(embedding_store, "write_at", disk_full)
    with pytest.raises(WriteError):
        embed(inputs, fake_encoder(), tmp_path / "embeddings")
    # Through a map of a file that was cut short this would differ, or end the process.
    np.testing.assert_array_equal(held, expected)


def test_rows_that_did_not_survive_a_crash_are_computed_again(inputs, fake_encoder, tmp_path):
    store = embed(inputs, fake_encoder(), tmp_path / "embeddings")
    expected = np.array(store.embeddings)
    # As after a power cut on a disk that lied about having written: unfinished, a row wrong.
    manifest = json.loads((store.folder / "manifest.json").read_text())
    del manifest["checksum"]
    (store.folder / "manifest.json").write_text(json.dumps({**manifest, "complete": False}))
    with (store.folder / "embeddings.npy").open("rb+") as handle:
        handle.seek(200)
        handle.write(b"\0" * 16)
    encoder = fake_encoder()
    store = embed(inputs, encoder, tmp_path / "embeddings")
    assert sum(encoder.calls) == N_VIEWS * CHUNK_CELLS
    np.testing.assert_array_equal(store.embeddings, expected)


def test_numpy_reads_the_file_by_itself(inputs, fake_encoder, tmp_path):
    store = embed(inputs, fake_encoder(), tmp_path / "embeddings")
    loaded = np.load(store.folder / "embeddings.npy", allow_pickle=False)
    np.testing.assert_array_equal(loaded, store.embeddings)


def test_a_store_of_a_newer_version_is_refused(inputs, fake_encoder, tmp_path):
    store = embed(inputs, fake_encoder(), tmp_path / "embeddings")
    path = store.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    path.write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(HcsQcError, match="format version 99"):
        EmbeddingStore.open(store.folder)


def test_no_store_is_an_error_that_names_the_folder(tmp_path):
    with pytest.raises(HcsQcError, match="nowhere"):
        EmbeddingStore.open(tmp_path / "nowhere")
