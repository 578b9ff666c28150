"""Several data sets of one kind, each with its own draws, as one that gives their batches together.

For networks of several seeds that are trained as one (`model.net.replicas`).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mmrep.batch import Batch
from mmrep.data.in_memory import InMemory, InMemoryDataModule
from mmrep.data.sampling import loader


class SideBySide(LightningDataModule):
    """Batches with a first axis of as many replicas as there are `parts`, which are equally large.

    Replica r sees the very batches that it would see alone with the data module `parts[r]`.
    """

    def __init__(self, parts: Sequence[InMemoryDataModule]) -> None:
        super().__init__()
        self.parts = list(parts)

    def prepare_data(self) -> None:
        for part in self.parts:
            part.prepare_data()

    def setup(self, stage: str) -> None:
        for part in self.parts:
            part.setup(stage)

    def train_dataloader(self) -> DataLoader[Batch]:
        return _together([part.train_dataloader() for part in self.parts])

    def val_dataloader(self) -> DataLoader[Batch]:
        return _together([part.val_dataloader() for part in self.parts])

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        assert self.trainer is not None  # Lightning calls this hook, so there is one
        first = self.parts[0]
        return (first.train_set if self.trainer.training else first.val_set).prepare(batch)

    @property
    def title(self) -> str:
        return self.parts[0].title

    @property
    def simulated(self) -> bool:
        return self.parts[0].simulated

    def facts(self) -> dict[str, Any]:
        """What the first one says; each replica's own folder holds its own."""
        return self.parts[0].facts()


class _Together(Dataset[Batch]):
    def __init__(self, sets: Sequence[InMemory]) -> None:
        self.sets = sets

    def __getitem__(self, samples: Sequence[list[int]]) -> Batch:
        return _stack([one[chosen] for one, chosen in zip(self.sets, samples, strict=True)])


class _BatchesTogether(Sampler[list[int]]):
    def __init__(self, samplers: Sequence[Any]) -> None:
        self.samplers = samplers

    def set_epoch(self, epoch: int) -> None:
        for sampler in self.samplers:
            if hasattr(sampler, "set_epoch"):  # that of validation has no order to draw
                sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        return zip(*self.samplers, strict=True)

    def __len__(self) -> int:
        return len(self.samplers[0])


def _together(loaders: Sequence[DataLoader[Batch]]) -> DataLoader[Batch]:
    sets: Any = [one.dataset for one in loaders]
    if len(sizes := {len(one) for one in sets}) > 1:
        raise ValueError(f"sets of {sorted(sizes)} samples cannot be read side by side")
    return loader(_Together(sets), _BatchesTogether([one.sampler for one in loaders]))


def _stack(batches: Sequence[Batch]) -> Batch:
    assert all(isinstance(batch.inputs, dict) for batch in batches)
    inputs: list[dict[str, Tensor]] = [dict(batch.inputs) for batch in batches]
    return Batch(
        {name: torch.stack([one[name] for one in inputs]) for name in inputs[0]},
        torch.stack([batch.label for batch in batches]),
        torch.stack([batch.index for batch in batches]),
    )
