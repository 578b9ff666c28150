"""How samples are dealt out to batches and to ranks."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset, Sampler

from mmrep.batch import Batch


class ShuffledBatches(Sampler[list[int]]):
    """Batches of a permutation that follows from (seed, epoch) alone, so training can be replayed.

    Gradients are averaged step by step, so every rank must take equally many steps: the permutation
    is filled up from its own start until the ranks' parts are of one length.
    """

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.epoch = 0
        self.rank, self.num_ranks = place()

    def set_epoch(self, epoch: int) -> None:  # Lightning calls it as each epoch starts
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        # A generator, since a resumed Lightning makes the iterator before it sets the epoch.
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        part = -(-self.size // self.num_ranks)
        shared = np.resize(order, part * self.num_ranks)[self.rank :: self.num_ranks]
        yield from _batches(shared, self.batch_size)

    def __len__(self) -> int:
        return -(-self.size // (self.num_ranks * self.batch_size))


class ShardBatches(Sampler[list[int]]):
    """Batches in order, each sample once and on exactly one rank.

    PyTorch's DistributedSampler repeats samples until all ranks hold equally many, and a sum over
    ranks then counts them twice. With `spread_over` they are evenly spread over so many samples.
    """

    def __init__(self, size: int, batch_size: int, *, spread_over: int | None = None) -> None:
        rank, num_ranks = place()
        if size < num_ranks:
            raise ValueError(f"{size} samples cannot be dealt out to {num_ranks} ranks: use fewer")
        self.shard = np.arange(rank, size, num_ranks) * (spread_over or size) // size
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        return _batches(self.shard, self.batch_size)

    def __len__(self) -> int:
        return -(-len(self.shard) // self.batch_size)


def loader(dataset: Dataset[Batch], batches: Sampler[list[int]]) -> DataLoader[Batch]:
    """A loader that asks `dataset` for a whole batch at once.

    Its generator is its own: a loader without one draws from the global random state whenever it is
    iterated, and reading data in a callback would then change the training.
    """
    return DataLoader(
        dataset,
        batch_size=None,  # the sampler's items are batches
        sampler=batches,
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
    )


def place() -> tuple[int, int]:
    """This rank and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _batches(samples: np.ndarray, batch_size: int) -> Iterator[list[int]]:
    for start in range(0, len(samples), batch_size):
        yield samples[start : start + batch_size].tolist()
