"""Floors, intervals and held-out values against their definitions and against each other."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmrep.metrics.moments import ChunkedMoments
from mmrep.stats.covariance import Moments
from mmrep.stats.similarity import (
    Assessment,
    assess,
    assess_chunks,
    cka,
    cka_from_moments,
    mean_cca,
    mean_cca_from_moments,
    pwcca,
    pwcca_from_moments,
    svcca,
    svcca_from_moments,
    with_norms,
)

BOTH = [
    (mean_cca, mean_cca_from_moments),
    (svcca, svcca_from_moments),
    (pwcca, pwcca_from_moments),
    (cka, cka_from_moments),
]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def related(n: int, units: int, correlation: float) -> tuple[Tensor, Tensor]:
    x, noise = torch.randn(2, n, units, generator=torch.Generator().manual_seed(0))
    return x, correlation * x + (1 - correlation**2) ** 0.5 * noise


def chunks_of(x: Tensor, y: Tensor, chunks: int = 20) -> list[Moments]:
    views = with_norms(x, y)
    metric = ChunkedMoments(*(view.shape[1] for view in views), chunks=chunks)
    metric.update(torch.arange(len(x)), *views)
    return metric.compute()


def in_both_ways(
    pair: tuple[Callable[..., float], Callable[..., float]], x: Tensor, y: Tensor
) -> list[Assessment]:
    return [
        assess(pair[0], x, y, permutations=40, resamples=100, generator=generator()),
        assess_chunks(pair[1], chunks_of(x, y), permutations=40, generator=generator()),
    ]


@pytest.mark.parametrize("pair", BOTH, ids=lambda pair: pair[0].__name__)
def test_noise_is_at_its_floor_and_nothing_of_it_holds_out(
    pair: tuple[Callable[..., float], Callable[..., float]],
) -> None:
    for found in in_both_ways(pair, *related(1000, 15, 0.0)):
        assert found.value == pytest.approx(found.floor, abs=0.02)
        assert abs(found.held_out) < 0.03
        assert found.low < found.value < found.high
        assert found.ranks == (15, 15)


@pytest.mark.parametrize("pair", BOTH, ids=lambda pair: pair[0].__name__)
def test_a_relation_is_above_its_floor_and_holds_out(
    pair: tuple[Callable[..., float], Callable[..., float]],
) -> None:
    # Gaussian units of which each has one partner: CCA's correlations are 0.8, CKA is 0.64.
    expected = 0.64 if pair[0] is cka else 0.8
    x, y = related(1000, 15, 0.8)
    samples, chunks = in_both_ways(pair, x, y)
    for found in (samples, chunks):
        assert found.value == pytest.approx(pair[0](x, y))
        assert found.held_out == pytest.approx(expected, abs=0.03)
        assert found.floor < 0.15
        assert found.low < expected + 0.02
        assert expected - 0.02 < found.high
    assert samples.floor == pytest.approx(chunks.floor, abs=0.01)
    assert samples.high - samples.low == pytest.approx(chunks.high - chunks.low, rel=0.6)
    assert (samples.chunks, chunks.chunks) == (0, 20)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6, 0.95])
def test_intervals_are_as_wide_as_values_of_new_samples_are_spread(correlation: float) -> None:
    def sample(seed: int) -> tuple[Tensor, Tensor]:
        x, noise = torch.randn(2, 400, 8, generator=torch.Generator().manual_seed(seed))
        return x, correlation * x + (1 - correlation**2) ** 0.5 * noise

    spread = float(torch.tensor([mean_cca(*sample(seed)) for seed in range(100)]).std())
    x, y = sample(1000)
    found = assess(mean_cca, x, y, permutations=2, generator=generator())
    assert 0.6 < (found.high - found.low) / (2 * 1.96) / spread < 2  # too wide where it is weak
    found = assess_chunks(mean_cca_from_moments, chunks_of(x, y), generator=generator())
    assert 0.6 < (found.high - found.low) / (2 * 1.96) / spread < 2


def test_the_jackknife_leaves_out_one_chunk_after_the_other() -> None:
    x, y = related(200, 3, 0.5)
    chunks = chunks_of(x, y, chunks=8)
    found = assess_chunks(mean_cca_from_moments, chunks, permutations=2, generator=generator())
    kept = [torch.arange(200) % 8 != chunk for chunk in range(8)]
    values = torch.tensor([mean_cca(x[rows], y[rows]) for rows in kept], dtype=torch.float64)
    error = (7 / 8 * (values - values.mean()).square().sum()).sqrt()
    assert found.high - found.value == pytest.approx(1.96 * float(error))
    assert found.value - found.low == pytest.approx(1.96 * float(error))


def test_where_resamples_do_not_exceed_the_rank_there_is_no_interval() -> None:
    x, y = related(100, 90, 0.0)
    found = assess(mean_cca, x, y, permutations=2, resamples=20, generator=generator())
    assert found.low != found.low  # NaN
    assert found.high != found.high
    found = assess(cka, x, y, permutations=2, resamples=20, generator=generator())
    assert found.low < found.value < found.high


def test_few_samples_have_a_high_floor_and_nothing_to_hold_out() -> None:
    x, y = related(100, 64, 0.0)
    found = assess(mean_cca, x, y, permutations=20, resamples=20, generator=generator())
    assert found.value > 0.7  # of pure noise
    assert found.floor == pytest.approx(found.value, abs=0.03)
    assert found.held_out != found.held_out  # NaN: 50 samples do not exceed 64 units


def test_the_same_generator_gives_the_same_and_any_function_of_two_views_will_do() -> None:
    x, y = related(200, 4, 0.5)

    def distance(x: Tensor, y: Tensor) -> float:
        return float((x - y).square().mean())

    first, second = (assess(distance, x, y, generator=generator()) for _ in range(2))
    assert first[:4] == second[:4]
    assert first.floor > first.value  # of samples that do not belong together
    assert first.held_out != first.held_out  # NaN: it has no `on`
    first, second = (assess(pwcca, x, y, generator=generator()) for _ in range(2))
    assert first == second


def test_wrong_numbers_are_refused() -> None:
    x, y = related(100, 4, 0.5)
    with pytest.raises(ValueError, match="permutations=1: give at least 2"):
        assess(cka, x, y, permutations=1, generator=generator())
    with pytest.raises(ValueError, match="resamples=0: give at least 2"):
        assess(cka, x, y, resamples=0, generator=generator())
    with pytest.raises(ValueError, match="permutations=0: give at least 2"):
        assess_chunks(cka_from_moments, chunks_of(x, y), permutations=0, generator=generator())
    with pytest.raises(ValueError, match=r"measure='svcca' and generator=0: give a function"):
        inspect.unwrap(assess)("svcca", x, y, generator=0)
    with pytest.raises(ValueError, match="give at least 8, none of them empty"):
        assess_chunks(cka_from_moments, chunks_of(x, y, chunks=4), generator=generator())
    with pytest.raises(ValueError, match="give at least 8, none of them empty"):
        assess_chunks(cka_from_moments, chunks_of(x, y, chunks=101), generator=generator())
