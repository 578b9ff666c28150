"""`read_features` gives the network's features and leaves everything as it was."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.testing import assert_close

from mmrep.features import _random_state, linear_head, read_features
from mmrep.networks.shl_cnn import SpectrogramCNN
from tests.tasks.test_classification import Points, pytestmark, task, trainer

__all__ = ["pytestmark"]  # the same warnings are expected here


def test_gives_layers_of_every_sample_in_order() -> None:
    net, data = task(), Points(10, seed=0)
    data.setup("fit")
    layers = ["features", "logits", "body.0"]
    with read_features(net, data.val_dataloader(), layers) as readings:
        parts = list(readings)
    read = {name: torch.cat([part.layers[name] for part in parts]) for name in layers}
    index = torch.cat([part.batch.index for part in parts])
    net.eval()
    x = data.val_set.inputs
    assert index.tolist() == list(range(37, 138))
    assert_close(read["features"], net.net.features(x))
    assert_close(read["logits"], net.net(x))
    assert_close(read["body.0"], net.net.body[0](x))
    assert not read["features"].requires_grad


def test_gives_layers_that_only_the_head_runs() -> None:
    net, data = task(), Points(10, seed=0)
    data.setup("fit")
    for layers in (["head"], ["head", "body.0"], ["features"]):
        with read_features(net, data.val_dataloader(), layers) as readings:
            parts = list(readings)
        assert all(set(part.layers) == set(layers) for part in parts)
    with read_features(net, data.val_dataloader(), ["head", "logits"]) as readings:
        assert all(torch.equal(*part.layers.values()) for part in readings)


def test_in_double_precision_rows_do_not_depend_on_their_batch() -> None:
    net, read = task(), []
    for batch_size in (1, 10, 101):
        data = Points(batch_size, seed=0)
        data.setup("fit")
        with read_features(net, data.val_dataloader(), double=True) as readings:
            read.append(torch.cat([part.layers["features"] for part in readings]))
    assert read[0].dtype == torch.float64
    assert next(net.parameters()).dtype == torch.float32  # it is a copy that is read
    for features in read[1:]:
        assert_close(features, read[0], atol=1e-15, rtol=1e-15)


def test_restores_mode_random_state_gradients_and_hooks() -> None:
    net, data = task(), Points(10, seed=0)
    data.setup("fit")
    net.train()
    net.net.body[0].eval()  # modes may differ by module
    net.net(data.train_set.inputs).sum().backward()
    gradients = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    with read_features(net, data.val_dataloader(), ["features", "body.1"]) as readings:
        for _ in readings:
            torch.rand(3), np.random.rand(3)
            break  # even if not all is read
    assert net.training
    assert not net.net.body[0].training
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert not any(module._forward_hooks for module in net.modules())


def test_restores_the_random_state_of_python() -> None:
    before = random.getstate()  # apart from the other test: beartype draws from it in between
    with _random_state():
        random.random()
    assert random.getstate() == before


def test_an_unknown_layer_names_its_neighbours() -> None:
    net, data = task(), Points(10, seed=0)
    data.setup("fit")
    with (
        pytest.raises(ValueError, match=r"layer 'bod\.0' is not in Linear; near: body\.0"),
        read_features(net, data.val_dataloader(), ["bod.0"]),
    ):
        pass
    assert not any(module._forward_hooks for module in net.modules())


class Reads(Callback):
    """Reads features in the middle of every epoch and at its end."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: object
    ) -> None:
        self.read(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.read(trainer, pl_module)

    def read(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loader = trainer.datamodule.plain_train_dataloader()
        with read_features(pl_module, loader) as readings:
            assert sum(len(batch.label) for batch, _ in readings) == 37


def test_training_goes_on_bit_for_bit_as_if_nothing_had_been_read(tmp_path: Path) -> None:
    trained = []
    for callbacks in ([], [Reads()]):
        net = task()
        trainer(tmp_path, max_epochs=3, callbacks=callbacks).fit(net, Points(10, seed=0))
        trained.append(net.state_dict())
    assert all(torch.equal(trained[0][key], trained[1][key]) for key in trained[0])


def test_a_head_is_one_linear_layer() -> None:
    net = SpectrogramCNN()
    weight, bias = linear_head(net)
    assert (weight.dtype, torch.equal(weight.float(), net.head[-1].weight)) == (torch.float64, True)
    assert torch.equal(bias.float(), net.head[-1].bias)
    net.head = nn.Sequential(nn.Linear(128, 8, bias=False))
    assert not linear_head(net)[1].any()
    net.head = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 8))
    with pytest.raises(ValueError, match="head of SpectrogramCNN has 2 linear layers: give it one"):
        linear_head(net)
