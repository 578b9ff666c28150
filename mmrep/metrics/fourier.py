"""Sums by spatial frequency: all that CCA of convolutional maps needs to see of the data."""

from typing import Any

from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mmrep.metrics.accumulator import Accumulator
from mmrep.stats.fourier import (
    FourierSums,
    add_maps,
    correlations_from_sums,
    no_sums,
    shared_frequencies,
)


class FourierMoments(Accumulator):
    """`dft_cca` of two layers' maps, however their samples are split over batches and ranks.

    `channels` are those of the two layers, `size` is the (height, width) of the first one's maps
    and `y_size` that of the second one's, if it is another. The states are float64 sums of about
    8 * height * width * sum(channels)**2 bytes, whatever the number of samples.

    Sums are of maps as they come, since ranks merge by adding. Where the mean at a frequency is m
    standard deviations, 2 log10(m) of 16 digits are lost: at the zero frequency of 1,000 pixels,
    nine where pixels have a mean of 1e3 standard deviations. `compute` warns where fewer than six
    are left, be it by means or by nearly dependent channels, and takes what varies by less than
    1e-7 of its size as constant. Maps less a fixed map have the same correlations and lose none,
    nor does `dft_cca` on maps in memory.
    """

    n: Int64[Tensor, ""]
    power: Float64[Tensor, "units"]
    total: Float64[Tensor, "blocks 2 units"]
    product: Float64[Tensor, "blocks units units"]
    square: Float64[Tensor, "blocks units units"]

    def __init__(
        self,
        channels: tuple[int, int],
        size: tuple[int, int],
        *,
        y_size: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        y_size = y_size or size
        if min(*channels, *size, *y_size) < 1:
            raise ValueError(
                f"channels={channels}, size={size} and y_size={y_size} must all be at least 1"
            )
        self.shapes = ((channels[0], *size), (channels[1], *y_size))
        frequencies = shared_frequencies(size, y_size)
        for name, zeros in no_sums(*channels, frequencies)._asdict().items():
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(
        self,
        x: Float[Tensor, "x_samples x_channels x_height x_width"],
        y: Float[Tensor, "y_samples y_channels y_height y_width"],
    ) -> None:
        """Takes samples in; row i of both layers is the same sample."""
        shapes = (tuple(x.shape[1:]), tuple(y.shape[1:]))
        if shapes != self.shapes:
            raise ValueError(f"maps of {shapes}, where {self.shapes} were announced")
        if len(x) != len(y):
            raise ValueError(
                f"x has {len(x)} samples and y has {len(y)}: row i of both must be the same sample"
            )
        origins = (self.power.new_zeros(shape) for shape in self.shapes)
        frequencies = shared_frequencies(self.shapes[0][1:], self.shapes[1][1:], self.power.device)
        add_maps(self.sums(), x.detach(), y.detach(), frequencies, *origins)

    def compute(self) -> Float64[Tensor, "height width correlations"]:
        """Canonical correlations as those of `dft_cca`, over all batches and ranks."""
        frequencies = shared_frequencies(self.shapes[0][1:], self.shapes[1][1:], self.power.device)
        return correlations_from_sums(self.sums(), self.shapes[0][0], frequencies)

    def sums(self) -> FourierSums:
        """The states; what is added to them is added here."""
        return FourierSums(self.n, self.power, self.total, self.product, self.square)
