"""Which principal axes of image patches a first layer responds to (Chowers & Weiss 2023).

The patches of a data set have principal axes u_i along which they vary with a root mean square
lambda_i. A layer's energy profile e_i is the root mean square of its filters' coordinates along
them, and gradient descent on a linear model predicts its shape (the paper's equations 1 to 4).
Images are meant as the network sees them: normalised, without augmentation. Dimensions are ordered
as a convolution's weight is flattened: channel, row, column.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mmrep.stats.labels import check_labels

# The published fit takes 1e-7 / (2 images) times a sum over 900 patches (30 x 30) of each image for
# rate * lambda^2: this times the mean, which is what our lambda is the root of.
PUBLISHED_RATE = 1e-7 * 900 / 2  # 4.5e-5
PUBLISHED_STEPS = (10_000, 4_999_750)  # the grid that the published program searches, by 250

CHUNK_BYTES = 4 * 2**20  # of doubles at a time; what is held besides is about four times that
STRIP = 6  # neighbouring windows that share one product, see `_outer`: the fastest for 3 x 3
ROUNDING = 16 * torch.finfo(torch.float64).eps  # times the patches' mean square: no variance


class PatchSums(NamedTuple):
    """Sums over patches: what adds up over batches and ranks."""

    n: Int64[Tensor, ""]
    total: Float64[Tensor, "dimensions"]
    outer: Float64[Tensor, "dimensions dimensions"]


class PatchAxes(NamedTuple):
    """Principal axes u_i as columns, by decreasing energy lambda_i, in the images' unit.

    Each axis points to where its largest entry is positive. Axes of equal energy, 0 among them, are
    an arbitrary basis of their common space.
    """

    axes: Float64[Tensor, "dimensions dimensions"]
    energy: Float64[Tensor, "dimensions"]


class Fit(NamedTuple):
    """The time t of best fit in steps, Pearson's correlation there, and the formula's profile.

    The profile's largest value is 1. A low or negative correlation says that the formula does not
    explain the data. A step far below 1 / (rate * lambda^2) of the first axis or far above that of
    the last says that they follow a limit, lambda or 1 / lambda, and tell no time.
    """

    step: float
    correlation: float
    profile: Float64[Tensor, "dimensions"]


class LabelCorrelations(NamedTuple):
    """Pearson's correlation of each axis with "is of this class": four readings of Figure 5.

    Of the coefficient p.u or of the energy (p.u)^2, of an image's mean over its patches or of each
    patch that bears its image's label. The paper's text says coefficient, its caption energy.
    """

    image_coefficient: Float64[Tensor, "dimensions classes"]
    image_energy: Float64[Tensor, "dimensions classes"]
    patch_coefficient: Float64[Tensor, "dimensions classes"]
    patch_energy: Float64[Tensor, "dimensions classes"]


def patch_axes(
    images: Float[Tensor, "images channels height width"],
    size: int,
    *,
    stride: int = 1,
    centred: bool = True,
) -> PatchAxes:
    """Principal axes of all windows of `size` x `size` that lie wholly inside an image.

    `centred` takes the mean patch off, as the published program does; the paper's definition 2.1
    does not. Energy is the root of a mean over patches; the program's is the root of a sum, larger
    by the root of their number. Fewer patches than dimensions leave energies of 0.

    Channel means are taken off before anything is squared, so a large one costs no digits.
    """
    shift = images[:1].double().mean(dim=(0, 2, 3)) if centred else None  # any near the mean does
    sums = patch_sums(images, size, stride=stride, shift=shift)
    return axes_from_sums(*sums, centred=centred)


def axes_from_sums(
    n: Int64[Tensor, ""],
    total: Float64[Tensor, "dimensions"],
    outer: Float64[Tensor, "dimensions dimensions"],
    *,
    centred: bool = True,
) -> PatchAxes:
    """The axes of the patches whose `PatchSums` these are.

    A variance that rounding could have made, below 4e-15 of the patches' total mean square, is 0. A
    mean of m standard deviations thus hides variances below m^2 times that where sums were not
    shifted: images of [0, 255] are safe, for 1e3 standard deviations take `patch_axes`.
    """
    if n == 0:
        raise ValueError("there are no patches: give at least one image")
    if not (total.isfinite().all() and outer.isfinite().all()):
        raise ValueError("sums over patches are not finite: look for NaN or infinity in the images")
    mean = total / n
    matrix = mean_square = outer / n
    if centred:
        matrix = mean_square - mean.outer(mean)
    variance, axes = torch.linalg.eigh(matrix)
    variance, axes = variance.flip(0), axes.flip(1)
    variance = torch.where(variance > ROUNDING * mean_square.trace(), variance, 0)
    if variance[0] == 0:
        what = "equal" if centred else "0"
        raise ValueError(f"all {n} patches are {what}, and what does not vary has no axes")
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    return PatchAxes(axes * largest.sign(), variance.sqrt())


def patch_sums(
    images: Float[Tensor, "images channels height width"],
    size: int,
    *,
    stride: int = 1,
    shift: Float64[Tensor, "channels"] | None = None,
) -> PatchSums:
    """Number, sum and summed outer product of all patches, less `shift` in every pixel.

    Everything is float64. Beyond the images this takes about 25 MiB, or five times what one image
    takes as doubles where that is more.
    """
    count, channels, height, width = images.shape
    down, across = _windows(height, width, size, stride)
    if shift is None:
        shift = torch.zeros(channels, dtype=torch.float64, device=images.device)
    whole = across - across % STRIP  # windows across in full strips; the rest is a narrower one
    dimensions = channels * size**2
    pixels = shift.new_zeros(channels, height, width)
    outer = shift.new_zeros(dimensions, dimensions)
    for part in torch.split(images, max(1, CHUNK_BYTES // (8 * channels * height * width))):
        part = part - shift[:, None, None]
        pixels += part.sum(dim=0)
        for first, last, strip in ((0, whole, STRIP), (whole, across, across - whole)):
            if first < last:
                columns = slice(first * stride, (last - 1) * stride + size)
                outer += _outer(part[..., columns], size, stride, strip)
    by_offset = pixels.unfold(1, size, stride).unfold(2, size, stride)
    total = by_offset.sum(dim=(1, 2)).flatten()
    return PatchSums(torch.tensor(count * down * across, device=images.device), total, outer)


def _windows(height: int, width: int, size: int, stride: int) -> tuple[int, int]:
    """How many windows fit down and across."""
    if not 1 <= size <= min(height, width):
        raise ValueError(
            f"size={size} is no window in images of {height} x {width}: "
            f"take 1 to {min(height, width)}"
        )
    if stride < 1:
        raise ValueError(f"stride={stride} is not positive: take 1 for every window")
    return (height - size) // stride + 1, (width - size) // stride + 1


def _outer(
    images: Float64[Tensor, "images channels height width"], size: int, stride: int, strip: int
) -> Float64[Tensor, "dimensions dimensions"]:
    """Sum of the outer products of all patches, whose number across is a multiple of `strip`.

    No patch is written out. Windows in a row of `strip` share the pixels of one wide segment of an
    image's row. For the row offsets a and b of two pixels in a window, one product of segments by
    segments, summed over images and window rows, holds every pair of columns; summing along its
    diagonals gives the pairs at each column offset. The product for (a + stride, b + stride) is
    that for (a, b) with one row of windows more at the end and one less at the start.
    """
    _, channels, height, _ = images.shape
    down, span = (height - size) // stride + 1, (strip - 1) * stride + 1
    wide = span + size - 1
    segments = images.unfold(3, wide, strip * stride).permute(2, 0, 3, 1, 4)
    # Window rows lie `stride` apart: keep those rows together, so that a range of them is a matrix.
    phases = [segments[row::stride].flatten(3).flatten(1, 2) for row in range(min(stride, size))]

    def rows(offset: int, first: int, last: int) -> Float64[Tensor, "rows columns"]:
        """The segments at row `offset` of windows `first` to `last - 1`, of all images."""
        start = offset // stride
        return phases[offset % stride][start + first : start + last].flatten(0, 1)

    products: dict[tuple[int, int], Tensor] = {}
    outer = images.new_zeros(channels, size, size, channels, size, size)
    for a in range(size):
        for b in range(a, size):
            if a < stride:
                product = rows(a, 0, down).T @ rows(b, 0, down)
            else:
                x, y = a - stride, b - stride
                product = products[x, y] - rows(x, 0, 1).T @ rows(y, 0, 1)
                product += rows(a, down - 1, down).T @ rows(b, down - 1, down)
            products[a, b] = product
            by_offset = product.view(channels, wide, channels, wide).unfold(1, span, 1)
            pairs = by_offset.unfold(3, span, 1).diagonal(dim1=-2, dim2=-1)[..., ::stride]
            block = pairs.sum(dim=-1)  # channel, column; channel, column
            outer[:, a, :, :, b] = block
            outer[:, b, :, :, a] = block.permute(2, 3, 0, 1)
    return outer.view(channels * size**2, channels * size**2)


def energy_profile(
    filters: Float[Tensor, "filters channels rows columns"],
    axes: Float64[Tensor, "dimensions dimensions"],
    *,
    scale: str = "paper",
) -> Float64[Tensor, "dimensions"]:
    """The root mean square e_i of the filters' coordinates along each axis (equation 1).

    The published program divides the root of their sum of squares by the number of filters K
    instead, smaller by sqrt(K): `scale="program"`. It also takes the initial weights off first
    (give `filters - initial`), and divides by the largest value before it compares profiles, where
    both scales agree.
    """
    if scale not in ("paper", "program"):
        raise ValueError(f"scale={scale!r} is not one of paper, program")
    if len(filters) == 0:
        raise ValueError("there are no filters: give the weight of a convolution with at least one")
    if filters[0].numel() != len(axes):
        raise ValueError(
            f"filters of {tuple(filters.shape[1:])} have {filters[0].numel()} dimensions and the "
            f"axes {len(axes)}: take axes of patches of the filters' channels and size"
        )
    filters = filters.detach()
    if not filters.isfinite().all():
        raise ValueError("filters hold NaN or infinite values: look at the training")
    profile = (filters.flatten(1).double() @ axes).square().mean(dim=0).sqrt()
    return profile if scale == "paper" else profile / math.sqrt(len(filters))


def profile_correlation(x: Float[Tensor, "values"], y: Float[Tensor, "values"]) -> float:
    """Pearson's correlation of two profiles, whose scales do not matter; NaN for a constant one."""
    x, y = (profile.double() - profile.double().mean() for profile in (x, y))
    return float((x @ y) / (x.norm() * y.norm()))


