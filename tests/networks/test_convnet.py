"""The convolutional network has the paper's layers in the paper's order."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mmrep.networks.convnet import ConvNet

LAYERS = [
    "c1", "c2", "bn1", "p1", "c3", "c4", "c5", "bn2", "p2", "fc1", "bn3", "fc2", "bn4", "logits",
]  # fmt: skip
TINY = {"widths": (2, 3, 4, 5, 6), "hidden": (7, 8), "num_classes": 3}


def test_layers_are_the_figures_and_run_in_its_order() -> None:
    net, ran = ConvNet(**TINY), []
    assert [name for name, module in net.named_children()] == LAYERS
    assert all(not [*module.children()] for module in net.children())
    for name, module in net.named_children():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    logits = net(torch.randn(2, 3, 32, 32))
    assert ran == LAYERS
    assert logits.shape == (2, 3)


def test_batch_norm_reads_what_is_no_longer_negative() -> None:
    net = ConvNet(**TINY).eval()
    read: dict[str, torch.Tensor] = {}
    for name in ("bn1", "bn2", "bn3", "bn4"):
        net.get_submodule(name).register_forward_pre_hook(
            lambda m, x, name=name: read.update({name: x[0]})
        )
    net(torch.randn(5, 3, 32, 32))
    assert all(x.min() == 0 and x.max() > 0 for x in read.values())


def test_parameters_are_those_of_its_layers() -> None:
    sizes = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 64)]
    convolutions = sum(9 * i * o + o for i, o in sizes)
    linear = sum(i * o + o for i, o in [(64 * 64, 256), (256, 128), (128, 10)])
    norms = 2 * (32 + 64 + 256 + 128)
    assert sum(p.numel() for p in ConvNet().parameters()) == convolutions + linear + norms


def test_with_circular_padding_a_shift_of_the_image_shifts_every_map() -> None:
    net = ConvNet(**TINY, padding_mode="circular").double().eval()
    convolutions = nn.Sequential(*[net.get_submodule(name) for name in LAYERS[:9]])
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    maps, shifted = convolutions(image), convolutions(image.roll((4, 8), (2, 3)))
    assert_close(shifted, maps.roll((1, 2), (2, 3)))  # the two pools have left a fourth


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"widths": (1, 2)}, r"widths=\[1, 2\] must be 5 numbers"),
        ({"hidden": (0, 2)}, r"hidden=\[0, 2\] must be 2 numbers of at least 1"),
        ({"padding_mode": "mirror"}, "padding_mode='mirror' is not one of zeros, circular"),
    ],
)
def test_wrong_sizes_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ConvNet(**wrong)


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="takes images of 3 x 32 x 32, got"):
        ConvNet()(torch.randn(1, 3, 28, 28))
