"""Information of cells, beside the published loops: `python -m benchmarks.cell_information`.

Takes a minute and 2 GB. The loops run over some of the units, and are given what they would find
only by looking at all: the range of the responses.
"""

import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.side_by_side import (
    Contender,
    Target,
    compare,
    copy_speed,
    one_thread,
    product_speed,
)
from mmrep.stats.information import (
    Range,
    bin_range,
    count_responses,
    joint_information,
    single_cell_information,
)

STIMULI = BINS = 10
SAMPLES, UNITS = 50_000, 4096
LOOPED = 8  # units that the loop does


def published_counts(
    response: NDArray[np.float64], label: NDArray[np.int64], stimuli: int, bins: int
) -> NDArray[np.int64]:
    """One count after another, of responses (samples, units) in [0, 1]: (stimuli, bins, units)."""
    samples, units = response.shape
    counts = np.zeros((stimuli, bins, units), dtype=np.int64)
    for unit in range(units):
        for sample in range(samples):
            cut = min(int(np.floor(response[sample, unit] * bins)), bins - 1)
            counts[label[sample], cut, unit] += 1
    return counts


def published_information(
    counts: NDArray[np.int64], *, positive_only: bool = True
) -> NDArray[np.float64]:
    """Equation 4, term by term, for as many samples of each stimulus: (stimuli, units)."""
    stimuli, bins, units = counts.shape
    information = np.zeros((stimuli, units))
    for unit in range(units):
        total = counts[:, :, unit].sum()
        for stimulus in range(stimuli):
            samples = counts[stimulus, :, unit].sum()
            for cut in range(bins):
                of_stimulus = counts[stimulus, cut, unit] / samples
                of_all = counts[:, cut, unit].sum() / total
                if of_stimulus > (of_all if positive_only else 0):
                    information[stimulus, unit] += of_stimulus * math.log2(of_stimulus / of_all)
    return information


def published_joint_information(
    inputs: NDArray[np.float64],
    hidden: NDArray[np.float64],
    bins: int,
    *,
    positive_only: bool = True,
) -> NDArray[np.float64]:
    """Of values in [0, 1], bins closed on the right: (inputs, hidden)."""
    samples = len(inputs)
    information = np.zeros((inputs.shape[1], hidden.shape[1]))
    for i in range(inputs.shape[1]):
        for j in range(hidden.shape[1]):
            joint = np.zeros((bins, bins))
            for sample in range(samples):
                row = max(math.ceil(inputs[sample, i] * bins) - 1, 0)
                column = max(math.ceil(hidden[sample, j] * bins) - 1, 0)
                joint[row, column] += 1 / samples
            for row in range(bins):
                for column in range(bins):
                    pair = joint[row, column]
                    product = joint[row].sum() * joint[:, column].sum()
                    if pair > (product if positive_only else 0):
                        information[i, j] += pair * math.log2(pair / product)
    return information


def looped(
    response: NDArray[np.float32], label: NDArray[np.int64], extrema: Range
) -> NDArray[np.float64]:
    lowest, highest = float(extrema.lowest[0]), float(extrema.highest[0])
    scaled = (response.astype(np.float64) - lowest) / (highest - lowest)
    return published_information(published_counts(scaled, label, STIMULI, BINS))


def bincounted(
    response: NDArray[np.float32], label: NDArray[np.int64], extrema: Range
) -> NDArray[np.float64]:
    """NumPy without chunks of samples: what one would write first."""
    lowest, highest = float(extrema.lowest[0]), float(extrema.highest[0])
    cut = np.floor((response.astype(np.float64) - lowest) / (highest - lowest) * BINS)
    cut = np.minimum(cut, BINS - 1).astype(np.int64) + label[:, None] * BINS
    units = response.shape[1]
    flat = (cut * units + np.arange(units)).ravel()
    counts = np.bincount(flat, minlength=STIMULI * BINS * units).reshape(STIMULI, BINS, units)
    conditional = counts / counts.sum(axis=1, keepdims=True)
    ratio = conditional / conditional.mean(axis=0)
    return np.where(ratio > 1, conditional * np.log2(np.maximum(ratio, 1)), 0).sum(axis=1)


def single_cells() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(STIMULI).repeat_interleave(SAMPLES // STIMULI)
    response = torch.randn(SAMPLES, UNITS, generator=generator)
    response += torch.randn(STIMULI, UNITS, generator=generator)[label]
    response.sigmoid_()
    own = Range(response.amin(dim=0).double(), response.amax(dim=0).double())
    extrema = bin_range(own)
    some, many = (response[:, :units].numpy() for units in (LOOPED, 256))
    expected = looped(some, label.numpy(), extrema)

    lowest, highest = (float(end[0]) for end in extrema)
    scaled = (some.astype(np.float64) - lowest) / (highest - lowest)
    counts = count_responses(response, label, *extrema, num_stimuli=STIMULI, num_bins=BINS)
    wrong = counts[:, :, :LOOPED].numpy() != published_counts(scaled, label.numpy(), STIMULI, BINS)

    compare(
        f"information of {UNITS} units over {SAMPLES} samples, {STIMULI} x {BINS}",
        [
            Contender("mmrep", lambda: single_cell_information(response, label).numpy()),
            Contender(
                "published loop",
                partial(looped, some, label.numpy(), extrema),
                share=LOOPED / UNITS,
                rounds=5,
            ),
            Contender(
                "NumPy bincount",
                partial(bincounted, many, label.numpy(), extrema),
                share=256 / UNITS,
            ),
        ],
        floor=2 * response.nbytes / copy_speed(),
        floor_is="the responses read twice, for their range and for their bins",
        error=lambda information: float(np.abs(information[:, :LOOPED] - expected).max()),
        error_is="error, bits",
        targets=lambda seconds, memory, floor: [
            (
                Target("published loop", ">=", 100, "x ours"),
                seconds["published loop"] / seconds["mmrep"],
            ),
            (Target("counts that differ", "<=", 0, "of the looped units"), float(wrong.sum())),
        ],
    )


def inputs_and_hidden() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(500, 784, generator=generator)
    hidden = (inputs @ torch.randn(784, 64, generator=generator) / 5).sigmoid()
    pixels = 4

    def loop() -> NDArray[np.float64]:
        scaled = []
        for values in (inputs, hidden):
            array = values.numpy().astype(np.float64)
            array -= array.min()
            scaled.append(array / array.max())
        return published_joint_information(scaled[0][:, :pixels], scaled[1], BINS)

    expected = loop()
    compare(
        "joint information of 784 inputs and 64 units over 500 samples",
        [
            Contender("mmrep", lambda: joint_information(inputs, hidden).numpy()),
            Contender("published loop", loop, share=pixels / 784, rounds=5),
        ],
        floor=2 * 500 * 784 * 64 * BINS**2 / product_speed(torch.float32),
        floor_is="the product of indicators in float32",
        error=lambda information: float(np.abs(information[:pixels] - expected).max()),
        error_is="error, bits",
        targets=lambda seconds, memory, floor: [
            (
                Target("published loop", ">=", 100, "x ours"),
                seconds["published loop"] / seconds["mmrep"],
            )
        ],
    )


def main() -> None:
    one_thread()
    single_cells()
    inputs_and_hidden()


if __name__ == "__main__":
    main()
