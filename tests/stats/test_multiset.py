"""CCA of several views against CCA of two, the generalised eigenproblem, and its invariances."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torch.testing import assert_close

from mmrep.metrics.moments import RunningMoments
from mmrep.stats.cca import cca
from mmrep.stats.covariance import moments_of
from mmrep.stats.multiset import MultisetCCA, fused, multiset_cca, multiset_cca_from_moments

N, WIDTHS = 2000, (8, 6, 5)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SHARED = normal(N, 8, seed=0) * torch.linspace(2, 0.3, 8).double()
VIEWS = tuple(
    SHARED[:, :width] @ normal(width, width, seed=width) + normal(N, width, seed=10 + width) + 3
    for width in WIDTHS
)


def scores(fit: MultisetCCA, *views: Tensor) -> list[Tensor]:
    """Each view's canonical variates."""
    parts = zip(views, fit.means, fit.directions, strict=True)
    return [(view.double() - mean) @ directions for view, mean, directions in parts]


def whole(*views: Tensor) -> MultisetCCA:
    return multiset_cca(*views, variance_kept=1.0)


def test_of_two_views_it_is_cca() -> None:
    x, y = VIEWS[:2]
    fit, pairs = whole(x, y), cca(x, y, variance_kept=1.0)
    rho = pairs.correlations
    expected = torch.cat([1 + rho, torch.ones(2).double(), (1 - rho).flip(0)])
    assert_close(fit.eigenvalues, expected)
    x_scores = (x - pairs.x.mean) @ pairs.x.directions[:, :6]
    y_scores = (y - pairs.y.mean) @ pairs.y.directions
    sums = (x_scores + y_scores) / (2 + 2 * rho).sqrt()  # of unit variance
    found = fused(fit, x, y)[:, :6]
    assert_close(found * (found * sums).sum(dim=0).sign(), sums)
    mine, partners = scores(fit, x, y)
    for found, theirs in ((mine[:, :6], x_scores), (partners[:, :6], y_scores)):
        assert_close((found * theirs).mean(dim=0).abs(), (N - 1) / N / (2 + 2 * rho).sqrt())


def test_three_views_are_the_generalised_eigenproblem() -> None:
    covariance = np.cov(torch.cat(VIEWS, dim=1).numpy().T)
    ends = np.cumsum(WIDTHS)[:-1]
    blocks = [np.cov(view.numpy().T) for view in VIEWS]
    values, vectors = scipy.linalg.eigh(covariance, scipy.linalg.block_diag(*blocks))
    fit = whole(*VIEWS)
    assert_close(fit.eigenvalues, torch.from_numpy(values[::-1].copy()))
    assert fit.n == N
    vectors = vectors[:, ::-1] / np.sqrt(values[::-1])  # the sum's variance is the eigenvalue
    for found, theirs in zip(fit.directions, np.split(vectors, ends), strict=True):
        expected = torch.from_numpy(theirs.copy())
        assert_close(found * (found * expected).sum(dim=0).sign(), expected, rtol=1e-7, atol=1e-9)


def test_fused_components_have_unit_variance_and_views_project_them() -> None:
    fit = whole(*VIEWS)
    sums = fused(fit, *VIEWS)
    assert_close(sums.T @ sums / (N - 1), torch.eye(sum(WIDTHS)).double())
    for view, variates in zip(VIEWS, scores(fit, *VIEWS), strict=True):
        q = torch.linalg.qr(view - view.mean(dim=0)).Q
        assert_close(variates * fit.eigenvalues, q @ (q.T @ sums))
    others = tuple(view.flip(0)[:7] for view in VIEWS)
    assert_close(fused(fit, *others), sums.flip(0)[:7])


def test_the_unit_that_a_component_covaries_with_most_does_so_positively() -> None:
    covariance = torch.cat(VIEWS, dim=1).T @ fused(whole(*VIEWS), *VIEWS)
    assert (covariance.amax(dim=0) > -covariance.amin(dim=0)).all()


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "a linear map": lambda v: v @ normal(v.shape[1], v.shape[1], seed=20) - 5,
    "condition 1e5": lambda v: v * torch.logspace(0, -5, v.shape[1]).double(),
    "more units": lambda v: v @ normal(v.shape[1], 12, seed=21),
    "dead, constant and duplicated units": lambda v: torch.cat(
        [torch.zeros(N, 2), v, torch.full((N, 1), 0.37), v[:, :3]], dim=1
    ),
    "another scale": lambda v: 1e-6 * v,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", CHANGES)
