"""Running moments: any batches, ranks and order give those of the whole."""

import inspect
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins.precision import HalfPrecision, MixedPrecision, Precision
from torch import Tensor
from torch.testing import assert_close

from mmrep.metrics.moments import ChunkedMoments, RunningMoments
from mmrep.stats.cca import cca, cca_from_moments
from mmrep.stats.covariance import Moments, moments_of
from tests.ddp import on_ranks
from tests.stats.test_cca import INVERTIBLE, by_projectors
from tests.stats.test_cca import X as FIRST
from tests.stats.test_cca import Y as SECOND

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(101, 5, generator=GENERATOR) + 1e3
Y = torch.randn(101, 3, generator=GENERATOR) + X[:, :3] - 1e3


def scatter(moments: Moments) -> Tensor:
    return moments.factor.T @ moments.factor


def assert_same(found: Moments, expected: Moments) -> None:
    assert found.n == expected.n
    assert found.widths == expected.widths
    assert_close(found.mean, expected.mean, rtol=1e-12, atol=1e-12)
    assert_close(found.scale, expected.scale)
    size = float(scatter(expected).abs().max())
    assert_close(scatter(found), scatter(expected), rtol=0, atol=1e-12 * size)


@pytest.mark.parametrize("by", ["factor", "products"])
@pytest.mark.parametrize("batch_size", [1, 7, 101])
def test_any_batches_give_the_moments_of_the_whole(by: str, batch_size: int) -> None:
    metric = RunningMoments(5, 3, by=by)
    for x, y in zip(X.split(batch_size), Y.split(batch_size), strict=True):
        metric.update(x, y)
    assert_same(metric.compute(), moments_of(X, Y))
    metric.reset()
    metric.update(X[:50], Y[:50])
    assert_same(metric.compute(), moments_of(X[:50], Y[:50]))
    assert_close(cca_from_moments(metric.compute()).correlations, cca(X[:50], Y[:50]).correlations)


@pytest.mark.parametrize("by", ["factor", "products"])
def test_calling_merging_and_loading_keep_the_sums(by: str) -> None:
    metric, other = RunningMoments(5, 3, by=by), RunningMoments(5, 3, by=by)
    batch = metric(X[:40], Y[:40])
    assert_same(batch, moments_of(X[:40], Y[:40]))
    metric(X[40:60], Y[40:60])
    other.update(X[60:], Y[60:])
    metric.merge_state(other)
    assert_same(metric.compute(), moments_of(X, Y))
    metric.persistent(True)
    loaded = RunningMoments(5, 3, by=by)
    loaded.persistent(True)
    loaded.load_state_dict(metric.state_dict())
    loaded.update(X[:10], Y[:10])
    assert_same(loaded.compute(), moments_of(torch.cat([X, X[:10]]), torch.cat([Y, Y[:10]])))


def test_computing_twice_and_going_on_changes_nothing() -> None:
    for by in ("factor", "products"):
        metric = RunningMoments(5, 3, by=by)
        metric.update(X[:60], Y[:60])
        first = metric.compute()
        kept = Moments(first.n, first.mean.clone(), first.factor.clone(), first.scale.clone())
        metric.update(X[60:], Y[60:])
        assert_same(metric.compute(), moments_of(X, Y))
        assert_close(first.factor, kept.factor)
        assert_close(first.mean, kept.mean)


@pytest.mark.ddp
@pytest.mark.parametrize("by", ["factor", "products"])
@pytest.mark.parametrize("split", [34, 101])
def test_two_ranks_with_uneven_shards_or_none_equal_one(
    by: str, split: int, tmp_path: Path
) -> None:
    whole = moments_of(X, Y)
    for n, mean, factor in on_ranks(on_one_rank, by, split, world_size=2, folder=tmp_path):
        assert_same(Moments(n, mean, factor, whole.scale, (5, 3)), whole)


def on_one_rank(rank: int, by: str, split: int) -> tuple[int, Tensor, Tensor]:
    metric = RunningMoments(5, 3, by=by)
    rows = slice(0, split) if rank == 0 else slice(split, None)
    for x, y in zip(X[rows].split(10), Y[rows].split(10), strict=True):
        metric.update(x, y)
    moments = metric.compute()
    return moments.n, moments.mean, moments.factor


@pytest.mark.parametrize(
    "precision",
    [MixedPrecision("bf16-mixed", "cpu"), HalfPrecision("16-true"), HalfPrecision("bf16-true")],
    ids=lambda plugin: plugin.precision,
)
@pytest.mark.parametrize("by", ["factor", "products"])
def test_states_stay_float64_under_lightnings_precisions(precision: Precision, by: str) -> None:
    layer = torch.nn.Linear(5, 3)
    module = precision.convert_module(torch.nn.ModuleList([layer, RunningMoments(5, 3, by=by)]))
    x = (X - 1e3).to(layer.weight.dtype)
    with precision.forward_context():
        y = layer(x)
        module[1].update(x, y)
    assert module[1].state.dtype == torch.float64
    assert_same(module[1].compute(), moments_of(x, y))


