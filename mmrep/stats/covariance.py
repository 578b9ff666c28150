"""Moments of feature vectors: all that PCA, CCA and CKA need to see of the data.

Samples come in blocks, and blocks merge, by the update of Chan, Golub & LeVeque (1983): a block
is centred by its own mean, and one more row stands for the distance between the two means,

    scatter(a + b) = scatter(a) + scatter(b) + n_a n_b / (n_a + n_b) (mean_b - mean_a)(...)^T

so a large mean costs no digits. What is carried along is either the scatter matrix itself (one
symmetric product, fast) or its triangular factor (one QR update, which does not square the
condition number).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dtpqrt
from torch import Tensor

EPS = torch.finfo(torch.float64).eps
NOISE = 64 * EPS  # of its size: what summation in float64 may leave of a constant
ARITHMETIC = 16 * 2**-24  # what float32 layers, which sum up hundreds of products, leave at most
BLOCK = 256  # rows taken at once: enough for the processor, few enough for its cache
PANEL = 32  # columns that the QR update treats at once; 16 to 64 are as fast
TRUSTED = 1e-8  # least eigenvalue of a view's correlation matrix for which products are believed


class Moments(NamedTuple):
    """Mean and covariance of `n` samples of one or several views, side by side.

    `factor` (R) is upper triangular, and R^T R is the scatter matrix: sums, not means, of products
    of centred columns. `scale` is each column's largest absolute value. `widths` are the columns of
    each view; without them, two views of equal width are meant. `trusted` is False where sums of
    products have lost what the conclusions rest on. `precision` is, for each view, the relative
    rounding of its numbers as their type tells it, 1e-6 of float32; float64's if it is not given.
    """

    n: int
    mean: Float64[Tensor, "columns"]
    factor: Float64[Tensor, "columns columns"]
    scale: Float64[Tensor, "columns"]
    widths: tuple[int, ...] = ()
    trusted: bool = True
    precision: tuple[float, ...] = ()


def columns_of(moments: Moments, view: int) -> slice:
    """Where a view lies among the columns."""
    return _columns(moments.widths, view)


def _columns(widths: tuple[int, ...], view: int) -> slice:
    start = sum(widths[:view])
    return slice(start, start + widths[view])


class Scatter(NamedTuple):
    """As `Moments`, with the scatter matrix instead of its factor: the lower triangle counts."""

    n: int
    mean: Float64[Tensor, "columns"]
    matrix: Float64[Tensor, "columns columns"]
    scale: Float64[Tensor, "columns"]
    precision: tuple[float, ...] = ()


def moments_of(*views: Float[Tensor, "_ _"]) -> Moments:
    """Moments of views that lie in memory: by products, and by QR where these lose digits."""
    check_views(views)
    widths = tuple(view.shape[1] for view in views)
    zeros = torch.zeros(sum(widths), dtype=torch.float64, device=views[0].device)
    scatter = add_to_scatter(Scatter(0, zeros, zeros.diag(), zeros), views)
    moments = moments_from_scatter(scatter, widths)
    if moments.trusted:
        return moments
    return add_to_moments(Moments(0, zeros, zeros.diag(), zeros, widths), views)


def check_views(views: Sequence[Tensor]) -> None:
    """Refuses what is no views of the same samples."""
    for view in views:
        if not isinstance(view, Tensor):
            raise ValueError(f"a view is a {type(view).__name__}: give torch tensors")
        if view.ndim != 2 or not view.shape[1] or not view.is_floating_point():
            raise ValueError(
                f"a view of shape {tuple(view.shape)} and type {view.dtype}: give samples x units, "
                "at least one unit, in floating point (maps: flatten them, or see dft_cca)"
            )
    lengths = [len(view) for view in views]
    if len(set(lengths)) > 1:
        raise ValueError(f"views have {lengths} samples: row i of each must be the same sample")
    devices = [str(view.device) for view in views]
    if len(set(devices)) > 1:
        raise ValueError(f"views are on {devices}: bring them to one device")


def add_to_scatter(scatter: Scatter, views: tuple[Float[Tensor, "_ _"], ...]) -> Scatter:
    """Takes samples in; `scatter.matrix` is written over."""
    n, mean, matrix = scatter[:3]
    for block in _blocks(views):
        n, mean, rows = _centred(n, mean, block)
        matrix = add_products(matrix, rows)
    return Scatter(n, mean, matrix, *_size_and_precision(scatter, views))


def add_to_moments(moments: Moments, views: tuple[Float[Tensor, "_ _"], ...]) -> Moments:
    """Takes samples in; `moments.factor` is written over."""
    n, mean, factor = moments[:3]
    for block in _blocks(views):
        n, mean, rows = _centred(n, mean, block)
        factor = add_rows(factor, rows)
    scale, precision = _size_and_precision(moments, views)
    return moments._replace(n=n, mean=mean, factor=factor, scale=scale, precision=precision)


def _blocks(views: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """The views side by side in float64, some rows at a time, and one spare row at the end.

    Every block lies in the same memory: it is to be used before the next one is asked for.
    """
    widths = [view.shape[1] for view in views]
    memory = torch.empty(BLOCK + 1, sum(widths), dtype=torch.float64, device=views[0].device)
    for start in range(0, len(views[0]), BLOCK):
        parts = [view.detach()[start : start + BLOCK] for view in views]
        block = memory[: len(parts[0]) + 1]
        for part, place in zip(parts, torch.split(block[:-1], widths, dim=1), strict=True):
            place.copy_(part)
        yield block


def _centred(n: int, mean: Tensor, block: Tensor) -> tuple[int, Tensor, Tensor]:
    """Count and mean with the block, and the rows by which the scatter grows."""
    rows, spare = block[:-1], block[-1]
    total = n + len(rows)
    block_mean = rows.mean(dim=0)
    rows -= block_mean
    distance = block_mean - mean
    torch.mul(distance, (n * len(rows) / total) ** 0.5, out=spare)
    return total, mean + distance * (len(rows) / total), block


def _size_and_precision(
    before: Moments | Scatter, views: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[float, ...]]:
    """Each column's largest absolute value, and each view's relative rounding."""
    if not len(views[0]):
        return before.scale, before.precision
    largest = [torch.maximum(v.amax(dim=0), -v.amin(dim=0)).double() for v in views]
    scale = torch.maximum(before.scale, torch.cat(largest).detach())
    return scale, _coarser(before.precision, tuple(_rounding(view.dtype) for view in views))


def _rounding(dtype: torch.dtype) -> float:
    """The relative error of a layer's output of this type."""
    half = torch.finfo(dtype).eps / 2
    return half if dtype == torch.float64 else max(half, ARITHMETIC)


