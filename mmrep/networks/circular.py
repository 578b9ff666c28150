"""Convolutions on a torus: networks whose layers see images as if they went on from the start."""

import copy
from typing import Any

from torch import nn


def circular(net: nn.Module) -> nn.Module:
    """A copy with the same weights whose convolutions and poolings pad circularly, not by zeros.

    Up to the first layer that takes positions apart, images that are shifted cyclically, by whole
    steps of its strides, then give maps that are shifted so.

    ValueError: a layer that gives more or fewer outputs than one for each step on a torus.
    """
    net = copy.deepcopy(net)
    for name, module in [*net.named_modules()]:
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            _check(name, module)
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "circular"
        elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and any(_pair(module.padding)):
            down, right = _pair(module.padding)
            module.padding = 0
            parent, _, own = name.rpartition(".")
            around = nn.CircularPad2d((right, right, down, down))
            net.get_submodule(parent)._modules[own] = nn.Sequential(around, module)
    return net


def _check(name: str, module: Any) -> None:
    if module.padding == "same":
        return
    padding = (0, 0) if module.padding == "valid" else _pair(module.padding)
    kernel, stride = _pair(module.kernel_size), _pair(module.stride)
    dilation = _pair(getattr(module, "dilation", 1))
    for axis in (0, 1):
        width = dilation[axis] * (kernel[axis] - 1) + 1
        # Of n pixels, floor((n + 2 padding - width) / stride) + 1 outputs are to be n / stride.
        if not width - stride[axis] <= 2 * padding[axis] < width:
            raise ValueError(
                f"{name} reads {width} pixels in steps of {stride[axis]} with a padding of "
                f"{padding[axis]}, which is not one output a step on a torus: choose a network "
                "whose layers keep height and width, or divide them by the stride"
            )


def _pair(given: Any) -> tuple[int, int]:
    return (given, given) if isinstance(given, int) else (given[0], given[1])
