"""Similarities of layers of any shape, at each spatial frequency of maps or all at once.

A `Representation` holds what a layer says of samples in blocks, and two layers are compared block
by block (Raghu et al. 2017, Theorem 1). Of vectors, channel means and flattened maps, which are one
block, the numbers are those of `mmrep.stats.similarity`; of frequencies at full rank, the mean of
`dft_cca`.

    x, y = represent(x_maps, "dft"), represent(y_maps, "dft")
    similarity("svcca", x, y)
"""

from collections.abc import Callable
from functools import partial
from math import nan
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from mmrep.stats.assessment import Assessment, assess_samples
from mmrep.stats.blocks import (
    at_one_size,
    decompose,
    first_components,
    hsic,
    mean_correlation,
    weighted_correlation,
)
from mmrep.stats.cca import (
    VARIANCE_KEPT,
    canonical,
    components_of_variance,
    correlations_on,
    numerical_rank,
    whitened,
)
from mmrep.stats.covariance import Moments
from mmrep.stats.reductions import REDUCTIONS, Representation, represent, stacked_moments
from mmrep.stats.similarity import (
    SINGULAR_VALUES_KEPT,
    cka_from_moments,
    pwcca_from_moments,
    singular_directions,
)
from mmrep.stats.spatial_frequencies import (
    SharedBlocks,
    frequencies_of,
    shared_blocks,
    times_of,
)

__all__ = [
    "MEASURES",
    "REDUCTIONS",
    "Directions",
    "Representation",
    "assessed",
    "decomposed",
    "floor_between",
    "reduced_to_directions",
    "represent",
    "similarity",
    "similarity_between",
]

MEASURES = ("svcca", "cca", "pwcca", "cka")
KEPT = {"svcca": SINGULAR_VALUES_KEPT, "cca": VARIANCE_KEPT, "pwcca": 1.0, "cka": 1.0}
LEAST = {"svcca": 2, "cca": 2, "pwcca": 2, "cka": 4}  # samples


class Directions(NamedTuple):
    """A layer made ready for one measure: `similarity_between` two of them is products only.

    For CCA's measures `x.values` are orthonormal directions, `ranks` of each block and zeros beyond
    them, and `loads` what they say of the layer's columns (for pwcca). For cka they are columns
    whose HSIC with themselves is 1, and `ranks` how many of them vary. Pixels, which may yet be
    interpolated, are what they were. `kept` is the share that `decomposed` was asked for.
    """

    measure: str
    x: Representation
    kept: float
    ranks: Int64[Tensor, "blocks"]
    loads: Tensor | None = None

    @property
    def rank(self) -> int:
        """How many directions are kept in all blocks, those of conjugate frequencies included."""
        return _over_frequencies(self.ranks, self.x)


def decomposed(measure: str, x: Representation, *, kept: float | None = None) -> Directions:
    """Decomposes a layer's blocks, once for all that it is compared with.

    `kept` is the share that stays of each block: of the sum of singular values for svcca, 0.99 if
    None; of the variance for cca, strictly more than 0.9999. 1.0 is the whole numerical rank, which
    pwcca always takes. cka compares columns as they are, real parts beside imaginary ones.

    Raises:
        ValueError: where the samples do not exceed the rank of a block, which makes all its
            correlations 1, and for a layer that does not vary.
    """
    kept = _share(measure, x, kept)
    n = _check(measure, x)
    x = _double(x)
    keep = _keep(measure, kept)
    if x.reduction == "pixels":
        moments = stacked_moments(x, norms=False)
        cut = measure != "cka"
        rank = whitened(moments, 0, "x", keep=keep).basis.rank if cut else _rank(x)
        return Directions(measure, x, kept, torch.tensor([rank]))
    if measure == "cka":
        values, ranks = at_one_size(x.values)
        if not ranks.any():
            raise ValueError(f"a layer does not vary over the {n} samples: CKA has no meaning")
        return Directions(measure, x._replace(values=values.transpose(0, 1)), kept, ranks)
    found = decompose(x.values, unit_norms=keep is None)
    _check_rank(x, int(found.rank.max()))
    if keep:
        found = first_components(found, keep)
    loads = found.loads if measure == "pwcca" else None
    return Directions(
        measure, x._replace(values=found.left.transpose(0, 1)), kept, found.rank, loads
    )


