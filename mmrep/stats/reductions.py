"""What a layer says of samples, in blocks: vectors, or maps reduced in one of four ways."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from mmrep.stats.covariance import (
    Moments,
    Scatter,
    add_to_moments,
    add_to_scatter,
    moments_from_scatter,
)
from mmrep.stats.similarity import with_norms
from mmrep.stats.spatial_frequencies import frequencies_of

REDUCTIONS = ("dft", "pixels", "pooled", "flat")
ROWS = 2**15  # pixels that are interpolated and summed up at once


class Representation(NamedTuple):
    """What a layer says of samples.

    `values` are samples x blocks x columns, float64, or complex128 where blocks are frequencies.
    `size` is the maps' height and width, (1, 1) where nothing of them is left. `frequencies` is how
    many of each axis a dft was asked to keep, None all. `reduced` is true where the columns are the
    singular directions that SVCCA keeps (`reduced_to_directions`), which are not cut once more.
    """

    values: Tensor
    size: tuple[int, int]
    reduction: str
    frequencies: int | None = None
    reduced: bool = False

    @property
    def kept_size(self) -> tuple[int, int]:
        """How many frequencies of each axis are there."""
        height, width = self.size
        most = self.frequencies or max(self.size)
        return min(height, most), min(width, most)


def represent(
    outputs: Float[Tensor, "samples *shape"], reduction: str, *, frequencies: int | None = None
) -> Representation:
    """A batch of a layer's outputs; batches are joined by joining their `values`.

    Vectors (samples x units) are one block under every reduction. Of maps (samples x channels x
    height x width)

    - `dft` makes a block of each spatial frequency, with one complex column for each channel. Of
      two conjugate frequencies one is held. `frequencies` keeps the lowest of each axis, those in
      [-frequencies/2, frequencies/2).
    - `pixels` takes positions as samples: a block for each, which are stacked to be compared.
    - `pooled` takes the channels' means, `flat` all of a map's numbers, as one block.

    A direction that is no more than rounding in float64 is none: outputs should be those of a
    network in float64, as `read_features(..., double=True)` gives them.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction={reduction!r} is not one of {', '.join(REDUCTIONS)}")
    if frequencies is not None and (reduction != "dft" or frequencies < 1):
        raise ValueError(
            f"frequencies={frequencies} with reduction={reduction!r}: give 1 or more, and only "
            "with reduction='dft'"
        )
    if outputs.ndim not in (2, 4) or 0 in outputs.shape[1:]:
        raise ValueError(
            f"outputs of shape {tuple(outputs.shape)}: give vectors (samples x units) or maps "
            "(samples x channels x height x width), at least one of each"
        )
    outputs = outputs.detach().double()
    if outputs.ndim == 2:
        return Representation(outputs[:, None], (1, 1), reduction, frequencies)
    if reduction == "flat":
        return Representation(outputs.flatten(1)[:, None], (1, 1), reduction)
    if reduction == "pooled":
        return Representation(outputs.mean(dim=(2, 3))[:, None], (1, 1), reduction)
    size = outputs.shape[2], outputs.shape[3]
    if reduction == "pixels":
        return Representation(outputs.flatten(2).mT.contiguous(), size, reduction)
    maps = Representation(outputs, size, reduction, frequencies)
    down, across = frequencies_of(size, maps.kept_size).to(outputs.device).T
    spectra = torch.fft.rfft2(outputs, norm="ortho")  # unitary: of the maps' own variance
    return maps._replace(values=spectra.movedim(1, 3)[:, down, across].contiguous())


def stacked_moments(*layers: Representation, norms: bool) -> Moments:
    """Moments of all positions of all samples, at the largest of the layers' sizes.

    Smaller maps are interpolated bilinearly. `norms` adds those of the rows, for CKA.
    """
    height, width = (max(layer.size[axis] for layer in layers) for axis in (0, 1))
    means = [layer.values.mean(dim=(0, 1)) for layer in layers]
    some = max(1, ROWS // (height * width))

    def views() -> Iterator[tuple[Tensor, ...]]:
        for start in range(0, len(layers[0].values), some):
            parts = [
                # Squared norms lose the digits that a large mean takes.
                _interpolated(
                    layer.values[start : start + some] - mean, layer.size, (height, width)
                )
                for layer, mean in zip(layers, means, strict=True)
            ]
            yield with_norms(*parts) if norms else tuple(parts)

    widths = tuple(len(mean) for mean in means) + (1,) * len(layers) * norms
    zeros = means[0].new_zeros(sum(widths))
    scatter = Scatter(0, zeros, zeros.diag(), zeros)
    for some_views in views():
        scatter = add_to_scatter(scatter, some_views)
    moments = moments_from_scatter(scatter, widths)
    if moments.trusted:
        return moments
    moments = Moments(0, zeros, zeros.diag(), zeros, widths)
    for some_views in views():
        moments = add_to_moments(moments, some_views)
    return moments


def _interpolated(values: Tensor, size: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Positions of maps as rows, sample by sample, interpolated to another size."""
    if size != new:
        maps = values.mT.reshape(*values.shape[::2], *size)
        values = interpolate(maps, new, mode="bilinear", align_corners=False).flatten(2).mT
    return values.flatten(0, 1)
