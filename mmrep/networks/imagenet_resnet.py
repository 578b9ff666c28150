"""ResNets of four stages (He et al. 2016, 1512.03385, section 4.1), for photographs or for CIFAR.

The names in the state are torchvision's, whose published weights load where `stem` is 7.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}  # blocks
WIDTHS = (64, 128, 256, 512)  # channels of each stage; of bottlenecks' outputs, four times as many
STEMS = (3, 7)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: He et al.'s Figure 5, left."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(in_channels, width, stride)

    def forward(
        self, x: Float[Tensor, "batch in_channels in_height in_width"]
    ) -> Float[Tensor, "batch channels height width"]:
        rest = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(rest + self.downsample(x))


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1, beside a shortcut: He et al.'s Figure 5, right.

    It is the 3 x 3 convolution that halves height and width, as in torchvision; He et al. let the
    first one.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        channels = width * self.expansion
        self.conv1 = _conv(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, channels, 1)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels, stride)

    def forward(
        self, x: Float[Tensor, "batch in_channels in_height in_width"]
    ) -> Float[Tensor, "batch channels height width"]:
        rest = F.relu(self.bn1(self.conv1(x)))
        rest = F.relu(self.bn2(self.conv2(rest)))
        return F.relu(self.bn3(self.conv3(rest)) + self.downsample(x))


class ResNet(nn.Module):
    """ResNet-18, 34 or 50; what the analyses read are the means over all pixels, none negative.

    `stem=7` is the published network: a first layer of 7 x 7 with stride 2, then a max-pool.
    `stem=3` is the usual one for CIFAR: 3 x 3 with stride 1 and no pool, 11,173,962 parameters at
    depth 18. Initialised as in torchvision: convolutions by Kaiming normal (fan out), the last
    layer as PyTorch makes it.

    ValueError: an unknown depth or stem.
    """

    def __init__(self, depth: int = 18, num_classes: int = 10, stem: int = 3) -> None:
        super().__init__()
        if depth not in STAGES:
            raise ValueError(
                f"depth={depth} is not one of {', '.join(map(str, STAGES))}; others, such as 20 "
                "or 56, are CIFAR's: choose model=resnet20 or model=resnet56"
            )
        if stem not in STEMS:
            raise ValueError(f"stem={stem} is not one of {', '.join(map(str, STEMS))}")
        block = Bottleneck if depth == 50 else BasicBlock
        self.conv1 = _conv(3, 64, stem, stride=1 if stem == 3 else 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.Identity() if stem == 3 else nn.MaxPool2d(3, stride=2, padding=1)
        stages, channels = [], 64
        for width, blocks in zip(WIDTHS, STAGES[depth], strict=True):
            stages += [_stage(block, channels, width, blocks)]
            channels = width * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def head(self) -> nn.Linear:
        """The last layer, by the name that all networks here share."""
        return self.fc

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch features"]:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean(dim=(2, 3))

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        return self.head(self.features(x))


def _stage(
    block: type[BasicBlock | Bottleneck], in_channels: int, width: int, blocks: int
) -> nn.Sequential:
    first = block(in_channels, width, stride=1 if width == WIDTHS[0] else 2)
    rest = (block(width * block.expansion, width, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Module:
    """He et al.'s option B: a projection where the shape changes."""
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    return nn.Sequential(_conv(in_channels, channels, 1, stride), nn.BatchNorm2d(channels))


def _conv(in_channels: int, channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, channels, kernel_size, stride, padding, bias=False)
