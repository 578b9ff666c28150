"""In which order layers become what they are at the end of a training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.stats import spearmanr


class DepthCorrelation(NamedTuple):
    """Spearman's rank correlation of an epoch with depth, above 0 where lower layers come first."""

    correlation: float
    p: float


def epochs_of_levels(
    epochs: Float64[np.ndarray, "snapshots"],
    similarity: Float64[np.ndarray, "snapshots layers"],
    levels: Sequence[float],
) -> Float64[np.ndarray, "levels layers"]:
    """The epoch of the first snapshot at which a layer's similarity is at least each level.

    The first at which it passes, also where it falls below again later; NaN where it never does.
    Epochs of snapshots, not between them. Similarities that are NaN pass no level.
    """
    if not (np.diff(epochs) > 0).all():
        raise ValueError(f"epochs={epochs.tolist()} do not increase: give snapshots in order")
    passed = similarity >= np.asarray(levels, dtype=float)[:, None, None]
    return np.where(passed.any(axis=1), epochs[passed.argmax(axis=1)], np.nan)


def depth_correlation(epochs: Float64[np.ndarray, "layers"]) -> DepthCorrelation:
    """Do deeper layers pass later? `epochs` at which layers pass a level, from the input on.

    p takes layers as independent, which a layer and its batch norm are not: it only describes.
    Layers that never pass (NaN) are left out: say beside it how many are left. NaN where fewer than
    3 are, or all of them pass at the same epoch. Ties share their mean rank.
    """
    depth = np.flatnonzero(~np.isnan(epochs))
    if len(depth) < 3 or np.ptp(epochs[depth]) == 0:
        return DepthCorrelation(np.nan, np.nan)
    found = spearmanr(depth, epochs[depth])
    return DepthCorrelation(float(found.statistic), float(found.pvalue))
