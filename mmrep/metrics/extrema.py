"""The lowest and the highest response of each unit: the first pass of a histogram."""

from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mmrep.metrics.accumulator import Accumulator
from mmrep.stats.information import Range


class Extrema(Accumulator):
    """Each unit's range, however the samples are split over batches and ranks.

    Without samples the range is from infinity to minus infinity, and a unit that has answered NaN
    has NaN; `bin_range` and `Histogram` refuse both.
    """

    lowest: Float64[Tensor, "units"]
    highest: Float64[Tensor, "units"]

    def __init__(self, num_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        infinity = torch.full((num_units,), torch.inf, dtype=torch.float64)
        self.add_state("lowest", infinity, dist_reduce_fx="min")
        self.add_state("highest", -infinity, dist_reduce_fx="max")

    def update(self, response: Float[Tensor, "batch units"]) -> None:
        if len(response):
            response = response.detach()
            self.lowest = torch.minimum(self.lowest, response.amin(dim=0))
            self.highest = torch.maximum(self.highest, response.amax(dim=0))

    def compute(self) -> Range:
        return Range(self.lowest, self.highest)
