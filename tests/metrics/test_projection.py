"""`ProjectionConfusion`: the same counts for any batches, on one rank or two."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmrep.metrics.moments import RunningMoments
from mmrep.metrics.projection import ProjectionConfusion
from mmrep.stats.subspaces import (
    METHODS,
    Heads,
    confusion,
    project,
    projected_heads,
    subspace,
    subspaces_from_moments,
)
from tests.ddp import on_ranks

COMPONENTS = (1, 2, 5)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, Y, LABEL = normal(31, 5, seed=0) + 1, normal(31, 4, seed=1), torch.arange(31) % 3
WEIGHT, BIAS = normal(3, 5, seed=2), normal(3, seed=3)


def heads() -> Heads:
    bases = [subspace("pca", X), subspace("max_activation", X)]
    return projected_heads(Heads(WEIGHT[None], BIAS[None]), bases, COMPONENTS)


@pytest.mark.parametrize("batch_size", [1, 4, 31])
def test_counts_are_those_of_the_loop_for_any_batches(batch_size: int) -> None:
    metric = ProjectionConfusion(heads())
    for rows in torch.arange(31).split(batch_size):
        metric.update(X[rows].float(), LABEL[rows])
    expected = torch.zeros(6, 3, 3, dtype=torch.int64)
    for i, method in enumerate(("pca", "max_activation")):
        for j, n in enumerate(COMPONENTS):
            projected = project(X.float(), subspace(method, X), n)
            predicted = (projected @ WEIGHT.T + BIAS).argmax(dim=1)
            for truth, guess in zip(LABEL, predicted, strict=True):
                expected[3 * i + j, truth, guess] += 1
    assert torch.equal(metric.compute(), expected)


def counts_of_shard(rank: int, shards: list[list[int]]) -> Tensor:
    metric = ProjectionConfusion(heads())
    if shards[rank]:
        metric.update(X[shards[rank]], LABEL[shards[rank]])
    return metric.compute()


@pytest.mark.ddp
@pytest.mark.parametrize("first", [20, 31])  # uneven shards, and a rank without samples
@pytest.mark.filterwarnings("ignore:The ``compute`` method .* before the ``update``:UserWarning")
def test_two_ranks_equal_one(tmp_path: Path, first: int) -> None:
    shards = [list(range(first)), list(range(first, 31))]
    for counts in on_ranks(counts_of_shard, shards, world_size=2, folder=tmp_path):
        assert torch.equal(counts, confusion(X, LABEL, heads()))


def test_state_is_saved_and_merged() -> None:
    first, rest = ProjectionConfusion(heads()), ProjectionConfusion(heads())
    first.persistent(True)
    first.update(X[:10], LABEL[:10])
    resumed = ProjectionConfusion(heads()._replace(bias=torch.zeros(6, 3, dtype=torch.float64)))
    resumed.load_state_dict(first.state_dict())  # with the heads
    rest.update(X[10:], LABEL[10:])
    rest.merge_state(resumed)
    assert torch.equal(rest.compute(), confusion(X, LABEL, heads()))
    resumed.reset()
    resumed.update(X, LABEL)
    assert torch.equal(resumed.compute(), confusion(X, LABEL, heads()))


def test_a_batch_without_samples_counts_nothing() -> None:
    metric = ProjectionConfusion(heads())
    metric.update(X, LABEL)
    metric.update(X[:0], LABEL[:0])
    assert metric.compute().sum(dim=(1, 2)).tolist() == [31] * 6


@pytest.mark.parametrize("method", METHODS)
def test_a_stream_of_features_has_the_subspaces_of_the_whole(method: str) -> None:
    moments = RunningMoments(5, 4)
    for rows in torch.arange(31).split(7):
        moments.update(X[rows], Y[rows])

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(4)

    bases = subspaces_from_moments([method], moments.compute(), generator=seeded())
    expected = subspace(method, X, Y, generator=seeded())
    torch.testing.assert_close(bases[method].directions, expected.directions)
    torch.testing.assert_close(bases[method].inverse, expected.inverse)
    torch.testing.assert_close(bases[method].mean, expected.mean)
