"""`circular`: cyclic shifts of images become cyclic shifts of maps, whatever the layers do."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from mmrep.networks.circular import circular
from mmrep.networks.imagenet_resnet import ResNet
from mmrep.networks.resnet import CifarResNet
from mmrep.networks.shl_cnn import SpectrogramCNN


@torch.no_grad()
def maps(net: Any, images: Tensor) -> dict[str, Tensor]:
    """Of the stages of a ResNet."""
    found: dict[str, Tensor] = {}
    hooks = [
        net.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: found.update({name: output})
        )
        for name in ("layer1", "layer2", "layer3")
    ]
    net.double().eval()(images)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    ("net", "side"),
    [
        (CifarResNet(8), 32),
        (CifarResNet(8, shortcut="projection", stem=7), 32),
        (ResNet(18, stem=7), 64),  # its first pooling overlaps, with padding
    ],
    ids=["option_a", "projection", "imagenet"],
)
def test_shifted_images_give_shifted_maps(net: nn.Module, side: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, side, side).double()
    moved = images.roll((16, 48), (2, 3))
    on_torus = circular(net)
    still_maps, moved_maps = maps(on_torus, images), maps(on_torus, moved)
    for name, still in still_maps.items():
        step = side // still.shape[2]
        rolled = still.roll((16 // step, 48 // step), (2, 3))
        assert_close(moved_maps[name], rolled, rtol=0, atol=1e-10)
    with_zeros = maps(net, images)["layer1"]
    step = side // with_zeros.shape[2]
    rolled = with_zeros.roll((16 // step, 48 // step), (2, 3))
    assert (maps(net, moved)["layer1"] - rolled).abs().max() > 1e-3
    assert {m.padding_mode for m in net.modules() if isinstance(m, nn.Conv2d)} == {"zeros"}
    # Far from the border both are one network.
    size = with_zeros.shape[2]
    middle = slice(size // 2 - 1, size // 2 + 1)
    assert_close(still_maps["layer1"][..., middle, middle], with_zeros[..., middle, middle])


def test_layers_that_do_not_fit_a_torus_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"reads 3 pixels in steps of 1 with a padding of 0, which"
    ):
        circular(SpectrogramCNN())
    overlapping = nn.Sequential(nn.Conv2d(3, 2, 3, padding="same"), nn.MaxPool2d(3, stride=2))
    with pytest.raises(ValueError, match=r"^1 reads 3 pixels in steps of 2 with a padding of 0"):
        circular(overlapping)
    dilated = nn.Conv2d(1, 1, 3, dilation=2, padding=1)
    with pytest.raises(ValueError, match=r"reads 5 pixels in steps of 1 with a padding of 1"):
        circular(nn.Sequential(dilated))
