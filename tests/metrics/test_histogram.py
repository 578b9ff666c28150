"""`Histogram`: the counts of all samples, however they are split, and their information."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmrep.metrics.extrema import Extrema
from mmrep.metrics.histogram import Histogram
from mmrep.stats.information import (
    Range,
    bin_range,
    count_responses,
    information_from_counts,
    single_cell_information,
)
from tests.ddp import on_ranks

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(23, 5, generator=GENERATOR)
LABEL = torch.randint(0, 3, (23,), generator=GENERATOR)
UNIT = Range(torch.zeros(5).double(), torch.ones(5).double())


def counted(*batches: tuple[Tensor, Tensor]) -> Histogram:
    histogram = Histogram(UNIT, num_stimuli=3, num_bins=4)
    for response, label in batches:
        histogram.update(response, label)
    return histogram


def by_hand() -> Tensor:
    """One sample after another: 4 X is exact."""
    counts = torch.zeros(3, 4, 5, dtype=torch.int64)
    for response, label in zip(X, LABEL, strict=True):
        for unit, value in enumerate(response):
            counts[label, int(4 * value), unit] += 1
    return counts


@pytest.mark.parametrize("batch_size", [1, 4, 23])
def test_any_batch_size(batch_size: int) -> None:
    histogram = counted(*zip(X.split(batch_size), LABEL.split(batch_size), strict=True))
    assert torch.equal(histogram.compute(), by_hand())


@pytest.mark.parametrize("normalise", ["all", "unit", "none"])
def test_two_passes_give_exactly_the_information_of_the_whole(normalise: str) -> None:
    extrema = Extrema(5)
    for batch in X.split(4):
        extrema.update(batch)
    histogram = Histogram(bin_range(extrema.compute(), normalise=normalise), num_stimuli=3)
    for batch, label in zip(X.split(7), LABEL.split(7), strict=True):
        histogram.update(batch, label)
    assert torch.equal(
        information_from_counts(histogram.compute()),
        single_cell_information(X, LABEL, normalise=normalise),
    )


def test_a_batch_without_samples_changes_nothing() -> None:
    histogram = counted((X[:0], LABEL[:0]), (X, LABEL), (X[:0], LABEL[:0]))
    assert torch.equal(histogram.compute(), by_hand())


def test_forward_gives_the_batch_and_keeps_the_whole() -> None:
    histogram = counted()
    for batch, label in zip(X.split(4), LABEL.split(4), strict=True):
        expected = count_responses(batch, label, *UNIT, num_stimuli=3, num_bins=4)
        assert torch.equal(histogram(batch, label), expected)
    assert torch.equal(histogram.compute(), by_hand())


def test_merging_and_reset() -> None:
    histogram = counted((X[:3], LABEL[:3]))
    histogram.merge_state(counted((X[3:], LABEL[3:])))
    assert torch.equal(histogram.compute(), by_hand())
    histogram.reset()
    histogram.update(X, LABEL)
    assert torch.equal(histogram.compute(), by_hand())


def test_state_dict_round_trip_brings_the_range_along() -> None:
    wide = bin_range(Range(torch.full((5,), -1.0).double(), torch.full((5,), 2.0).double()))
    saved = Histogram(wide, num_stimuli=3, num_bins=4)
    saved.update(X[:9], LABEL[:9])
    loaded = counted()
    saved.persistent(True)
    loaded.persistent(True)
    loaded.load_state_dict(saved.state_dict())
    loaded.update(X[9:], LABEL[9:])
    expected = count_responses(X, LABEL, *wide, num_stimuli=3, num_bins=4)
    assert torch.equal(loaded.compute(), expected)


def test_the_range_is_a_copy() -> None:
    lowest = torch.zeros(5).double()
    histogram = Histogram(Range(lowest, torch.ones(5).double()), num_stimuli=3)
    lowest += 0.5
    histogram.update(X, LABEL)
    assert histogram.compute().sum() == X.numel()


def test_responses_outside_the_range_are_refused_and_not_counted() -> None:
    histogram = counted((X, LABEL))
    with pytest.raises(ValueError, match=r"unit 0 responds with 3.0, outside its range 0.0 to 1.0"):
        histogram.update(torch.full((1, 5), 3.0), LABEL[:1])
    assert torch.equal(histogram.compute(), by_hand())


def test_a_range_of_no_samples_is_refused_at_once() -> None:
    extrema = Extrema(5)
    extrema.update(X[:0])
    with pytest.raises(ValueError, match=r"the range of unit 0 is inf to -inf, .* of no samples"):
        Histogram(extrema.compute(), num_stimuli=3)
    with pytest.raises(ValueError, match="num_bins=0 must be 1 or more"):
        Histogram(UNIT, num_stimuli=3, num_bins=0)


@pytest.mark.ddp
def test_two_ranks_equal_one_even_if_one_has_no_samples(tmp_path: Path) -> None:
    for uneven, alone in on_ranks(of_shards, world_size=2, folder=tmp_path):
        assert torch.equal(uneven, by_hand())
        assert torch.equal(alone, by_hand())


def of_shards(rank: int) -> list[Tensor]:
    uneven = counted((X[rank::2], LABEL[rank::2]))  # 12 rows on rank 0, 11 on rank 1
    alone = counted((X[: 23 * rank], LABEL[: 23 * rank]))
    return [histogram.compute() for histogram in (uneven, alone)]
