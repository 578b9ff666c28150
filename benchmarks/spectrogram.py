"""Spectrograms, beside the published pipeline in SciPy: `python -m benchmarks.spectrogram`.

One thread. Rounds are interleaved, so that a busy machine is busy for both; CPU seconds are the
best of each. The published pipeline needed `interp2d`, which SciPy has removed; what stands for it
here gives the same numbers.
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
from scipy.interpolate import RegularGridInterpolator
from scipy.signal import spectrogram

from mmrep.data.spectrogram import log_spectrogram

SEGMENTS = 1000
PEER_SEGMENTS = 100  # a round of the published pipeline: 1,000 at once take 2 GB
ROUNDS = 5


def published_log_spectrogram(
    signal: NDArray[np.floating], rate: float, window: int, hop: int, size: int = 48
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
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    images = [RegularGridInterpolator((row, column), one)((rows, columns)) for one in power]
    return np.log(np.stack(images) + 1e-10)


def main() -> None:
    torch.set_num_threads(1)
    signal = torch.randn(SEGMENTS, 6000, generator=torch.Generator().manual_seed(0)) + 9.8
    ours = partial(log_spectrogram, signal)
    peer = partial(published_log_spectrogram, signal[:PEER_SEGMENTS].numpy(), 100.0, 500, 10)
    log_spectrogram(signal[:1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours()
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    rounds = [(cpu_seconds(peer), cpu_seconds(ours)) for _ in range(ROUNDS)]
    seconds = np.min(rounds, axis=0) * [SEGMENTS / PEER_SEGMENTS, 1]
    table = Table("", "CPU s for 1,000 minutes", "times published")
    for name, time_taken in zip(("published, SciPy", "mmrep"), seconds, strict=True):
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
