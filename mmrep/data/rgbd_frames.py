"""Pairs of a colour image and a depth map: what every RGB-D source gives."""

from typing import NamedTuple

from jaxtyping import Float, Int16, Int64, UInt8
from torch import Tensor


class RGBDFrames(NamedTuple):
    """Frames of one size, decoded; row i of every part is the same frame.

    `depth` is in millimetres, 0 where none was measured. `group` is what a frame shares with others
    that are nearly the same picture: an object, a person. `index` is a frame's number among all of
    its source, whichever were chosen. `known` are numbers that a simulation has set for each frame.
    """

    rgb: UInt8[Tensor, "frames 3 size size"]
    depth: Int16[Tensor, "frames 1 size size"]
    label: Int64[Tensor, "frames"]
    group: Int64[Tensor, "frames"]
    index: Int64[Tensor, "frames"]  # type: ignore[assignment]  # as in Batch
    class_names: tuple[str, ...]
    known: dict[str, Float[Tensor, "frames"]]
