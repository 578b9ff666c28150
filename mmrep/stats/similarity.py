"""Similarities of two representations: CCA's mean, SVCCA, PWCCA and linear CKA.

All are similarities: 1 for a layer and itself. All but an unbiased CKA are above 0 for independent
noise, the more so the fewer samples there are for a unit, so that each belongs beside its floor
(`assess`). Each is a function of moments, so that it can be had from a stream;
`on` evaluates what was fitted on other samples.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mmrep.stats.assessment import Assessment, assess, assess_chunks
from mmrep.stats.cca import (
    CCA,
    VARIANCE_KEPT,
    Whitened,
    canonical,
    cca_from_moments,
    components_of_variance,
    correlations_on,
    of_two_views,
    products,
    whitened,
)
from mmrep.stats.covariance import Moments, check_views, columns_of, moments_of
from mmrep.stats.fourier import dft_cca

__all__ = [
    "Assessment",
    "Similarities",
    "assess",
    "assess_chunks",
    "cka",
    "cka_from_moments",
    "dft_cca",
    "mean_cca",
    "mean_cca_from_moments",
    "pwcca",
    "pwcca_from_moments",
    "similarities",
    "svcca",
    "svcca_components",
    "svcca_from_moments",
    "with_norms",
]

SINGULAR_VALUES_KEPT = 0.99  # of their sum, in Raghu et al. 2017
Views = tuple[Float[Tensor, "others _"], Float[Tensor, "others _"]]


def mean_cca(
    x: Float[Tensor, "samples x_units"],
    y: Float[Tensor, "samples y_units"],
    *,
    variance_kept: float = VARIANCE_KEPT,
    on: Views | None = None,
) -> float:
    """Mean canonical correlation, over as many as the smaller rank; `variance_kept` as in `cca`."""
    return mean_cca_from_moments(moments_of(x, y), variance_kept=variance_kept, on=_moments_on(on))


def mean_cca_from_moments(
    moments: Moments, *, variance_kept: float = VARIANCE_KEPT, on: Moments | None = None
) -> float:
    """As `mean_cca`."""
    fit = cca_from_moments(moments, variance_kept=variance_kept)
    return float(_correlations(fit, on).mean())


def svcca(
    x: Float[Tensor, "samples x_units"],
    y: Float[Tensor, "samples y_units"],
    *,
    kept: float = SINGULAR_VALUES_KEPT,
    of: str = "singular_values",
    on: Views | None = None,
) -> float:
    """Mean canonical correlation of the first singular directions of each view (Raghu et al. 2017).

    Kept are the fewest that hold at least `kept` of the sum of singular values; of="variance", of
    their squares, keeps far fewer. The mean runs over the smaller of both numbers, so it does not
    tell a view from one with more of its kind: `svcca_components` has the ranks.
    """
    return svcca_from_moments(moments_of(x, y), kept=kept, of=of, on=_moments_on(on))


def svcca_from_moments(
    moments: Moments,
    *,
    kept: float = SINGULAR_VALUES_KEPT,
    of: str = "singular_values",
    on: Moments | None = None,
) -> float:
    """As `svcca`."""
    return float(_correlations(svcca_components(moments, kept=kept, of=of), on).mean())


def svcca_components(
    moments: Moments, *, kept: float = SINGULAR_VALUES_KEPT, of: str = "singular_values"
) -> CCA:
    """CCA of the kept singular directions: correlations, directions and ranks behind `svcca`."""
    keep = partial(singular_directions, kept=kept, of=of)
    moments = of_two_views(moments)
    x, y = (whitened(moments, view, name, keep=keep) for view, name in enumerate("xy"))
    return canonical(x, y, moments.n)


def singular_directions(values: Float64[Tensor, "components"], kept: float, of: str) -> int:
    """The fewest first singular values that hold at least `kept` of their sum."""
    if not 0 < kept <= 1:
        raise ValueError(f"kept={kept} is not above 0 and at most 1")
    if of not in ("singular_values", "variance"):
        raise ValueError(f"of={of!r} is neither 'singular_values' nor 'variance'")
    share = (values if of == "singular_values" else values.square()).cumsum(0)
    return min(int((share < kept * share[-1]).sum()) + 1, len(values))


def pwcca(
    x: Float[Tensor, "samples x_units"],
    y: Float[Tensor, "samples y_units"],
    *,
    weights: str = "x",
    on: Views | None = None,
) -> float:
    """Canonical correlations averaged by what their variates say of one view (Morcos et al. 2018).

    Variate h of the view `weights` counts as sum_j |<h, x_j>| over its centred units, so the number
    depends on the side, and where several correlations are equal, on which of their variates an
    algorithm happens to return. "google" is the published program's number: variates without their
    whitening and with the units' means added, so that even a variate's arbitrary sign counts;
    uncentred units; the side of fewer units; epsilon 1e-10. It has no value `on` other samples.
    """
    return pwcca_from_moments(moments_of(x, y), weights=weights, on=_moments_on(on))


def pwcca_from_moments(moments: Moments, *, weights: str = "x", on: Moments | None = None) -> float:
    """As `pwcca`."""
    if weights not in ("x", "y", "google"):
        raise ValueError(f"weights={weights!r} is none of 'x', 'y', 'google'")
    if weights == "google":
        if on is not None:
            raise ValueError("weights='google' has no value on other samples: take 'x' or 'y'")
        return _google_pwcca(moments)
    fit = cca_from_moments(moments, variance_kept=1.0)
    basis = fit.x if weights == "x" else fit.y
    share = basis.inverse[: len(fit.correlations)].abs().sum(dim=1)  # <h, x_j>, times a constant
    return float((share * _correlations(fit, on)).sum() / share.sum())


def _google_pwcca(moments: Moments, epsilon: float = 1e-10) -> float:
    """PWCCA as google/svcca's programs compute it, on the side that keeps fewer units."""
    cca_from_moments(moments, variance_kept=1.0, ridge=epsilon)  # refuses what has no CCA
    whiteners, factors, means = [], [], []
    moments = of_two_views(moments)
    for columns in (columns_of(moments, view) for view in (0, 1)):
        factor = moments.factor[:, columns]
        variance = factor.square().sum(dim=0)
        live = variance >= epsilon * variance.max()
        factor, scale = factor[:, live], variance.max().sqrt()
        values, vectors = torch.linalg.eigh((factor / scale).T @ (factor / scale))
        whiteners.append(vectors / (values + epsilon).sqrt() @ vectors.T / scale)
        factors.append(factor)
        means.append(moments.mean[columns][live])
    crossed = whiteners[0] @ (factors[0].T @ factors[1]) @ whiteners[1]
    left, correlations, right = torch.linalg.svd(crossed, full_matrices=False)
    smaller = int(len(means[0]) > len(means[1]))
    turn, factor, mean = (left, right.T)[smaller], factors[smaller], means[smaller]
    mean = moments.n**0.5 * mean
    # The rows of the factor and the mean's row are the samples, up to a rotation.
    variates = torch.cat([factor @ turn, mean[None]])
    samples = torch.cat([factor, mean[None]])
    share = (torch.linalg.qr(variates).Q.T @ samples).abs().sum(dim=1)
    return float((share * correlations).sum() / share.sum())


