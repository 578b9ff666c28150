"""ResNets for CIFAR (He et al. 2016, 1512.03385, section 4.2) as Moreau et al. 2021 study them.

The names in the state are those of github.com/akamaster/pytorch_resnet_cifar10, whose weights load
with or without their prefix `module.`.
"""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SHORTCUTS = ("option_a", "projection")
INITIALISATIONS = ("kaiming_normal", "pytorch")
STEMS = (3, 7)


class PaddedShortcut(nn.Module):
    """He et al.'s option A: every second pixel, channels doubled by zeros, half on either side."""

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch doubled half_height half_width"]:
        half = x.shape[1] // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))


class Block(nn.Module):
    """Two convolutions beside a shortcut; where channels double, height and width are halved."""

    def __init__(self, in_channels: int, channels: int, shortcut: str) -> None:
        super().__init__()
        stride = 1 if channels == in_channels else 2
        self.conv1 = _conv(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, stride=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2 and shortcut == "option_a":
            self.shortcut = PaddedShortcut()
        elif stride == 2:  # 3 x 3 as in Moreau et al.'s program; He et al.'s option B has 1 x 1
            conv = _conv(in_channels, channels, stride)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(
        self, x: Float[Tensor, "batch in_channels in_height in_width"]
    ) -> Float[Tensor, "batch channels height width"]:
        rest = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(rest + self.shortcut(x))


class CifarResNet(nn.Module):
    """A ResNet of 6n + 2 layers: three stages of n blocks with 16, 32 and 64 channels, then a mean.

    What the analyses read are the 64 means over all pixels, none of them negative. With the
    defaults, 853,018 parameters at depth 56. `shortcut="projection"` at depth 38 with
    `initialisation="pytorch"` is the network that Moreau et al.'s program trains, 584,602
    parameters. Kaiming normal (He et al. 2015, fan in, gain sqrt 2) takes in the last layer's
    weight; "pytorch" leaves all layers as PyTorch makes them. `stem=7` makes the first layer's
    filters 7 x 7; its output stays 32 x 32.

    ValueError: a depth that is not 6n + 2, an unknown shortcut, initialisation or stem.
    """

    def __init__(
        self,
        depth: int = 56,
        num_classes: int = 10,
        shortcut: str = "option_a",
        initialisation: str = "kaiming_normal",
        stem: int = 3,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth={depth} is not 6n + 2 layers, such as 20, 32, 44, 56 or 110")
        if shortcut not in SHORTCUTS:
            raise ValueError(f"shortcut={shortcut!r} is not one of {', '.join(SHORTCUTS)}")
        if initialisation not in INITIALISATIONS:
            allowed = ", ".join(INITIALISATIONS)
            raise ValueError(f"initialisation={initialisation!r} is not one of {allowed}")
        if stem not in STEMS:
            raise ValueError(f"stem={stem} is not one of {', '.join(map(str, STEMS))}")
        blocks = (depth - 2) // 6
        self.conv1 = _conv(3, 16, stride=1, kernel_size=stem)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, shortcut)  # 32 x 32
        self.layer2 = _stage(16, 32, blocks, shortcut)  # 16 x 16
        self.layer3 = _stage(32, 64, blocks, shortcut)  # 8 x 8
        self.linear = nn.Linear(64, num_classes)
        if initialisation == "kaiming_normal":
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.register_load_state_dict_pre_hook(_without_module)  # type: ignore[no-untyped-call]

    @property
    def head(self) -> nn.Linear:
        """The last layer, by the name that all networks here share."""
        return self.linear

    def features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch 64"]:
        if x.shape[1:] != (3, 32, 32):
            raise ValueError(
                f"CifarResNet takes images of 3 x 32 x 32, got {tuple(x.shape[1:])}: choose "
                "data=cifar10 or data=cifar100"
            )
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3))

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        return self.head(self.features(x))


def _stage(in_channels: int, channels: int, blocks: int, shortcut: str) -> nn.Sequential:
    first = Block(in_channels, channels, shortcut)
    return nn.Sequential(first, *(Block(channels, channels, shortcut) for _ in range(blocks - 1)))


def _conv(in_channels: int, channels: int, stride: int, kernel_size: int = 3) -> nn.Conv2d:
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, channels, kernel_size, stride, padding, bias=False)


def _without_module(net: nn.Module, state: dict[str, Any], prefix: str, *reports: object) -> None:
    """Takes off what `DataParallel`, inside which the published weights were saved, puts in front.

    torch's `consume_prefix_in_state_dict_if_present` would take `prefix` off as well.
    """
    for key in [key for key in state if key.startswith(f"{prefix}module.")]:
        state[prefix + key.removeprefix(f"{prefix}module.")] = state.pop(key)
