"""VGG (Simonyan & Zisserman 2015, 1409.1556), whose first layer Chowers & Weiss 2023 study.

The names in the state are torchvision's, whose published weights load; so do those of
github.com/chenyaofo/pytorch-cifar-models, from which the network for CIFAR is taken.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

# Channels of each convolution, stage by stage; after a stage height and width are halved.
STAGES = {
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    13: ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    16: ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    19: ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}
HEADS = {"cifar": (1, 512), "imagenet": (7, 4096)}  # pixels that are left, units of hidden layers
KERNEL_SIZES = (3, 7)


class VGG(nn.Module):
    """VGG 11, 13, 16 or 19; what the analyses read is what the last layer reads.

    `head="cifar"` with depth 11 is the network that Chowers & Weiss 2023 train, 9,756,426
    parameters; images of 32 x 32 leave one pixel. `head="imagenet"` is torchvision's, whose pixels
    are averaged down to 7 x 7. The first layer has `width` filters of `kernel_size` x
    `kernel_size`; it stays as it was initialised where `freeze_first_layer`. With a `stride` of the
    kernel's size it reads patches laid side by side, without padding. Initialised by Kaiming normal
    (fan out), linear layers by a deviation of 0.01, as published.

    ValueError: an unknown depth, head or kernel size, a width below 1, a stride that is neither 1
    nor the kernel's size.
    """

    def __init__(
        self,
        depth: int = 11,
        num_classes: int = 10,
        batch_norm: bool = True,
        head: str = "cifar",
        width: int = 64,
        kernel_size: int = 3,
        stride: int = 1,
        dropout: float = 0.5,
        freeze_first_layer: bool = False,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("depth", depth, STAGES),
            ("head", head, HEADS),
            ("kernel_size", kernel_size, KERNEL_SIZES),
            ("stride", stride, (1, kernel_size)),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(map(str, allowed))}")
        if width < 1:
            raise ValueError(f"width={width} must be at least 1 filter")
        padding = kernel_size // 2 if stride == 1 else 0
        first = nn.Conv2d(3, width, kernel_size, stride, padding)
        layers: list[nn.Module] = [first, *_activation(width, batch_norm)]
        channels = width
        for stage, widths in enumerate(STAGES[depth]):
            for out in widths[1:] if stage == 0 else widths:
                layers += [nn.Conv2d(channels, out, kernel_size=3, padding=1)]
                layers += _activation(out, batch_norm)
                channels = out
            # torchvision rounds down; 30 x 30 patches side by side would leave no pixel
            layers += [nn.MaxPool2d(2, ceil_mode=stride > 1)]
        # torchvision's name of the convolutions, of which the method `features` is more than that:
        # state_dict and named_modules know them by it, get_submodule finds the method.
        self._modules["features"] = nn.Sequential(*layers)
        pixels, hidden = HEADS[head]
        self.avgpool = nn.AdaptiveAvgPool2d(pixels)
        self.classifier = nn.Sequential(
            nn.Linear(channels * pixels**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        first.requires_grad_(not freeze_first_layer)

    @property
    def head(self) -> nn.Module:
        """The last layer, by the name that all networks here share."""
        return self.classifier[-1]

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch hidden"]:
        convolutions: Any = self._modules["features"]
        return self.classifier[:-1](self.avgpool(convolutions(x)).flatten(1))

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        return self.head(self.features(x))


def _activation(channels: int, batch_norm: bool) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(channels)] if batch_norm else []
    return [*norm, nn.ReLU(inplace=True)]
