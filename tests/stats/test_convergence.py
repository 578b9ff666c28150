"""Epochs of levels and their order in depth, on curves read by eye, and against SciPy."""

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

from mmrep.stats.convergence import depth_correlation, epochs_of_levels

EPOCHS = np.array([0.0, 0.5, 1.0, 2.0])
CURVES = np.array([[0.2, 0.1, 0.5], [0.8, 0.4, 0.9], [0.7, 0.8, np.nan], [1.0, 0.89, 1.0]])


def test_the_first_snapshot_that_is_at_least_at_a_level_counts() -> None:
    found = epochs_of_levels(EPOCHS, CURVES, (0.5, 0.8, 0.9, 1.1))
    expected = [[0.5, 1, 0], [0.5, 1, 0.5], [2, np.nan, 0.5], [np.nan] * 3]
    np.testing.assert_array_equal(found, expected)


def test_higher_levels_are_not_passed_earlier_and_later_snapshots_change_nothing() -> None:
    curves = np.random.default_rng(0).random((20, 6))
    epochs = np.arange(20.0)
    levels = (0.1, 0.5, 0.9)
    found = epochs_of_levels(epochs, curves, levels)
    assert (np.diff(np.nan_to_num(found, nan=np.inf), axis=0) >= 0).all()
    early = epochs_of_levels(epochs[:10], curves[:10], levels)
    np.testing.assert_array_equal(early, np.where(found < 10, found, np.nan))


def test_snapshots_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"epochs=\[0.0, 0.0\] do not increase"):
        epochs_of_levels(np.zeros(2), np.zeros((2, 1)), (0.5,))


def test_lower_layers_first_is_a_correlation_of_one() -> None:
    assert depth_correlation(np.array([1.0, 2, 5, 9])).correlation == pytest.approx(1)
    assert depth_correlation(np.array([9.0, 5, 2, 1])).correlation == pytest.approx(-1)


def test_it_is_the_correlation_of_ranks_of_the_layers_that_pass() -> None:
    epochs = np.array([3.0, np.nan, 1, 4, 4, np.nan, 9])  # two at once
    depths = np.array([0, 2, 3, 4, 6])
    ranks = rankdata(depths), rankdata(epochs[depths])
    found = depth_correlation(epochs)
    assert found.correlation == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert 0 < found.p < 1
    assert np.sign(found.correlation) == np.sign(kendalltau(*ranks).statistic)


@pytest.mark.parametrize("epochs", [[2.0, 2, 2, 2], [1.0, np.nan, 3], [np.nan] * 4])
def test_what_has_no_order_has_no_correlation(epochs: list[float]) -> None:
    assert np.isnan(depth_correlation(np.array(epochs))).all()
