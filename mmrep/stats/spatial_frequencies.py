"""Which spatial frequencies of maps are blocks, and which blocks of two layers belong together.

Frequency k = (k1, k2) of real maps of height x width lies at k modulo the sizes, and -k is its
conjugate. It has the code k2 * height + k1, of the places. The smaller code of k and -k is that of
their block, and blocks are in the order of codes: all lie in the half that `rfft2` gives.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor


def frequencies_of(size: tuple[int, int], kept: tuple[int, int]) -> Int64[Tensor, "blocks 2"]:
    """Where in `rfft2` the blocks lie of which one has all frequencies in [-kept/2, kept/2)."""
    codes = torch.unique(_block_codes(_grid(kept), size))
    return torch.stack([codes % size[0], codes // size[0]], dim=1)


def times_of(size: tuple[int, int], kept: tuple[int, int]) -> Int64[Tensor, "blocks"]:
    """How many of these frequencies each block stands for: one, or two that are conjugate."""
    return torch.unique(_block_codes(_grid(kept), size), return_counts=True)[1]


class SharedBlocks(NamedTuple):
    """Blocks of x and of y of the same frequencies, and how many frequencies these are.

    `opposite` is true where y holds the conjugate of what x holds.
    """

    x: Int64[Tensor, "pairs"]
    y: Int64[Tensor, "pairs"]
    opposite: Tensor
    times: Int64[Tensor, "pairs"]


def shared_blocks(
    x_size: tuple[int, int],
    x_kept: tuple[int, int],
    y_size: tuple[int, int],
    y_kept: tuple[int, int],
) -> SharedBlocks:
    """Blocks at the frequencies in [-s/2, s/2) of each axis, s the smaller of what is kept.

    At -s/2 a layer of size s is its own conjugate and a larger one is not, so there a block of the
    one may belong to two of the other.
    """
    grid = _grid((min(x_kept[0], y_kept[0]), min(x_kept[1], y_kept[1])))
    x, x_opposite = _places(grid, x_size, x_kept)
    y, y_opposite = _places(grid, y_size, y_kept)
    rows = torch.stack([x, y, (x_opposite != y_opposite).long()], dim=1)
    rows, times = torch.unique(rows, dim=0, return_counts=True)
    x, y, opposite = rows.unbind(dim=1)
    return SharedBlocks(x, y, opposite.bool(), times)


def _places(
    grid: Int64[Tensor, "frequencies 2"], size: tuple[int, int], kept: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The block of each frequency, and whether it holds the conjugate."""
    blocks = torch.unique(_block_codes(_grid(kept), size))
    codes = _block_codes(grid, size)
    return torch.searchsorted(blocks, codes), codes != _codes(grid, size)


def _grid(kept: tuple[int, int]) -> Int64[Tensor, "frequencies 2"]:
    axes = (torch.fft.fftfreq(side, 1 / side).round().long() for side in kept)
    return torch.cartesian_prod(*axes)


def _block_codes(
    grid: Int64[Tensor, "frequencies 2"], size: tuple[int, int]
) -> Int64[Tensor, "frequencies"]:
    return torch.minimum(_codes(grid, size), _codes(-grid, size))


def _codes(
    grid: Int64[Tensor, "frequencies 2"], size: tuple[int, int]
) -> Int64[Tensor, "frequencies"]:
    return grid[:, 1] % size[1] * size[0] + grid[:, 0] % size[0]
