"""CCA of two or more views of the same samples: MAXVAR (Carroll 1968; Kettenring 1971).

Each view is whitened, X_i = Q_i S_i, as in `cca`, and the views' coordinates are set side by side:
[Q_1 ... Q_m] = U S V^T. Column k of U is what all views together say most alike: of all directions
orthogonal to those before it, the one whose squared projections on the views sum up to most, and
this sum is the squared singular value (Kettenring, Biometrika 58, 10.1093/biomet/58.3.433).
"""

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from mmrep.stats.cca import VARIANCE_KEPT, Whitened, components_of_variance, whitened
from mmrep.stats.covariance import Moments, check_views, columns_of, moments_of, noise

LEAST = 1e-6  # eigenvalue of a component: below it the views' variates cancel but for rounding
EQUAL = 1e-7  # eigenvalues that differ by no more are one, whose components may be turned


class MultisetCCA(NamedTuple):
    """Components of m views by decreasing eigenvalue, and each view's part in them.

    An eigenvalue lies between 0 and m: m where all views have the component, 1 for one that a view
    shares with no other, less where views have it with opposite signs; of two views they are
    1 + rho and 1 - rho for each canonical correlation rho. Components whose eigenvalue is 0 are
    left out: what is there the same in several views would be subtracted, and rounding remain.

    (view - means[i]) @ directions[i] are the view's canonical variates: its projections on the
    components, divided by the eigenvalues, so that their sum over views (`fused`) has unit variance
    (n - 1). Components of one eigenvalue come by decreasing variance. Signs: of all units, the one
    with which a component covaries most does so positively.
    """

    eigenvalues: Float64[Tensor, "components"]
    directions: tuple[Float64[Tensor, "_ components"], ...]
    means: tuple[Float64[Tensor, "_"], ...]
    n: int


def multiset_cca(
    *views: Float[Tensor, "samples _"], variance_kept: float = VARIANCE_KEPT
) -> MultisetCCA:
    """CCA of two or more views of the same samples.

    As before `cca`, each view is reduced to the fewest principal components that hold strictly more
    than `variance_kept` of its variance; 1.0 keeps its whole numerical rank.

    Raises:
        ValueError: where the samples do not exceed a view's rank, which makes every eigenvalue as
            large as it can be.
    """
    _check_number(len(views))
    return multiset_cca_from_moments(moments_of(*views), variance_kept=variance_kept)


def multiset_cca_from_moments(
    moments: Moments, *, variance_kept: float = VARIANCE_KEPT
) -> MultisetCCA:
    """As `multiset_cca`, from the views' moments; of two of equal width if no widths are given.

    Every width is a view: give moments without the norms that `with_norms` adds for CKA.
    """
    if not 0 < variance_kept <= 1:
        raise ValueError(f"variance_kept={variance_kept} is not above 0 and at most 1")
    columns = len(moments.mean)
    moments = moments._replace(widths=moments.widths or (columns // 2, columns // 2))
    _check_number(len(moments.widths))
    if sum(moments.widths) != columns or min(moments.widths) < 1:
        raise ValueError(
            f"widths {moments.widths} are not those of {columns} columns: give each view's number"
        )
    keep = None if variance_kept == 1 else partial(components_of_variance, kept=variance_kept)
    names = [f"view {view} (the first is 0)" for view in range(len(moments.widths))]
    views = [whitened(moments, view, name, keep=keep) for view, name in enumerate(names)]

    # A view's coordinates end with the factor's row that is its last column's: below are zeros.
    coordinates = [F.pad(q, (0, 0, 0, columns - len(q))) for q, _ in views]
    _, values, rows = torch.linalg.svd(torch.cat(coordinates, dim=1), full_matrices=False)
    certain = values.square() > LEAST
    values, turns = values[certain], rows[certain].T
    kept = _above_rounding(moments, views, turns / values)
    values, turns = values[kept], turns[:, kept]

    # What is in U: orthonormal columns, whatever basis of an eigenvalue's components is taken.
    turns = turns / values
    covariance = torch.cat([part.T @ view.basis.inverse for part, view in _parts(turns, views)], 1)
    covariance = values.square()[:, None] * covariance
    turns = turns @ _by_variance(values.square(), covariance)
    return MultisetCCA(
        values.square().clamp(max=len(views)),  # above by rounding alone
        tuple(view.basis.directions @ part for part, view in _parts(turns, views)),
        tuple(view.basis.mean for view in views),
        moments.n,
    )


def fused(
    fit: MultisetCCA, *views: Float[Tensor, "samples _"]
) -> Float64[Tensor, "samples components"]:
    """The components' scores: the sum of all views' canonical variates.

    Of the samples that `fit` is of, or of others of the same views.
    """
    check_views(views)
    given, fitted = tuple(view.shape[1] for view in views), tuple(len(mean) for mean in fit.means)
    if given != fitted:
        raise ValueError(
            f"views of {given} units, fitted on views of {fitted}: give all of them, in that order"
        )
    parts = zip(views, fit.means, fit.directions, strict=True)
    return torch.stack([(view.double() - mean) @ turn for view, mean, turn in parts]).sum(dim=0)


def _check_number(views: int) -> None:
    if views < 2:
        raise ValueError(f"number of views: {views}, and CCA compares them: give 2 or more")


def _parts(turns: Tensor, views: list[Whitened]) -> list[tuple[Tensor, Whitened]]:
    """The rows that belong to each view's coordinates, and the view."""
    ranks = [view.basis.rank for view in views]
    return list(zip(torch.split(turns, ranks), views, strict=True))


def _above_rounding(
    moments: Moments, views: list[Whitened], turns: Float64[Tensor, "coordinates components"]
) -> Bool[Tensor, "components"]:
    """Which components, of unit variance, are more than the rounding of the views' units."""
    error = turns.new_zeros(turns.shape[1])
    for number, (part, view) in enumerate(_parts(turns, views)):
        columns = columns_of(moments, number)
        norm = torch.linalg.vector_norm(moments.factor[:, columns], dim=0)
        precision = moments.precision[number] if moments.precision else 0.0
        rounding = noise(moments.n, moments.mean[columns], norm, precision)
        error += (view.basis.directions @ part).square().T @ rounding.square()
    return error < moments.n - 1


def _by_variance(
    eigenvalues: Float64[Tensor, "components"], covariance: Float64[Tensor, "components units"]
) -> Float64[Tensor, "components components"]:
    """Turns components of one eigenvalue to decreasing variance, and all to their signs."""
    steps = (eigenvalues[:-1] - eigenvalues[1:] > EQUAL).nonzero()[:, 0] + 1
    blocks = []
    for group in torch.tensor_split(covariance, steps.cpu()):
        turn = group.new_ones(1, 1)
        if len(group) > 1:
            turn = torch.linalg.svd(group, full_matrices=False).U
        turned = turn.T @ group
        largest = turned.gather(1, turned.abs().argmax(dim=1, keepdim=True))[:, 0]
        blocks.append(torch.where(largest < 0, -turn, turn))
    return torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
