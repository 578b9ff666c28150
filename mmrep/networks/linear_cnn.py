"""The linear CNN of depth 2 that Chowers & Weiss 2023 solve (their theorem 4.2)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LinearCNN(nn.Module):
    """A convolution without bias, whose maps are averaged over all locations and summed by output.

    Each output has `width` filters of its own (the paper's K), and the sum over them is fixed, so
    that the filters are all that is trained. They start as Gaussian noise of `initial_deviation`
    (the paper's xi). The theorem's windows overlap; with a `stride` of `kernel_size` they lie side
    by side. Analyses read the mean of each filter's map. The theorem is of squared errors.
    """

    def __init__(
        self,
        num_outputs: int = 10,
        width: int = 64,
        kernel_size: int = 3,
        stride: int = 1,
        in_channels: int = 3,
        initial_deviation: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (("num_outputs", num_outputs), ("width", width)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if initial_deviation < 0:
            raise ValueError(f"initial_deviation={initial_deviation} must not be negative")
        filters = num_outputs * width
        self.conv = nn.Conv2d(in_channels, filters, kernel_size, stride, bias=False)
        nn.init.normal_(self.conv.weight, std=initial_deviation)
        self.head = nn.Linear(filters, num_outputs, bias=False).requires_grad_(False)
        self.head.weight.copy_(torch.eye(num_outputs).repeat_interleave(width, dim=1))

    def features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        return self.conv(x).mean(dim=(2, 3))

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch outputs"]:
        return self.head(self.features(x))
