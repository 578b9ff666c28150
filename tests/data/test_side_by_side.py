"""`SideBySide`: each replica sees what it would see alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import DataLoader

from mmrep.batch import Batch
from mmrep.data.mnist_fsdd import MNISTFSDD
from mmrep.data.side_by_side import SideBySide
from tests.data.test_mnist_fsdd import miniature

TINY: dict[str, Any] = {"source": "simulated", "train_per_digit": 9, "takes": 9,
                        "val_takes": 17, "val_per_digit": 17}  # fmt: skip


def parts_of(root: Path, *changes: dict[str, Any]) -> list[MNISTFSDD]:
    return [miniature(root, seed=seed, **TINY | change) for seed, change in enumerate(changes)]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[MNISTFSDD]:
    """Three data sets of 270 samples of training, 7 batches with a short one, and 510 others."""
    return parts_of(tmp_path_factory.mktemp("digits"), {"visual_val": "random"}, {}, {})


@pytest.fixture(scope="module")
def together(parts: list[MNISTFSDD]) -> SideBySide:
    data = SideBySide(parts)
    data.prepare_data()
    data.setup("fit")
    return data


def in_epoch(loader: DataLoader[Batch], epoch: int) -> list[Batch]:
    """As Lightning does, which looks for `set_epoch` in the loader's sampler."""
    if hasattr(loader.sampler, "set_epoch"):
        loader.sampler.set_epoch(epoch)
    return [*loader]


def fields(batch: Batch) -> dict[str, Tensor]:
    given = {"label": batch.label, "index": batch.index}
    for name in ("inputs", "target"):
        for modality, values in (getattr(batch, name) or {}).items():
            given[f"{name} {modality}"] = values
    return given


def assert_replicas_are(batches: list[Batch], alone: list[list[Batch]]) -> None:
    """`alone` by replica."""
    assert [len(of_one) for of_one in alone] == [len(batches)] * len(alone)
    for i, batch in enumerate(batches):
        for r, of_one in enumerate(alone):
            expected = fields(of_one[i])
            assert fields(batch).keys() == expected.keys()
            for name, values in fields(batch).items():
                assert len(values) == len(alone)
                assert torch.equal(values[r], expected[name]), name


def test_training_batches_are_those_of_each_part_epoch_by_epoch(
    together: SideBySide, parts: list[MNISTFSDD]
) -> None:
    both = together.train_dataloader()
    each = [part.train_dataloader() for part in parts]
    assert len(both) == len(each[0]) == 7
    orders = []
    for epoch in (0, 1):
        batches = in_epoch(both, epoch)
        assert_replicas_are(batches, [in_epoch(one, epoch) for one in each])
        assert [batch.label.shape[1] for batch in batches] == [40] * 6 + [30]
        orders.append(torch.cat([batch.index for batch in batches], dim=1))
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0][0], orders[0][1])
    assert torch.equal(orders[0].sort(dim=1).values, torch.arange(270).expand(3, -1))


def test_validation_batches_are_those_of_each_part(
    together: SideBySide, parts: list[MNISTFSDD]
) -> None:
    loader = together.val_dataloader()
    batches = in_epoch(loader, 1)
    assert [batch.label.shape for batch in batches] == [(3, 500), (3, 10)]
    assert_replicas_are(batches, [[*part.val_dataloader()] for part in parts])
    assert not hasattr(parts[0].val_dataloader().sampler, "set_epoch")


def test_it_says_of_itself_what_the_first_says(
    together: SideBySide, parts: list[MNISTFSDD]
) -> None:
    assert together.facts() == parts[0].facts()
    assert together.facts() != parts[1].facts()
    assert (together.title, together.simulated) == (parts[0].title, True)


@pytest.mark.parametrize(
    "change",
    [{"train_per_digit": 10}, {"train_per_digit": 5}],  # as many batches, fewer
)
def test_parts_of_unequal_sizes_fail(tmp_path: Path, change: dict[str, Any]) -> None:
    few = {"takes": 2, "val_takes": 3, "val_per_digit": 3}
    data = SideBySide(parts_of(tmp_path, few, few | change))
    data.setup("fit")
    with pytest.raises((ValueError, RuntimeError), match=r"cannot be read side by side|equal size"):
        [*data.train_dataloader()]


@pytest.mark.parametrize("training", [True, False])
def test_batches_are_prepared_as_each_part_prepares_its_own(
    together: SideBySide, parts: list[MNISTFSDD], training: bool, tmp_path: Path
) -> None:
    quiet: dict[str, Any] = {name: False for name in ("logger", "enable_checkpointing")}
    quiet |= {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", default_root_dir=tmp_path, **quiet)
    trainer.training = training
    assert trainer.training == training

    def prepared(data: Any) -> list[Batch]:
        data.trainer = trainer
        loader = data.train_dataloader() if training else data.val_dataloader()
        return [data.on_after_batch_transfer(batch, 0) for batch in loader]

    batches = prepared(together)
    assert_replicas_are(batches, [prepared(part) for part in parts])
    for name in ("visual", "auditory"):  # one of the three conditions has nothing of it
        shown = torch.cat([batch.inputs[name] for batch in batches], dim=1)
        empty = (shown == 0).all(dim=2).float().mean(dim=1)
        assert_close(empty, torch.full((3,), 1 / 3))