def cka(
    x: Float[Tensor, "samples x_units"],
    y: Float[Tensor, "samples y_units"],
    *,
    unbiased: bool = True,
    on: Views | None = None,
) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019).

    `unbiased` takes the unbiased estimate of HSIC (Song et al. 2012), without which independent
    noise looks the more alike the fewer samples there are; it may be negative. Nothing is fitted:
    with `on`, only those samples count.

    Raises:
        ValueError: for fewer than 4 samples, or a view that does not vary.
    """
    views = on or (x, y)
    check_views(views)
    # Squared norms lose the digits that a large mean takes.
    around_mean = (view.double() - view.double().mean(dim=0) for view in views)
    return cka_from_moments(moments_of(*with_norms(*around_mean)), unbiased=unbiased)


def cka_from_moments(
    moments: Moments, *, unbiased: bool = True, on: Moments | None = None
) -> float:
    """As `cka`, of moments of `with_norms(x, y)`."""
    moments = of_two_views(on or moments)
    return float(_cka(moments, [0], [1], unbiased=unbiased, names="xy"))


def with_norms(*views: Float[Tensor, "samples _"]) -> tuple[Float[Tensor, "samples _"], ...]:
    """The views, and for each the squared norms of its rows as one more view of width 1.

    Unbiased HSIC needs products of squared norms of centred rows, and these are linear in the
    squared norms and the rows: moments of both hold all of it.
    """
    check_views(views)
    return *views, *(view.double().square().sum(dim=1, keepdim=True) for view in views)


def _cka(
    moments: Moments,
    rows: Sequence[int],
    columns: Sequence[int],
    *,
    unbiased: bool,
    names: Sequence[str],
) -> Float64[Tensor, "rows columns"]:
    n, count = moments.n, len(moments.widths) // 2
    if n < 4:
        raise ValueError(f"CKA of {n} samples: give at least 4")
    _check_norms(moments, rows, columns)
    layers = {}
    for i in {*rows, *columns}:
        place = columns_of(moments, i)
        view, mean = moments.factor[: place.stop, place], moments.mean[place]
        if not view.isfinite().all():
            raise ValueError(
                f"{names[i]} holds NaN or infinite values, or some too large to square"
            )
        # |x - m|^2 = |x|^2 - 2 m.x + |m|^2, of which only what varies is needed.
        norms = moments.factor[:, columns_of(moments, count + i).start].clone()
        norms[: place.stop] -= 2 * view @ mean
        layers[i] = view, norms, view.square().sum()

    def hsic(i: int, j: int) -> Tensor:
        (x, x_norms, x_sum), (y, y_norms, y_sum) = layers[i], layers[j]
        shared = min(len(x), len(y))
        kernels = (x[:shared].T @ y[:shared]).square().sum()
        return unbiased_hsic(kernels, x_norms @ y_norms, x_sum, y_sum, n=n) if unbiased else kernels

    own = {i: hsic(i, i) for i in layers}
    still = [i for i, value in own.items() if not value > 0]
    if still:
        name = names[still[0]]
        raise ValueError(f"{name} does not vary over the {n} samples: CKA has no meaning")
    table = [torch.stack([hsic(i, j) / (own[i] * own[j]).sqrt() for j in columns]) for i in rows]
    return torch.stack(table)


def unbiased_hsic(
    kernels: Float64[Tensor, "*blocks"],
    norms: Float64[Tensor, "*blocks"],
    x_sum: Float64[Tensor, "*blocks"],
    y_sum: Float64[Tensor, "*blocks"],
    *,
    n: int,
) -> Float64[Tensor, "*blocks"]:
    """HSIC of n samples without bias (Song et al. 2012), times a constant that CKA cancels.

    Of centred x and y: `kernels` is |x^T y|^2; the squared norms of their rows have the sums
    `x_sum` and `y_sum` and, around their means, the product `norms`.
    """
    products = norms + x_sum * y_sum / n  # over samples, of both squared norms
    return kernels - products * n / (n - 2) + x_sum * y_sum / ((n - 1) * (n - 2))


class Similarities(NamedTuple):
    """All pairs of layers: (rows, columns) of each measure at its defaults, PWCCA by the rows.

    `ranks` are the numerical ranks of the layers by number, `kept` how many singular directions
    SVCCA took of each.
    """

    cca: Float64[Tensor, "rows columns"]
    svcca: Float64[Tensor, "rows columns"]
    pwcca: Float64[Tensor, "rows columns"]
    cka: Float64[Tensor, "rows columns"]
    ranks: dict[int, int]
    kept: dict[int, int]


def similarities(moments: Moments, rows: Sequence[int], columns: Sequence[int]) -> Similarities:
    """Mean CCA, SVCCA, PWCCA and unbiased CKA of each layer in `rows` with each in `columns`.

    `moments` are of `with_norms(*layers)`, all layers side by side: one pass over the data serves
    all pairs, and each layer is decomposed once.
    """
    _check_norms(moments, rows, columns)
    used = sorted({*rows, *columns})
    names = [f"layer {i}" for i in range(len(moments.widths) // 2)]
    layers = {i: _layer(whitened(moments, i, names[i])) for i in used}
    pairs = [torch.stack([_pair(layers[i], layers[j]) for j in columns]) for i in rows]
    by_measure = torch.stack(pairs).unbind(dim=2)
    return Similarities(
        cca=by_measure[0],
        svcca=by_measure[1],
        pwcca=by_measure[2],
        cka=_cka(moments, rows, columns, unbiased=True, names=names),
        ranks={i: layer.view.basis.rank for i, layer in layers.items()},
        kept={i: layer.directions for i, layer in layers.items()},
    )


def _check_norms(moments: Moments, rows: Sequence[int], columns: Sequence[int]) -> None:
    count = len(moments.widths) // 2
    if not count or moments.widths[count:] != (1,) * count:
        raise ValueError(f"CKA needs moments of with_norms(...), these have {moments.widths}")
    if not rows or not columns or not {*rows, *columns} <= set(range(count)):
        raise ValueError(
            f"rows {list(rows)} and columns {list(columns)} of the layers: take some of "
            f"0 to {count - 1}, the layers of these moments"
        )


class _Layer(NamedTuple):
    """A layer at its whole rank, and turned to its principal components: how many each keeps."""

    view: Whitened
    principal: Tensor
    components: int  # of mean CCA
    directions: int  # of SVCCA


def _layer(view: Whitened) -> _Layer:
    principal, values, _ = torch.linalg.svd(view.basis.inverse, full_matrices=False)
    components = components_of_variance(values, kept=VARIANCE_KEPT)
    return _Layer(
        view,
        principal,
        components,
        singular_directions(values, SINGULAR_VALUES_KEPT, "singular_values"),
    )


def _pair(x: _Layer, y: _Layer) -> Float64[Tensor, "measures"]:
    crossed = products(x.view, y.view)
    left, correlations, _ = torch.linalg.svd(crossed, full_matrices=False)
    weights = (left.T @ x.view.basis.inverse).abs().sum(dim=1)
    turned = x.principal.T @ crossed @ y.principal
    return torch.stack(
        [
            torch.linalg.svdvals(turned[: x.components, : y.components]).mean(),
            torch.linalg.svdvals(turned[: x.directions, : y.directions]).mean(),
            (weights * correlations).sum() / weights.sum(),
        ]
    )


def _correlations(fit: CCA, on: Moments | None) -> Float64[Tensor, "pairs"]:
    return fit.correlations if on is None else correlations_on(fit, on)


def _moments_on(on: Views | None) -> Moments | None:
    return None if on is None else moments_of(*on)
