"""Cells of layers against the authors' counts, by permutations, and with classes known before."""

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.testing import assert_close

from mmrep.stats.cells import (
    CONSTANTS,
    NORMALISATIONS,
    SELECTIVE,
    Thresholds,
    both_ranges,
    cell_classes,
    count_classes,
    example_cells,
    information_by_layer,
    own_thresholds,
    ranked_information,
)
from mmrep.stats.information import CELLS, Range, count_responses, single_cell_information

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "cells.npz"


def by_layer(
    response: Float64[Tensor, "samples units"],
    label: Int64[Tensor, "samples"],
    widths: list[int],
    *,
    positive_only: bool = True,
) -> list[Float64[Tensor, "normalisations stimuli units"]]:
    """As the callback does it: all layers and normalisations in one histogram."""
    extrema = Range(response.amin(0), response.amax(0))
    ranges = both_ranges(extrema, widths)
    counts = count_responses(
        response.repeat(1, 2), label, *ranges, num_stimuli=int(label.max()) + 1
    )
    return information_by_layer(counts, widths, positive_only=positive_only)


def responses(seed: int = 0) -> tuple[Float64[Tensor, "samples 12"], Int64[Tensor, "samples"]]:
    """Units of very different ranges that prefer some of five stimuli."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(300) % 5
    preference = torch.randn(5, 12, generator=generator)
    noise = torch.randn(300, 12, generator=generator)
    scale = torch.logspace(-2, 1, 12, dtype=torch.float64)
    return (2 * preference[label] + noise).double() * scale, label


@pytest.mark.reference
def test_counts_are_the_authors() -> None:
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE} is absent: the authors' numbers come beside the project")
    reference = dict(np.load(REFERENCE))
    label = torch.arange(10).repeat_interleave(50)
    visual, auditory = (
        by_layer(
            torch.from_numpy(reference[f"count_{name}_act"]).double().flatten(0, 1), label, [20]
        )
        for name in ("visual", "auditory")
    )
    assert tuple(reference["count_thresholds"]) == CONSTANTS
    order = [CELLS.index(name) for name in (*SELECTIVE, "none")]
    published = cell_classes(visual[0], auditory[0], [CONSTANTS] * 2)
    counts = count_classes(published)[0, order]
    assert counts.tolist() == reference["count_expected_V_A_inc_con_none"].tolist()
    own = [own_thresholds(*pair) for pair in zip(visual[0], auditory[0], strict=True)]
    np.testing.assert_allclose(own[0], reference["count_p80_thresholds"], atol=1e-12)
    counts = count_classes(cell_classes(visual[0], auditory[0], own))[0, order]
    assert counts.tolist() == reference["count_expected_p80"].tolist()


@pytest.mark.parametrize("positive_only", [True, False])
def test_layers_side_by_side_are_those_on_their_own(positive_only: bool) -> None:
    response, label = responses()
    layers = by_layer(response, label, [5, 1, 6], positive_only=positive_only)
    for units, bits in zip(torch.split(response, [5, 1, 6], dim=1), layers, strict=True):
        for how, of in zip(NORMALISATIONS, bits, strict=True):
            alone = single_cell_information(
                units, label, normalise=how, positive_only=positive_only
            )
            assert_close(of, alone, atol=1e-13, rtol=0)


def test_neither_order_nor_scale_matters() -> None:
    """One affine map of all units leaves both ranges' bins alone; one for each, the unit's own."""
    response, label = responses()
    (bits,) = by_layer(response, label, [12])
    generator = torch.Generator().manual_seed(1)
    samples, units = (torch.randperm(n, generator=generator) for n in (300, 12))
    (moved,) = by_layer(response[samples][:, units], label[samples], [12])
    assert_close(moved, bits[:, :, units], atol=1e-13, rtol=0)
    (scaled,) = by_layer(4 * response - 2, label, [12])
    assert_close(scaled, bits, atol=1e-13, rtol=0)
    (each,) = by_layer(response * 2.0 ** torch.arange(12), label, [12])
    assert_close(each[1], bits[1], atol=1e-13, rtol=0)
    assert not torch.allclose(each[0], bits[0])


def test_classes_and_examples_of_cells_that_are_known() -> None:
    """Unit by unit what it tells of stimuli 0 to 2 and how it responds to them."""
    zero = [0.0, 0.0, 0.0]
    visual = torch.tensor([zero, [2, 0, 0], [2, 0, 2.5], zero, [0, 2, 0], [0, 2, 2], [0, 2, 3]]).T
    auditory = torch.tensor([zero, zero, zero, [0, 2, 0], [2, 0, 0], [3, 0, 2], [3, 2, 0]]).T
    visual, auditory = visual.double(), auditory.double()
    bounds = Thresholds(1.0, 1.0)
    classes = cell_classes(visual[None], auditory[None], [bounds])
    names = [CELLS[code] for code in classes[0]]
    assert names == ["none", *["visual"] * 2, "auditory", "inconsistent", *["consistent"] * 2]
    assert count_classes(classes).tolist() == [[1, 2, 1, 1, 2]]
    response = torch.ones(3, 7, dtype=torch.float64)
    response[2, 2] = 0.75  # 2.5 x 0.75 < 2 x 1, so that units 1 and 2 are equal: the first is taken
    found = example_cells(visual, auditory, response, response, bounds)
    assert found == {"visual": 1, "auditory": 3, "inconsistent": 4, "consistent": 5}
    response[2, 2] = 1.0
    response[1, 6] = 1.5  # of unit 6 stimulus 1 is common: 2 x 1.5 + 2 x 1.5; of unit 5, 2 + 2
    found = example_cells(visual, auditory, response, response, bounds)
    assert (found["visual"], found["consistent"]) == (2, 6)
    nothing = example_cells(visual, auditory, response, response, Thresholds(9.0, 9.0))
    assert nothing == dict.fromkeys(SELECTIVE)


def test_ranks_fall_and_are_maxima() -> None:
    (bits,) = by_layer(*responses(), [12])
    ranked = ranked_information(bits)
    assert (ranked.diff(dim=1) <= 0).all()
    assert_close(ranked.sum(dim=1), bits.amax(dim=1).sum(dim=1))


def test_ranges_that_are_none_are_refused() -> None:
    extrema = Range(torch.zeros(3).double(), torch.tensor([1.0, torch.nan, 1.0]).double())
    with pytest.raises(ValueError, match=r"the range of unit 1 is 0.0 to nan"):
        both_ranges(extrema, [3])
