"""What the principal axes of image patches are made from, out of batches of images."""

from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mmrep.metrics.accumulator import Accumulator
from mmrep.stats.energy import PatchSums, patch_sums


class PatchMoments(Accumulator):
    """Number, sum and summed outer product of all windows of `size` x `size` inside the images.

    `axes_from_sums(*moments.compute())` has their axes. The sums are float64 and of the images as
    they come, since ranks could not add what each had centred on its own mean: a mean of m standard
    deviations costs 2 log10(m) of about 15 digits of each variance, counted from the largest. That
    is nothing for normalised images, and less than one digit for [0, 255].
    """

    n: Int64[Tensor, ""]
    total: Float64[Tensor, "dimensions"]
    outer: Float64[Tensor, "dimensions dimensions"]

    def __init__(self, channels: int, size: int, stride: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels, self.size, self.stride = channels, size, stride
        zeros = torch.zeros(channels * size**2, dtype=torch.float64)
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("outer", zeros.diag(), dist_reduce_fx="sum")

    def update(self, images: Float[Tensor, "batch channels height width"]) -> None:
        if images.shape[1] != self.channels:
            raise ValueError(
                f"images have {images.shape[1]} channels, not channels={self.channels}: "
                "give the metric as many as the images have"
            )
        sums = patch_sums(images, self.size, stride=self.stride)
        self.n += sums.n
        self.total += sums.total
        self.outer += sums.outer

    def compute(self) -> PatchSums:
        return PatchSums(self.n, self.total, self.outer)
