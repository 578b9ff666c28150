"""Cyclic shifts of images, and what they make of the covariance of maps (Raghu et al. 2017, C).

Where a set holds every cyclic shift of its images, the covariance of two pixels depends on their
distance alone: of one channel the covariance over pixels is block circulant, its blocks circulant
(Lemma 1), and over spatial frequencies diagonal; of several channels it is diagonal in blocks, one
for each frequency (Theorem 2). A circular convolution or pooling of stride s keeps that on images
whose sides s divides: shifts by s pixels become shifts by one, and the s * s shifts between them
are further images of which every shift is there.
"""

import torch
from jaxtyping import Complex128, Float, Float64, Shaped
from torch import Tensor

from mmrep.stats.covariance import Scatter, add_to_scatter


def cyclic_shifts(
    images: Shaped[Tensor, "images channels height width"], first: int | None = None
) -> Shaped[Tensor, "shifted channels height width"]:
    """Each image moved down and right by every number of pixels, or the `first` on each axis.

    What leaves on one side comes in on the other. All shifts of an image stand together, those of
    one row by the number of columns; the first is the image itself.
    """
    _, _, height, width = images.shape
    least = min(height, width)
    if first is not None and not 1 <= first <= least:
        raise ValueError(f"first={first} shifts on each axis: give 1 to {least}, or None for all")
    rows = torch.arange(height) - torch.arange(first or height)[:, None]
    columns = torch.arange(width) - torch.arange(first or width)[:, None]
    # images, channels, shift down, row, shift right, column
    moved = images[:, :, rows % height][..., columns % width]
    return moved.permute(0, 2, 4, 1, 3, 5).reshape(-1, *images.shape[1:])


def no_products(columns: int) -> Scatter:
    """The products of no maps, to which `add_to_scatter` adds some, flattened, as one view."""
    zeros = torch.zeros(columns, dtype=torch.float64)
    return Scatter(0, zeros, zeros.diag(), zeros)


def pixel_covariance(scatter: Scatter) -> Float64[Tensor, "columns columns"]:
    """The covariance of maps (n - 1) that were added to `no_products`."""
    if scatter.n < 2:
        raise ValueError(f"{scatter.n} samples have no covariance: give at least 2")
    lower = scatter.matrix.tril()
    return (lower + lower.tril(-1).T) / (scatter.n - 1)


def map_covariance(
    maps: Float[Tensor, "samples channels height width"],
) -> Float64[Tensor, "columns columns"]:
    """The covariance of maps in memory, over all pixels of all channels."""
    return pixel_covariance(add_to_scatter(no_products(maps[0].numel()), (maps.flatten(1),)))


def fourier_covariance(
    covariance: Float64[Tensor, "columns columns"], size: tuple[int, int]
) -> Complex128[Tensor, "columns columns"]:
    """The same covariance over the spatial frequencies of each channel instead of its pixels.

    `size` is the maps' height and width. The transform is unitary, so the sum of squares of the
    covariance stays, and frequencies stand in FFT order, the vertical one first.
    """
    columns = len(covariance)
    if columns % (size[0] * size[1]):
        raise ValueError(
            f"a covariance of {columns} columns is not of channels of {size[0]} x {size[1]}"
        )
    by_pixel = covariance.view(-1, *size, columns)
    one_side = torch.fft.fft2(by_pixel, dim=(1, 2), norm="ortho").reshape(columns, -1, *size)
    # Of the other side the conjugate: F C F^H, whose diagonal is the power at each frequency.
    return torch.fft.ifft2(one_side, dim=(2, 3), norm="ortho").reshape(columns, columns)


def off_diagonal_share(
    covariance: Float64[Tensor, "places places"] | Complex128[Tensor, "places places"],
) -> float:
    """How much of a covariance's sum of squares stands between different pixels, or frequencies.

    Of a channel, or of one channel (rows) with another (columns). 0 where it is diagonal,
    (d - 1) / d where all d pixels are one and the same number.

    ValueError: nothing varies.
    """
    power = covariance.abs().square()
    whole = float(power.sum())
    if not whole > 0:
        raise ValueError("maps that do not vary have no covariance: choose another channel")
    power.fill_diagonal_(0)
    return float(power.sum()) / whole
