"""A batch shared among threads: the same rows, the same errors, and it can be stopped."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from napari_hcs_qc.encoders.embed.crop_workers import CropWorkers
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.job import NO_JOB, Cancelled, Job


@pytest.fixture
def three_threads():
    torch.set_num_threads(3)  # conftest puts the number back


def crops(n: int) -> torch.Tensor:
    return torch.rand((n, 1, 64, 64), generator=torch.Generator().manual_seed(0))


@pytest.mark.usefixtures("three_threads")
def test_parts_come_back_in_order_from_threads_of_their_own():
    seen: set[int] = set()
    threads: set[int] = set()

    def encode(part, job):
        seen.add(threading.get_ident())
        threads.add(torch.get_num_threads())
        time.sleep(0.05)
        return part.flatten(1)[:, :1]

    batch = crops(50)
    encoded = CropWorkers().run(encode, batch, NO_JOB)
    assert torch.equal(encoded, batch.flatten(1)[:, :1])
    assert len(seen) == 3
    assert threading.get_ident() not in seen
    assert threads == {1}
    assert torch.get_num_threads() == 3


def test_a_single_thread_or_few_crops_stay_in_the_calling_thread():
    def encode(part, job):
        assert threading.current_thread() is threading.main_thread()
        return part

    CropWorkers().run(encode, crops(50), NO_JOB)
    torch.set_num_threads(3)
    CropWorkers().run(encode, crops(15), NO_JOB)


@pytest.mark.usefixtures("three_threads")
def test_rows_are_those_of_a_single_thread():
    encoder = load_encoder(stages="inner", device="cpu")
    shared = encoder.encode(crops(40))
    torch.set_num_threads(1)
    alone = encoder.encode(crops(40))
    assert float((shared - alone).abs().max()) < 1e-5 * float(alone.abs().max())


@pytest.mark.usefixtures("three_threads")
def test_a_stop_reaches_every_part():
    ended: list[int] = []

    def encode(part, job):
        try:
            for _ in range(1000):
                job.check()
                time.sleep(0.01)
        finally:
            ended.append(len(part))
        return part

    began = time.perf_counter()
    with pytest.raises(Cancelled):
        CropWorkers().run(
            encode, crops(30), Job(should_stop=lambda: time.perf_counter() - began > 0.2)
        )
    assert time.perf_counter() - began < 1.2
    assert ended == [10, 10, 10]


@pytest.mark.usefixtures("three_threads")
def test_an_error_of_one_part_ends_the_others_and_is_the_one_that_is_raised():
    first_value = float(crops(30)[20].flatten()[0])

    def encode(part, job):
        if float(part.flatten()[0]) == first_value:
            raise torch.OutOfMemoryError("injected")
        for _ in range(1000):
            job.check()
            time.sleep(0.01)
        return part

    with pytest.raises(torch.OutOfMemoryError, match="injected"):
        CropWorkers().run(encode, crops(30), NO_JOB)


@pytest.mark.usefixtures("three_threads")
def test_out_of_memory_in_a_thread_halves_the_batch():
    encoder = load_encoder(stages=(1,), device="cpu")
    expected = encoder.encode(crops(30))

    def small_memory(_module, args):
        if len(args[0]) > 6:
            raise torch.OutOfMemoryError("injected")

    encoder._network.module.register_forward_pre_hook(small_memory)
    torch.testing.assert_close(encoder.encode(crops(30)), expected)


def test_two_callers_may_encode_at_once():
    encoder = load_encoder(stages="inner", device="cpu")
    expected = encoder.encode(crops(12))
    results: dict[int, torch.Tensor] = {}

    def encode(number):
        results[number] = encoder.encode(crops(12))

    callers = [threading.Thread(target=encode, args=(number,)) for number in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    # As many crops at once are not always added up in the same order.
    for number in range(3):
        torch.testing.assert_close(results[number], expected)
