"""The CIFAR ResNets against the published counts, names and shortcut, and He et al.'s formulas."""

import json
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from mmrep.networks.resnet import CifarResNet, PaddedShortcut

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"


def reference(name: str) -> Path:
    if not (REFERENCE / name).exists():
        pytest.skip(f"{name} is not beside the project")
    return REFERENCE / name


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018)]
)
def test_number_of_parameters_is_the_published_one(depth: int, parameters: int) -> None:
    assert count(CifarResNet(depth)) == parameters


def test_the_networks_of_the_authors_program_have_its_parameters() -> None:
    assert count(CifarResNet(38, shortcut="projection")) == 584_602


@pytest.mark.parametrize("depth", [8, 20, 38, 56, 110])
def test_the_depth_is_the_number_of_weight_layers(depth: int) -> None:
    layers = [m for m in CifarResNet(depth).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def test_the_parameter_free_shortcut_pads_on_both_sides() -> None:
    x = torch.arange(2 * 4 * 5 * 6.0).reshape(2, 4, 5, 6)
    shortened = PaddedShortcut()(x)
    assert shortened.shape == (2, 8, 3, 3)
    assert torch.equal(shortened[:, 2:6], x[:, :, ::2, ::2])
    assert not shortened[:, [0, 1, 6, 7]].any()


@pytest.mark.reference
@pytest.mark.parametrize("size", ["", "_odd"])
def test_the_parameter_free_shortcut_is_the_published_one(size: str) -> None:
    stored = np.load(reference("resnet_option_a.npz"))
    ours = PaddedShortcut()(torch.from_numpy(stored[f"in{size}"]))
    assert torch.equal(ours, torch.from_numpy(stored[f"out{size}"]))


@pytest.mark.reference
def test_names_and_shapes_are_the_published_ones() -> None:
    facts = json.loads(reference("nets.json").read_text())
    ours = {
        key: list(tensor.shape)
        for key, tensor in CifarResNet(56).state_dict().items()
        if not key.endswith("num_batches_tracked")  # which PyTorch had not at that time
    }
    assert ours == facts["resnet56"]["keys_shapes"]


@pytest.mark.reference
@pytest.mark.parametrize("blocks", [2, 6, 9])
def test_projections_have_the_parameters_of_the_authors_program(blocks: int) -> None:
    facts = json.loads(reference("nets.json").read_text())
    net = CifarResNet(6 * blocks + 2, shortcut="projection")
    assert count(net) == facts[f"moreau_cifar_[{blocks}, {blocks}, {blocks}]"]["params"]


def by_formula(state: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits in evaluation mode, from the paper and the names in the state alone."""

    def normalised(z: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (z - mean) / (variance + 1e-5).sqrt() * weight + bias

    def convolved(z: Tensor, name: str, stride: int = 1) -> Tensor:
        return F.conv2d(z, state[f"{name}.weight"], stride=stride, padding=1)

    z = normalised(convolved(x, "conv1"), "bn1").clamp(min=0)
    for block in sorted({key.rsplit(".", 2)[0] for key in state if "conv2" in key}):
        stride = 2 if block in ("layer2.0", "layer3.0") else 1
        rest = normalised(convolved(z, f"{block}.conv1", stride), f"{block}.bn1").clamp(min=0)
        rest = normalised(convolved(rest, f"{block}.conv2"), f"{block}.bn2")
        if stride == 2 and f"{block}.shortcut.0.weight" in state:
            z = normalised(convolved(z, f"{block}.shortcut.0", 2), f"{block}.shortcut.1")
        elif stride == 2:
            kept, zeros = z[:, :, ::2, ::2], torch.zeros(len(z), z.shape[1] // 2, 1, 1)
            zeros = zeros.expand(-1, -1, *kept.shape[2:])
            z = torch.cat([zeros, kept, zeros], dim=1)
        z = (z + rest).clamp(min=0)
    features = z.flatten(2).mean(dim=2)
    return features, features @ state["linear.weight"].T + state["linear.bias"]


def trained_looking(net: nn.Module) -> nn.Module:
    """Random running statistics, scales and shifts, so that none of them can be left out."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(0, 0.3, generator=generator)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 1.5, generator=generator)
    return net


@pytest.mark.parametrize("shortcut", ["option_a", "projection"])
def test_features_and_logits_follow_the_paper(shortcut: str) -> None:
    net: Any = trained_looking(CifarResNet(14, 7, shortcut)).double().eval()
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    features, logits = by_formula(net.state_dict(), x)
    assert_close(net.features(x), features)
    assert_close(net.head(features), logits)
    assert_close(net(x), logits)
    assert features.shape == (3, 64)
    assert features.min() >= 0


def test_kaiming_initialisation_has_variance_two_over_fan_in() -> None:
    torch.manual_seed(0)
    layers = [m for m in CifarResNet(20, 1000).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        n, fan_in = layer.weight.numel(), layer.weight[0].numel()
        # (n - 1) s^2 / sigma^2 is chi^2, of deviation sqrt(2 n): 5 of them
        ratio = layer.weight.detach().double().square().mean() * fan_in / 2
        assert abs(ratio - 1) < 5 * sqrt(2 / n), layer


def test_pytorch_initialisation_stays_within_its_bound() -> None:
    for layer in CifarResNet(38, shortcut="projection", initialisation="pytorch").modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / sqrt(layer.weight[0].numel())  # of a uniform distribution
            assert 0.9 * bound < layer.weight.abs().max() <= bound


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("counters", [True, False])
def test_published_weights_load_with_or_without_prefix_and_counters(
    prefix: str, counters: bool
) -> None:
    source, net = trained_looking(CifarResNet(20)), CifarResNet(20)
    published = {
        prefix + key: tensor
        for key, tensor in source.state_dict().items()
        if counters or not key.endswith("num_batches_tracked")
    }
    names = list(published)
    net.load_state_dict(published)
    assert list(published) == names  # the caller's dict is left alone
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(net.eval()(x), source.eval()(x))


def test_published_weights_load_into_a_network_within_another_module() -> None:
    source, outer = CifarResNet(8), nn.ModuleDict({"net": CifarResNet(8)})
    outer.load_state_dict({f"net.module.{k}": v for k, v in source.state_dict().items()})
    for ours, theirs in zip(outer.parameters(), source.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("depth", [2, 18, 54, -4])
def test_another_depth_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"depth={depth} is not 6n \\+ 2 layers, such as 20, 32"):
        CifarResNet(depth)


def test_unknown_shortcuts_and_initialisations_are_refused() -> None:
    with pytest.raises(ValueError, match="shortcut='A' is not one of option_a, projection"):
        CifarResNet(20, shortcut="A")
    with pytest.raises(ValueError, match="initialisation='he' is not one of kaiming_normal, pyt"):
        CifarResNet(20, initialisation="he")


@pytest.mark.parametrize("shape", [(1, 48, 48), (1, 32, 32), (3, 64, 64)])
def test_another_image_is_refused_with_the_remedy(shape: tuple[int, int, int]) -> None:
    said = rf"images of 3 x 32 x 32, got \({', '.join(map(str, shape))}\): choose data=cifar10 or"
    with pytest.raises(ValueError, match=said):
        CifarResNet(8)(torch.zeros(2, *shape))


def test_a_larger_stem_reads_wider_and_leaves_the_rest() -> None:
    net, usual = CifarResNet(8, stem=7), CifarResNet(8)
    x = torch.randn(2, 3, 32, 32)
    weight = net.conv1.weight
    assert weight.shape == (16, 3, 7, 7)
    assert_close(net.conv1(x), F.conv2d(x, weight, padding=3))
    assert count(net) - count(usual) == 16 * 3 * (7**2 - 3**2)
    with torch.no_grad():  # a 3 x 3 filter within zeros is the same layer
        net.load_state_dict(
            usual.state_dict() | {"conv1.weight": F.pad(usual.conv1.weight, [2] * 4)}
        )
        assert_close(net.eval()(x), usual.eval()(x))


def test_unknown_stems_are_refused() -> None:
    with pytest.raises(ValueError, match="stem=5 is not one of 3, 7"):
        CifarResNet(8, stem=5)
