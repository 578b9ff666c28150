"""What a similarity is worth: its floor under no relation, its spread, its held-out value."""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mmrep.stats.cca import numerical_rank, of_two_views
from mmrep.stats.covariance import (
    Moments,
    Scatter,
    merge_moments,
    moments_from_scatter,
    moments_of,
)

CHUNKS = 8  # fewer tell no spread
SATURATED = 1e-9  # how near to 1 a resample's value is where its samples do not exceed the rank


class Assessment(NamedTuple):
    """A similarity and what it is to be read against.

    `floor` is its mean over data whose samples no longer belong together. `low` and `high` are a
    95 % interval. That of samples is the bootstrap's, moved so that its mean is `value`, since
    drawing samples twice makes any two views more alike; it is too wide where samples are few for
    the units, and NaN where all that was drawn has correlations of 1. That of chunks is the
    jackknife's. `held_out` is fitted on one half of the samples and evaluated on the other, the
    mean of both ways; NaN where half of them do not exceed the rank. `ranks` are both views'
    numerical ranks. `chunks` is the number of sums that floor, interval and halves were made of in
    a stream, 0 where it was the samples themselves.
    """

    value: float
    floor: float
    low: float
    high: float
    held_out: float
    ranks: tuple[int, int]
    chunks: int = 0


def assess(
    measure: Callable[..., float],
    x: Float[Tensor, "samples x_units"],
    y: Float[Tensor, "samples y_units"],
    *,
    permutations: int = 100,
    resamples: int = 200,
    generator: torch.Generator,
) -> Assessment:
    """A similarity of two views with its permutation floor, bootstrap interval, held-out value.

    `measure(x, y)` is any of `mmrep.stats.similarity`, or any function of two matrices of samples x
    units that returns a number. One without a keyword `on`, the samples to evaluate on, has no
    held-out value: NaN. `ranks` are of the views as they are, not of what a measure keeps of them.
    """
    if not callable(measure) or not isinstance(generator, torch.Generator):
        raise ValueError(
            f"measure={measure!r} and generator={generator!r}: give a function of two views, such "
            "as svcca, and torch.Generator().manual_seed(0)"
        )
    ranks = _ranks(moments_of(x, y))  # refuses what is no two views, before the long work
    with_on = "on" in inspect.signature(measure).parameters

    def held_out(fit: Tensor, on: Tensor) -> float:
        return measure(x[fit], y[fit], on=(x[on], y[on])) if with_on else math.nan

    return assess_samples(
        len(x),
        shuffled=lambda rows: float(measure(x, y[rows.to(y.device)])),
        drawn=lambda rows: float(measure(x[rows.to(x.device)], y[rows.to(y.device)])),
        held_out=held_out,
        ranks=ranks,
        permutations=permutations,
        resamples=resamples,
        generator=generator,
    )


def assess_samples(
    n: int,
    *,
    shuffled: Callable[[Tensor], float],
    drawn: Callable[[Tensor], float],
    held_out: Callable[[Tensor, Tensor], float],
    ranks: tuple[int, int],
    permutations: int,
    resamples: int,
    generator: torch.Generator,
) -> Assessment:
    """As `assess`, for anything that has `n` samples.

    A similarity is given as what it is with the second side's samples in an order (`shuffled`),
    with both sides' samples drawn (`drawn`), and on other samples than those it is fitted on.
    """
    _check(permutations=permutations, resamples=resamples)
    value = shuffled(torch.arange(n))
    floor = [shuffled(torch.randperm(n, generator=generator)) for _ in range(permutations)]
    spread = [drawn(torch.randint(n, (n,), generator=generator)) for _ in range(resamples)]
    first, second = torch.randperm(n, generator=generator).tensor_split(2)
    both = _both_ways(held_out, first, second)
    return Assessment(value, _mean(floor), *_interval(value, spread), both, ranks)