def whitening_filters(
    axes: Float64[Tensor, "dimensions dimensions"],
    energy: Float64[Tensor, "dimensions"],
    *,
    channels: int,
) -> Float64[Tensor, "dimensions channels rows columns"]:
    """Filters whose responses to the patches are uncorrelated and of variance 1.

    One filter along each axis, divided by its energy; axes of energy 0 are left out, as 0.
    """
    size = math.isqrt(len(axes) // channels)
    scaled = torch.where(energy > 0, axes / energy, 0)
    return scaled.T.reshape(len(axes), channels, size, size)


def theoretical_profile(
    energy: Float[Tensor, "dimensions"], step: float | int, rate: float | int
) -> Float64[Tensor, "dimensions"]:
    """The profile after `step` steps of gradient descent from 0, up to a common factor.

    |1 - (1 - rate * lambda^2)^t| / lambda, not normalised: theorem 4.2, without the power of the
    rate below the fraction (two in the paper, one in its program), which all axes share. It is
    rate * lambda after one step, 1 / lambda in the end (whitening), and 0 where lambda is.

    Above rate * lambda^2 = 1 the steps overshoot, and above 2 they diverge; the formula still holds
    there, to infinity at last, but only for whole t.
    """
    if not 0 < step < math.inf:
        raise ValueError(
            f"step={step} is not a positive number; the limits are energy before and 1 / energy"
        )
    _check_energy(energy, rate)
    energy = energy.double()
    if step % 1 and rate * energy.max() ** 2 > 1:
        raise ValueError(
            f"step={step} is not whole, and at rate={rate} rate * energy^2 reaches "
            f"{rate * energy.max().item() ** 2:.3g}: above 1 take a whole step or a lower rate"
        )
    return _profiles(energy, energy.new_tensor([float(step)]), rate)[0]


def _profiles(
    energy: Float64[Tensor, "dimensions"], step: Float64[Tensor, "*steps"], rate: float | int
) -> Float64[Tensor, "*steps dimensions"]:
    step = step[..., None]
    covered = rate * energy.square()  # the share of its way to the solution that one step covers
    way = -torch.expm1(step * torch.log1p(-covered))  # exact however small the share is
    if (covered > 1).any():  # no logarithm
        way = torch.where(covered > 1, 1 - (1 - covered) ** step, way)
    return torch.where(energy > 0, way.abs() / energy, 0)


def _check_energy(energy: Float[Tensor, "dimensions"], rate: float | int) -> None:
    if not 0 < rate < math.inf:
        raise ValueError(f"rate={rate} is not a positive number; published is {PUBLISHED_RATE:g}")
    if len(energy) == 0 or not ((energy >= 0) & energy.isfinite()).all():
        raise ValueError(
            f"energy={energy.tolist()} must be finite and not negative: take that of patch_axes"
        )


def fit_theoretical_profile(
    profile: Float[Tensor, "values"], energy: Float[Tensor, "dimensions"], *, rate: float | int
) -> Fit:
    """The step t at which the formula correlates best (Pearson) with `profile`.

    Neither profile's scale matters. All t between the formula's limits are searched, 1e-6 of the
    fastest axis' way to the last digit of the slowest's: a scan in log t, then each of its peaks
    more and more closely. The published search is the grid of 10,000 to 4,999,750 by 250, at
    `rate=PUBLISHED_RATE`.
    """
    _check_energy(energy, rate)
    if profile.shape != energy.shape or len(energy) < 3:
        raise ValueError(
            f"the profile has {len(profile)} values and there are {len(energy)} energies: give as "
            "many of both, and at least 3, since any two correlate by 1 or -1"
        )
    if not profile.isfinite().all():
        raise ValueError(f"profile={profile.tolist()} is not finite: look at the filters")
    for name, values in (("profile", profile), ("energy", energy)):
        if values.min() == values.max():
            raise ValueError(f"{name} is {values[0].item():g} along all axes: nothing to correlate")
    profile, energy = profile.detach().double(), energy.detach().double()
    covered = rate * energy.square()
    if covered.max() > 1:
        raise ValueError(
            f"rate * energy^2 reaches {covered.max().item():.3g} at rate={rate}, where gradient "
            f"descent overshoots: take at most {1 / energy.max().item() ** 2:.3g}"
        )

    measured = profile - profile.mean()
    measured /= measured.norm()
    start = math.log(1e-6 / covered.max().item())
    stop = math.log(40 / covered[covered > 0].min().item())  # exp(-40) is below a last digit
    width = 0.2
    scan = torch.arange(start, stop + width, width, dtype=torch.float64, device=energy.device)
    values = F.pad(_correlations(measured, energy, scan.exp(), rate), (1, 1), value=-2)
    peaks = scan[(values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])]
    around = torch.linspace(-1, 1, 33, dtype=torch.float64, device=energy.device)
    for _ in range(5):  # a peak is flat: 2e-7 of log t leaves about 1e-14 of the correlation
        closer = peaks[:, None] + width * around
        values = _correlations(measured, energy, closer.exp(), rate)
        peaks = closer.gather(1, values.argmax(dim=1, keepdim=True)).squeeze(1)
        width /= 16
    step = peaks[values.amax(dim=1).argmax()].exp()
    fitted = _profiles(energy, step, rate)
    return Fit(step.item(), values.max().item(), fitted / fitted.max())


