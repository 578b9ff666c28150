"""What all accumulators have in common."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class Accumulator(Metric):
    """A Metric whose states keep their type, whatever precision the module around it is cast to.

    It moves with the module from device to device. torchmetrics ignores `.half()`, but Lightning's
    "16-true" and "bf16-true" cast by `.to(dtype)`, which would leave sums of three digits.
    """

    full_state_update = False

    def _apply(
        self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ""
    ) -> nn.Module:
        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(fn(torch.empty(0, device=tensor.device)).device)

        return super()._apply(moved, exclude_state)
