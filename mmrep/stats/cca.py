"""Canonical correlation analysis (Hotelling 1936), from data or from accumulated moments.

By the factors of the centred data: with X = Q_x S_x and Y = Q_y S_y, Q orthonormal, the canonical
correlations are the singular values of Q_x^T Q_y (Bjoerck & Golub 1973). The covariance is never
inverted, units are brought to unit norm before ranks are judged, and a direction counts if it is
more than the rounding of the units' own numbers: there is no epsilon to choose.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mmrep.stats.covariance import Moments, columns_of, moments_of, noise

VARIANCE_KEPT = 0.9999  # before CCA, in Moreau et al. 2021
RANK = 1e-10  # least singular value, of the largest, that counts as a direction at all


class Basis(NamedTuple):
    """Components of a view, in the units of its columns.

    (v - mean) @ directions are the components' scores, and scores @ inverse + mean leads back to v,
    or as near to it as the kept components come.
    """

    directions: Float64[Tensor, "columns components"]
    inverse: Float64[Tensor, "components columns"]
    mean: Float64[Tensor, "columns"]

    @property
    def rank(self) -> int:
        """How many components were kept."""
        return len(self.inverse)


class CCA(NamedTuple):
    """Canonical correlations, decreasing, and both views' canonical directions.

    The scores of `x` and `y` have unit variance (n - 1) and those of equal number correlate as
    `correlations` says. `correlations` has as many entries as the smaller rank; the larger side's
    further components correlate with nothing and come by decreasing share of their view's variance.
    Signs: the largest entry of each row of `x.inverse` is positive.
    """

    correlations: Float64[Tensor, "pairs"]
    x: Basis
    y: Basis
    n: int


class Whitened(NamedTuple):
    """A view in orthonormal coordinates: `coordinates` of the first rows of the moments' factor.

    The factor is triangular: below the view's last column there is nothing of it.
    """

    coordinates: Float64[Tensor, "rows components"]
    basis: Basis


def cca(
    x: Float[Tensor, "samples x_units"],
    y: Float[Tensor, "samples y_units"],
    *,
    variance_kept: float = VARIANCE_KEPT,
    ridge: float = 0.0,
) -> CCA:
    """CCA of two views of the same samples.

    Before it, each view is reduced to its first principal components, the fewest that hold strictly
    more than `variance_kept` of its variance (Moreau et al. 2021); 1.0 keeps its whole numerical
    rank. `ridge` is the published programs' epsilon (1e-10 there), against the largest variance of
    each view; it moves the correlations of faint units by as much as 0.05 and is for comparison.

    A direction that is no more than the rounding of a view's numbers is none: features of a network
    belong here as they are, in float32, and not turned into float64 beforehand.

    Raises:
        ValueError: where the samples do not exceed a view's rank, which makes every correlation 1.
    """
    return cca_from_moments(moments_of(x, y), variance_kept=variance_kept, ridge=ridge)


def cca_from_moments(
    moments: Moments, *, variance_kept: float = VARIANCE_KEPT, ridge: float = 0.0
) -> CCA:
    """CCA from the moments of two views, as `cca`; two of equal width if no widths are given."""
    if not 0 < variance_kept <= 1:
        raise ValueError(f"variance_kept={variance_kept} is not above 0 and at most 1")
    if not ridge >= 0:
        raise ValueError(f"ridge={ridge} must be 0, which means none, or more")
    keep = None if variance_kept == 1 else partial(components_of_variance, kept=variance_kept)
    moments = of_two_views(moments)
    x = whitened(moments, 0, "x", keep=keep, ridge=ridge)
    y = whitened(moments, 1, "y", keep=keep, ridge=ridge)
    return canonical(x, y, moments.n)


def of_two_views(moments: Moments) -> Moments:
    """Moments of two views with their widths; the norms that CKA adds are left aside."""
    columns = len(moments.mean)
    widths = moments.widths or (columns // 2, columns // 2)
    two = len(widths) == 2 or (len(widths) == 4 and widths[2:] == (1, 1))
    if not two or sum(widths) != columns or min(widths) < 1:
        raise ValueError(
            f"two views are compared, and these moments have widths {widths}: for more, see "
            "`similarities`"
        )
    return moments._replace(widths=widths)


def components_of_variance(values: Float64[Tensor, "components"], kept: float) -> int:
    """The fewest components whose squared singular values hold strictly more than `kept`."""
    share = values.square().cumsum(0) / values.square().sum()
    return min(int((share <= kept).sum()) + 1, len(values))


def whitened(
    moments: Moments,
    view: int,
    name: str,
    *,
    keep: Callable[[Tensor], int] | None = None,
    ridge: float = 0.0,
) -> Whitened:
    """A view, by its number, in orthonormal coordinates of unit variance.

    `keep` says how many of its principal components stay, given their singular values; without it,
    all of the numerical rank do.
    """
    n, columns = moments.n, columns_of(moments, view)
    factor, norm, rounding, live = _units(moments, view, name)
    if ridge:
        live &= norm.square() >= ridge * norm.max().square()  # the published program drops these
    if not live.any():
        raise ValueError(f"no unit of {name} varies over the {n} samples")
    # Whether a direction is there is judged with all units at one size, how much variance it
    # holds with their own.
    size = norm[live] if keep is None and not ridge else torch.ones_like(norm[live])
    scaled = factor[:, live] / size
    rounding = rounding[live] / size
    certain = _independent(scaled, rounding) if keep is None and not ridge else None
    if certain:
        coordinates, forward, back = certain
        _check_rank(n, len(back), name, len(norm))
    else:
        coordinates, values, loadings = torch.linalg.svd(scaled, full_matrices=False)
        real = _real(values, loadings, rounding)
        coordinates, values, loadings = coordinates[:, real], values[real], loadings[real]
        _check_rank(n, len(values), name, len(norm))
        kept = keep(values) if keep else len(values)
        coordinates, values, loadings = coordinates[:, :kept], values[:kept], loadings[:kept]
        root = (values.square() + ridge * norm.max().square()).sqrt() if ridge else values
        coordinates = coordinates * (values / root)
        forward, back = loadings.T / root, root[:, None] * loadings
    freedom, rank = (n - 1) ** 0.5, len(back)
    directions, inverse = factor.new_zeros(len(norm), rank), factor.new_zeros(rank, len(norm))
    directions[live] = freedom * forward / size[:, None]
    inverse[:, live] = back * size / freedom
    return Whitened(coordinates, Basis(directions, inverse, moments.mean[columns]))


def _independent(scaled: Tensor, rounding: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """QR instead of the SVD, three times as fast, where it proves that no direction is missing.

    The least singular value of R is at least 1 / |R^-1|.
    """
    if len(scaled) < scaled.shape[1]:
        return None
    coordinates, back = torch.linalg.qr(scaled)
    if not back.diagonal().all():
        return None
    identity = torch.eye(len(back), dtype=back.dtype, device=back.device)
    forward = torch.linalg.solve_triangular(back, identity, upper=True)
    least = 1 / torch.linalg.vector_norm(forward)
    certain = least > torch.maximum(
        RANK * torch.linalg.vector_norm(back), torch.linalg.vector_norm(rounding)
    )
    return (coordinates, forward, back) if certain else None


def _check_rank(n: int, rank: int, name: str, units: int) -> None:
    if n - 1 <= rank:
        raise ValueError(
            f"{n} samples do not exceed the rank of {name}, which has {units} units (rank {rank} "
            "once centred): every correlation would be 1. Take more samples than units, 5 to 10 "
            "for each; rows are samples."
        )


def numerical_rank(moments: Moments, view: int, name: str) -> int:
    """How many directions a view varies in, with all its units at one size."""
    factor, norm, rounding, live = _units(moments, view, name)
    if not live.any():
        return 0
    _, values, loadings = torch.linalg.svd(factor[:, live] / norm[live], full_matrices=False)
    return int(_real(values, loadings, rounding[live] / norm[live]).sum())


def _real(values: Tensor, loadings: Tensor, rounding: Tensor) -> Tensor:
    """Which directions are more than the rounding of the units, as these load on them."""
    return values > torch.maximum(RANK * values[0], (loadings.square() @ rounding.square()).sqrt())


def _units(moments: Moments, view: int, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The view's factor, each unit's centred norm and its rounding, and whether it varies."""
    if moments.n < 2:
        raise ValueError(f"{moments.n} samples have no covariance: give at least 2")
    columns = columns_of(moments, view)
    factor, mean = moments.factor[: columns.stop, columns], moments.mean[columns]
    norm = torch.linalg.vector_norm(factor, dim=0)
    if not (mean.isfinite().all() and norm.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite values, or some too large to be squared")
    precision = moments.precision[view] if moments.precision else 0.0
    rounding = noise(moments.n, mean, norm, precision)
    return factor, norm, rounding, norm > rounding


def products(x: Whitened, y: Whitened) -> Float64[Tensor, "x_components y_components"]:
    """Q_x^T Q_y."""
    shared = min(len(x.coordinates), len(y.coordinates))
    return x.coordinates[:shared].T @ y.coordinates[:shared]


def canonical(x: Whitened, y: Whitened, n: int) -> CCA:
    """CCA of two whitened views."""
    left, correlations, right = torch.linalg.svd(products(x, y))
    left, right = left.clone(), right.T.clone()
    pairs = len(correlations)
    # What correlates with nothing is an arbitrary basis of a subspace: order it by variance.
    for side, view in ((left, x), (right, y)):
        if side.shape[1] > pairs:
            rest = side[:, pairs:]
            turn, _, _ = torch.linalg.svd(rest.T @ view.basis.inverse, full_matrices=False)
            side[:, pairs:] = rest @ turn
    left_signs, right_signs = _signs(left.T @ x.basis.inverse), _signs(right.T @ y.basis.inverse)
    right_signs[:pairs] = left_signs[:pairs]
    return CCA(
        correlations.clamp(max=1.0),  # above by rounding alone
        _turned(x.basis, left * left_signs),
        _turned(y.basis, right * right_signs),
        n,
    )


def correlations_on(fit: CCA, moments: Moments) -> Float64[Tensor, "pairs"]:
    """How the canonical scores of `fit` correlate on other samples of the same two views.

    0 where a score does not vary over them.
    """
    pairs, moments = len(fit.correlations), of_two_views(moments)
    if moments.n < 2 or not moments.mean.isfinite().all():
        raise ValueError(
            f"the {moments.n} samples to correlate on must be 2 or more, without NaN or infinity"
        )
    widths = (len(fit.x.mean), len(fit.y.mean))
    if moments.widths[:2] != widths:
        raise ValueError(f"fitted on views of {widths} units, evaluated on {moments.widths[:2]}")
    x, y = (
        moments.factor[:, columns_of(moments, view)] @ basis.directions[:, :pairs]
        for view, basis in enumerate((fit.x, fit.y))
    )
    size = torch.linalg.vector_norm(x, dim=0) * torch.linalg.vector_norm(y, dim=0)
    return torch.where(size > 0, (x * y).sum(dim=0) / size, 0.0)


def _turned(basis: Basis, turn: Tensor) -> Basis:
    return Basis(basis.directions @ turn, turn.T @ basis.inverse, basis.mean)


def _signs(rows: Tensor) -> Tensor:
    largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))[:, 0]
    return torch.where(largest < 0, -1.0, 1.0).to(rows)
