"""`log_spectrogram` against the authors' numbers, and against their pipeline in SciPy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.spectrogram import by_grid, by_spline, published_log_spectrogram
from mmrep.data.spectrogram import log_spectrogram

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "spectrogram.npz"
LOG_FLOOR = np.log(1e-10)


def assert_close(image: Tensor, expected: np.ndarray) -> None:
    """To 0.02 where there is power; 0.4 near the floor, where float32 rounding is the signal."""
    difference = np.abs(image.numpy() - expected)
    assert difference[expected > -18].max(initial=0) < 0.02
    assert difference.max() < 0.4


def walk(batch: int, samples: int, rate: float) -> Float[Tensor, "batch samples"]:
    """Gravity, steps of 2 Hz that come and go, and a little noise."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(samples) / rate
    phase = torch.rand(batch, 1, generator=generator)
    steps = torch.sin(2 * torch.pi * (2 * time + phase)) * torch.sin(time / 5 + phase)
    return 9.8 + steps + 0.01 * torch.randn(batch, samples, generator=generator)


@pytest.mark.reference
@pytest.mark.parametrize("sensor", ["Acc_norm", "Acc_y"])
def test_equals_the_authors_images(sensor: str) -> None:
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE} is absent: the authors' numbers come beside the project")
    reference = np.load(REFERENCE)
    axes = reference["acc_xyz"]
    signal = axes[:, 1] if sensor == "Acc_y" else np.sqrt(np.square(axes).sum(axis=1))
    assert_close(log_spectrogram(torch.from_numpy(signal)), reference[f"spec/{sensor}"])


@pytest.mark.parametrize(
    ("rate", "window", "hop", "samples"),
    [
        (100.0, 500, 10, 6000),  # SHL
        (25.0, 125, 2, 500),  # DSADS: an odd window, a hop of round(2.5)
        (25.0, 125, 2, 127),  # two frames
        (50.0, 64, 5, 1001),
    ],
)
def test_equals_the_published_pipeline(rate: float, window: int, hop: int, samples: int) -> None:
    signal = walk(3, samples, rate)
    image = log_spectrogram(signal, rate=rate, window_seconds=window / rate)
    for resample in (by_grid, by_spline):
        assert_close(image, published_log_spectrogram(signal.numpy(), rate, window, hop, resample))


def test_size_is_free_and_may_exceed_the_frames() -> None:
    signal = walk(2, 500, 25.0)
    expected = published_log_spectrogram(signal.numpy(), 25.0, 125, 20, by_grid, size=64)
    assert_close(log_spectrogram(signal, rate=25.0, hop_seconds=0.8, size=64), expected)


def test_a_tone_peaks_in_the_row_of_its_frequency() -> None:
    tone = torch.sin(2 * torch.pi * 6.0 * torch.arange(6000) / 100)[None]
    row = 48 * np.log1p(6.0 / 0.2) / np.log(251)
    assert abs(log_spectrogram(tone)[0, :, 20].argmax().item() - row) <= 0.5


def test_aligned_ends_reach_the_highest_frequency() -> None:
    tone = torch.cos(torch.pi * torch.arange(6000))[None]  # the Nyquist frequency
    assert log_spectrogram(tone, align_ends=True)[0, :, 20].argmax() == 47
    assert log_spectrogram(tone)[0, -1].max() < log_spectrogram(tone, align_ends=True)[0, -1].min()


@pytest.mark.parametrize("value", [0.0, 9.8, 1013.25])
@pytest.mark.parametrize("rate", [25.0, 100.0])
def test_a_constant_is_the_floor_everywhere(value: float, rate: float) -> None:
    image = log_spectrogram(torch.full((1, 1000), value), rate=rate)
    torch.testing.assert_close(image, torch.full_like(image, LOG_FLOOR), atol=1e-5, rtol=0)


def test_a_large_offset_costs_no_digits() -> None:
    signal = walk(1, 6000, 100.0).double()
    image = log_spectrogram(signal + 1e5)
    torch.testing.assert_close(image, log_spectrogram(signal), atol=1e-2, rtol=0)


def test_batching_does_not_change_values() -> None:
    signal = walk(200, 1000, 100.0)
    whole = log_spectrogram(signal)
    singly = torch.cat([log_spectrogram(one[None]) for one in signal])
    torch.testing.assert_close(singly, whole, atol=1e-2, rtol=0)


def test_input_is_left_alone() -> None:
    signal = walk(2, 1000, 100.0)
    before = signal.clone()
    log_spectrogram(signal)
    assert torch.equal(signal, before)


def test_no_signals_give_no_images() -> None:
    assert log_spectrogram(torch.empty(0, 6000)).shape == (0, 48, 48)


@pytest.mark.parametrize("samples", [499, 500, 509])
def test_fewer_than_two_windows_are_refused(samples: int) -> None:
    message = rf"{samples} samples holds fewer than two windows of 500 .* at least 510 samples"
    with pytest.raises(ValueError, match=message):
        log_spectrogram(torch.zeros(1, samples))


def test_a_window_below_two_samples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"window_seconds=0.02 is 0 samples at 25.0 Hz"):
        log_spectrogram(torch.zeros(1, 500), rate=25.0, window_seconds=0.02)
