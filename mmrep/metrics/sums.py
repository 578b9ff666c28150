"""Sums of responses: what means are made of, and where few are wanted, responses themselves."""

from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mmrep.metrics.accumulator import Accumulator


class Sums(Accumulator):
    """Responses added up by row, which a stimulus or a single sample may be."""

    sums: Float64[Tensor, "rows units"]

    def __init__(self, num_rows: int, num_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zeros = torch.zeros(num_rows, num_units, dtype=torch.float64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")

    def update(self, response: Float[Tensor, "batch units"], row: Int64[Tensor, "batch"]) -> None:
        self.sums.index_add_(0, row, response.double())

    def compute(self) -> Float64[Tensor, "rows units"]:
        return self.sums
