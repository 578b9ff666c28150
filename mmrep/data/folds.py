"""Folds of a cross-validation: which frames are tested together."""

import numpy as np
from jaxtyping import Int64
from torch import Tensor, from_numpy

SPLITS = ("group", "frame")


def folds_of(
    label: Int64[Tensor, "frames"],
    group: Int64[Tensor, "frames"],
    *,
    folds: int,
    split_by: str,
    seed: int,
) -> Int64[Tensor, "frames"]:
    """The fold of each frame, 0 to `folds` - 1, drawn by `seed`.

    By "group" all frames of an object or a person are in one fold; by "frame" each frame is dealt
    out by itself, so that pictures of one group, often nearly equal, stand on both sides. Either
    way the classes are spread evenly, as far as there are groups.

    ValueError: fewer than two folds or more than there are groups or frames, an unknown split, a
    class all of whose frames are in one fold.
    """
    if split_by not in SPLITS:
        raise ValueError(f"data.split_by={split_by!r} is not one of {', '.join(SPLITS)}")
    units = group.numpy() if split_by == "group" else np.arange(len(label))
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    if not 2 <= folds <= len(first):
        raise ValueError(
            f"data.folds={folds} must be 2 or more, and at most the {len(first)} {split_by}s"
        )
    # Dealt out like cards, class by class: neighbours come into different folds.
    order = np.lexsort((np.random.default_rng(seed).permutation(len(first)), label.numpy()[first]))
    of_unit = np.empty(len(first), dtype=np.int64)
    of_unit[order] = np.arange(len(first)) % folds
    fold = of_unit[unit]
    for one in np.unique(label):
        if len(np.unique(fold[label.numpy() == one])) < 2:
            raise ValueError(
                f"data.split_by={split_by}: class {one} has all its frames in one fold, so it is "
                "tested without having been trained; choose data.split_by=frame, or more frames"
            )
    return from_numpy(fold)