def test_inference_mode_may_come_and_go() -> None:
    metric = RunningMoments(5, 3)
    with torch.inference_mode():
        metric.update(X[:50], Y[:50])
    metric.update(X[50:], Y[50:])
    assert_same(metric.compute(), moments_of(X, Y))


def test_products_say_where_they_cannot_be_trusted_and_the_factor_is_right_there() -> None:
    x = torch.cat([Y, Y[:, :1] + 1e-6 * X[:, :1].sub(1e3)], dim=1).double()
    y = x @ torch.randn(4, 4, generator=GENERATOR, dtype=torch.float64)
    for by in ("factor", "products"):
        metric = RunningMoments(4, 4, by=by)
        metric.update(x, y)
        if by == "products":
            with pytest.warns(UserWarning, match=r"use RunningMoments\(by='factor'\)"):
                metric.compute()
        else:
            found = cca_from_moments(metric.compute(), variance_kept=1.0)
            assert_close(found.correlations, torch.ones(4).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", INVERTIBLE)
def test_a_stream_over_merged_ranks_is_right_on_ill_conditioned_views(kind: str) -> None:
    x, y = INVERTIBLE[kind](FIRST), INVERTIBLE[kind](SECOND)
    parts = [RunningMoments(x.shape[1], y.shape[1]) for _ in range(3)]
    for i, (some, others) in enumerate(zip(x.split(130), y.split(130), strict=True)):
        parts[i % 2].update(some, others)  # the third, a rank without samples, gets none
    for part in parts[1:]:
        parts[0].merge_state(part)
    found = cca_from_moments(parts[0].compute(), variance_kept=1.0)
    assert_close(found.correlations, by_projectors(FIRST, SECOND), rtol=0, atol=1e-6)


def test_chunks_belong_to_samples_not_to_batches() -> None:
    metric = ChunkedMoments(5, 3, chunks=4)
    order = torch.randperm(101, generator=GENERATOR)
    for rows in order.split(9):
        metric.update(rows, X[rows], Y[rows])
    metric.persistent(True)
    loaded = ChunkedMoments(5, 3, chunks=4)
    loaded.persistent(True)
    loaded.load_state_dict(metric.state_dict())
    loaded.update(torch.empty(0, dtype=torch.int64), X[:0], Y[:0])
    for chunks in (metric.compute(), loaded.compute()):
        for number, chunk in enumerate(chunks):
            assert_same(chunk, moments_of(X[number::4], Y[number::4]))


@pytest.mark.ddp
def test_chunks_of_two_ranks_are_those_of_one(tmp_path: Path) -> None:
    for chunks in on_ranks(chunks_on_one_rank, world_size=2, folder=tmp_path):
        for number, (n, factor) in enumerate(chunks):
            expected = moments_of(X[number::4], Y[number::4])
            assert n == expected.n
            assert_close(factor.T @ factor, scatter(expected), rtol=1e-12, atol=1e-9)


def chunks_on_one_rank(rank: int) -> list[tuple[int, Tensor]]:
    metric = ChunkedMoments(5, 3, chunks=4)
    rows = torch.arange(101)[rank * 70 : 70 + rank * 31]
    metric.update(rows, X[rows], Y[rows])
    return [(chunk.n, chunk.factor) for chunk in metric.compute()]


def test_wrong_views_are_refused_by_width() -> None:
    with pytest.raises(ValueError, match=r"widths=\(\): give the number of columns of each view"):
        RunningMoments()
    with pytest.raises(ValueError, match="chunks=0: give at least 1"):
        ChunkedMoments(5, chunks=0)
    with pytest.raises(ValueError, match=r"views of \(3, 5\) columns, where \(5, 3\)"):
        RunningMoments(5, 3).update(Y, X)
    moments = RunningMoments(5, 3)
    moments.update(X, Y)
    with pytest.raises(ValueError, match=r"view 1 \(the first is 0\) holds NaN or infinite"):
        moments.update(X, Y / 0)
    assert_same(moments.compute(), moments_of(X, Y))
    with pytest.raises(ValueError, match=r"1 numbers of type torch.int64 for 2 samples"):
        inspect.unwrap(ChunkedMoments.update)(ChunkedMoments(5), torch.tensor([0]), X[:2])
    with pytest.raises(ValueError, match=r"by='squares' is neither"):
        RunningMoments(5, by="squares")
