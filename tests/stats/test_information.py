"""Information of cells: the authors' numbers, the definitions as plain loops, and invariances."""

import inspect
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from sklearn.metrics import mutual_info_score
from torch import Tensor
from torch.testing import assert_close

from benchmarks.cell_information import (
    published_counts,
    published_information,
    published_joint_information,
)
from mmrep.stats import information
from mmrep.stats.information import (
    CELLS,
    Range,
    bin_range,
    classify_cells,
    count_responses,
    information_from_counts,
    information_from_joint_counts,
    joint_counts,
    joint_information,
    single_cell_information,
    threshold,
)

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "cells.npz"
TABLE_1 = torch.tensor([[3, 17, 80], [68, 31, 1], [73, 25, 2], [65, 12, 23]])[:, :, None]
TABLE_1_ALL = [1.09680644, 0.38008098, 0.33625767, 0.05882178]
TABLE_1_POSITIVE = [1.27520611, 0.42736019, 0.41081607, 0.20475564]


@pytest.fixture(scope="module")
def reference() -> dict[str, NDArray[Any]]:
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE} is absent: the authors' numbers come beside the project")
    return dict(np.load(REFERENCE))


def samples_of(
    activations: NDArray[np.float32],
) -> tuple[Float[Tensor, "samples units"], Int64[Tensor, "samples"]]:
    """From (stimuli, repeats, units) to samples and their labels."""
    stimuli, repeats, units = activations.shape
    label = torch.arange(stimuli).repeat_interleave(repeats)
    return torch.from_numpy(activations.reshape(-1, units)), label


