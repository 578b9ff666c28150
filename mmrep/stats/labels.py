"""Labels as all statistics of labelled samples take them."""

from torch import Tensor


def check_labels(label: Tensor, samples: int) -> None:
    """Refuses what is not one whole number for each sample."""
    if label.is_floating_point() or label.ndim != 1:
        raise ValueError(
            f"labels of shape {tuple(label.shape)} and type {label.dtype}: give one whole number, "
            "such as int64, for each sample"
        )
    if len(label) != samples:
        raise ValueError(f"{len(label)} labels for {samples} samples: give one for each")
