"""Moments against NumPy: any split, any centre, by products and by QR."""

import inspect

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mmrep.stats import covariance
from mmrep.stats.covariance import (
    Moments,
    Scatter,
    add_to_moments,
    add_to_scatter,
    merge_moments,
    merge_scatters,
    moments_from_scatter,
    moments_of,
)

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(600, 5, generator=GENERATOR, dtype=torch.float64)
Y = torch.randn(600, 3, generator=GENERATOR, dtype=torch.float64) + X[:, :3]


def scatter_of(*views: Tensor) -> Tensor:
    together = torch.cat(views, dim=1).double().numpy()
    return torch.from_numpy(np.cov(together, rowvar=False) * (len(together) - 1))


def by_qr(*views: Tensor) -> Moments:
    zeros = torch.zeros(sum(view.shape[1] for view in views), dtype=torch.float64)
    return add_to_moments(Moments(0, zeros, zeros.diag(), zeros), views)


def by_products(*views: Tensor) -> Scatter:
    zeros = torch.zeros(sum(view.shape[1] for view in views), dtype=torch.float64)
    return add_to_scatter(Scatter(0, zeros, zeros.diag(), zeros), views)


@pytest.mark.parametrize("n", [2, 255, 256, 257, 600])
@pytest.mark.parametrize("centre", [0.0, 1e3])
def test_both_ways_give_numpys_scatter_mean_and_scale(n: int, centre: float) -> None:
    x, y = X[:n] + centre, Y[:n] - centre
    views = torch.cat([x, y], dim=1)
    for moments in (moments_of(x, y), by_qr(x, y)):
        assert moments.n == n
        assert_close(moments.mean, views.mean(dim=0))
        assert_close(moments.scale, views.abs().amax(dim=0))
        assert_close(moments.factor, moments.factor.triu())
        assert_close(moments.factor.T @ moments.factor, scatter_of(x, y), rtol=1e-11, atol=1e-9)


def test_inputs_of_any_precision_are_summed_in_float64_and_left_alone() -> None:
    x = (X + 1).to(torch.bfloat16)
    before = x.clone()
    moments = moments_of(x, Y)
    assert moments.factor.dtype == torch.float64
    assert_close(moments.factor.T @ moments.factor, scatter_of(x, Y))
    assert_close(x, before)


@pytest.mark.parametrize("split", [0, 1, 300, 600])
def test_merged_parts_are_the_whole_to_1e_12(split: int) -> None:
    x, y = X + 1e3, Y
    whole = scatter_of(x, y)
    merged = merge_moments(by_qr(x[:split], y[:split]), by_qr(x[split:], y[split:]))
    assert merged.n == 600
    assert_close(merged.mean, torch.cat([x, y], dim=1).mean(dim=0))
    assert_close(merged.factor.T @ merged.factor, whole, rtol=1e-12, atol=1e-9)
    assert_close(merge_two_scatters(x, y, split), whole.tril(), rtol=1e-12, atol=1e-9)


def merge_two_scatters(x: Tensor, y: Tensor, split: int) -> Tensor:
    parts = by_products(x[:split], y[:split]), by_products(x[split:], y[split:])
    return merge_scatters(*parts).matrix.tril()


def test_without_lapack_the_device_path_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = by_qr(X, Y), by_products(X, Y).matrix.tril()
    monkeypatch.setattr(covariance, "has_lapack", lambda tensor: False)  # as on an accelerator
    factor = by_qr(X, Y).factor
    assert_close(factor.T @ factor, expected[0].factor.T @ expected[0].factor)
    assert_close(by_products(X, Y).matrix.tril(), expected[1])


def test_products_are_trusted_only_where_no_direction_is_faint() -> None:
    faint = torch.cat([X, X[:, :1] + 1e-5 * Y[:, :1]], dim=1)
    assert moments_from_scatter(by_products(X, Y), (5, 3)).trusted
    assert not moments_from_scatter(by_products(faint, Y), (6, 3)).trusted
    # What two views share is not faint in either.
    assert moments_from_scatter(by_products(X, X), (5, 5)).trusted


def test_where_products_fail_the_factor_is_taken_from_the_data() -> None:
    faint = torch.cat([X, X[:, :1] + 1e-5 * Y[:, :1]], dim=1)
    moments = moments_of(faint, Y)
    assert moments.trusted
    assert_close(moments.scale, torch.cat([faint, Y], dim=1).abs().amax(dim=0))
    assert_close(moments.factor.T @ moments.factor, scatter_of(faint, Y))
    assert abs(float(moments.factor[5, 5])) == pytest.approx(residual(faint[:, 5], X), rel=1e-9)


def residual(unit: Tensor, others: Tensor) -> float:
    """The norm of what a unit has beyond the others, by least squares."""
    columns = torch.cat([others, torch.ones(len(others), 1).double()], dim=1)
    return float(
        (unit - columns @ torch.linalg.lstsq(columns, unit[:, None]).solution[:, 0]).norm()
    )


def test_what_is_no_views_of_the_same_samples_is_refused() -> None:
    for views, words in (
        ((X, Y[1:]), r"views have \[600, 599\] samples: row i of each"),
        ((X[:, 0], Y), r"a view of shape \(600,\) and type torch.float64: give samples x units"),
        ((X.long(), Y), r"type torch.int64: .* in floating point"),
        ((X[:, :0], Y), r"a view of shape \(600, 0\)"),
        ((X, Y.numpy()), "a view is a ndarray: give torch tensors"),
        ((X, Y.to("meta")), r"views are on \['cpu', 'meta'\]: bring them to one device"),
    ):
        with pytest.raises(ValueError, match=words):
            inspect.unwrap(covariance.check_views)(views)


def test_moments_of_other_views_do_not_merge() -> None:
    with pytest.raises(ValueError, match=r"widths \(5, 3\) and \(3, 5\) are not of the same"):
        merge_moments(moments_of(X, Y), moments_of(Y, X))
