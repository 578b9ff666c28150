"""ResNet-18, 34 and 50 against torchvision's published counts and names, and the paper's layers."""

from math import sqrt
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from mmrep.networks.imagenet_resnet import ResNet


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def of_imagenet(depth: int) -> ResNet:
    with torch.device("meta"):
        return ResNet(depth, 1000, stem=7)


@pytest.mark.parametrize(
    ("depth", "parameters", "tensors"),
    [(18, 11_689_512, 122), (34, 21_797_672, 218), (50, 25_557_032, 320)],
)
def test_numbers_of_parameters_and_of_tensors_are_torchvisions(
    depth: int, parameters: int, tensors: int
) -> None:
    net = of_imagenet(depth)
    assert count(net) == parameters
    assert len(net.state_dict()) == tensors


@pytest.mark.parametrize(("depth", "parameters"), [(18, 11_173_962), (50, 23_520_842)])
def test_numbers_for_cifar_are_those_of_the_usual_program(depth: int, parameters: int) -> None:
    # github.com/kuangliu/pytorch-cifar
    with torch.device("meta"):
        assert count(ResNet(depth)) == parameters


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_the_depth_is_the_number_of_weight_layers_without_shortcuts(depth: int) -> None:
    layers = [
        name
        for name, m in of_imagenet(depth).named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in name
    ]
    assert len(layers) == depth


SHAPES = {
    18: {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.running_var": (128,),
        "layer4.1.bn2.num_batches_tracked": (),
        "fc.weight": (1000, 512),
    },
    34: {"layer3.5.conv2.weight": (256, 256, 3, 3), "layer4.2.bn2.bias": (512,)},
    50: {
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.conv3.weight": (256, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer4.2.bn3.weight": (2048,),
        "fc.bias": (1000,),
    },
}


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_names_and_shapes_are_torchvisions(depth: int) -> None:
    state = of_imagenet(depth).state_dict()
    assert {key: tuple(state[key].shape) for key in SHAPES[depth]} == SHAPES[depth]
    assert "layer1.0.downsample.0.weight" not in of_imagenet(18).state_dict()
    assert not {key.split(".")[0] for key in state} - {
        "conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc",
    }  # fmt: skip


def by_formula(state: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits in evaluation mode, from the paper and the names in the state alone."""

    def convolved(z: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        z = F.conv2d(z, weight, stride=stride, padding=weight.shape[-1] // 2)
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(z, *(state[f"{norm}.{part}"] for part in parts))

    large = state["conv1.weight"].shape[-1] == 7
    z = convolved(x, "conv1", "bn1", 2 if large else 1).relu()
    z = F.max_pool2d(z, 3, 2, 1) if large else z
    for block in sorted({key.rsplit(".", 2)[0] for key in state if "conv2" in key}):
        stride = 2 if block.endswith(".0") and block != "layer1.0" else 1
        names = [i for i in (1, 2, 3) if f"{block}.conv{i}.weight" in state]
        rest = z
        for i in names:
            first_of_3x3 = i == len(names) - 1  # of two layers the first, of three the second
            name = (f"{block}.conv{i}", f"{block}.bn{i}")
            rest = convolved(rest, *name, stride if first_of_3x3 else 1)
            rest = rest.relu() if i < names[-1] else rest
        if f"{block}.downsample.0.weight" in state:
            z = convolved(z, f"{block}.downsample.0", f"{block}.downsample.1", stride)
        z = (z + rest).relu()
    features = z.flatten(2).mean(dim=2)
    return features, features @ state["fc.weight"].T + state["fc.bias"]


def trained_looking(net: nn.Module) -> Any:
    """Random statistics, scales and shifts, so that none of them can be left out; in float64."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(0, 0.3)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 1.5)
    return net.double().eval()


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize(("stem", "size"), [(3, 32), (7, 64), (7, 75)])
def test_features_and_logits_follow_the_paper(depth: int, stem: int, size: int) -> None:
    torch.manual_seed(0)
    net = trained_looking(ResNet(depth, 7, stem))
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        features, logits = by_formula(net.state_dict(), x)
        assert_close(net.features(x), features)
        assert_close(net.head(features), logits)
        assert_close(net(x), logits)
    assert features.min() >= 0


def test_convolutions_have_variance_two_over_fan_out() -> None:
    torch.manual_seed(0)
    for layer in ResNet(18).modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.weight[:, 0].numel()
            # n s^2 / sigma^2 is chi^2, of deviation sqrt(2 n): 5 of them
            ratio = layer.weight.detach().double().square().mean() * fan_out / 2
            assert abs(ratio - 1) < 5 * sqrt(2 / layer.weight.numel()), layer


def test_other_depths_and_stems_are_refused() -> None:
    with pytest.raises(ValueError, match=r"depth=20 is not one of 18, 34, 50; .* model=resnet20"):
        ResNet(20)
    with pytest.raises(ValueError, match="stem=5 is not one of 3, 7"):
        ResNet(18, stem=5)
