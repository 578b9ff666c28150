"""What the response of one unit tells about the stimulus (Eguchi et al., 2019).

A bimodal autoencoder's units are taken for cells: their responses are cut into bins, and the counts
of (stimulus, bin, unit) give the information that each unit carries about each stimulus, in bits.
By its information about what is seen and what is heard a unit is one of five classes of cells.

Two ranges matter. Units that share one range (`normalise="all"`, the published one) are told apart
by how much they vary: an untrained deep net, whose units hardly vary, has information near 0. Give
each unit its own range, and the same net has dozens of selective cells.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mmrep.stats.labels import check_labels

CELLS = ("none", "visual", "auditory", "inconsistent", "consistent")  # by the code of their class
CHUNK = 2**18  # responses at a time: with their bins and counts some 6 MiB, which a cache may hold
ROWS = 512  # samples whose indicators are multiplied at a time: float32 counts them exactly


class Range(NamedTuple):
    """The lowest and the highest response of each unit."""

    lowest: Float64[Tensor, "units"]
    highest: Float64[Tensor, "units"]


def single_cell_information(
    response: Float[Tensor, "samples units"],
    label: Int64[Tensor, "samples"],
    *,
    num_bins: int = 10,
    positive_only: bool = True,
    normalise: str = "all",
    num_stimuli: int | None = None,
) -> Float64[Tensor, "stimuli units"]:
    """I(s, R) in bits: what the responses of each unit tell about each stimulus.

    `bin_range`, `count_responses` and `information_from_counts` in turn, whose docstrings say how
    `normalise`, `num_bins` and `positive_only` act. `label` is the stimulus of each sample; there
    are `num_stimuli` of them, or as many as the highest label tells. A stimulus without samples has
    NaN. Raises ValueError without samples or units, and on responses that are not finite.
    """
    check_labels(label, len(response))
    lowest, highest = bin_range(_extrema(response), normalise=normalise)
    if num_stimuli is None:
        num_stimuli = int(label.max()) + 1
    counts = count_responses(
        response, label, lowest, highest, num_stimuli=num_stimuli, num_bins=num_bins
    )
    return information_from_counts(counts, positive_only=positive_only)


def bin_range(extrema: Range, *, normalise: str = "all") -> Range:
    """The range that the bins divide, for each unit, from the units' extrema.

    "all": from the lowest to the highest response of any unit, as in the published program; one
    outlying unit moves the bins of all. "unit": each unit's own. "none": [0, 1], where a logistic
    unit lives. Raises ValueError on extrema that are not finite.
    """
    _check_range(*extrema)
    if normalise == "all":
        lowest, highest = extrema.lowest.min(), extrema.highest.max()
        return Range(lowest.expand_as(extrema.lowest), highest.expand_as(extrema.highest))
    if normalise == "unit":
        return extrema
    if normalise == "none":
        return Range(torch.zeros_like(extrema.lowest), torch.ones_like(extrema.highest))
    raise ValueError(f"normalise={normalise!r} is not one of 'all', 'unit', 'none'")


def count_responses(
    response: Float[Tensor, "samples units"],
    label: Int64[Tensor, "samples"],
    lowest: Float64[Tensor, "units"],
    highest: Float64[Tensor, "units"],
    *,
    num_stimuli: int,
    num_bins: int = 10,
) -> Int64[Tensor, "{num_stimuli} {num_bins} units"]:
    """How many samples of each stimulus fall into each bin of each unit.

    With x = (response - lowest) / (highest - lowest) in float64, the bin is floor(num_bins x), and
    that of x = 1 is the last one. A unit whose range is a single value responds in bin 0. Counts of
    parts of the data add up to those of the whole. Raises ValueError on a response outside its
    range, which NaN is, too, and on labels outside 0 .. num_stimuli - 1.
    """
    _check_range(lowest, highest)
    check_labels(label, len(response))
    _check_stimuli(label, num_stimuli)
    _check_num_bins(num_bins)
    shape = (num_stimuli, num_bins, response.shape[1])
    counts = torch.zeros(shape, dtype=torch.int64, device=response.device)
    row = label.int()[:, None] * num_bins
    width = max(1, CHUNK // (4 * num_stimuli * num_bins))  # so that few counts are carried along
    height = max(1, CHUNK // min(width, max(1, response.shape[1])))
    for left in range(0, response.shape[1], width):
        units = slice(left, left + width)
        column = torch.arange(len(lowest[units]), device=response.device, dtype=torch.int32)
        for top in range(0, len(response), height):
            part = response[top : top + height, units]
            _check_inside(part, lowest[units], highest[units], left)
            scaled = _scale(part, lowest[units], highest[units]).mul_(num_bins)
            index = scaled.int().clamp_(max=num_bins - 1)  # int() is floor here: nothing below 0
            index.add_(row[top : top + height]).mul_(len(column)).add_(column)
            size = num_stimuli * num_bins * len(column)
            counted = torch.bincount(index.flatten(), minlength=size)
            counts[:, :, units] += counted.view(num_stimuli, num_bins, -1)
    return counts


def information_from_counts(
    counts: Int64[Tensor, "stimuli bins units"], *, positive_only: bool = True
) -> Float64[Tensor, "stimuli units"]:
    """I(s, R) = sum over bins r of P(r|s) log2(P(r|s) / P(r)), in bits: equation 4.

    P(r|s) is a stimulus' share of its own samples in bin r. P(s) is uniform over the stimuli that
    occur, so that P(r) is the plain mean of their P(r|s): unequal numbers of samples change the
    weight of no stimulus, and none has more than log2(stimuli) bits. For equal numbers P(r) is the
    share of all samples, as published. A stimulus without samples has NaN and no part in P(r).

    `positive_only` leaves out the bins with P(r|s) < P(r), as the published program does, and with
    it every result of the paper; its Table 1 has all terms, the Kullback-Leibler divergence.
    """
    samples = counts.sum(dim=1, keepdim=True)
    occurs = samples > 0
    if not occurs.any(dim=0).all():
        raise ValueError(f"counts of shape {tuple(counts.shape)} hold a unit without any sample")
    conditional = torch.where(occurs, counts.double() / samples, 0)
    marginal = conditional.sum(dim=0) / occurs.sum(dim=0)
    counted = conditional > (marginal if positive_only else 0)
    terms = torch.where(counted, conditional * (conditional / marginal).log2(), 0)
    return terms.sum(dim=1).where(occurs.squeeze(1), torch.nan)


def threshold(information: Float[Tensor, "stimuli units"], percentile: float = 80.0) -> float:
    """The information above which a unit is selective: a percentile over all stimuli and units.

    Linear interpolation between values. The paper took the 80th percentile of one network (4
    layers, consistent pairs) for all: 0.9629458012826149 bits for vision, 0.9440938439990594 for
    audition. Above a threshold of its own lies a fifth of every network's values, which wipes
    out most of the difference. Raises ValueError on NaN.
    """
    if not 0 <= percentile <= 100 or 0 < percentile < 1:
        raise ValueError(
            f"percentile={percentile} must lie between 0 and 100; the paper's is 80, not 0.8"
        )
    if information.numel() == 0:
        raise ValueError(f"information of shape {tuple(information.shape)} has no percentile")
    if information.isnan().any():
        stimuli = information.isnan().any(dim=1).nonzero().flatten().tolist()
        raise ValueError(f"the information about stimuli {stimuli} is NaN: leave them out")
    return float(np.percentile(information.double().cpu().numpy(), percentile))


def classify_cells(
    visual: Float[Tensor, "stimuli units"],
    auditory: Float[Tensor, "stimuli units"],
    *,
    visual_threshold: float,
    auditory_threshold: float,
) -> Int64[Tensor, "units"]:
    """Each unit's class, an index into `CELLS`, by its information on what is seen and heard.

    A unit is selective to a stimulus if its information lies above the threshold (bits). Visual or
    auditory: in this modality alone. Consistent: to at least one stimulus in both, whatever else.
    Inconsistent: in both, but to no stimulus in common. NaN, a stimulus without samples, is above
    no threshold.
    """
    if visual.shape != auditory.shape:
        raise ValueError(
            f"visual information of shape {tuple(visual.shape)} and auditory of "
            f"{tuple(auditory.shape)}: both must be of the same stimuli and units"
        )
    for name, bound in (("visual", visual_threshold), ("auditory", auditory_threshold)):
        if math.isnan(bound):
            raise ValueError(f"{name}_threshold is NaN: take one of `threshold`, in bits")
    seen, heard = visual > visual_threshold, auditory > auditory_threshold
    sees, hears, matches = seen.any(dim=0), heard.any(dim=0), (seen & heard).any(dim=0)
    # As `CELLS` is ordered: 1 + 2 is in both modalities, and one more if to a common stimulus.
    return sees.long() + 2 * hears.long() + matches.long()


def joint_information(
    inputs: Float[Tensor, "samples inputs"],
    hidden: Float[Tensor, "samples hidden"],
    *,
    num_bins: int = 10,
    positive_only: bool = True,
) -> Float64[Tensor, "inputs hidden"]:
    """I(S, R) in bits of every input unit's value S and every hidden unit's response R.

    `inputs` and `hidden` are each brought to [0, 1] by their own lowest and highest value of all
    units, then binned and counted by `joint_counts`, few units at a time. Raises ValueError
    without samples or units, and on values that are not finite.
    """
    if len(inputs) != len(hidden):
        raise ValueError(f"{len(inputs)} samples of inputs and {len(hidden)} of hidden units")
    _check_num_bins(num_bins)
    bins = [_close_right(values, num_bins) for values in (inputs, hidden)]
    width = max(1, math.isqrt(CHUNK) // num_bins)  # of a square tile of pairs of units

    def tile(
        one: Int64[Tensor, "samples few"], other: Int64[Tensor, "samples others"]
    ) -> Float64[Tensor, "few others"]:
        counts = joint_counts(one, other, num_bins=num_bins)
        return information_from_joint_counts(counts, positive_only=positive_only)

    columns = torch.split(bins[1], width, dim=1)
    rows = torch.split(bins[0], width, dim=1)
    return torch.cat([torch.cat([tile(row, column) for column in columns], dim=1) for row in rows])


def joint_counts(
    inputs: Int64[Tensor, "samples inputs"],
    hidden: Int64[Tensor, "samples hidden"],
    *,
    num_bins: int,
) -> Int64[Tensor, "inputs hidden {num_bins} {num_bins}"]:
    """How many samples fall into each pair of bins, for each pair of units; bins are given."""
    levels = torch.arange(num_bins, device=inputs.device)
    shape = (inputs.shape[1], num_bins, hidden.shape[1], num_bins)
    counts = inputs.new_zeros(shape[0] * num_bins, shape[2] * num_bins)
    for top in range(0, len(inputs), ROWS):
        one, other = (
            (part[top : top + ROWS, :, None] == levels).flatten(1).float()
            for part in (inputs, hidden)
        )
        counts += (one.T @ other).long()
    return counts.view(shape).transpose(1, 2).contiguous()


def information_from_joint_counts(
    counts: Int64[Tensor, "inputs hidden bins bins"], *, positive_only: bool = True
) -> Float64[Tensor, "inputs hidden"]:
    """Sum over pairs of bins of P(s, r) log2(P(s, r) / (P(s) P(r))), in bits.

    `positive_only` leaves out the pairs with P(s, r) < P(s) P(r), as the published program does;
    with all terms this is the mutual information.
    """
    samples = counts.sum(dim=(2, 3), keepdim=True)
    if not samples.all():
        raise ValueError(
            f"joint counts of shape {tuple(counts.shape)} hold a pair of units without any sample"
        )
    joint = counts.double() / samples
    independent = joint.sum(dim=3, keepdim=True) * joint.sum(dim=2, keepdim=True)
    counted = joint > (independent if positive_only else 0)
    return torch.where(counted, joint * (joint / independent).log2(), 0).sum(dim=(2, 3))


def _extrema(response: Float[Tensor, "samples units"]) -> Range:
    if response.numel() == 0:
        raise ValueError(
            f"responses of shape {tuple(response.shape)} hold nothing to measure: give at least "
            "one sample of one unit"
        )
    # Not aminmax, which takes seven times as long over the first axis (torch 2.13, CPU).
    return Range(response.amin(dim=0).double(), response.amax(dim=0).double())


def _scale(
    response: Float[Tensor, "samples units"],
    lowest: Float64[Tensor, "units"],
    highest: Float64[Tensor, "units"],
) -> Float64[Tensor, "samples units"]:
    """The range of each unit to [0, 1]; a range that is a single value to 0."""
    span = highest - lowest
    return (response - lowest).div_(span.where(span > 0, 1))


def _close_right(
    values: Float[Tensor, "samples units"], num_bins: int
) -> Int64[Tensor, "samples units"]:
    """Bins (k / num_bins, (k + 1) / num_bins] of the range of all units; the first one has 0, too.

    The published joint information is closed on this side, other than that of single cells.
    """
    lowest, highest = bin_range(_extrema(values), normalise="all")
    edges = torch.arange(1, num_bins, device=values.device, dtype=torch.float64) / num_bins
    return torch.bucketize(_scale(values, lowest, highest), edges)


def _check_range(lowest: Float64[Tensor, "units"], highest: Float64[Tensor, "units"]) -> None:
    span = highest - lowest
    bad = ~(span.isfinite() & (span >= 0))
    if bad.any():
        unit = int(bad.nonzero()[0])
        raise ValueError(
            f"the range of unit {unit} is {lowest[unit]} to {highest[unit]}, which bins cannot "
            "divide: both ends must be finite, the lower one first (NaN or infinite responses and "
            "extrema of no samples lead here)"
        )


def _check_inside(
    response: Float[Tensor, "samples units"],
    lowest: Float64[Tensor, "units"],
    highest: Float64[Tensor, "units"],
    first_unit: int,
) -> None:
    # The extrema decide, which NaN passes through: cheaper than comparing every response.
    bad = ~((response.amin(dim=0) >= lowest) & (response.amax(dim=0) <= highest))
    if bad.any():
        unit = int(bad.nonzero()[0])
        low, high = float(lowest[unit]), float(highest[unit])
        column = response[:, unit]
        value = column[~((column >= low) & (column <= high))][0]
        raise ValueError(
            f"unit {first_unit + unit} responds with {value}, outside its range {low} to {high}: "
            "take the range from a first pass over the very same responses, or a wider one"
        )


def _check_num_bins(num_bins: int) -> None:
    if num_bins < 1:
        raise ValueError(f"num_bins={num_bins} must be 1 or more; the paper has 10")


def _check_stimuli(label: Int64[Tensor, "samples"], num_stimuli: int) -> None:
    if num_stimuli < 1:
        raise ValueError(f"num_stimuli={num_stimuli} must be 1 or more")
    bad = label[(label < 0) | (label >= num_stimuli)]
    if len(bad):
        raise ValueError(
            f"label {int(bad[0])} is none of 0 .. {num_stimuli - 1}, the num_stimuli="
            f"{num_stimuli} stimuli: number them from 0 and give their number"
        )