def assess_chunks(
    measure: Callable[..., float],
    chunks: Sequence[Moments],
    *,
    permutations: int = 100,
    generator: torch.Generator,
) -> Assessment:
    """As `assess`, in a stream: from the moments of chunks of samples (`ChunkedMoments`).

    `measure` is one of the functions of moments in `mmrep.stats.similarity`. The interval is the
    value's and 1.96 standard errors of the jackknife, which leaves out one chunk after the other.
    The floor gives each chunk's share of the products between the views, less its part of the
    relation that all chunks have in common, a random sign: what is left is the size of chance. It
    rests on sums of products, the rest on factors. At least 8 chunks are needed, better 20.
    """
    _check(permutations=permutations)
    if len(chunks) < CHUNKS or min(chunk.n for chunk in chunks) == 0:
        sizes = [chunk.n for chunk in chunks]
        raise ValueError(f"chunks of {sizes} samples: give at least {CHUNKS}, none of them empty")
    whole = reduce(merge_moments, chunks)
    value = measure(whole)
    sums = _Sums.of(chunks, whole)
    floor = []
    for _ in range(permutations):
        signs = 2 * torch.randint(2, (len(chunks),), generator=generator) - 1
        floor.append(measure(sums.without_relation(signs.to(whole.mean))))
    left_out = torch.tensor([measure(one) for one in _all_but_one(chunks)], dtype=torch.float64)
    error = float(left_out.std(correction=0)) * (len(chunks) - 1) ** 0.5
    halves = [reduce(merge_moments, chunks[start::2]) for start in (0, 1)]
    return Assessment(
        value,
        _mean(floor),
        value - 1.96 * error,
        value + 1.96 * error,
        _both_ways(lambda fit, on: measure(fit, on=on), *halves),
        _ranks(whole),
        len(chunks),
    )


def _all_but_one(chunks: Sequence[Moments]) -> Iterator[Moments]:
    """The moments of all chunks but the first, but the second, and so on: three merges each."""
    before = [None, *accumulate(chunks, merge_moments)]
    after = [None, *accumulate(reversed(chunks), merge_moments)][::-1]
    for start, end in zip(before[:-1], after[1:], strict=True):
        if start is None or end is None:
            yield cast(Moments, start or end)
        else:
            yield merge_moments(start, end)


class _Sums(NamedTuple):
    """Chunks as scatter matrices, which can be weighted and given signs."""

    whole: Moments
    n: Float64[Tensor, "chunks"]
    mean: Float64[Tensor, "chunks columns"]
    scatter: Float64[Tensor, "chunks columns columns"]

    @classmethod
    def of(cls, chunks: Sequence[Moments], whole: Moments) -> "_Sums":
        return cls(
            of_two_views(whole),
            torch.tensor([chunk.n for chunk in chunks]).to(whole.mean),
            torch.stack([chunk.mean for chunk in chunks]) - whole.mean,
            torch.stack([chunk.factor.T @ chunk.factor for chunk in chunks]),
        )

    def without_relation(self, signs: Float64[Tensor, "chunks"]) -> Moments:
        products = self.scatter + self.n[:, None, None] * self.mean[:, :, None] * self.mean[:, None]
        total = products.sum(dim=0)
        share = self.n / self.n.sum()
        count = len(self.n)
        # Taking the common part out took 1/count of the variance along.
        chance = (count / (count - 1)) ** 0.5 * (
            torch.tensordot(signs, products, 1) - (signs @ share) * total
        )
        side = self._side()
        matrix = torch.where(side[:, None] == side, total, chance)
        whole = self.whole
        scatter = Scatter(whole.n, whole.mean, matrix, whole.scale, whole.precision)
        return moments_from_scatter(scatter, whole.widths)

    def _side(self) -> Tensor:
        """Which of the two views each column belongs to: views and norms alternate."""
        sides = [torch.full((width,), i % 2) for i, width in enumerate(self.whole.widths)]
        return torch.cat(sides).to(self.whole.mean.device)


def _check(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 2:
            raise ValueError(f"{name}={value}: give at least 2")


def _both_ways(held_out: Callable[[Any, Any], float], first: Any, second: Any) -> float:
    try:
        return (held_out(first, second) + held_out(second, first)) / 2
    except ValueError as error:
        if "do not exceed the rank" in str(error):
            return math.nan
        raise


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _interval(value: float, spread: list[float]) -> tuple[float, float]:
    around = torch.tensor(spread, dtype=torch.float64)
    if abs(value - 1) > SATURATED and ((around - 1).abs() < SATURATED).any():
        return math.nan, math.nan
    ends = torch.quantile(around - around.mean(), around.new_tensor([0.025, 0.975]))
    return value + float(ends[0]), value + float(ends[1])


def _ranks(moments: Moments) -> tuple[int, int]:
    moments = of_two_views(moments)
    return numerical_rank(moments, 0, "x"), numerical_rank(moments, 1, "y")
