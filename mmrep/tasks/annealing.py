"""Learning rates that fall from their start to a given end."""

import math
from collections.abc import Callable
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

SHAPES = ("exponential", "cosine", "step")


def annealed(optimizer: Optimizer, *, shape: str, final: float, epochs: int) -> LambdaLR:
    """From the optimizer's learning rate in the first of `epochs` to `final` in the last.

    By equal factors ("exponential"); along half a cosine; or in two "step"s of equal factors, after
    a half and three quarters of four epochs or more. It stays at `final` behind them.

    ValueError: an unknown shape, or an end that is not positive.
    """
    if shape not in SHAPES:
        raise ValueError(f"shape={shape!r} is not one of {', '.join(SHAPES)}")
    if final <= 0:
        raise ValueError(f"final={final} must be positive: a learning rate")
    of_groups: list[Callable[[int], float]] = [
        partial(factor, shape=shape, ratio=final / group["lr"], epochs=epochs)
        for group in optimizer.param_groups
    ]
    return LambdaLR(optimizer, of_groups)


def factor(epoch: int, *, shape: str, ratio: float, epochs: int) -> float:
    """The share of its start that the learning rate has in an epoch, the first being 0."""
    passed = min(1.0, epoch / max(1, epochs - 1))
    if shape == "exponential":
        return ratio**passed
    if shape == "cosine":
        return ratio + (1 - ratio) * (1 + math.cos(math.pi * passed)) / 2
    return float(ratio ** ((2 * epoch >= epochs) / 2 + (4 * epoch >= 3 * epochs) / 2))