def responses(
    samples: int = 400, units: int = 7, stimuli: int = 4
) -> tuple[Float[Tensor, "samples units"], Int64[Tensor, "samples"]]:
    """Logistic units that prefer some stimuli, as often shown, in random order."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(samples).remainder(stimuli)
    label = label[torch.randperm(samples, generator=generator)]
    preference = 2 * torch.randn(stimuli, units, generator=generator)
    noise = torch.randn(samples, units, generator=generator)
    return (preference[label] + noise).sigmoid(), label


def counts_of(response: Tensor, label: Tensor, num_bins: int = 10) -> Int64[Tensor, "s b units"]:
    lowest, highest = response.amin(0).double(), response.amax(0).double()
    return count_responses(
        response, label, lowest, highest, num_stimuli=int(label.max()) + 1, num_bins=num_bins
    )


# The authors' numbers


@pytest.mark.reference
@pytest.mark.parametrize("name", ["A", "B", "C", "D", "D10"])
@pytest.mark.parametrize(
    ("key", "positive_only", "normalise"),
    [
        ("info_positive", True, "all"),
        ("info_all", False, "all"),
        ("info_positive_unitnorm", True, "unit"),
    ],
)
def test_equals_the_authors_information(
    reference: dict[str, NDArray[Any]], name: str, key: str, positive_only: bool, normalise: str
) -> None:
    response, label = samples_of(reference[f"{name}_act"])
    bits = single_cell_information(
        response,
        label,
        num_bins=int(reference[f"{name}_nbins"]),
        positive_only=positive_only,
        normalise=normalise,
    )
    assert_close(bits, torch.from_numpy(reference[f"{name}_{key}"]), atol=1e-10, rtol=0)


@pytest.mark.reference
def test_equals_the_authors_classes_and_thresholds(reference: dict[str, NDArray[Any]]) -> None:
    visual, auditory = (
        single_cell_information(*samples_of(reference[f"count_{modality}_act"]))
        for modality in ("visual", "auditory")
    )
    visual_threshold, auditory_threshold = reference["count_thresholds"].tolist()
    theirs = ("visual", "auditory", "inconsistent", "consistent", "none")
    cells = classify_cells(
        visual, auditory, visual_threshold=visual_threshold, auditory_threshold=auditory_threshold
    )
    assert [CELLS[cell] for cell in cells] == [theirs[i] for i in reference["count_labels"]]

    own = {"visual_threshold": threshold(visual), "auditory_threshold": threshold(auditory)}
    np.testing.assert_allclose(list(own.values()), reference["count_p80_thresholds"], atol=1e-12)
    cells = classify_cells(visual, auditory, **own)
    expected = [int((cells == CELLS.index(name)).sum()) for name in theirs]
    assert expected == reference["count_expected_p80"].tolist()


@pytest.mark.reference
def test_equals_the_authors_bins_at_the_edges(reference: dict[str, NDArray[Any]]) -> None:
    """Of float64; see below for float32, whose bins the reference has by float32 arithmetic."""
    edges = torch.from_numpy(reference["edge_x_float64"])
    counts = counts_of(edges[:, None], torch.arange(len(edges)))  # each a stimulus of its own
    assert counts[:, :, 0].argmax(dim=1).tolist() == reference["edge_bin_float64"].tolist()


@pytest.mark.reference
@pytest.mark.parametrize("num_bins", [5, 10])
@pytest.mark.parametrize(("positive_only", "key"), [(True, ""), (False, "_allterms")])
def test_equals_the_authors_joint_information(
    reference: dict[str, NDArray[Any]], num_bins: int, positive_only: bool, key: str
) -> None:
    inputs, hidden = (torch.from_numpy(reference[f"mi_pair_{side}"]) for side in "SR")
    bits = joint_information(inputs, hidden, num_bins=num_bins, positive_only=positive_only)
    expected = torch.from_numpy(reference[f"mi_pair_{num_bins}{key}"])
    assert_close(bits, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("positive_only", "expected"), [(False, TABLE_1_ALL), (True, TABLE_1_POSITIVE)]
)
def test_table_1_comes_out_to_eight_digits(positive_only: bool, expected: list[float]) -> None:
    """The paper prints 1.097, 0.380, 0.336, 0.059: all terms of equation 4."""
    bits = information_from_counts(TABLE_1, positive_only=positive_only)[:, 0]
    assert [round(bit, 8) for bit in bits.tolist()] == expected


# Single cells: definitions


@pytest.mark.parametrize("positive_only", [True, False])
@pytest.mark.parametrize("num_bins", [1, 2, 10, 33])
def test_equals_plain_loops(num_bins: int, positive_only: bool) -> None:
    response, label = responses()
    lowest, span = response.double().min(), response.double().max() - response.double().min()
    scaled = (response.double() - lowest) / span
    counts = published_counts(scaled.numpy(), label.numpy(), 4, num_bins)
    expected = torch.from_numpy(published_information(counts, positive_only=positive_only))
    bits = single_cell_information(response, label, num_bins=num_bins, positive_only=positive_only)
    assert_close(bits, expected, atol=1e-13, rtol=0)


def test_all_terms_average_to_the_mutual_information() -> None:
    response, label = responses()
    bits = single_cell_information(
        response, label, num_bins=8, positive_only=False, normalise="none"
    )
    for unit in range(response.shape[1]):
        bins = (response[:, unit] * 8).floor()  # exact, for 8 is a power of two
        expected = mutual_info_score(label, bins) / math.log(2)
        assert float(bits[:, unit].mean()) == pytest.approx(expected, abs=1e-12)


def test_a_unit_that_answers_to_one_stimulus_alone_knows_it_fully() -> None:
    """P(r|s) = 1 in its bin and P(r) = 1/5: log2(5) bits; the others share 4/5 of the other bin."""
    response = torch.eye(5).repeat(3, 1)
    bits = single_cell_information(response, torch.arange(5).repeat(3))
    others = math.log2(5 / 4)
    expected = torch.full((5, 5), others).fill_diagonal_(math.log2(5)).double()
    assert_close(bits, expected, atol=1e-6, rtol=0)


def test_positive_terms_are_never_less_and_nothing_exceeds_the_choice_of_stimuli() -> None:
    response, label = responses(stimuli=3)
    positive = single_cell_information(response, label)
    every = single_cell_information(response, label, positive_only=False)
    assert (positive >= every).all()
    assert (every >= -1e-15).all()
    assert (positive <= math.log2(3)).all()


def test_unequal_numbers_of_samples_give_no_stimulus_more_weight() -> None:
    """P(s) is uniform: to show one stimulus three times as often changes nothing."""
    response, label = responses()
    again = torch.cat([torch.arange(400), *2 * [(label == 2).nonzero()[:, 0]]])
    for positive_only in (True, False):
        assert_close(
            single_cell_information(response[again], label[again], positive_only=positive_only),
            single_cell_information(response, label, positive_only=positive_only),
            atol=1e-14,
            rtol=0,
        )


def test_a_stimulus_without_samples_has_nan_and_no_weight() -> None:
    response, label = responses(stimuli=3)
    renamed = torch.tensor([0, 2, 3])[label]  # of 6, so that 1, 4 and 5 are absent
    bits = single_cell_information(response, renamed, num_stimuli=6)
    assert_close(bits[[0, 2, 3]], single_cell_information(response, label), atol=1e-14, rtol=0)
    assert bits[[1, 4, 5]].isnan().all()
    assert len(single_cell_information(response, renamed)) == 4  # the highest label tells


@pytest.mark.parametrize("normalise", ["all", "unit", "none"])
def test_a_constant_tells_nothing(normalise: str) -> None:
    response, label = responses()
    response[:, 3] = 0.1  # no power of two divides it
    assert (single_cell_information(response, label, normalise=normalise)[:, 3] == 0).all()
    constant = torch.full((400, 2), 0.7)
    assert (single_cell_information(constant, label, normalise=normalise) == 0).all()


def test_one_sample_tells_nothing() -> None:
    assert single_cell_information(torch.rand(1, 3), torch.zeros(1, dtype=torch.int64)).eq(0).all()


# Single cells: ranges and bins


def test_an_own_range_makes_units_independent_of_each_other_and_of_scale() -> None:
    response, label = responses()
    together = single_cell_information(response, label, normalise="unit")
    moved = response.double() * 2.0 ** torch.arange(-3, 4) - 5
    assert_close(single_cell_information(moved, label, normalise="unit"), together)
    alone = single_cell_information(response[:, 2:3], label, normalise="all")
    assert torch.equal(together[:, 2:3], alone)


def test_a_common_range_ignores_common_scale_and_drowns_narrow_units() -> None:
    response, label = responses()
    together = single_cell_information(response, label)
    assert torch.equal(single_cell_information(response.double() * 8 - 64, label), together)
    response[:, 0] *= 1000
    assert (single_cell_information(response, label)[:, 1:] == 0).all()


def test_order_of_samples_and_names_of_stimuli_do_not_matter() -> None:
    response, label = responses()
    bits = single_cell_information(response, label)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    assert torch.equal(single_cell_information(response[order], label[order]), bits)
    names = torch.tensor([2, 0, 3, 1])
    assert_close(single_cell_information(response, names[label])[names], bits, atol=1e-14, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_bins", [3, 10, 49])
def test_bins_are_those_of_exact_arithmetic_on_the_given_numbers(
    dtype: torch.dtype, num_bins: int
) -> None:
    """float32(0.7) lies below 7 / 10: bin 6, as for the authors, who compute in float64."""
    grid = torch.arange(num_bins + 1, dtype=torch.float64).div(num_bins).to(dtype)
    response = torch.cat([grid, grid.nextafter(grid + 1).clamp(max=1), grid.nextafter(grid * 0)])
    exact = [min(math.floor(Fraction(x) * num_bins), num_bins - 1) for x in response.tolist()]
    if dtype == torch.float64:  # where the product itself is rounded, to nearest
        exact = [min(math.floor(x * num_bins), num_bins - 1) for x in response.tolist()]
    counts = counts_of(response[:, None], torch.arange(len(response)), num_bins)
    assert counts[:, :, 0].argmax(dim=1).tolist() == exact


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_precision_is_computed_in_float64(dtype: torch.dtype) -> None:
    response, label = responses()
    response = response.to(dtype)
    bits = single_cell_information(response, label)
    assert bits.dtype == torch.float64
    assert torch.equal(bits, single_cell_information(response.double(), label))


@pytest.mark.parametrize("chunk", [1, 90, 1000])
def test_chunks_do_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    response, label = responses()
    counts = counts_of(response, label)
    joint = joint_information(response, response)
    monkeypatch.setattr(information, "CHUNK", chunk)
    monkeypatch.setattr(information, "ROWS", 1 + chunk % 7)
    assert torch.equal(counts_of(response, label), counts)
    assert torch.equal(joint_information(response, response), joint)


def test_counts_of_parts_add_up() -> None:
    response, label = responses()
    lowest, highest = torch.zeros(7).double(), torch.ones(7).double()
    parts = [
        count_responses(response[rows], label[rows], lowest, highest, num_stimuli=4)
        for rows in (slice(0, 0), slice(0, 1), slice(1, 400))
    ]
    whole = count_responses(response, label, lowest, highest, num_stimuli=4)
    assert torch.equal(torch.stack(parts).sum(0), whole)
    assert (whole.sum(dim=(0, 1)) == 400).all()


def test_input_is_left_alone_and_may_be_strided() -> None:
    response, label = responses()
    before = response.clone()
    strided = response.T.contiguous().T
    assert torch.equal(
        single_cell_information(strided, label), single_cell_information(response, label)
    )
    joint_information(response, response)
    assert torch.equal(response, before)


# Classes and thresholds


def test_classes_are_the_rules_of_the_paper() -> None:
    """On every pair of sets of stimuli that a unit may be selective to, of three stimuli."""
    sets = [torch.tensor([i & 1, i & 2, i & 4]).bool() for i in range(8)]
    pairs = [(seen, heard) for seen in sets for heard in sets]
    expected = []
    for seen, heard in pairs:
        s, h = (set(side.nonzero().flatten().tolist()) for side in (seen, heard))
        if s & h:
            expected.append("consistent")
        elif s and h:
            expected.append("inconsistent")
        else:
            expected.append("visual" if s else "auditory" if h else "none")
    visual, auditory = (torch.stack(side, dim=1).double() for side in zip(*pairs, strict=True))
    cells = classify_cells(visual + 0.5, 2 * auditory, visual_threshold=1.0, auditory_threshold=1.5)
    assert [CELLS[cell] for cell in cells] == expected


def test_codes_are_the_published_order() -> None:
    assert CELLS == ("none", "visual", "auditory", "inconsistent", "consistent")


def test_information_at_the_threshold_or_nan_is_not_selective() -> None:
    visual = torch.tensor([[1.0, torch.nan], [0.0, 0.0]])
    assert classify_cells(
        visual, visual, visual_threshold=1.0, auditory_threshold=0.9
    ).tolist() == [
        CELLS.index("auditory"),
        CELLS.index("none"),
    ]


def test_threshold_interpolates_linearly_over_all_values() -> None:
    assert threshold(torch.arange(11.0).view(1, 11)) == 8
    assert threshold(torch.tensor([[0.0], [1.0]]), percentile=30.0) == pytest.approx(0.3)


# Inputs and hidden units


@pytest.mark.parametrize("positive_only", [True, False])
def test_joint_information_equals_plain_loops(positive_only: bool) -> None:
    inputs, hidden = responses(60, 5)[0], responses(60, 3)[0] * 4 - 7
    one, other = (
        ((x.double() - x.double().min()) / (x.double().max() - x.double().min())).numpy()
        for x in (inputs, hidden)
    )
    expected = published_joint_information(one, other, 6, positive_only=positive_only)
    bits = joint_information(inputs, hidden, num_bins=6, positive_only=positive_only)
    assert_close(bits, torch.from_numpy(expected), atol=1e-13, rtol=0)


def test_joint_information_is_the_mutual_information_of_bins() -> None:
    generator = torch.Generator().manual_seed(0)
    bins = torch.randint(0, 4, (200, 3), generator=generator)
    bins[:2] = torch.tensor([0, 3])[:, None]  # so that the range is known
    bins[:, 2] = 3 - bins[:, 0]
    bits = joint_information(bins.double(), bins.double(), num_bins=4, positive_only=False)
    for i in range(3):
        for j in range(3):
            expected = mutual_info_score(bins[:, i], bins[:, j]) / math.log(2)
            assert float(bits[i, j]) == pytest.approx(expected, abs=1e-12)
    assert_close(bits[0, 2], bits[0, 0])  # names of bins do not matter


def test_joint_bins_are_closed_on_the_right() -> None:
    """0 and 0.5 share the lower of two bins, so that a copy of which half tells nothing of them."""
    inputs = torch.tensor([[0.0], [0.5], [0.75], [1.0]])
    hidden = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    assert float(joint_information(inputs, hidden, num_bins=2)) == pytest.approx(1)
    inputs[1] = 0.5 + 2**-20  # now one against three: H(1/4) - H(1/4 | hidden)
    expected = 0.25 * math.log2(2) + 0.25 * math.log2(2 / 3) + 0.5 * math.log2(4 / 3)
    bits = joint_information(inputs, hidden, num_bins=2, positive_only=False)
    assert float(bits) == pytest.approx(expected)


def test_joint_counts_are_exact() -> None:
    inputs = torch.tensor([[0], [1], [1], [2]])
    hidden = torch.tensor([[2, 0], [0, 0], [0, 0], [2, 1]])
    counts = joint_counts(inputs, hidden, num_bins=3)
    assert counts[0, 0].tolist() == [[0, 0, 1], [2, 0, 0], [0, 0, 1]]
    assert counts[0, 1].tolist() == [[1, 0, 0], [2, 0, 0], [0, 1, 0]]


# Errors


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_nothing_to_measure_is_refused(shape: tuple[int, int]) -> None:
    label = torch.zeros(shape[0], dtype=torch.int64)
    with pytest.raises(
        ValueError, match=r"shape \(\d, \d\) hold nothing to measure: give at least"
    ):
        single_cell_information(torch.zeros(shape), label)
    with pytest.raises(ValueError, match="hold nothing to measure"):
        joint_information(torch.zeros(shape), torch.zeros(shape))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("normalise", ["all", "unit", "none"])
def test_responses_that_are_not_finite_are_refused(value: float, normalise: str) -> None:
    response, label = responses()
    response[5, 4] = value
    with pytest.raises(ValueError, match=r"the range of unit 4 is .* both ends must be finite"):
        single_cell_information(response, label, normalise=normalise)
    with pytest.raises(ValueError, match="the range of unit 4 is"):
        joint_information(response, response)
    with pytest.raises(ValueError, match=r"unit 4 responds with (nan|inf|-inf), outside"):
        count_responses(
            response, label, torch.zeros(7).double(), torch.ones(7).double(), num_stimuli=4
        )


def test_responses_outside_the_range_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    response, label = responses()
    response[7, 6] = 1.5
    monkeypatch.setattr(information, "CHUNK", 500)  # so that unit 6 is not in the first chunk
    message = r"unit 6 responds with 1.5, outside its range 0.0 to 1.0: take the range from"
    with pytest.raises(ValueError, match=message):
        single_cell_information(response, label, normalise="none")
    response[7, 6] = -1e-30
    with pytest.raises(ValueError, match=r"unit 6 responds with -1.0.*e-30, outside its range"):
        single_cell_information(response, label, normalise="none")


def test_an_empty_range_is_refused() -> None:
    extrema = Range(torch.tensor([0.0, 1.0]).double(), torch.tensor([0.0, 0.5]).double())
    with pytest.raises(ValueError, match=r"the range of unit 1 is 1.0 to 0.5, .* lower one first"):
        bin_range(extrema)


def test_unknown_normalisations_are_refused() -> None:
    response, label = responses()
    with pytest.raises(ValueError, match="normalise='global' is not one of 'all', 'unit', 'none'"):
        single_cell_information(response, label, normalise="global")


@pytest.mark.parametrize("bad", [-1, 3])
def test_labels_outside_the_stimuli_are_refused(bad: int) -> None:
    response, label = responses(stimuli=3)
    label[9] = bad
    with pytest.raises(ValueError, match=rf"label {bad} is none of 0 .. 2, the num_stimuli=3"):
        single_cell_information(response, label, num_stimuli=3)


def test_impossible_numbers_are_refused() -> None:
    response, label = responses()
    with pytest.raises(ValueError, match="num_bins=0 must be 1 or more"):
        single_cell_information(response, label, num_bins=0)
    with pytest.raises(ValueError, match="num_bins=-1 must be 1 or more"):
        joint_information(response, response, num_bins=-1)
    with pytest.raises(ValueError, match="num_stimuli=0 must be 1 or more"):
        single_cell_information(response, label, num_stimuli=0)
    with pytest.raises(ValueError, match=r"percentile=101.0 must lie between 0 and 100"):
        threshold(torch.zeros(1, 1), percentile=101.0)


def test_shapes_that_do_not_match_are_refused() -> None:
    """Beneath the run-time check of shapes, which users do not have."""
    response, label = responses()
    with pytest.raises(ValueError, match="1 labels for 400 samples: give one for each"):
        inspect.unwrap(single_cell_information)(response, label[:1])
    with pytest.raises(ValueError, match="0 labels for 400 samples: give one for each"):
        inspect.unwrap(count_responses)(
            response, label[:0], torch.zeros(7).double(), torch.ones(7).double(), num_stimuli=4
        )
    with pytest.raises(ValueError, match="9 samples of inputs and 400 of hidden units"):
        inspect.unwrap(joint_information)(response[:9], response)
    with pytest.raises(
        ValueError, match=r"of shape \(2, 3\) and auditory of \(2, 1\): both must be"
    ):
        inspect.unwrap(classify_cells)(
            torch.zeros(2, 3), torch.zeros(2, 1), visual_threshold=1.0, auditory_threshold=1.0
        )


def test_counts_of_no_samples_and_information_that_is_nan_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3, 1\) hold a unit without any sample"):
        information_from_counts(torch.zeros(2, 3, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"pair of units without any sample"):
        information_from_joint_counts(torch.zeros(2, 3, 4, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"about stimuli \[1\] is NaN: leave them out"):
        threshold(torch.tensor([[0.5], [torch.nan]]))
    with pytest.raises(ValueError, match=r"shape \(0, 3\) has no percentile"):
        threshold(torch.zeros(0, 3))


def test_labels_that_are_no_classes_and_bounds_that_are_none_are_refused() -> None:
    response = torch.rand(6, 2)
    with pytest.raises(ValueError, match=r"type torch.float32: give one whole number"):
        inspect.unwrap(single_cell_information)(response, torch.rand(6))
    with pytest.raises(ValueError, match=r"percentile=0.8 must lie .* 80, not 0.8"):
        threshold(torch.rand(3, 2), 0.8)
    information = torch.rand(3, 2)
    with pytest.raises(ValueError, match="auditory_threshold is NaN"):
        classify_cells(information, information, visual_threshold=0.5, auditory_threshold=math.nan)
