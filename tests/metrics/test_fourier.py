"""`FourierMoments` against `dft_cca` on all samples: any split, one rank or two, means and rank."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmrep.metrics.fourier import FourierMoments
from mmrep.stats.fourier import dft_cca
from tests.ddp import on_ranks


def maps(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X = maps(75, 3, 6, 5, seed=0)
Y = 0.5 * X[:, :2].roll(1, 3) + maps(75, 2, 6, 5, seed=1) + 2


def moments_of(x: Tensor, y: Tensor, batch_size: int = 20) -> FourierMoments:
    moments = FourierMoments(
        (x.shape[1], y.shape[1]), tuple(x.shape[2:]), y_size=tuple(y.shape[2:])
    )
    for some_x, some_y in zip(x.split(batch_size), y.split(batch_size), strict=True):
        moments.update(some_x, some_y)
    return moments


def assert_close(found: Tensor, expected: Tensor, by: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, atol=by, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 7, 48, 75])
def test_equals_dft_cca_for_any_split(batch_size: int) -> None:
    assert_close(moments_of(X, Y, batch_size).compute(), dft_cca(X, Y))


def test_layers_of_different_sizes() -> None:
    for y in (Y[:, :, :4], Y[:, :, :3, :2], Y.mean((2, 3), keepdim=True)):
        assert_close(moments_of(X, y).compute(), dft_cca(X, y))


def test_float32_maps_are_summed_in_float64() -> None:
    x, y = X.float(), Y.float()
    assert_close(moments_of(x, y).compute(), dft_cca(x, y))


@pytest.mark.parametrize("mean", [1e1, 1e2, 1e3])
def test_means_cost_the_digits_that_are_stated(mean: float) -> None:
    size = mean * 30**0.5  # a mean over 30 pixels varies less than a pixel does
    assert_close(moments_of(X + mean, Y - mean).compute(), dft_cca(X, Y), by=1e-14 * size**2)


def test_means_that_leave_few_digits_are_warned_of() -> None:
    moments = moments_of(X + 1e5, Y)
    with pytest.warns(UserWarning, match="correlations from sums of products may be off by"):
        moments.compute()


def test_nearly_dependent_channels_are_warned_of() -> None:
    faint = X[:, :1] + 1e-5 * maps(75, 1, 6, 5, seed=2)
    moments = moments_of(torch.cat([X, faint], dim=1), Y)
    with pytest.warns(UserWarning, match="channels are so nearly dependent"):
        moments.compute()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_dead_constant_and_duplicated_channels_change_nothing(scale: float) -> None:
    dead = torch.zeros_like(X[:, :1])
    wide = torch.cat([X, dead, dead + 0.3, X[:, 1:2] * -3], dim=1) * scale
    y = torch.cat([Y, Y], dim=1)
    found = moments_of(wide, y).compute()
    assert_close(found[..., :2], dft_cca(X, Y))
    assert torch.equal(found[..., 2:], torch.zeros_like(found[..., 2:]))


def test_merging_and_state_dict_keep_the_sums() -> None:
    first, second = moments_of(X[:30], Y[:30]), moments_of(X[30:], Y[30:])
    second.persistent(True)
    loaded = FourierMoments((3, 2), (6, 5))
    loaded.persistent(True)
    loaded.load_state_dict(second.state_dict())
    loaded.update(X[:30], Y[:30])
    assert_close(loaded.compute(), dft_cca(X, Y))
    first.merge_state(second)
    assert_close(first.compute(), dft_cca(X, Y))


def test_forward_gives_the_batch_and_reset_forgets() -> None:
    moments = moments_of(X[:30], Y[:30])
    assert_close(moments(X[30:], Y[30:]), dft_cca(X[30:], Y[30:]))
    assert_close(moments.compute(), dft_cca(X, Y))
    moments.reset()
    moments.update(X[:40], Y[:40])
    assert_close(moments.compute(), dft_cca(X[:40], Y[:40]))


def test_memory_does_not_grow_with_samples() -> None:
    few, many = moments_of(X[:1], Y[:1]), moments_of(X, Y)
    sizes = [[state.shape for state in moments.metric_state.values()] for moments in (few, many)]
    assert sizes[0] == sizes[1]


@pytest.mark.ddp
def test_two_ranks_equal_one(tmp_path: Path) -> None:
    for found in on_ranks(correlations_of_shards, world_size=2, folder=tmp_path):
        assert_close(found, dft_cca(X, Y).expand(2, -1, -1, -1))


def correlations_of_shards(rank: int) -> Tensor:
    """Once with 62 samples on rank 0 and 13 on rank 1, once with all on rank 0."""
    found = []
    for first in (62, 75):
        moments = FourierMoments((3, 2), (6, 5))
        shard = slice(first) if rank == 0 else slice(first, None)
        if len(X[shard]):
            moments.update(X[shard], Y[shard])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that compute was called before update
            found.append(moments.compute())
    return torch.stack(found)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 samples do not exceed the rank of x .*2 once centred"):
        moments_of(X[:3], Y[:3]).compute()
    moments = FourierMoments((3, 2), (6, 5))
    with (
        pytest.warns(UserWarning, match="before the ``update``"),
        pytest.raises(ValueError, match="0 samples have no covariance: give at least 2"),
    ):
        moments.compute()


def test_values_that_are_no_numbers_are_refused() -> None:
    y = Y.clone()
    y[5, 1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"channels \[4\] \(those of x, then those of y\)"):
        moments_of(X, y).compute()


def test_other_maps_than_announced_are_refused() -> None:
    moments = FourierMoments((3, 2), (6, 5))
    message = r"maps of \(\(3, 5, 5\), \(2, 6, 5\)\), where \(\(3, 6, 5\), \(2, 6, 5\)\) were"
    with pytest.raises(ValueError, match=message):
        moments.update(X[:, :, 1:], Y)
    with pytest.raises(ValueError, match="x has 75 samples and y has 9: row i of both"):
        moments.update(X, Y[:9])


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels=\(3, 0\), size=\(6, 5\) .* at least 1"):
        FourierMoments((3, 0), (6, 5))
