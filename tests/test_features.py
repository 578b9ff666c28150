"""`read_features` gives the network's features and leaves everything as it was."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.testing import assert_close

from mmrep.features import _random_state, layer_names, linear_head, read_features
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


class Own(nn.Module):
    """A user's: no `head`, no method `features`, activations in place, a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True))
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.recurrent = nn.LSTM(4, 3, batch_first=True)
        self.unused = nn.Linear(2, 2)
        self.classifier = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        for block in reversed(self.blocks):  # not in the order in which they are defined
            x = block(x)
        return self.classifier(self.recurrent(x[:, None])[0][:, 0])


def test_patterns_hold_for_each_part_of_a_name() -> None:
    net = Own()
    assert layer_names(net, ["blocks.*"]) == ["blocks.0", "blocks.1"]
    assert layer_names(net, ["classifier", "*.0"]) == ["features.0", "blocks.0", "classifier"]
    assert layer_names(net, ["logits", "b*"]) == ["blocks", "logits"]
    assert layer_names(net, None) == [
        "features.0", "features.1", "blocks.0", "blocks.1", "recurrent", "unused", "classifier",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"layer 'block\.\*' is not in Own; near: blocks"):
        layer_names(net, ["blocks.*", "block.*"])


def test_any_network_is_read_in_the_order_of_its_forward_pass() -> None:
    net, data = task(), Points(10, seed=0)
    data.setup("fit")
    net.net = own = Own()
    x = data.val_set.inputs
    with read_features(net, data.val_dataloader(), None) as readings:
        parts = list(readings)
    names = ["features.0", "features.1", "blocks.1", "blocks.0", "recurrent", "classifier"]
    assert [*parts[0].layers] == names  # what does not run is left out
    first = torch.cat([part.layers["features.0"] for part in parts])
    assert_close(first, own.features[0](x))  # not what the activation wrote over it
    assert (first < 0).any()
    with read_features(net, data.val_dataloader(), ["classifier", "recurrent"]) as readings:
        parts = list(readings)
    assert_close(torch.cat([part.layers["classifier"] for part in parts]), own(x))
    assert parts[0].layers["recurrent"].shape == (10, 1, 3)  # without the state
    assert not any(module._forward_hooks for module in own.modules())


def test_features_of_any_network_are_what_its_last_linear_layer_reads() -> None:
    net, data = task(), Points(10, seed=0)
    data.setup("fit")
    layers, read = ["features", "logits"], []
    body: Any = net.net.body
    for module in (net.net, nn.Sequential(*body, net.net.head)):
        net.net = module
        with read_features(net, data.val_dataloader(), layers) as readings:
            parts = list(readings)
        read.append({name: torch.cat([part.layers[name] for part in parts]) for name in layers})
    assert_close(read[0], read[1])
    assert not any(module._forward_pre_hooks for module in net.net.modules())


def test_a_layer_that_does_not_run_is_an_error() -> None:
    net, data = task(), Points(10, seed=0)
    data.setup("fit")
    net.net = Own()
    with (
        pytest.raises(ValueError, match="layers unused of Own give no tensor when it runs"),
        read_features(net, data.val_dataloader(), ["unused", "recurrent"]) as readings,
    ):
        next(iter(readings))
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
