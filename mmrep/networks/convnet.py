"""The convolutional network whose learning Raghu et al. 2017 follow on CIFAR-10 (Figure App.3)."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

CONVOLUTIONS, HIDDEN = 5, 2  # layers of each kind
PADDING_MODES = ("zeros", "circular")


class Convolution(nn.Conv2d):
    """3 x 3 filters, and what is negative of their responses set to 0: one layer of the paper's."""

    def __init__(self, in_channels: int, channels: int, padding_mode: str) -> None:
        super().__init__(in_channels, channels, 3, padding=1, padding_mode=padding_mode)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        return F.relu(super().forward(x))


class FullyConnected(nn.Linear):
    """A linear map, and what is negative set to 0: one layer of the paper's."""

    def forward(self, x: Float[Tensor, "batch in_units"]) -> Float[Tensor, "batch units"]:
        return F.relu(super().forward(x))


class ConvNet(nn.Module):
    """Images of 32 x 32 through c1 c2 bn1 p1 c3 c4 c5 bn2 p2 fc1 bn3 fc2 bn4 logits.

    The layers' names and order are those of Raghu et al. 2017's figure, which gives no sizes. `c`
    and `fc` layers end with a ReLU, so that batch norm behind them is an affine map of each channel
    and says the same as they do. `widths` are the channels of c1 to c5, `hidden` the units of fc1
    and fc2; a pool halves height and width. What the analyses read is bn4. With
    `padding_mode="circular"` a shift of the image, its end coming in at the other side, shifts
    every map (all of Theorem 1's conditions).

    ValueError: not five widths or not two hidden sizes, or one below 1; an unknown padding mode.
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 32, 64, 64, 64),
        hidden: Sequence[int] = (256, 128),
        num_classes: int = 10,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        for name, sizes, count in (("widths", widths, CONVOLUTIONS), ("hidden", hidden, HIDDEN)):
            if len(sizes) != count or min(sizes) < 1:
                raise ValueError(f"{name}={[*sizes]} must be {count} numbers of at least 1")
        if padding_mode not in PADDING_MODES:
            allowed = ", ".join(PADDING_MODES)
            raise ValueError(f"padding_mode={padding_mode!r} is not one of {allowed}")
        c1, c2, c3, c4, c5 = widths
        fc1, fc2 = hidden
        self.c1 = Convolution(3, c1, padding_mode)  # 32 x 32
        self.c2 = Convolution(c1, c2, padding_mode)
        self.bn1 = nn.BatchNorm2d(c2)
        self.p1 = nn.MaxPool2d(2)
        self.c3 = Convolution(c2, c3, padding_mode)  # 16 x 16
        self.c4 = Convolution(c3, c4, padding_mode)
        self.c5 = Convolution(c4, c5, padding_mode)
        self.bn2 = nn.BatchNorm2d(c5)
        self.p2 = nn.MaxPool2d(2)  # 8 x 8
        self.fc1 = FullyConnected(c5 * 8 * 8, fc1)
        self.bn3 = nn.BatchNorm1d(fc1)
        self.fc2 = FullyConnected(fc1, fc2)
        self.bn4 = nn.BatchNorm1d(fc2)
        self.logits = nn.Linear(fc2, num_classes)

    @property
    def head(self) -> nn.Module:
        """The last layer, by the name that all networks here share."""
        return self.logits

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch units"]:
        if x.shape[1:] != (3, 32, 32):
            raise ValueError(
                f"ConvNet takes images of 3 x 32 x 32, got {tuple(x.shape[1:])}: choose "
                "data=cifar10 or data=cifar100"
            )
        x = self.p1(self.bn1(self.c2(self.c1(x))))
        x = self.p2(self.bn2(self.c5(self.c4(self.c3(x)))))
        return self.bn4(self.fc2(self.bn3(self.fc1(x.flatten(1)))))

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        return self.head(self.features(x))
