"""Data sets that fit into memory: what SHL, DSADS and CIFAR share."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmrep.batch import Batch
from mmrep.data.sampling import ShardBatches, ShuffledBatches, loader

PROJECT = Path(__file__).parents[2]


def data_folder(data_dir: str | None) -> Path:
    """Where the data sets lie: a relative `data_dir` is seen from the project; None is data/."""
    return PROJECT / (data_dir or "data")  # an absolute right side stands alone


class InMemory(Dataset[Batch]):
    """Samples as tensors, read a whole batch at a time."""

    def __init__(self, inputs: Tensor, label: Tensor, index: Tensor) -> None:
        self.inputs, self.label, self.index = inputs, label, index

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, samples: list[int]) -> Batch:
        chosen = torch.tensor(samples)
        return Batch(self.inputs[chosen], self.label[chosen], self.index[chosen])

    def prepare(self, batch: Batch) -> Batch:
        """What is done to a batch once it is on its device, such as normalisation."""
        return batch


class InMemoryDataModule(LightningDataModule):
    """Loaders, label counts and fingerprint of `train_set` and `val_set`.

    A source adds `prepare_data` (on one rank: download, convert, cache) and `setup` (on every rank:
    set `train_set` and `val_set`). Sample numbers (`index`) count through the whole set.
    """

    name: str
    class_names: tuple[str, ...]
    train_set: InMemory
    val_set: InMemory

    def __init__(self, batch_size: int, seed: int) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"data.batch_size={batch_size} must be at least 1")
        self.batch_size, self.seed = batch_size, seed
        self.simulated = False

    @property
    def title(self) -> str:
        """What figures say the data are."""
        return self.name

    @property
    def plain_train_set(self) -> InMemory:
        """The training samples without augmentation."""
        return self.train_set

    def train_dataloader(self) -> DataLoader[Batch]:
        batches = ShuffledBatches(len(self.train_set), self.batch_size, self.seed)
        return loader(self.train_set, batches)

    def plain_train_dataloader(self) -> DataLoader[Batch]:
        """The training samples once each, in order, not augmented: what statistics are taken of."""
        return self._ordered(self.plain_train_set)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._ordered(self.val_set)

    def probe_dataloader(self, num_samples: int) -> DataLoader[Batch]:
        """So many validation samples, evenly spread and in order: on which layers are compared.

        Spread, since some sets come class by class.
        """
        there = len(self.val_set)
        if not 0 < num_samples <= there:
            raise ValueError(
                f"num_samples={num_samples} is not from 1 to {there}, the number of validation "
                "samples: set callbacks.learning_dynamics.num_samples, or in analyze.py "
                "analysis.num_samples"
            )
        return loader(self.val_set, ShardBatches(num_samples, self.batch_size, spread_over=there))

    def _ordered(self, dataset: InMemory) -> DataLoader[Batch]:
        return loader(dataset, ShardBatches(len(dataset), self.batch_size))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        assert self.trainer is not None  # Lightning calls this hook, so there is one
        return (self.train_set if self.trainer.training else self.val_set).prepare(batch)

    def label_counts(self, *, with_val: bool) -> Tensor:
        """How many samples each class has in training, or in training and validation together."""
        labels = [self.train_set.label, *([self.val_set.label] if with_val else [])]
        return torch.bincount(torch.cat(labels), minlength=len(self.class_names))

    def facts(self) -> dict[str, Any]:
        """What stands in `run.json` about the data; a source adds what is its own."""
        sets = (self.train_set, self.val_set)
        digest = hashlib.sha256(self.name.encode())
        for part in (t for s in sets for t in (s.label, s.index)):
            digest.update(part.numpy().tobytes() + b"|")
        return {
            "name": self.name,
            "source": "simulated" if self.simulated else "real",
            "fingerprint": digest.hexdigest()[:16],  # equal for all sensors of one split
            "num_train": len(self.train_set),
            "num_val": len(self.val_set),
            "class_names": list(self.class_names),
        }
