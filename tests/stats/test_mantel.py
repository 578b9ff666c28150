"""`mantel`: SciPy's correlation, and p over all renamings."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from mmrep.stats.mantel import mantel


def table(seed: int, things: int = 5) -> np.ndarray:
    draws = np.random.default_rng(seed).normal(size=(things, things)).round(1)  # with ties
    return draws + draws.T


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_p_is_the_share_of_renamings_that_agree_as_well(seed: int) -> None:
    a = table(seed)
    b = a + table(seed + 10)
    upper = np.triu_indices(5, k=1)

    def rho(order: tuple[int, ...]) -> float:
        return float(spearmanr(a[upper], b[np.ix_(order, order)][upper]).statistic)

    expected = rho((0, 1, 2, 3, 4))
    share = np.mean([rho(order) >= expected - 1e-12 for order in permutations(range(5))])
    found, p = mantel(a, b, permutations=4000, seed=0)
    assert found == pytest.approx(expected)
    assert p == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5 + 1 / 4000)
    assert mantel(a, b, permutations=50, seed=0) == mantel(a, b, permutations=50, seed=0)


def test_tables_that_are_renamed_agree_in_the_ways_they_must() -> None:
    a = table(3, things=7)
    order = np.array([2, 0, 1, 3, 6, 5, 4])
    b = table(4, things=7)
    found, _ = mantel(a, b, permutations=1, seed=0)
    renamed, _ = mantel(a[np.ix_(order, order)], b[np.ix_(order, order)], permutations=1, seed=0)
    assert renamed == pytest.approx(found)
    assert mantel(a, np.exp(a) + 9 * np.eye(7), permutations=99, seed=0) == pytest.approx((1, 0.01))
    assert mantel(a, -a, permutations=99, seed=0) == pytest.approx((-1, 1))


def test_what_tells_nothing_is_no_number_or_refused() -> None:
    found, p = mantel(table(0), np.ones((5, 5)), permutations=9, seed=0)
    assert np.isnan(found)
    assert p == 1
    with pytest.raises(ValueError, match="3 things and permutations=9: give at least 4 and 1"):
        mantel(table(0, things=3), table(1, things=3), permutations=9, seed=0)
