"""VGG against torchvision's published counts, names and shapes, and the paper's layers."""

import copy
import pickle
from math import sqrt
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from mmrep.networks.vgg import VGG

# Simonyan & Zisserman's Table 1, D and A: M halves height and width.
LAYERS = {
    11: [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    16: [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
}


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def of_imagenet(depth: int, batch_norm: bool) -> VGG:
    with torch.device("meta"):
        return VGG(depth, 1000, batch_norm, head="imagenet")


@pytest.mark.parametrize(
    ("depth", "batch_norm", "parameters"),
    [
        (11, False, 132_863_336),
        (11, True, 132_868_840),
        (13, False, 133_047_848),
        (16, False, 138_357_544),
        (16, True, 138_365_992),
        (19, False, 143_667_240),
    ],
)
def test_number_of_parameters_is_torchvisions(
    depth: int, batch_norm: bool, parameters: int
) -> None:
    assert count(of_imagenet(depth, batch_norm)) == parameters


def test_the_network_of_the_authors_program_has_its_parameters() -> None:
    assert count(VGG()) == 9_756_426


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_the_depth_is_the_number_of_weight_layers(depth: int) -> None:
    layers = [m for m in VGG(depth).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def test_names_and_shapes_are_torchvisions() -> None:
    plain, normed = (of_imagenet(11, batch_norm).state_dict() for batch_norm in (False, True))
    assert (len(plain), len(normed)) == (22, 22 + 5 * 8)
    for key, shape in {
        "features.0.weight": (64, 3, 3, 3),
        "features.0.bias": (64,),
        "features.3.weight": (128, 64, 3, 3),
        "features.18.weight": (512, 512, 3, 3),
        "classifier.0.weight": (4096, 25088),
        "classifier.3.weight": (4096, 4096),
        "classifier.6.weight": (1000, 4096),
    }.items():
        assert plain[key].shape == shape
    for key, shape in {
        "features.1.running_mean": (64,),
        "features.1.num_batches_tracked": (),
        "features.4.weight": (128, 64, 3, 3),
        "features.26.running_var": (512,),
        "classifier.6.bias": (1000,),
    }.items():
        assert normed[key].shape == shape


def by_table(net: VGG, depth: int, x: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """Features and logits in evaluation mode, from the paper's table and the state alone."""
    state, i = net.state_dict(), 0
    for layer in LAYERS[depth]:
        if layer == "M":
            x, i = F.max_pool2d(x, 2), i + 1
            continue
        x = F.conv2d(x, state[f"features.{i}.weight"], state[f"features.{i}.bias"], padding=1)
        parts = ("running_mean", "running_var", "weight", "bias")
        x = F.batch_norm(x, *(state[f"features.{i + 1}.{part}"] for part in parts)).relu()
        i += 3
    x = F.adaptive_avg_pool2d(x, pixels).flatten(1)
    layers = [(state[f"classifier.{i}.weight"], state[f"classifier.{i}.bias"]) for i in (0, 3, 6)]
    for layer in layers[:-1]:
        x = F.linear(x, *layer).relu()
    return x, F.linear(x, *layers[-1])


def trained_looking(net: nn.Module) -> Any:
    """Random statistics, scales and shifts, so that none of them can be left out."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(0, 0.3)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 1.5)
    return net.eval()


@pytest.mark.parametrize(
    ("depth", "head", "size"),
    [(11, "cifar", 32), (16, "cifar", 32), (11, "cifar", 75), (11, "imagenet", 224)],
)
def test_features_and_logits_follow_the_table(depth: int, head: str, size: int) -> None:
    torch.manual_seed(0)
    net = trained_looking(VGG(depth, 7, head=head))
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        features, logits = by_table(net, depth, x, pixels=1 if head == "cifar" else 7)
        assert_close(net.features(x), features)
        assert_close(net.head(features), logits)
        assert_close(net(x), logits)
    assert features.min() == 0


@pytest.mark.parametrize("kernel_size", [3, 7])
def test_patches_side_by_side_are_read_each_once(kernel_size: int) -> None:
    net = trained_looking(VGG(kernel_size=kernel_size, stride=kernel_size, width=5)).double()
    first = dict(net.named_modules())["features.0"]
    x = torch.randn(2, 3, 30 * kernel_size, 30 * kernel_size, dtype=torch.float64)
    patches = x.unflatten(3, (30, kernel_size)).unflatten(2, (30, kernel_size))
    products = torch.einsum("nchiwj,kcij->nkhw", patches, first.weight)
    assert_close(first(x), products + first.bias[:, None, None])
    assert net(x).shape == (2, 10)  # 30, 15, 8, 4, 2, 1 pixels


@pytest.mark.parametrize(("width", "kernel_size"), [(32, 3), (256, 7)])
def test_the_first_layer_alone_has_another_width_and_size(width: int, kernel_size: int) -> None:
    ours, usual = VGG(width=width, kernel_size=kernel_size).state_dict(), VGG().state_dict()
    assert ours["features.0.weight"].shape == (width, 3, kernel_size, kernel_size)
    assert VGG(width=width, kernel_size=kernel_size)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    different = {key for key in usual if ours[key].shape != usual[key].shape}
    assert {key.split(".")[1] for key in different} <= {"0", "1", "4"}
    assert ours.keys() == usual.keys()


def test_initialisation_has_the_published_deviations() -> None:
    torch.manual_seed(0)
    for layer in VGG().modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_out = layer.weight[:, 0].numel()
            deviation = sqrt(2 / fan_out) if isinstance(layer, nn.Conv2d) else 0.01
            # n s^2 / sigma^2 is chi^2, of deviation sqrt(2 n): 5 of them
            ratio = layer.weight.detach().double().square().mean() / deviation**2
            assert abs(ratio - 1) < 5 * sqrt(2 / layer.weight.numel()), layer
            assert not layer.bias.any()


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_first_layer_stays_bit_for_bit_and_all_else_moves(frozen: bool) -> None:
    torch.manual_seed(0)
    net = VGG(freeze_first_layer=frozen)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        logits = net(torch.randn(4, 3, 32, 32))
        F.cross_entropy(logits, torch.arange(4)).backward()
        optimizer.step()
    kept = {name for name, p in net.named_parameters() if torch.equal(p, before[name])}
    assert kept == ({"features.0.weight", "features.0.bias"} if frozen else set())


def test_a_module_and_a_method_of_one_name_do_not_disturb_each_other() -> None:
    net, x = VGG().eval(), torch.randn(2, 3, 32, 32)
    logits = net(x)
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(copied(x), logits)
        copied.features(x).sum().backward()
        assert copied.state_dict().keys() == net.state_dict().keys()
        assert all(p.grad is None for p in net.parameters())
    other = VGG()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.eval()(x), logits)
    assert {p.dtype for p in copy.deepcopy(net).double().parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"depth": 12}, "depth=12 is not one of 11, 13, 16, 19"),
        ({"head": "mnist"}, "head='mnist' is not one of cifar, imagenet"),
        ({"kernel_size": 5}, "kernel_size=5 is not one of 3, 7"),
        ({"kernel_size": 7, "stride": 3}, "stride=3 is not one of 1, 7"),
        ({"width": 0}, "width=0 must be at least 1 filter"),
    ],
)
def test_another_network_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        VGG(**wrong)