def _coarser(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(max, a, b)) if a and b else a or b


def has_lapack(tensor: Tensor) -> bool:
    """Whether NumPy's and SciPy's libraries reach the tensor's memory: on the CPU they do."""
    return tensor.is_cpu


def add_products(matrix: Tensor, rows: Tensor) -> Tensor:
    """Adds rows^T rows to a matrix' lower triangle, by the symmetric product that torch lacks."""
    if not has_lapack(rows):
        return matrix.addmm_(rows.T, rows)
    # A row-major lower triangle is a column-major upper one: nothing is copied.
    summed = dsyrk(1.0, rows.numpy().T, beta=1.0, c=matrix.numpy().T, overwrite_c=1)
    return torch.from_numpy(summed.T)


def add_rows(factor: Tensor, rows: Tensor) -> Tensor:
    """R of the QR decomposition of [factor; rows]; LAPACK's update leaves the zeros of R alone."""
    if not has_lapack(rows):
        return torch.linalg.qr(torch.cat([factor, rows]), mode="r").R
    upper = np.asfortranarray(factor.numpy())
    panel = min(PANEL, len(upper))
    upper, *_ = dtpqrt(0, panel, upper, np.asfortranarray(rows.numpy()), overwrite_a=1)
    return torch.from_numpy(upper)


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Moments of the samples of both."""
    if a.widths != b.widths:
        raise ValueError(f"moments of widths {a.widths} and {b.widths} are not of the same views")
    n, mean, distance = _merged_mean(a, b)
    return a._replace(
        n=n,
        mean=mean,
        factor=add_rows(a.factor.clone(), torch.cat([b.factor, distance[None]])),
        scale=torch.maximum(a.scale, b.scale),
        trusted=a.trusted and b.trusted,
        precision=_coarser(a.precision, b.precision),
    )


def merge_scatters(a: Scatter, b: Scatter) -> Scatter:
    """Scatter of the samples of both."""
    n, mean, distance = _merged_mean(a, b)
    matrix = a.matrix + b.matrix + distance.outer(distance)
    precision = _coarser(a.precision, b.precision)
    return Scatter(n, mean, matrix, torch.maximum(a.scale, b.scale), precision)


def _merged_mean(a: Moments | Scatter, b: Moments | Scatter) -> tuple[int, Tensor, Tensor]:
    n = a.n + b.n
    if n == 0:
        return n, a.mean, torch.zeros_like(a.mean)
    distance = b.mean - a.mean
    return n, a.mean + distance * (b.n / n), distance * (a.n * b.n / n) ** 0.5


def noise(n: int, mean: Tensor, norm: Tensor, precision: float = 0.0) -> Float64[Tensor, "columns"]:
    """The norm that rounding alone may give centred columns: one that has no more is dead."""
    return max(NOISE, precision) * (norm.square() + n * mean.square()).sqrt()


def moments_from_scatter(scatter: Scatter, widths: tuple[int, ...]) -> Moments:
    """The factor of a scatter matrix, and whether it can be trusted.

    A correlation matrix's eigenvalues are squares, so below `TRUSTED` of the largest a view that
    lacks a direction looks like one that has it faintly. Directions below rounding are then taken
    as absent, which is right for duplicated units and wrong for ill-conditioned ones.
    """
    norm = scatter.matrix.diagonal().clamp(min=0).sqrt()
    if not norm.isfinite().all():  # for the conclusions to refuse by name
        return Moments(scatter.n, scatter.mean, norm.diag(), scatter.scale, widths)
    still = norm <= noise(scatter.n, scatter.mean, norm)
    size = torch.where(still, 1.0, norm)
    correlation = (scatter.matrix / size).div_(size[:, None])
    correlation[still], correlation[:, still] = 0.0, 0.0
    correlation.diagonal()[still] = 1.0  # a place holder: the column's factor becomes zero below
    size = torch.where(still, 0.0, norm)
    places = [_columns(widths, view) for view in range(len(widths))]
    views = [correlation[place, place] for place in places]
    spectra = [torch.linalg.eigvalsh(view) for view in views]
    trusted = all(bool(values[0] >= TRUSTED * values[-1]) for values in spectra)
    factor, failed = torch.linalg.cholesky_ex(correlation)
    factor = factor.mT
    if not trusted or failed:  # views that share directions make the whole singular: no harm
        values, vectors = torch.linalg.eigh(correlation)
        factor = values.clamp(min=0).sqrt()[:, None] * vectors.T
        if not trusted:
            factor = factor @ torch.block_diag(*map(_present, views))  # type: ignore[no-untyped-call]
        factor = torch.linalg.qr(factor, mode="r").R
    return Moments(
        scatter.n,
        scatter.mean,
        factor.mul_(size),
        scatter.scale,
        widths,
        trusted,
        scatter.precision,
    )


def _present(correlation: Tensor) -> Tensor:
    """The projector on the directions whose variance is above rounding."""
    values, vectors = torch.linalg.eigh(correlation)
    vectors = vectors[:, values > NOISE * len(values) * values[-1]]
    return vectors @ vectors.T
