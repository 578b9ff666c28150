"""Images with their cyclic shifts, and what of networks and data can be asked about them."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmrep.stats.translations import cyclic_shifts

LARGEST_SIDE = 64  # of images: all their shifts, and a channel's covariance, are held in memory


def shifted(data: Any, number: int, first: int | None = None) -> Any:
    """A loader of all cyclic shifts of the first validation images, or of the `first` per axis.

    They come in the order of `cyclic_shifts`.
    """
    moved = copy.copy(data)
    moved.val_set = copy.copy(data.val_set)
    moved.val_set.inputs = cyclic_shifts(data.val_set.inputs[:number], first)
    every = len(moved.val_set.inputs)
    moved.val_set.label = data.val_set.label[:number].repeat_interleave(every // number)
    moved.val_set.index = torch.arange(every)
    return moved.val_dataloader()


def check_images(data: Any, **numbers: int) -> None:
    """Refuses images that are not square or too large, and numbers of them that are not there."""
    images = data.val_set.inputs
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ValueError(f"{data.title} holds no square images, of which shifts could be taken")
    side = images.shape[2]
    if side > LARGEST_SIDE:
        raise ValueError(
            f"{data.title} has images of {side} x {side}, of which {side**2:,} shifts each do not "
            f"fit the memory: choose images of at most {LARGEST_SIDE} x {LARGEST_SIDE}"
        )
    for key, value in numbers.items():
        if not 2 <= value <= len(images):
            raise ValueError(
                f"analysis.{key}={value} is not from 2 to {len(images)}, the number of validation "
                "images"
            )


def check_maps(layer: str, maps: Tensor, channels: Sequence[int] = (0,)) -> None:
    """Refuses a layer without maps, and channels that it has not."""
    if maps.ndim != 4:
        raise ValueError(
            f"layer {layer!r} gives {' x '.join(map(str, maps.shape[1:]))} numbers a sample and no "
            "maps: choose layers before the mean over pixels"
        )
    if not channels or min(channels) < 0 or max(channels) >= maps.shape[1]:
        raise ValueError(
            f"channels={[*channels]}: layer {layer!r} has channels 0 to {maps.shape[1] - 1}; name "
            "at least one"
        )
    if len({*channels}) < len(channels):
        raise ValueError(f"channels={[*channels]} must name each channel once")
