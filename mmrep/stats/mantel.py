"""Do two tables of pairs of things agree? (Mantel 1967, Cancer Research 27, 209-220)."""

import numpy as np
from jaxtyping import Float64
from scipy.stats import rankdata

ROUNDING = 1e-12  # between correlations that are equal
FEWEST = 4  # things: three have as few orders as pairs


def mantel(
    a: Float64[np.ndarray, "things things"],
    b: Float64[np.ndarray, "things things"],
    *,
    permutations: int = 9999,
    seed: int,
) -> tuple[float, float]:
    """Spearman's correlation of symmetric tables over their pairs, and p of one as high by chance.

    Pairs that share a thing are not independent, so chance renames the things of one table. What
    stands on the diagonals does not count. NaN and 1 where a table has one value for all pairs.
    """
    if len(a) < FEWEST or permutations < 1:
        raise ValueError(
            f"{len(a)} things and permutations={permutations}: give at least {FEWEST} and 1"
        )
    upper = np.triu_indices(len(a), k=1)
    ours, ranks = rankdata(a[upper]), np.zeros_like(b)
    ranks[upper] = rankdata(b[upper])
    ranks += ranks.T
    if not (np.ptp(ours) and np.ptp(ranks[upper])):
        return float("nan"), 1.0

    def correlation(order: np.ndarray) -> float:
        return float(np.corrcoef(ours, ranks[np.ix_(order, order)][upper])[0, 1])

    generator = np.random.default_rng(seed)
    found = correlation(np.arange(len(a)))
    chance = [correlation(generator.permutation(len(a))) for _ in range(permutations)]
    as_high = sum(value >= found - ROUNDING for value in chance)
    return found, (1 + as_high) / (1 + permutations)
