"""What linear heads take the projections of features for: counts of (true, predicted) class."""

from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mmrep.metrics.accumulator import Accumulator
from mmrep.stats.subspaces import Heads, confusion


class ProjectionConfusion(Accumulator):
    """`confusion` of many heads at once, however the samples are split over batches and ranks.

    The heads are those of `projected_heads`, one for each (basis, n), and are saved with the
    counts; `scores_from_counts` turns counts into curves.
    """

    counts: Int64[Tensor, "heads classes classes"]
    weight: Float64[Tensor, "heads classes units"]
    bias: Float64[Tensor, "heads classes"]

    def __init__(self, heads: Heads, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_buffer("weight", heads.weight.clone())
        self.register_buffer("bias", heads.bias.clone())
        number, classes = heads.bias.shape
        zeros = torch.zeros(number, classes, classes, dtype=torch.int64, device=self.bias.device)
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(self, x: Float[Tensor, "batch units"], label: Int64[Tensor, "batch"]) -> None:
        self.counts += confusion(x, label, Heads(self.weight, self.bias))

    def compute(self) -> Int64[Tensor, "heads classes classes"]:
        return self.counts
