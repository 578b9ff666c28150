"""First and second moments: all that PCA, CCA and CKA need to see of the data."""

import warnings
from functools import partial, reduce
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mmrep.metrics.accumulator import Accumulator
from mmrep.stats.covariance import (
    Moments,
    Scatter,
    add_to_moments,
    add_to_scatter,
    check_views,
    merge_moments,
    merge_scatters,
    moments_from_scatter,
)

ROWS = 4  # of a state below its matrix: mean, scale, precision, count


class RunningMoments(Accumulator):
    """Moments of views side by side, however their samples are split over batches and ranks.

    By "factor" every batch updates a QR decomposition, which is right on every input. By
    "products" it adds a symmetric product: three times as fast, the same number where the
    correlation matrices of the views are well conditioned, and `compute` warns where they are not.

    The state is one float64 matrix whatever the number of samples: factor or scatter, below it
    each column's mean, largest absolute value and precision, and the count. Ranks merge by one
    gather of it, and a rank without samples adds nothing.
    """

    state: Float64[Tensor, "rows columns"]

    def __init__(self, *widths: int, by: str = "factor", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if by not in ("factor", "products"):
            raise ValueError(f"by={by!r} is neither 'factor' nor 'products'")
        self.widths = _checked_widths(widths)
        self.by = by
        columns = sum(widths)
        empty = torch.zeros(columns + ROWS, columns, dtype=torch.float64)
        merge = partial(merged, by=by, widths=self.widths)
        self.add_state("state", empty, dist_reduce_fx=merge)

    def update(self, *views: Float[Tensor, "samples _"]) -> None:
        """Takes samples in; row i of every view is the same sample."""
        _check_views(views, self.widths)
        with torch.inference_mode():  # where the state, once made there, may be written to
            if self.by == "factor":
                moments = add_to_moments(unpacked_moments(self.state, self.widths), views)
                store(self.state, moments.factor.T, moments, self.widths)
            else:
                scatter = add_to_scatter(unpacked_scatter(self.state, self.widths), views)
                store(self.state, scatter.matrix, scatter, self.widths)

    def compute(self) -> Moments:
        """Moments over all batches and ranks."""
        if self.by == "factor":
            return unpacked_moments(self.state, self.widths)
        moments = moments_from_scatter(unpacked_scatter(self.state, self.widths), self.widths)
        if not moments.trusted and moments.n > max(self.widths):
            warnings.warn(
                "the views' units are so nearly dependent that sums of products cannot tell faint "
                "directions from absent ones: use RunningMoments(by='factor')",
                stacklevel=3,
            )
        return moments


class ChunkedMoments(Accumulator):
    """Moments of chunks of the samples, for what needs more than the sum: intervals and floors.

    Sample i belongs to chunk i modulo `chunks`, so neither batches nor ranks decide. The states are
    those of `RunningMoments`, by "factor", one for each chunk.
    """

    state: Float64[Tensor, "chunks rows columns"]

    def __init__(self, *widths: int, chunks: int = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if chunks < 1:
            raise ValueError(f"chunks={chunks}: give at least 1")
        self.widths = _checked_widths(widths)
        columns = sum(widths)
        empty = torch.zeros(chunks, columns + ROWS, columns, dtype=torch.float64)
        merge = partial(merged_chunks, widths=self.widths)
        self.add_state("state", empty, dist_reduce_fx=merge)

    def update(self, index: Int[Tensor, "samples"], *views: Float[Tensor, "samples _"]) -> None:
        """Takes samples in; `index` is each sample's number in its data set."""
        _check_views(views, self.widths)
        if len(index) != len(views[0]) or index.is_floating_point():
            raise ValueError(
                f"{len(index)} numbers of type {index.dtype} for {len(views[0])} samples: give "
                "each sample's whole number in its data set"
            )
        chunk = index.to(views[0].device) % len(self.state)
        with torch.inference_mode():
            for number, state in enumerate(self.state):
                rows = tuple(view[chunk == number] for view in views)
                moments = add_to_moments(unpacked_moments(state, self.widths), rows)
                store(state, moments.factor.T, moments, self.widths)

    def compute(self) -> list[Moments]:
        """Moments of each chunk, over all batches and ranks."""
        return [unpacked_moments(state, self.widths) for state in self.state]


def merged_chunks(
    states: Float64[Tensor, "ranks chunks rows columns"], widths: tuple[int, ...]
) -> Float64[Tensor, "chunks rows columns"]:
    """One state of each chunk of all ranks' samples."""
    return torch.stack([merged(chunk, "factor", widths) for chunk in states.transpose(0, 1)])


def merged(
    states: Float64[Tensor, "ranks rows columns"], by: str, widths: tuple[int, ...]
) -> Float64[Tensor, "rows columns"]:
    """One state of all ranks' samples."""
    state = torch.empty_like(states[0])
    if by == "factor":
        moments = reduce(merge_moments, (unpacked_moments(one, widths) for one in states))
        store(state, moments.factor.T, moments, widths)
    else:
        scatter = reduce(merge_scatters, (unpacked_scatter(one, widths) for one in states))
        store(state, scatter.matrix, scatter, widths)
    return state


def unpacked_moments(state: Float64[Tensor, "rows columns"], widths: tuple[int, ...]) -> Moments:
    """The factor is kept transposed: column-major, as LAPACK updates it in place."""
    mean, scale, precision, n = state[-ROWS:]
    by_view = _by_view(precision, widths)
    return Moments(int(n[0]), mean, state[:-ROWS].T, scale, widths, precision=by_view)


def unpacked_scatter(state: Float64[Tensor, "rows columns"], widths: tuple[int, ...]) -> Scatter:
    mean, scale, precision, n = state[-ROWS:]
    return Scatter(int(n[0]), mean, state[:-ROWS], scale, _by_view(precision, widths))


def _by_view(precision: Tensor, widths: tuple[int, ...]) -> tuple[float, ...]:
    columns = precision.tolist()
    return tuple(columns[sum(widths[:view])] for view in range(len(widths)))


def store(state: Tensor, matrix: Tensor, about: Moments | Scatter, widths: tuple[int, ...]) -> None:
    """Writes a state; where the matrix was updated in place, it is there already."""
    if matrix.data_ptr() != state.data_ptr():
        state[:-ROWS] = matrix
    by_view = torch.tensor(about.precision, dtype=state.dtype)
    precision = by_view.repeat_interleave(torch.tensor(widths)).to(state.device)
    state[-ROWS:] = torch.stack(
        [about.mean, about.scale, precision, torch.full_like(about.mean, about.n)]
    )


def _checked_widths(widths: tuple[int, ...]) -> tuple[int, ...]:
    if not widths or min(widths) < 1:
        raise ValueError(f"widths={widths}: give the number of columns of each view")
    return widths


def _check_views(views: tuple[Tensor, ...], widths: tuple[int, ...]) -> None:
    check_views(views)
    given = tuple(view.shape[1] for view in views)
    if given != widths:
        raise ValueError(f"views of {given} columns, where {widths} were announced")
    for number, view in enumerate(views):
        if len(view) and not (view.amax().double() - view.amin().double()).isfinite():
            raise ValueError(
                f"view {number} (the first is 0) holds NaN or infinite values: nothing of this "
                "batch was taken"
            )
