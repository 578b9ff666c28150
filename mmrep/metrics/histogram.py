"""Counts of responses by stimulus, bin and unit: what the information of cells is made of."""

from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mmrep.metrics.accumulator import Accumulator
from mmrep.stats.information import Range, count_responses


class Histogram(Accumulator):
    """`count_responses` of all samples, however these are split over batches and ranks.

    Counts add up only over the bins of one range, so every rank is given the same beforehand: that
    of `bin_range` after a first pass with `Extrema`, or a known one, such as [0, 1] of logistic
    units. It is saved with the counts. A response outside it raises ValueError: where two passes
    over the same samples differ in their last digits, widen the range by that much.
    """

    counts: Int64[Tensor, "stimuli bins units"]
    lowest: Float64[Tensor, "units"]
    highest: Float64[Tensor, "units"]

    def __init__(
        self, bin_range: Range, *, num_stimuli: int, num_bins: int = 10, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_stimuli = num_stimuli
        self.num_bins = num_bins
        self.register_buffer("lowest", bin_range.lowest.clone())
        self.register_buffer("highest", bin_range.highest.clone())
        no_samples = self.lowest.new_empty(0, len(self.lowest))
        zeros = self._count(no_samples, no_samples.new_empty(0, dtype=torch.int64))
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(self, response: Float[Tensor, "batch units"], label: Int64[Tensor, "batch"]) -> None:
        self.counts += self._count(response, label)

    def compute(self) -> Int64[Tensor, "stimuli bins units"]:
        return self.counts

    def _count(
        self, response: Float[Tensor, "batch units"], label: Int64[Tensor, "batch"]
    ) -> Int64[Tensor, "stimuli bins units"]:
        return count_responses(
            response,
            label,
            self.lowest,
            self.highest,
            num_stimuli=self.num_stimuli,
            num_bins=self.num_bins,
        )
