"""`Classification`: scores of the whole split, whatever the batches; weights of classes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LambdaCallback
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor, nn

from mmrep.data.in_memory import InMemory, InMemoryDataModule
from mmrep.tasks.classification import Classification

NUM_CLASSES = 4


class Points(InMemoryDataModule):
    """101 + 37 points in 5 dimensions, whose class is the largest of the first three."""

    name = "points"
    class_names = ("a", "b", "c", "never")

    def setup(self, stage: str) -> None:
        x = torch.randn(138, 5, generator=torch.Generator().manual_seed(0))
        label, index = x[:, :3].argmax(dim=1), torch.arange(138)
        self.train_set = InMemory(x[:37], label[:37], index[:37])
        self.val_set = InMemory(x[37:], label[37:], index[37:])


class Linear(nn.Module):
    """A small network in our form."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(6, NUM_CLASSES)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def task(class_weights: str = "none", milestones: Sequence[int] = ()) -> Classification:
    torch.manual_seed(0)
    optimizer = partial(torch.optim.Adam, lr=0.1)
    scheduler = partial(torch.optim.lr_scheduler.MultiStepLR, milestones=milestones)
    return Classification(
        Linear(), optimizer, NUM_CLASSES, class_weights, scheduler if milestones else None
    )


def trainer(folder: Path, **options: object) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=False,
        **options,
    )


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # data are in memory
    "ignore:.*LeafSpec.*deprecated",  # between Lightning and torch
    "ignore:.*checkpoint callback.*:UserWarning",
)


@pytest.mark.parametrize("batch_size", [1, 10, 101])
def test_scores_are_those_of_the_whole_split(tmp_path: Path, batch_size: int) -> None:
    net, data = task(), Points(batch_size, seed=0)
    net.class_weight.copy_(torch.tensor([1.0, 2.0, 5.0, 0.0]))
    (scores,) = trainer(tmp_path).validate(net, data, verbose=False)
    with torch.no_grad():
        logits = net.eval().net(data.val_set.inputs)
    truth, predicted = data.val_set.label, logits.argmax(dim=1)
    f1 = f1_score(truth, predicted, average="macro", zero_division=0)
    assert scores["val/f1"] == pytest.approx(f1, abs=1e-6)
    assert scores["val/accuracy"] == pytest.approx(accuracy_score(truth, predicted), abs=1e-6)
    loss = F.cross_entropy(logits, truth, net.class_weight)
    assert scores["val/loss"] == pytest.approx(float(loss), abs=1e-6)
    of_class = f1_score(truth, predicted, average=None, labels=range(4), zero_division=0)
    for name, expected in zip(data.class_names, of_class, strict=True):
        assert scores[f"val/f1/{name}"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("class_weights", ["none", "train", "train_and_val"])
def test_classes_weigh_the_inverse_of_their_count(tmp_path: Path, class_weights: str) -> None:
    net, data = task(class_weights), Points(10, seed=0)
    trainer(tmp_path, max_epochs=1).fit(net, data)
    counted = {
        "none": None,
        "train": data.train_set.label,
        "train_and_val": torch.cat([data.train_set.label, data.val_set.label]),
    }[class_weights]
    if counted is None:
        assert net.class_weight.tolist() == [1.0] * 4
    else:
        expected = [1 / int((counted == c).sum()) for c in range(3)] + [0.0]  # no sample, no loss
        assert net.class_weight.tolist() == pytest.approx(expected)


def test_an_unknown_weighting_is_refused() -> None:
    with pytest.raises(ValueError, match="class_weights='val' is not one of none, train, train_"):
        task("val")


def test_training_learns(tmp_path: Path) -> None:
    net, data = task(), Points(10, seed=0)
    (before,) = trainer(tmp_path).validate(net, data, verbose=False)
    trainer(tmp_path, max_epochs=20).fit(net, data)
    (after,) = trainer(tmp_path).validate(net, data, verbose=False)
    assert after["val/accuracy"] > before["val/accuracy"] + 0.2


@pytest.mark.parametrize(
    ("milestones", "expected"), [((), [0.1] * 5), ([1, 3], [0.1, 0.01, 0.01, 0.001, 0.001])]
)
def test_the_learning_rate_takes_its_steps_after_epochs_also_when_resumed(
    tmp_path: Path, milestones: Sequence[int], expected: list[float]
) -> None:
    rates: list[float] = []
    callback = LambdaCallback(
        on_train_epoch_start=lambda trainer, _: rates.append(
            trainer.optimizers[0].param_groups[0]["lr"]
        ),
        on_train_epoch_end=lambda trainer, _: trainer.save_checkpoint(tmp_path / "last.ckpt"),
    )
    for epochs in (3, 5):  # the second goes on where the first ended
        trainer(tmp_path, max_epochs=epochs, callbacks=[callback]).fit(
            task(milestones=milestones),
            Points(10, seed=0),
            ckpt_path=tmp_path / "last.ckpt" if epochs == 5 else None,
            weights_only=True,
        )
    assert rates == pytest.approx(expected)
