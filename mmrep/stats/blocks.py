"""Many small views at once: the blocks of a layer, decomposed and compared one by one.

Blocks are real, or complex where they are spatial frequencies. What counts as a direction is as in
`mmrep.stats.cca`: more than the rounding of float64 numbers, and no epsilon to choose. Directions
that are none stay as columns of zeros, so that blocks of different ranks lie in one tensor.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float64, Inexact, Int64
from torch import Tensor

from mmrep.stats.cca import RANK
from mmrep.stats.covariance import noise
from mmrep.stats.similarity import unbiased_hsic


class Decomposition(NamedTuple):
    """Centred blocks are `left` @ `loads`, and `values` are their singular values.

    Components that are no dimension have values of 0 and left vectors of zeros; `rank` counts the
    others.
    """

    left: Inexact[Tensor, "blocks samples components"]
    values: Float64[Tensor, "blocks components"]
    loads: Inexact[Tensor, "blocks components columns"]
    rank: Int64[Tensor, "blocks"]


class Centred(NamedTuple):
    """Blocks without their means, their columns' norms, and how much of these may be rounding.

    Columns that are no more than that are zero.
    """

    blocks: Inexact[Tensor, "blocks samples columns"]
    norm: Float64[Tensor, "blocks columns"]
    rounding: Float64[Tensor, "blocks columns"]


def centred(values: Inexact[Tensor, "samples blocks columns"]) -> Centred:
    """The blocks around their means.

    A Fourier transform spreads the rounding of a map over all of its frequencies, so that of a
    column is the largest of all blocks.

    ValueError: NaN, infinite values, or some too large to be squared.
    """
    mean = values.mean(dim=0)
    blocks = (values - mean).transpose(0, 1).contiguous()
    norm = torch.linalg.vector_norm(blocks, dim=1)
    if not (mean.isfinite().all() and norm.isfinite().all()):
        raise ValueError("a layer holds NaN or infinite values, or some too large to be squared")
    rounding = noise(len(values), mean.abs().flatten(), norm.flatten()).view_as(norm)
    rounding = rounding.amax(dim=0).expand_as(norm)
    live = norm > rounding
    if not live.all():
        blocks *= live[:, None]
    return Centred(blocks, norm * live, rounding)


def decompose(
    values: Inexact[Tensor, "samples blocks columns"], *, unit_norms: bool
) -> Decomposition:
    """Singular vectors of each block; `unit_norms` brings its columns to unit norm before."""
    blocks, norm, rounding = centred(values)
    size = norm.where((norm > 0) & unit_norms, 1.0)
    scaled = blocks / size[:, None] if unit_norms else blocks
    if scaled.shape[1] > scaled.shape[2]:  # the triangle has the same values and right vectors
        _, found, right = torch.linalg.svd(torch.linalg.qr(scaled, mode="r").R)
    else:
        _, found, right = torch.linalg.svd(scaled, full_matrices=False)
    rounding = rounding / size * (norm > 0)
    least = (right.abs().square() @ rounding.square()[:, :, None])[:, :, 0].sqrt()
    real = found > torch.maximum(RANK * found[:, :1], least)
    left = scaled @ (right.mH / torch.where(real, found, torch.inf)[:, None])
    loads = found[:, :, None] * right * size[:, None]
    return Decomposition(left, found * real, loads, real.sum(dim=1))


def first_components(blocks: Decomposition, keep: Callable[[Tensor], int]) -> Decomposition:
    """Only as many components of each block as `keep` says, given its singular values."""
    there = blocks.values > 0
    counts = [keep(row[row > 0]) if row.any() else 0 for row in blocks.values]
    count = torch.tensor(counts, device=there.device)
    kept = there & (there.cumsum(dim=1) <= count[:, None])
    last = int(kept.any(dim=0).nonzero().max()) + 1 if kept.any() else 0
    kept = kept[:, :last]
    return Decomposition(
        blocks.left[:, :, :last] * kept[:, None],
        blocks.values[:, :last] * kept,
        blocks.loads[:, :last],
        count,
    )


def mean_correlation(
    crossed: Inexact[Tensor, "blocks x_components y_components"],
    pairs: Int64[Tensor, "blocks"],
    times: Int64[Tensor, "blocks"],
) -> float:
    """Mean singular value, over so many `pairs` of each block, which counts so many `times`."""
    correlations = torch.linalg.svdvals(crossed).clamp(max=1.0)  # above by rounding alone
    return float(correlations.sum(dim=1) @ times.double() / (pairs @ times))


def weighted_correlation(
    crossed: Inexact[Tensor, "blocks x_components y_components"],
    pairs: Int64[Tensor, "blocks"],
    times: Int64[Tensor, "blocks"],
    loads: Inexact[Tensor, "blocks x_components columns"],
) -> float:
    """As `mean_correlation`, weighted by sum_j |<h, x_j>| of variates h over the columns x_j."""
    left, correlations, _ = torch.linalg.svd(crossed, full_matrices=False)
    weights = (left.mH @ loads).abs().sum(dim=2) * times[:, None]
    weights *= torch.arange(weights.shape[1], device=pairs.device) < pairs[:, None]
    return float((weights * correlations.clamp(max=1.0)).sum() / weights.sum())


def hsic(
    x: Float64[Tensor, "blocks samples x_columns"], y: Float64[Tensor, "blocks samples y_columns"]
) -> Float64[Tensor, "blocks"]:
    """HSIC of each block of centred columns, as `unbiased_hsic`."""
    norms = [view.square().sum(dim=2) for view in (x, y)]
    sums = [of_view.sum(dim=1) for of_view in norms]
    around = [of_view - of_view.mean(dim=1, keepdim=True) for of_view in norms]
    kernels = (x.mT @ y).square().sum(dim=(1, 2))
    return unbiased_hsic(kernels, (around[0] * around[1]).sum(dim=1), *sums, n=x.shape[1])


def at_one_size(
    values: Inexact[Tensor, "samples blocks columns"],
) -> tuple[Float64[Tensor, "blocks samples _"], Int64[Tensor, "blocks"]]:
    """Centred real columns whose HSIC with themselves is 1, and of how many columns that vary.

    Imaginary parts are beside the real ones. A block whose HSIC is not above 0 becomes zero. Of
    more columns than samples only as many are given, with the same products between samples.
    """
    blocks, columns, _ = centred(values)
    if blocks.is_complex():
        blocks = torch.cat([blocks.real, blocks.imag], dim=2)
    if blocks.shape[2] > blocks.shape[1]:
        blocks = torch.linalg.qr(blocks.mT, mode="r").R.mT
    norm = torch.linalg.vector_norm(columns, dim=1)
    blocks = blocks / norm.where(norm > 0, 1.0)[:, None, None]
    own = hsic(blocks, blocks)
    size = torch.where(own > 0, own, torch.inf).pow(0.25)
    return blocks / size[:, None, None], (columns > 0).sum(dim=1) * (own > 0)
