"""`Reconstruction`: the published loss and optimiser, and updates however the loader hands them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from torch import Tensor
from torch.testing import assert_close

from mmrep.batch import Batch
from mmrep.data.in_memory import InMemory, InMemoryDataModule
from mmrep.networks.autoencoder import MixedInputAutoencoder
from mmrep.tasks.reconstruction import Reconstruction, updates
from tests.scripts import run

SIZES = {"seen": 6, "heard": 4}
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # data are in memory
    "ignore:.*LeafSpec.*deprecated",  # between Lightning and torch
)
ADADELTA = partial(torch.optim.Adadelta, lr=1.0, rho=0.95, eps=1e-8)


class Noise(InMemory):
    """Two modalities, of which every third sample lacks one."""

    def __getitem__(self, samples: list[int]) -> Batch:
        chosen = torch.tensor(samples)
        target = dict(zip(SIZES, self.inputs[chosen].split([*SIZES.values()], dim=1), strict=True))
        shown = {"seen": chosen % 3 != 0, "heard": chosen % 3 != 1}
        inputs = {name: values * shown[name][:, None] for name, values in target.items()}
        return Batch(inputs, self.label[chosen], self.index[chosen], target)


class Pixels(InMemoryDataModule):
    """60 samples to train with and 13 others."""

    name = "pixels"
    class_names = ("one",)

    def __init__(self, steps: int = 1) -> None:
        super().__init__(batch_size=10 * steps, seed=3)

    def setup(self, stage: str) -> None:
        x = torch.rand(73, 10, generator=torch.Generator().manual_seed(0))
        label, index = torch.zeros(73, dtype=torch.int64), torch.arange(73)
        self.train_set = Noise(x[:60], label[:60], index[:60])
        self.val_set = Noise(x[60:], label[60:], index[60:])


def task(**options: object) -> Reconstruction:
    torch.manual_seed(0)
    net = MixedInputAutoencoder(2, width=5, inputs=SIZES)
    return Reconstruction(net, ADADELTA, batch_size=10, **options)


def trained(folder: Path, epochs: int, steps: int, **options: object) -> tuple[Tensor, Trainer]:
    """All weights after some epochs, and the trainer."""
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder,
        num_sanity_val_steps=0, use_distributed_sampler=False, log_every_n_steps=1,
    )  # fmt: skip
    one = task(**options)
    trainer.fit(one, datamodule=Pixels(steps))
    return torch.cat([p.detach().flatten() for p in one.net.parameters()]), trainer


def batches(data: Pixels, epoch: int) -> Iterator[Batch]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    yield from loader


@pytest.mark.parametrize("steps", [1, 3, 6, 4])  # the last leaves a rest
def test_updates_are_those_of_a_plain_loop(tmp_path: Path, steps: int) -> None:
    weights, trainer = trained(tmp_path, 3, steps)
    assert trainer.global_step == 18
    assert trainer.fit_loop.epoch_loop._batches_that_stepped == 18  # what is logged counts the same
    plain, data = task().net, Pixels()
    data.setup("fit")
    optimizer = ADADELTA(plain.parameters())
    for epoch in range(3):
        for batch in batches(data, epoch):
            decoded = plain(batch.inputs)
            seen, heard = (
                F.binary_cross_entropy_with_logits(decoded[name], batch.target[name])
                for name in SIZES
            )
            loss = seen + heard
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    expected = torch.cat([p.detach().flatten() for p in plain.parameters()])
    assert_close(weights, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_compiled_updates_are_the_same(store: Path) -> None:
    # As a user does: types that are checked at run time, as here, cannot be compiled.
    weights = []
    for choice in ("false", "true"):
        run(
            store, "train.py", "model=av_mixed", "model.net.depth=2", "data.source=simulated",
            "data.train_per_digit=20", "trainer.max_epochs=3", "logger=none",
            f"compile={choice}", f"hydra.run.dir=outputs/compile/{choice}",
        )  # fmt: skip
        path = store / "outputs" / "compile" / choice / "checkpoints" / "last.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["global_step"] == 3 * 12
        weights.append(checkpoint["state_dict"])
    assert_close(weights[1], weights[0], atol=1e-5, rtol=1e-4)


def test_adadelta_is_that_of_keras(tmp_path: Path) -> None:
    """Zeiler 2012 with both roots as in Keras 2.0.9, written out in NumPy."""
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(50, 7, generator=generator, dtype=torch.float64)
    weight = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    optimizer = ADADELTA([weight])
    squares, steps, by_hand = np.zeros(7), np.zeros(7), np.zeros(7)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        g = gradient.numpy()
        squares = 0.95 * squares + 0.05 * g**2
        step = g * np.sqrt(steps + 1e-8) / np.sqrt(squares + 1e-8)
        steps = 0.95 * steps + 0.05 * step**2
        by_hand -= step
    np.testing.assert_allclose(weight.detach().numpy(), by_hand, rtol=1e-12)


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_losses_of_the_whole_split_whatever_the_batches(tmp_path: Path, loss: str) -> None:
    one, data = task(loss=loss), Pixels()
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    (scores,) = trainer.validate(one, datamodule=data, verbose=False)  # batches of 10 and of 3
    batch = data.val_set[list(range(13))]
    decoded = {name: logits.sigmoid() for name, logits in one.net(batch.inputs).items()}
    by_hand = F.binary_cross_entropy if loss == "bce" else F.mse_loss
    losses = {n: float(by_hand(decoded[n], batch.target[n]).detach()) for n in SIZES}
    assert scores["val/loss"] == pytest.approx(sum(losses.values()), rel=1e-5)
    for name in SIZES:
        assert scores[f"val/loss/{name}"] == pytest.approx(losses[name], rel=1e-5)


def test_a_batch_is_cut_into_updates_in_order() -> None:
    data = Pixels(steps=6)
    data.setup("fit")
    whole = data.train_set[list(range(25))]
    parts = list(updates(whole, 10))
    assert [len(part.label) for part in parts] == [10, 10, 5]
    assert torch.equal(torch.cat([part.index for part in parts]), whole.index)
    assert torch.equal(torch.cat([part.target["heard"] for part in parts]), whole.target["heard"])


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.loss='l1' is not one of bce, mse"):
        task(loss="l1")
