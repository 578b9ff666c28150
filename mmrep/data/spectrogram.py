"""A sensor's signal as a small image: log power over log frequency and linear time.

The image is the published one (Moreau et al., arXiv 2111.02732, and the authors' program): SciPy's
`spectrogram` with its defaults, resampled bilinearly, then a logarithm. Only the frames and bins
that the bilinear map reads are computed: 94 of 551 and 62 of 251 for a minute at 100 Hz.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from scipy.signal.windows import tukey
from torch import Tensor

TAPER = 0.25  # the share of the Tukey window that is cosine: SciPy's default for spectrograms
CHUNK_BYTES = 16 * 2**20  # of folded frames at a time: the whole stays under 100 MiB


def log_spectrogram(
    signal: Float[Tensor, "batch samples"],
    *,
    rate: float = 100.0,
    window_seconds: float = 5.0,
    hop_seconds: float = 0.1,
    size: int = 48,
    floor: float = 1e-10,
    align_ends: bool = False,
) -> Float32[Tensor, "batch {size} {size}"]:
    """Natural log of the power density (unit^2/Hz) plus `floor`; row 0 is the lowest frequency.

    Frequency f lies at row `size * ln(1 + f / f1) / ln(1 + fmax / f1)`, with f1 the first non-zero
    bin (1 / window) and fmax = rate / 2; time runs over `size` columns from the first frame's
    centre to the last one's. Rows and columns are the whole numbers below `size`, so that the last
    row is not fmax (44.5 of 50 Hz) and the last column not the last frame: published so.
    `align_ends` scales by `size - 1` instead and reaches both ends.

    Each window loses its own mean before it is tapered, hence row 0 is almost empty. Power is
    interpolated, not its logarithm. The hop is max(1, round(hop_seconds * rate)) samples, halves
    to even: 2 at 25 Hz.
    """
    batch, samples = signal.shape
    window, hop = round(window_seconds * rate), max(1, round(hop_seconds * rate))
    if window < 2:
        raise ValueError(
            f"window_seconds={window_seconds} is {window} samples at {rate} Hz, and a spectrum "
            f"needs at least 2: take a window of {2 / rate} s or more"
        )
    if samples < window + hop:
        raise ValueError(
            f"a signal of {samples} samples holds fewer than two windows of {window} samples, "
            f"{hop} apart: give at least {window + hop} samples or a window_seconds below "
            f"{window_seconds}"
        )
    last_frame, last_bin = (samples - window) // hop, window // 2
    span = np.arange(size) / (size - 1 if align_ends else size)
    frame_position = np.arange(last_frame + 1) / last_frame
    bin_position = np.log1p(np.arange(last_bin + 1)) / np.log1p(window / 2)
    columns, frames = _interpolation(frame_position, span)
    rows, bins = _interpolation(bin_position, span)

    device = signal.device
    cosine, sine = (torch.from_numpy(m).to(device) for m in _transform(window, bins, rate))
    to_rows, to_columns = (torch.from_numpy(m).to(device) for m in (rows, columns))

    image = torch.empty(batch, size, size, device=device)
    chunk = max(1, CHUNK_BYTES // (4 * len(frames) * window))
    for first in range(0, batch, chunk):
        part = signal[first : first + chunk]
        # The common offset goes while that is exact: 1,000 hPa would cost digits in the products.
        part = (part - part.mean(dim=1, keepdim=True)).float()
        even, odd = _fold(part, [int(i) * hop for i in frames], window)
        power = (even @ cosine).square_().add_((odd @ sine).square_())
        del even, odd
        by_column = (to_columns @ power.flatten(1)).view(size, len(part), -1)
        by_row = (by_column @ to_rows.T).permute(1, 2, 0)
        torch.log(by_row.add_(floor), out=image[first : first + chunk])
    return image


def _interpolation(
    grid: NDArray[np.float64], points: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Linear interpolation as a matrix (points, kept), and the grid's indices that it reads."""
    points = np.minimum(points, grid[-1])  # an odd window's last bin lies below rate / 2
    right = np.clip(np.searchsorted(grid, points, side="right"), 1, len(grid) - 1)
    share = (points - grid[right - 1]) / (grid[right] - grid[right - 1])
    weights = np.zeros((len(points), len(grid)))
    weights[np.arange(len(points)), right - 1] = 1 - share
    weights[np.arange(len(points)), right] = share
    kept = np.flatnonzero(weights.max(axis=0) > 1e-9)  # below: a position whole but for rounding
    return weights[:, kept].astype(np.float32), kept


def _transform(
    window: int, bins: NDArray[np.int64], rate: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Detrend, taper, Fourier transform and density scaling as two matrices on a folded frame.

    A periodic Tukey window is even about sample `window / 2`: w[n] = w[window - n]. So the cosine
    transform reads only sums x[n] + x[window - n] and the sine transform only differences, which
    halves the products; the mean is even and enters the cosines alone.
    """
    taper = tukey(window, TAPER, sym=False)
    angle = 2 * np.pi * np.outer(np.arange(window // 2 + 1), bins) / window
    doubled = np.where((bins == 0) | (2 * bins == window), 1.0, 2.0)  # one-sided
    scale = np.sqrt(doubled / (rate * np.square(taper).sum()))
    cosine = taper[: window // 2 + 1, None] * np.cos(angle)
    sine = taper[: window // 2 + 1, None] * np.sin(angle)
    spectrum = np.fft.fft(taper)[bins].real  # what a constant 1 would leave behind
    cosine -= spectrum / window
    return (scale * cosine).astype(np.float32), (scale * sine).astype(np.float32)


def _fold(
    signal: Float32[Tensor, "batch samples"], starts: list[int], window: int
) -> tuple[Float32[Tensor, "frames batch half"], Float32[Tensor, "frames batch half"]]:
    """Sums and differences of the samples n and `window - n` of each frame, n = 0..window // 2.

    Samples 0 and, for an even window, `window / 2` have no partner: they stand alone in the sums.
    """
    half = window // 2 + 1
    pairs = (window + 1) // 2  # n = 1 .. pairs - 1 have a partner
    samples = signal.shape[1]
    backward = signal.flip(1)
    even = signal.new_empty(len(starts), len(signal), half)
    odd = signal.new_zeros(len(starts), len(signal), half)
    for frame, start in enumerate(starts):
        even[frame] = signal[:, start : start + half]
        ahead = signal[:, start + 1 : start + pairs]
        mirror = samples - start - window  # of sample start + window - 1, the partner of n = 1
        back = backward[:, mirror : mirror + pairs - 1]
        even[frame, :, 1:pairs] += back
        torch.sub(ahead, back, out=odd[frame, :, 1:pairs])
    return even, odd
