"""Writes some images as MNIST's IDX files and some tones as FSDD's recordings."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import wavfile

SPEAKERS = ("anna", "bert", "carl")
TAKES = 6  # of each digit and speaker


def idx(array: np.ndarray) -> bytes:
    """The format of yann.lecun.com/exdb/mnist: type and dimensions, lengths, bytes."""
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


def random_digits(part: str, per_digit: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise, no two alike, in a random order of the digits."""
    random = np.random.default_rng(len(part))
    label = random.permutation(np.repeat(np.arange(10), per_digit))
    return random.integers(0, 256, (len(label), 28, 28), dtype=np.uint8), label


def write_mnist(folder: Path, *, train: int, test: int, packed: bool = False) -> None:
    """So many images of each digit in the training and the test file."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, per_digit in (("train", train), ("t10k", test)):
        pixels, label = random_digits(part, per_digit)
        for name, array in ((f"{part}-images-idx3", pixels), (f"{part}-labels-idx1", label)):
            content = idx(array)
            path = folder / f"{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)


def write_recordings(folder: Path, speakers: Sequence[str] = SPEAKERS, takes: int = TAKES) -> None:
    """Tones between 100 and 700 Hz, longer for larger digits, no two alike."""
    folder.mkdir(parents=True, exist_ok=True)
    for digit in range(10):
        for speaker in speakers:
            for take in range(takes):
                hertz = 100 + 60 * digit + 10 * SPEAKERS.index(speaker) + take
                samples = 2400 + 300 * digit
                write_tone(folder / f"{digit}_{speaker}_{take}.wav", hertz, samples)


def write_tone(path: Path, hertz: float, samples: int, *, rate: int = 8000, ears: int = 1) -> None:
    """16 bits, fading in and out."""
    wave = np.sin(2 * np.pi * hertz * np.arange(samples) / rate) * np.hanning(samples)
    wavfile.write(path, rate, np.repeat((9000 * wave).astype(np.int16)[:, None], ears, axis=1))
