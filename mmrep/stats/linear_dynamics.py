"""Gradient descent on a linear CNN of depth 2, solved exactly (Chowers & Weiss 2023, theorem 4.2).

An output is the sum, over its K filters w_k, of the mean of p.w_k over an image's patches p. With
the mean, over images, of (label - output)^2 as the loss, its gradient in each w_k is
2 (K A w_bar - b): A is the mean of p_bar p_bar^T and b that of p_bar times the label, p_bar an
image's mean patch and w_bar the mean filter. Along an axis of A with the eigenvalue a, the way to
the solution thus shrinks by 1 - 2 rate K a a step, and all filters of an output take the same way.

The theorem's lambda^2 is K a up to the number of patches, where those of an image are uncorrelated.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mmrep.stats.energy import PatchAxes, axes_from_sums


def mean_patches(
    images: Float[Tensor, "images channels height width"], size: int, *, stride: int = 1
) -> Float64[Tensor, "images dimensions"]:
    """Each image's mean over its windows of `size` x `size`."""
    height, width = images.shape[2:]
    if not (1 <= size <= min(height, width) and stride >= 1):
        raise ValueError(
            f"size={size}, stride={stride}: images of {height} x {width} take a size of 1 to "
            f"{min(height, width)} and a stride of at least 1"
        )
    windows = images.unfold(2, size, stride).unfold(3, size, stride)
    return windows.mean(dim=(2, 3), dtype=torch.float64).flatten(1)


def mean_patch_axes(patches: Float64[Tensor, "images dimensions"]) -> PatchAxes:
    """The eigenvectors of A, and the roots of its eigenvalues; the mean is not taken off."""
    n, total = torch.tensor(len(patches)), patches.sum(dim=0)
    return axes_from_sums(n, total, patches.T @ patches, centred=False)


def correlation_with(
    patches: Float64[Tensor, "images dimensions"], label: Float64[Tensor, "images outputs"]
) -> Float64[Tensor, "outputs dimensions"]:
    """b, the mean product of an image's mean patch with each of its labels."""
    return label.T @ patches / len(patches)


def change_after(
    step: int,
    axes: PatchAxes,
    correlation: Float64[Tensor, "outputs dimensions"],
    *,
    rate: float,
    width: int,
    start: Float64[Tensor, "outputs dimensions"] | None = None,
) -> Float64[Tensor, "outputs dimensions"]:
    """What `step` steps of gradient descent add to every filter of an output, of `width` each.

    `axes` are those of the mean patches, `correlation` is b, and `start` the mean filter of each
    output before, 0 by default. Exact for every rate, those that diverge too.
    """
    if step < 0 or rate <= 0 or width < 1:
        raise ValueError(
            f"step={step}, rate={rate}, width={width}: take a step from 0, a positive rate and a "
            "width from 1"
        )
    eigenvalue = axes.energy.square()
    gap = correlation @ axes.axes
    if start is not None:
        gap = gap - width * eigenvalue * (start @ axes.axes)
    return 2 * rate * _sum_of_powers(2 * rate * width * eigenvalue, step) * gap @ axes.axes.T


def _sum_of_powers(
    covered: Float64[Tensor, "dimensions"], step: int
) -> Float64[Tensor, "dimensions"]:
    """1 + (1 - covered) + ... + (1 - covered)^(step - 1), also where nothing is covered."""
    slow = covered < 1
    way = torch.where(
        slow,
        -torch.expm1(step * torch.log1p(-covered.where(slow, 0))),  # exact however small it is
        1 - (1 - covered) ** step,  # of what has no logarithm
    )
    return torch.where(covered > 0, way / covered, float(step))


def centred_one_hot(label: Int64[Tensor, "images"]) -> Float64[Tensor, "images classes"]:
    """An output for each class, less its mean: the theorem is of labels without one."""
    one_hot = F.one_hot(label).double()
    return one_hot - one_hot.mean(dim=0)


def root_mean_square(
    outputs: Float64[Tensor, "*networks outputs dimensions"],
) -> Float64[Tensor, "*networks dimensions"]:
    """The energy profile, in the coordinates of its axes, of filters of several outputs."""
    return outputs.square().mean(dim=-2).sqrt()
