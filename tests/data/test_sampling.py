"""Batches: every sample once, replayable, dealt out to ranks without a repeat."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmrep.batch import Batch
from mmrep.data.in_memory import InMemory
from mmrep.data.sampling import ShardBatches, ShuffledBatches, loader
from tests.ddp import on_ranks


def flat(batches: ShuffledBatches | ShardBatches) -> list[int]:
    drawn = list(batches)
    assert len(drawn) == len(batches)
    return [sample for batch in drawn for sample in batch]


@pytest.mark.parametrize("batch_size", [1, 4, 101, 200])
def test_each_sample_once(batch_size: int) -> None:
    assert flat(ShardBatches(101, batch_size)) == list(range(101))
    assert sorted(flat(ShuffledBatches(101, batch_size, seed=3))) == list(range(101))


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = ShuffledBatches(50, 8, seed)
        batches.set_epoch(epoch)
        return flat(batches)

    torch.manual_seed(0)
    first = order(0, 5)
    torch.manual_seed(1)
    assert order(0, 5) == first
    assert order(0, 6) != first
    assert order(1, 5) != first


def test_an_iterator_made_before_its_epoch_is_set_still_follows_it() -> None:
    batches = ShuffledBatches(50, 50, seed=0)
    iterator = iter(batches)
    batches.set_epoch(7)
    assert next(iterator) == flat(batches)


def test_iterating_leaves_the_random_state_alone() -> None:
    samples = torch.arange(10)
    batches = loader(InMemory(samples, samples, samples), ShuffledBatches(10, 3, seed=0))
    before = torch.get_rng_state()
    assert sum(len(batch.label) for batch in batches) == 10
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_is_a_batch() -> None:
    data = InMemory(torch.arange(12.0).view(6, 2), torch.arange(6), torch.arange(100, 106))
    batch = next(iter(loader(data, ShardBatches(6, 4))))
    assert isinstance(batch, Batch)
    assert batch.inputs.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert batch.index.tolist() == [100, 101, 102, 103]


@pytest.mark.ddp
def test_three_ranks_share_without_a_repeat(tmp_path: Path) -> None:
    shares = on_ranks(drawn_on_rank, world_size=3, folder=tmp_path)
    ordered = torch.cat([share["ordered"] for share in shares])
    assert sorted(ordered.tolist()) == list(range(101))
    shuffled = [share["shuffled"].tolist() for share in shares]
    assert {len(part) for part in shuffled} == {34}  # equally many steps: 102 draws of 101
    assert {sample for part in shuffled for sample in part} == set(range(101))


def drawn_on_rank(rank: int) -> dict[str, Tensor]:
    return {
        "ordered": torch.tensor(flat(ShardBatches(101, 8))),
        "shuffled": torch.tensor(flat(ShuffledBatches(101, 8, seed=0))),
    }


@pytest.mark.ddp
def test_fewer_samples_than_ranks_are_refused(tmp_path: Path) -> None:
    messages = on_ranks(refusal_on_rank, world_size=2, folder=tmp_path)
    assert messages == ["1 samples cannot be dealt out to 2 ranks: use fewer"] * 2


def refusal_on_rank(rank: int) -> str:
    try:
        ShardBatches(1, 8)
    except ValueError as error:
        return str(error)
    return ""
