"""Digits to see and to hear: MNIST's IDX files, recordings, and the images made of both.

The auditory image is the published one (Eguchi, Horikawa & Stringer 2019 and the authors' program):
matplotlib's `specgram` of the first second, of which 15 bins are kept, and SciPy's `imresize`,
which is no more. `log_mel_images` is the usual alternative.
"""

import gzip
import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from PIL import Image

RATE = 8000  # Hz
SAMPLES = 8000  # 1 s: the rest is cut off, and what is missing is silence
WINDOW, BINS = 148, 15  # samples, and bins that are kept: 0 to 757 Hz, 54 Hz apart
FRAMES = SAMPLES // WINDOW
HEIGHT, WIDTH = 14, 56  # of an auditory image
MEL_WINDOW, MEL_HOP = 256, 143  # samples: 14 bands up to 4 kHz in 56 frames
MEL_RANGE = 80.0  # dB below the loudest, where an image is black: librosa's default
IDX_BYTES = 0x08  # the type code of unsigned bytes
NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[^_]+)_(?P<take>[0-9]+)")


class Recording(NamedTuple):
    """One spoken digit, as its file's name says."""

    digit: int
    speaker: str
    take: int
    path: Path


def read_idx(path: Path, dimensions: int) -> UInt8[np.ndarray, "..."]:
    """The bytes of an IDX file, or of its `.gz` where the file itself is not there.

    FileNotFoundError, ValueError: neither is there, or it is not an array of bytes with so many
    dimensions.
    """
    packed = path.with_name(f"{path.name}.gz")
    if path.exists():
        content = path.read_bytes()
    elif packed.exists():
        path = packed
        try:
            content = gzip.decompress(path.read_bytes())
        except (OSError, EOFError) as error:
            raise ValueError(f"{path} cannot be unpacked ({error}): fetch it again") from None
    else:
        raise FileNotFoundError(f"there is neither {path} nor {packed.name}")
    magic = bytes([0, 0, IDX_BYTES, dimensions])
    if content[:4] != magic:
        raise ValueError(
            f"{path} starts with {content[:4].hex()} instead of {magic.hex()}, so it is not an "
            f"IDX file of bytes in {dimensions} dimensions: fetch it again"
        )
    header = 4 + 4 * dimensions
    shape = tuple(int(length) for length in np.frombuffer(content[4:header], dtype=">u4"))
    if len(content) - header != math.prod(shape):
        raise ValueError(
            f"{path} holds {len(content) - header} bytes where its header announces "
            f"{' x '.join(map(str, shape))}: fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def find_recordings(folder: Path) -> list[Recording]:
    """All `DIGIT_SPEAKER_TAKE.wav` in `folder`, sorted by digit, speaker and take."""
    recordings = []
    for path in folder.glob("*.wav"):
        found = NAME.fullmatch(path.stem)
        if not found:
            raise ValueError(
                f"{path} does not say what it is: call it DIGIT_SPEAKER_TAKE.wav, such as "
                "7_theo_36.wav, with a speaker's name without _"
            )
        digit, take = int(found["digit"]), int(found["take"])
        recordings.append(Recording(digit, found["speaker"], take, path))
    return sorted(recordings)


def read_recording(path: Path) -> Float32[np.ndarray, "8000"]:
    """The first second at 8 kHz between -1 and 1, one channel, silent after the recording's end."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of its imports, and of its second reader
            signal, _ = librosa.load(path, sr=RATE, mono=True)
    except Exception as error:  # the readers' own kinds are not part of librosa
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as sound ({reason}): replace it") from None
    return librosa.util.fix_length(signal, size=SAMPLES).astype(np.float32)


def power(signal: Float[np.ndarray, "8000"]) -> Float64[np.ndarray, "15 54"]:
    """Power density (unit^2/Hz) from 0 to 757 Hz in 54 frames, one after another; row 0 is 0 Hz.

    Not its logarithm. The window is NumPy's symmetric Hamming window, and no mean is taken off.
    """
    taper = np.hamming(WINDOW)
    frames = np.asarray(signal, dtype=np.float64)[: FRAMES * WINDOW].reshape(FRAMES, WINDOW)
    spectrum = np.fft.rfft(frames * taper, axis=1)[:, :BINS].T
    one_sided = np.where(np.arange(BINS) == 0, 1.0, 2.0)[:, None]
    return one_sided * np.square(np.abs(spectrum)) / (RATE * np.square(taper).sum())


def byte_scaled(array: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """From 0 at the smallest value to 255 at the largest, as SciPy's `bytescale` rounded."""
    spread = np.ptp(array) or 1.0  # a clip of silence stays black
    return ((array - array.min()) * (255.0 / spread) + 0.5).astype(np.uint8)


def resized(
    image: UInt8[np.ndarray, "_ _"] | Float32[np.ndarray, "_ _"], height: int, width: int
) -> UInt8[np.ndarray, "{height} {width}"] | Float32[np.ndarray, "{height} {width}"]:
    """Bilinear, first along the rows and then along the columns.

    So did the Pillow of 2017; today's takes the columns first, and one byte in 20 would differ by
    the rounding between the passes.
    """
    wide = Image.fromarray(image).resize((width, image.shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(wide.resize((width, height), Image.Resampling.BILINEAR))


def published_images(
    signals: Sequence[Float[np.ndarray, "8000"]] | Float[np.ndarray, "clips 8000"],
    *,
    scale: str,
) -> Float32[np.ndarray, "clips 14 56"]:
    """Linear power between 0 and 1; row 0 is the lowest frequency.

    `clip`, as published, stretches each clip to 256 levels on its own, so that soft and loud
    speakers look alike, and divides by the largest level that the resizing left anywhere. With
    `global` one stretch serves all clips, without levels: a soft speaker stays dark.
    """
    powers = [power(signal) for signal in signals]
    if scale == "clip":
        images = [resized(byte_scaled(image), HEIGHT, WIDTH) for image in powers]
    else:
        least = min(image.min() for image in powers)
        most = max(image.max() for image in powers) or 1.0
        images = [
            resized(((image - least) / (most - least)).astype(np.float32), HEIGHT, WIDTH)
            for image in powers
        ]
    stack = np.stack(images)
    return (stack / np.float32(stack.max() or 1)).astype(np.float32)


def log_mel_images(
    signals: Sequence[Float[np.ndarray, "8000"]] | Float[np.ndarray, "clips 8000"],
    *,
    scale: str,
) -> Float32[np.ndarray, "clips 14 56"]:
    """Decibels in 14 mel bands up to 4 kHz, from 0 (80 dB below the loudest) to 1 (the loudest).

    The loudest of each `clip`, or of all clips (`global`). Row 0 is the lowest band.
    """
    with warnings.catch_warnings(action="ignore"):  # of its imports
        bands = librosa.feature.melspectrogram(
            y=np.asarray(signals, dtype=np.float32),
            sr=RATE,
            n_fft=MEL_WINDOW,
            hop_length=MEL_HOP,
            n_mels=HEIGHT,
        )
    loudest = bands.max(axis=(1, 2), keepdims=True) if scale == "clip" else bands.max()
    loudest = np.where(loudest > 0, loudest, 1.0)
    decibels = 10 * np.log10(np.maximum(bands / loudest, 1e-30))  # of silence: far below black
    return np.maximum(1 + decibels / MEL_RANGE, 0).astype(np.float32)
