"""How alike pixels some way apart are, in images and in what filters make of them.

Chowers & Weiss 2023, Figure 6.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

DIRECTIONS = ("horizontal", "vertical")
CHUNK_BYTES = 16 * 2**20  # of doubles at a time


def autocorrelation(
    maps: Float[Tensor, "images channels height width"], max_shift: int, direction: str
) -> Float64[Tensor, "shifts"]:
    """C(0) to C(max_shift), divided by C(0): how alike pixels so far apart are.

    C is the mean, over images and all pairs of positions that far apart in `direction`, which is
    "horizontal" or "vertical", of the inner product of their channel vectors. No mean is taken off:
    give the normalised input, or what a first layer makes of it. The paper names no direction; the
    mean of both curves is that of all such pairs of square maps.
    """
    channels = maps.shape[1]
    pixel = torch.eye(channels, dtype=torch.float64, device=maps.device)[..., None, None]
    return filter_autocorrelation(pixel, lagged_moments(maps, 1, max_shift, direction))


def lagged_moments(
    images: Float[Tensor, "images channels height width"],
    size: int,
    max_shift: int,
    direction: str,
) -> Float64[Tensor, "shifts dimensions dimensions"]:
    """Mean outer product of each patch of `size` x `size` and the patch some pixels further on.

    All that filters of this size need to be known of images: see `filter_autocorrelation`.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction={direction!r} is not one of {', '.join(DIRECTIONS)}")
    along_rows = images if direction == "horizontal" else images.transpose(2, 3)
    count, channels, height, width = along_rows.shape
    length, dimensions = width - size + 1, channels * size**2
    if not 0 <= max_shift < length:
        raise ValueError(
            f"max_shift={max_shift} does not fit into {length} pixels: take 0 to {length - 1}"
        )
    # A strip is as high as a patch and as wide as the image. One product of strips by strips holds
    # every pair of patches in a row, whose pixels it sums over along its diagonals.
    lines = channels * size
    product = torch.zeros(lines * width, lines * width, dtype=torch.float64, device=images.device)
    bytes_of_one = 8 * (height - size + 1) * lines * width
    for part in torch.split(along_rows, max(1, CHUNK_BYTES // bytes_of_one)):
        strips = part.double().unfold(2, size, 1).permute(0, 2, 1, 4, 3)
        strips = strips.reshape(-1, lines * width)
        product += strips.T @ strips
    pixels = product.view(lines, width, lines, width)
    moments = product.new_zeros(max_shift + 1, lines, size, lines, size)
    for shift in range(max_shift + 1):
        pairs = length - shift
        for i in range(size):
            for j in range(size):
                block = pixels[:, i : i + pairs, :, shift + j : shift + j + pairs]
                summed = block.diagonal(dim1=1, dim2=3).sum(dim=-1)
                moments[shift, :, i, :, j] = summed / (count * (height - size + 1) * pairs)
    moments = moments.view(-1, channels, size, size, channels, size, size)
    if direction == "vertical":  # a patch's rows and columns are back where they were
        moments = moments.permute(0, 1, 3, 2, 4, 6, 5)
    return moments.reshape(-1, dimensions, dimensions)


def filter_autocorrelation(
    filters: Float[Tensor, "filters channels rows columns"],
    moments: Float64[Tensor, "shifts dimensions dimensions"],
) -> Float64[Tensor, "shifts"]:
    """`autocorrelation` of what a convolution makes of the images, without bias and padding.

    With the Gram matrix G of the filters, C(delta) is the trace of G times the patches' moment at
    that shift: 100 initialisations cost little more than one.
    """
    flat = filters.detach().flatten(1).double()
    if flat.shape[1] != moments.shape[1]:
        raise ValueError(
            f"filters of {tuple(filters.shape[1:])} have {flat.shape[1]} dimensions and the "
            f"moments {moments.shape[1]}: take moments of patches of the filters' channels and size"
        )
    covariance = torch.einsum("sij,ij->s", moments, flat.T @ flat)
    if not (covariance[0] > 0 and covariance.isfinite().all()):
        raise ValueError(
            f"C(0) is proportional to {covariance[0].item():g}: give at least one map that is "
            "finite and not 0 everywhere"
        )
    return covariance / covariance[0]
