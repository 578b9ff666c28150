"""The cells of a layer: what selects them, how many there are, which ones to show.

Eguchi et al. 2019. Cells are units; `information` has the counts, bits and classes of which this is
made. Wherever results hang on the range that bins divide, both ranges stand side by side: one for
`all` units, as published, and each `unit`'s own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from mmrep.stats.information import (
    CELLS,
    Range,
    bin_range,
    classify_cells,
    information_from_counts,
    threshold,
)

SHOWN = ("all", "visual", "auditory")  # inputs: all there are, seen only, heard only
NORMALISATIONS = ("all", "unit")  # of `bin_range`
SELECTIVE = ("visual", "auditory", "inconsistent", "consistent")  # as the paper lists its classes


class Thresholds(NamedTuple):
    """The information in bits above which a cell is selective to a stimulus."""

    visual_threshold: float
    auditory_threshold: float


# The 80th percentiles of the last of four layers, trained on consistent pairs of MNIST and FSDD.
CONSTANTS = Thresholds(0.9629458012826149, 0.9440938439990594)


def both_ranges(extrema: Range, widths: Sequence[int]) -> Range:
    """The ranges of `NORMALISATIONS`, one behind the other, for layers that lie side by side.

    With 2 x units columns all counts are those of a single histogram. Units of one layer share its
    range, `widths` units each. Raises ValueError on extrema that are not finite.
    """
    layers = [
        Range(*ends)
        for ends in zip(*(torch.split(end, list(widths)) for end in extrema), strict=True)
    ]
    ranges = [bin_range(layer, normalise=how) for how in NORMALISATIONS for layer in layers]
    return Range(*(torch.cat(ends) for ends in zip(*ranges, strict=True)))


def information_by_layer(
    counts: Int64[Tensor, "stimuli bins columns"],
    widths: Sequence[int],
    *,
    positive_only: bool = True,
) -> list[Float64[Tensor, "normalisations stimuli units"]]:
    """I(s, R) in bits of each layer, from counts over the columns of `both_ranges`."""
    bits = information_from_counts(counts, positive_only=positive_only)
    by_normalisation = bits.view(len(bits), len(NORMALISATIONS), -1).transpose(0, 1)
    return [*torch.split(by_normalisation, list(widths), dim=2)]


def own_thresholds(
    visual: Float64[Tensor, "stimuli units"], auditory: Float64[Tensor, "stimuli units"]
) -> Thresholds:
    """The 80th percentiles of a layer's own information: a fifth of its values lies above."""
    return Thresholds(threshold(visual), threshold(auditory))


def cell_classes(
    visual: Float64[Tensor, "normalisations stimuli units"],
    auditory: Float64[Tensor, "normalisations stimuli units"],
    thresholds: Sequence[Thresholds],
) -> Int64[Tensor, "normalisations units"]:
    """Each unit's class, an index into `CELLS`, with thresholds for each normalisation."""
    pairs = zip(visual, auditory, thresholds, strict=True)
    return torch.stack(
        [classify_cells(seen, heard, **bounds._asdict()) for seen, heard, bounds in pairs]
    )


def count_classes(classes: Int64[Tensor, "*layers units"]) -> Int64[Tensor, "*layers classes"]:
    """How many units are of each class, in the order of `CELLS`; other codes are no units."""
    return torch.stack([(classes == code).sum(dim=-1) for code in range(len(CELLS))], dim=-1)


def ranked_information(
    information: Float64[Tensor, "*shown stimuli units"],
) -> Float64[Tensor, "*shown units"]:
    """Each cell's information about the stimulus that it tells most of, in falling order."""
    return information.amax(dim=-2).sort(dim=-1, descending=True).values


def example_cells(
    visual: Float64[Tensor, "stimuli units"],
    auditory: Float64[Tensor, "stimuli units"],
    visual_response: Float64[Tensor, "stimuli units"],
    auditory_response: Float64[Tensor, "stimuli units"],
    thresholds: Thresholds,
) -> dict[str, int | None]:
    """A unit of each class in `SELECTIVE` to show, None where there is none.

    It has the highest product of information and mean response, over the stimuli to which it is
    selective. In both modalities the products are added: of the best stimulus in each if these are
    inconsistent, of the best common one if they are consistent.
    """
    classes = classify_cells(visual, auditory, **thresholds._asdict())
    seen = _selected(visual * visual_response, visual > thresholds.visual_threshold)
    heard = _selected(auditory * auditory_response, auditory > thresholds.auditory_threshold)
    worth = {
        "visual": seen.amax(dim=0),
        "auditory": heard.amax(dim=0),
        "inconsistent": seen.amax(dim=0) + heard.amax(dim=0),
        "consistent": (seen + heard).amax(dim=0),
    }
    members = {name: classes == CELLS.index(name) for name in SELECTIVE}
    return {
        name: int(_selected(worth[name], member).argmax()) if member.any() else None
        for name, member in members.items()
    }


def _selected(
    worth: Float64[Tensor, "*stimuli units"], selected: Bool[Tensor, "*stimuli units"]
) -> Float64[Tensor, "*stimuli units"]:
    return worth.where(selected, -torch.inf)
