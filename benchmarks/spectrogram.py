"""Spectrograms, beside the published pipeline in SciPy: `python -m benchmarks.spectrogram`.

One thread. Rounds are interleaved, so that a busy machine is busy for both; CPU seconds are the
best of each. The published pipeline used `interp2d`, which SciPy has removed and replaces by
`RectBivariateSpline` (the same FITPACK fit of all 251 x 551 cells). `RegularGridInterpolator` gives
the same numbers and fits nothing: the third row, a peer that nobody published.
"""

import resource
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.interpolate import RectBivariateSpline, RegularGridInterpolator
from scipy.signal import spectrogram

from mmrep.data.spectrogram import log_spectrogram

SEGMENTS = 1000  # at once, as published: takes 3 GB there
ROUNDS = 3
NAMES = ("published, interp2d's successor", "mmrep", "published, RegularGridInterpolator")


def published_log_spectrogram(
    signal: NDArray[np.floating],
    rate: float,
    window: int,
    hop: int,
    resample: Callable[..., NDArray[np.floating]],
    size: int = 48,
) -> NDArray[np.floating]:
    """The authors' pipeline, step by step: STFT power, bilinear resampling, logarithm.

    All frames and bins; (batch, samples) to (batch, size, size). SciPy's defaults are meant: Tukey
    window of 0.25, detrending of each window, density.
    """
    frequency, centre, power = spectrogram(
        signal, fs=rate, nperseg=window, noverlap=window - hop, axis=-1
    )
    offset = frequency[1]
    bottom, top = np.log(offset), np.log(rate / 2 + offset)
    row = size * (np.log(frequency + offset) - bottom) / (top - bottom)
    column = size * (centre - centre[0]) / (centre[-1] - centre[0])
    grid = np.arange(size)
    return np.log(np.stack([resample(row, column, one, grid) for one in power]) + 1e-10)


def by_spline(
    row: NDArray[np.floating],
    column: NDArray[np.floating],
    power: NDArray[np.floating],
    grid: NDArray[np.int64],
) -> NDArray[np.floating]:
    """`interp2d` of kind linear, as SciPy's guide to its removal has it."""
    return RectBivariateSpline(row, column, power, kx=1, ky=1)(grid, grid)


def by_grid(
    row: NDArray[np.floating],
    column: NDArray[np.floating],
    power: NDArray[np.floating],
    grid: NDArray[np.int64],
) -> NDArray[np.floating]:
    return RegularGridInterpolator((row, column), power)(
        tuple(np.meshgrid(grid, grid, indexing="ij"))
    )


def main() -> None:
    torch.set_num_threads(1)
    signal = torch.randn(SEGMENTS, 6000, generator=torch.Generator().manual_seed(0)) + 9.8
    ours = partial(log_spectrogram, signal)
    some = signal.numpy()
    published = partial(published_log_spectrogram, some, 100.0, 500, 10, by_spline)
    cheaper = partial(published_log_spectrogram, some, 100.0, 500, 10, by_grid)
    log_spectrogram(signal[:1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours()
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    ways = (published, ours, cheaper)
    seconds = np.min([[cpu_seconds(way) for way in ways] for _ in range(ROUNDS)], axis=0)
    table = Table("", "CPU s for 1,000 minutes", "times published")
    for name, time_taken in zip(NAMES, seconds, strict=True):
        table.add_row(name, f"{time_taken:.3f}", f"{seconds[0] / time_taken:.1f}")
    console = Console()
    console.print(table)
    console.print(f"extra memory of mmrep at its peak: {extra:.0f} MiB, images included")


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