def test_no_invertible_map_of_a_view_moves_a_component(kind: str, dtype: torch.dtype) -> None:
    views = tuple(CHANGES[kind](view).to(dtype) for view in VIEWS)
    fit, expected = whole(*views), whole(*VIEWS)
    tolerance = 1e-7 if dtype == torch.float64 else 0.02 if "condition" in kind else 2e-4
    assert_close(fit.eigenvalues, expected.eigenvalues, rtol=0, atol=tolerance)
    sums, theirs = fused(fit, *views), fused(expected, *VIEWS)
    overlap = (sums[:, :3] * theirs[:, :3]).sum(dim=0).abs() / (N - 1)
    assert_close(overlap, torch.ones(3).double(), rtol=0, atol=tolerance)


def test_independent_views_have_eigenvalues_near_one() -> None:
    fit = whole(*(normal(N, width, seed=30 + width) for width in WIDTHS))
    # Marchenko-Pastur: of N x 19 independent numbers, with room for the edge's fluctuations.
    edge = (sum(WIDTHS) / N) ** 0.5
    assert (fit.eigenvalues < (1 + 1.2 * edge) ** 2).all()
    assert (fit.eigenvalues > (1 - 1.2 * edge) ** 2).all()
    assert_close(fit.eigenvalues.sum(), torch.tensor(sum(WIDTHS)).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_all_views_have_the_same_is_counted_once(dtype: torch.dtype) -> None:
    x = VIEWS[0].to(dtype)
    same = (x, (x.double() @ normal(8, 8, seed=22)).to(dtype), x.flip(1))
    fit = whole(*same)
    assert_close(fit.eigenvalues, torch.full((8,), 3.0).double(), rtol=0, atol=1e-6)
    sums = fused(fit, *same)
    assert_close(sums.T @ sums / (N - 1), torch.eye(8).double(), rtol=0, atol=1e-5)


def test_components_of_one_eigenvalue_come_by_decreasing_variance_and_the_same_each_time() -> None:
    views = (VIEWS[0], VIEWS[2])  # 8 - 5 directions of the first correlate with nothing
    fit = whole(*views)
    assert_close(fit.eigenvalues[5:8], torch.ones(3).double())
    held = (VIEWS[0] - VIEWS[0].mean(dim=0)).T @ fused(fit, *views)[:, 5:8] / (N - 1)
    energy = held.T @ held
    assert_close(energy, energy.diagonal().diag())
    assert (energy.diagonal().diff() < 0).all()
    again = whole(*(view.flip(0) for view in views))
    for found, expected in zip(again.directions, fit.directions, strict=True):
        assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_each_view_is_first_cut_to_the_variance_that_is_kept() -> None:
    columns = torch.from_numpy(scipy.linalg.hadamard(64).copy()).double()
    x = columns[:, 1:6] * torch.tensor([2.0, 1, 1, 1, 1]).double()  # half is the first's
    y = columns[:, 6:7]
    fits = [multiset_cca(x, y, 2 * y, variance_kept=kept) for kept in (0.49, 0.62, 1.0)]
    values = [fit.eigenvalues.round(decimals=9).tolist() for fit in fits]
    assert values == [[2.0] + [1.0] * rank for rank in (1, 2, 5)]  # y's is in two of three views


def test_a_stream_is_as_what_lies_in_memory() -> None:
    views = tuple(view.float() for view in VIEWS)
    moments = RunningMoments(*WIDTHS)
    for batch in zip(*(view.split(300) for view in views), strict=True):
        moments.update(*batch)
    found, expected = multiset_cca_from_moments(moments.compute()), multiset_cca(*views)
    assert found.n == expected.n
    assert_close(found.eigenvalues, expected.eigenvalues)
    assert_close(fused(found, *views), fused(expected, *views))


def test_wrong_input_is_refused_by_name() -> None:
    x, y, z = VIEWS
    with pytest.raises(ValueError, match=r"number of views: 1, .* give 2 or more"):
        multiset_cca(x)
    with pytest.raises(ValueError, match="number of views: 0"):
        multiset_cca()
    with pytest.raises(ValueError, match="number of views: 1"):
        multiset_cca_from_moments(moments_of(x))
    with pytest.raises(ValueError, match=r"widths \(2, 2\) are not those of 5 columns"):
        multiset_cca_from_moments(moments_of(z)._replace(widths=()))
    with pytest.raises(ValueError, match=r"variance_kept=0.0 is not above 0 and at most 1"):
        multiset_cca(x, y, variance_kept=0.0)
    with pytest.raises(ValueError, match=r"6 samples do not exceed the rank of view 1 \(the first"):
        multiset_cca(x[:6, :2], y[:6], z[:6, :2])
    with pytest.raises(ValueError, match=r"no unit of view 2 \(the first is 0\) varies"):
        multiset_cca(x, y, torch.ones(N, 3))
    with pytest.raises(ValueError, match=r"view 0 \(the first is 0\) holds NaN or infinite"):
        multiset_cca(torch.where(x > 5, torch.nan, x), y)
    with pytest.raises(ValueError, match=r"of \(8, 6\) units, fitted on views of \(8, 6, 5\)"):
        fused(whole(x, y, z), x, y)