def similarity(measure: str, x: Representation, y: Representation) -> float:
    """One of `MEASURES` of two layers on the same samples: 1 for a layer and itself.

    The mean over all correlations of all blocks, those of conjugate frequencies included; a block
    that does not vary has none. pwcca weighs them by what their variates say of `x`; cka, without
    bias, is the mean over blocks. Layers of different sizes share, under `dft`, the frequencies in
    [-s/2, s/2) of the smaller size s of each axis, of which a vector has only the zero one; under
    `pixels` the smaller map is interpolated bilinearly to the larger, and a vector is the same at
    every position.
    """
    return similarity_between(decomposed(measure, x), decomposed(measure, y))


def similarity_between(x: Directions, y: Directions) -> float:
    """As `similarity`, of layers that were decomposed before, for the same measure."""
    _check_pair(x, y)
    if x.x.reduction == "pixels":
        return _of_moments(x, y, stacked_moments(x.x, y.x, norms=x.measure == "cka"))
    found = shared_blocks(x.x.size, x.x.kept_size, y.x.size, y.x.kept_size)
    shared = SharedBlocks(*(each.to(x.ranks.device) for each in found))
    x_values, y_values = _blocks(x, shared.x), _blocks(y, shared.y)
    x_ranks, y_ranks = x.ranks[shared.x], y.ranks[shared.y]
    pairs = torch.minimum(x_ranks, y_ranks)
    if not pairs.any():
        raise ValueError("the two layers do not vary at a common frequency: nothing to compare")
    if x.measure == "cka":
        times = shared.times * (pairs > 0)
        return float(hsic(x_values, y_values) @ times.double() / times.sum())
    if shared.opposite.any():
        y_values = torch.where(shared.opposite[:, None, None], y_values.conj(), y_values)
    dtype = torch.promote_types(x_values.dtype, y_values.dtype)
    crossed = x_values.to(dtype).mH @ y_values.to(dtype)
    if x.loads is not None:
        return weighted_correlation(crossed, pairs, shared.times, x.loads[shared.x].to(dtype))
    return mean_correlation(crossed, pairs, shared.times)


def floor_between(
    x: Directions, y: Directions, *, permutations: int, generator: torch.Generator
) -> float:
    """Mean similarity where the samples of y are shuffled, so that none belong together."""
    if permutations < 1:
        raise ValueError(f"permutations={permutations}: give at least 1")
    n = len(y.x.values)
    orders = [torch.randperm(n, generator=generator) for _ in range(permutations)]
    return sum(similarity_between(x, _at_rows(y, rows)) for rows in orders) / permutations


def assessed(
    measure: str,
    x: Representation,
    y: Representation,
    *,
    permutations: int,
    resamples: int,
    generator: torch.Generator,
) -> Assessment:
    """A similarity with its floor, interval, held-out value and ranks, as `assess` gives them.

    Samples are shuffled and drawn whole, not by positions. Frequencies have no held-out value: NaN.
    `ranks` are sums over blocks, conjugate ones included.
    """
    x, y = _double(x), _double(y)
    layers = decomposed(measure, x), decomposed(measure, y)
    _check_pair(*layers)
    real = not (x.values.is_complex() or y.values.is_complex())
    views = layers[0]._replace(x=x), layers[1]._replace(x=y)

    def moments(rows: Tensor) -> Moments:
        return stacked_moments(*(_at_rows(v, rows).x for v in views), norms=measure == "cka")

    def drawn(rows: Tensor) -> float:
        if real:
            return _of_moments(*views, moments(rows))
        return similarity(measure, *(_at_rows(view, rows).x for view in views))

    def held_out(fit: Tensor, on: Tensor) -> float:
        return _of_moments(*views, moments(fit), moments(on)) if real else nan

    return assess_samples(
        len(x.values),
        shuffled=lambda rows: similarity_between(layers[0], _at_rows(layers[1], rows)),
        drawn=drawn,
        held_out=held_out,
        ranks=(_rank(x), _rank(y)),
        permutations=permutations,
        resamples=resamples,
        generator=generator,
    )


def reduced_to_directions(x: Representation) -> Representation:
    """Only the singular directions that SVCCA keeps, as scores: to keep many states of a layer.

    Blocks have as many columns as the one that keeps most, zeros in the others. svcca is as before,
    from float32 and complex64 to about 1e-6; the other measures refuse it. Of pixels it is as
    before with layers of the same size.
    """
    stacked = x.values.flatten(0, 1)[:, None] if x.reduction == "pixels" else x.values
    keep = partial(singular_directions, kept=SINGULAR_VALUES_KEPT, of="singular_values")
    found = first_components(decompose(stacked, unit_norms=False), keep)
    scores = (found.left * found.values[:, None]).transpose(0, 1)
    scores = scores.reshape(*x.values.shape[:2], scores.shape[2])
    return x._replace(values=scores, reduced=True)