def _correlations(
    measured: Float64[Tensor, "dimensions"],
    energy: Float64[Tensor, "dimensions"],
    step: Float64[Tensor, "*steps"],
    rate: float | int,
) -> Float64[Tensor, "*steps"]:
    """Pearson's, of a profile centred and of norm 1 with the formula at each step."""
    theory = _profiles(energy, step, rate)
    theory -= theory.mean(dim=-1, keepdim=True)
    # -1 where the formula is constant for once, as two values may be when their curves cross.
    return (theory @ measured / theory.norm(dim=-1)).nan_to_num(nan=-1)


def label_correlations(
    images: Float[Tensor, "images channels height width"],
    label: Int64[Tensor, "images"],
    axes: Float64[Tensor, "dimensions dimensions"],
    *,
    num_classes: int,
    stride: int = 1,
) -> LabelCorrelations:
    """How axes and classes go together, with images and with single patches as samples.

    `axes` are complete, as `patch_axes` gives them, and tell the patches' size. Energies are of
    patches as they are, without centring. Along an axis on which nothing varies beyond rounding,
    and for a class that no image or every image has, the correlation is undefined, and NaN. A few
    images at a time have their patches written out, at least one.
    """
    count, channels, height, width = images.shape
    size = math.isqrt(len(axes) // channels)
    if channels * size**2 != len(axes):
        raise ValueError(
            f"axes of {len(axes)} dimensions do not belong to square patches of {channels} "
            "channels: take those that patch_axes gives for the same images"
        )
    down, across = _windows(height, width, size, stride)
    if count == 0:
        raise ValueError("there are no images: give at least two, of two classes")
    check_labels(label, count)
    if label.min() < 0 or label.max() >= num_classes:
        raise ValueError(
            f"labels run from {label.min()} to {label.max()}, not within 0 to {num_classes - 1}: "
            "set num_classes to the number of classes"
        )
    indicator = F.one_hot(label, num_classes).double()
    by_class = axes.new_zeros(2, num_classes, len(axes))  # sums of coefficient and energy
    squares = axes.new_zeros(2, 2, len(axes))  # of image and patch; of coefficient and energy
    chunk = max(1, CHUNK_BYTES // (8 * down * across * len(axes)))
    parts = zip(torch.split(images, chunk), torch.split(indicator, chunk), strict=True)
    for part, of_class in parts:
        windows = part.double().unfold(2, size, stride).unfold(3, size, stride)
        coefficient = windows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2) @ axes
        patch = torch.stack([coefficient, coefficient.square()])
        image = patch.mean(dim=2)
        by_class += of_class.T @ image
        squares += torch.stack([image.square(), patch.square().mean(dim=2)]).sum(dim=2)
    if not squares.isfinite().all():
        raise ValueError("coefficients are not finite: look for NaN or infinity in the images")
    share = indicator.mean(dim=0)
    mean, mean_square = by_class.sum(dim=1) / count, squares / count
    variance = mean_square - mean.square()
    empty = mean_square[1, 0] <= ROUNDING * mean_square[1, 0].sum()  # an axis of no energy
    constant = (variance <= ROUNDING * mean_square) | empty
    deviation = torch.where(constant, math.nan, variance).sqrt()
    covariance = by_class / count - share[:, None] * mean[:, None]
    of_label = (share * (1 - share)).sqrt()  # 0 / 0, NaN, where a class is empty or alone
    correlation = covariance.mT / deviation[..., None] / of_label
    return LabelCorrelations(*correlation.flatten(0, 1))