def _share(measure: str, x: Representation, kept: float | None) -> float:
    if measure not in MEASURES:
        raise ValueError(f"measure={measure!r} is not one of {', '.join(MEASURES)}")
    if x.reduced and measure != "svcca":
        raise ValueError(
            f"{measure} of the singular directions that svcca keeps is not that of the layer: keep "
            "the layer whole"
        )
    if kept is not None and measure in ("pwcca", "cka"):
        raise ValueError(f"kept={kept}: {measure} takes a layer whole")
    if kept is not None and not 0 < kept <= 1:
        raise ValueError(f"kept={kept} is not above 0 and at most 1")
    return kept or (1.0 if x.reduced else KEPT[measure])


def _keep(measure: str, kept: float) -> Callable[[Tensor], int] | None:
    """How many of the principal components stay, given their singular values; None is all."""
    if measure == "svcca":
        return partial(singular_directions, kept=kept, of="singular_values")
    return partial(components_of_variance, kept=kept) if kept < 1 else None


def _double(x: Representation) -> Representation:
    dtype = torch.promote_types(x.values.dtype, torch.float64)
    return x._replace(values=x.values.to(dtype))


def _check(measure: str, x: Representation) -> int:
    """The number of samples, of what is a representation for the measure."""
    n, blocks, _ = x.values.shape
    expected = {"dft": len(frequencies_of(x.size, x.kept_size)), "pixels": x.size[0] * x.size[1]}
    if blocks != expected.get(x.reduction, 1):
        raise ValueError(
            f"{blocks} blocks are not those of reduction={x.reduction!r} of maps of {x.size[0]} x "
            f"{x.size[1]} with frequencies={x.frequencies}"
        )
    if n < LEAST[measure]:
        raise ValueError(f"{measure} of {n} samples: give at least {LEAST[measure]}")
    return n


def _check_rank(x: Representation, rank: int) -> None:
    n, blocks, columns = x.values.shape
    if rank == 0:
        raise ValueError(f"a layer of {columns} dimensions does not vary over the {n} samples")
    if n - 1 <= rank:
        where = " at one frequency" if blocks > 1 else ""
        remedy = ", or reduction=dft or pooled" if x.reduction == "flat" else ""
        raise ValueError(
            f"{n} samples do not exceed the rank of a layer of {columns} dimensions{where} (rank "
            f"{rank} once centred): every correlation would be 1. Take more samples than "
            f"dimensions, 5 to 10 for each{remedy}"
        )


def _check_pair(x: Directions, y: Directions) -> None:
    for what, of_x, of_y in (
        ("measures", x.measure, y.measure),
        ("reductions", x.x.reduction, y.x.reduction),
        ("numbers of samples", len(x.x.values), len(y.x.values)),
    ):
        if of_x != of_y:
            raise ValueError(f"layers of different {what}, {of_x} and {of_y}, cannot be compared")


def _blocks(layer: Directions, which: Int64[Tensor, "pairs"]) -> Tensor:
    blocks = layer.x.values.transpose(0, 1)
    whole = torch.equal(which, torch.arange(len(blocks), device=which.device))
    return blocks if whole else blocks[which]


def _at_rows(view: Directions, rows: Tensor) -> Directions:
    return view._replace(x=view.x._replace(values=view.x.values[rows.to(view.x.values.device)]))


def _of_moments(x: Directions, y: Directions, moments: Moments, on: Moments | None = None) -> float:
    """A measure of two real views, positions being samples, as `mmrep.stats.similarity` has it."""
    if x.measure == "pwcca":
        return pwcca_from_moments(moments, on=on)
    if x.measure == "cka":
        return cka_from_moments(moments, on=on)
    of_x = whitened(moments, 0, "x", keep=_keep(x.measure, x.kept))
    of_y = whitened(moments, 1, "y", keep=_keep(y.measure, y.kept))
    fit = canonical(of_x, of_y, moments.n)
    return float((fit.correlations if on is None else correlations_on(fit, on)).mean())


def _rank(x: Representation) -> int:
    """The numerical rank, all blocks together."""
    if x.reduction == "pixels":
        return numerical_rank(stacked_moments(x, norms=False), 0, "x")
    return _over_frequencies(decompose(x.values, unit_norms=True).rank, x)


def _over_frequencies(ranks: Int64[Tensor, "blocks"], x: Representation) -> int:
    if x.reduction != "dft":
        return int(ranks.sum())
    return int(ranks @ times_of(x.size, x.kept_size).to(ranks.device))
