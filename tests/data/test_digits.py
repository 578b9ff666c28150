"""Digits' files and images, against the published program, matplotlib's and librosa's own."""

import gzip
from pathlib import Path

import librosa
import numpy as np
import pytest
from matplotlib import mlab
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy.io import wavfile

from mmrep.data.digits import (
    byte_scaled,
    find_recordings,
    log_mel_images,
    power,
    published_images,
    read_idx,
    read_recording,
    resized,
)
from mmrep.data.in_memory import PROJECT
from tests.data.digits_miniature import idx, write_tone

REFERENCE = PROJECT.parent / "shared" / "reference" / "digits_spectrogram.npz"
REFERENCE_TAKES = ["0_jackson_0", "7_theo_36", "9_theo_16", "3_jackson_42", "6_theo_7"]


def noise(clips: int, seed: int = 0) -> np.ndarray:
    """Clips of another loudness each."""
    random = np.random.default_rng(seed)
    loudness = 10.0 ** random.uniform(-2, 0, (clips, 1))
    return (loudness * random.standard_normal((clips, 8000))).astype(np.float32)


@pytest.mark.reference
@pytest.mark.parametrize("name", REFERENCE_TAKES)
def test_the_image_is_the_published_programs(name: str) -> None:
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE.name} is not beside the project")
    stored = np.load(REFERENCE)
    signal = np.zeros(8000)
    samples = stored[f"{name}_int16"][:8000]
    signal[: len(samples)] = samples
    expected = stored[f"{name}_pxx15"]
    assert_allclose(power(signal), expected, rtol=1e-9, atol=1e-15 * expected.max())
    assert_array_equal(byte_scaled(power(signal)), stored[f"{name}_bytescaled_15x54"])
    image = stored[f"{name}_uint8_14x56"]
    assert_array_equal(resized(byte_scaled(power(signal)), 14, 56), image)
    assert_array_equal(published_images([signal], scale="clip")[0], image / np.float32(image.max()))


def test_power_is_matplotlibs_spectrogram() -> None:
    (signal,) = noise(1)
    expected, hertz, _ = mlab.specgram(
        signal, NFFT=148, Fs=8000, window=np.hamming(148), noverlap=0, detrend=mlab.detrend_none
    )
    assert_allclose(power(signal), expected[:15], rtol=1e-9)
    assert hertz[14] == pytest.approx(756.8, abs=0.1)


def test_a_tone_lies_in_the_row_of_its_frequency() -> None:
    seconds = np.arange(8000) / 8000
    for row in (1, 7, 13):
        tone = np.sin(2 * np.pi * row * 8000 / 148 * seconds)
        assert power(tone).sum(axis=1).argmax() == row


def test_bytes_reach_both_ends_and_silence_stays_black() -> None:
    assert byte_scaled(np.array([[-1.0, 0.0, 1.0]])).tolist() == [[0, 128, 255]]  # 127.5 goes up
    assert not byte_scaled(np.full((3, 4), 7.0)).any()
    assert not published_images(np.zeros((2, 8000)), scale="clip").any()
    assert not published_images(np.zeros((2, 8000)), scale="global").any()
    assert not log_mel_images(np.zeros((2, 8000)), scale="clip").any()


def test_resizing_goes_along_the_rows_first() -> None:
    image = np.random.default_rng(0).integers(0, 256, (15, 54), dtype=np.uint8)
    pillow = np.asarray(Image.fromarray(image).resize((56, 14), Image.Resampling.BILINEAR))
    ours = resized(image, 14, 56).astype(int)
    assert np.abs(ours - pillow).max() == 1  # the rounding between the passes, and no more
    real = resized(image.astype(np.float32), 14, 56)
    assert np.abs(ours - real).max() <= 1  # each pass rounds by half a level at most


def test_every_clip_is_stretched_or_all_together() -> None:
    signals = noise(6)
    each = published_images(signals, scale="clip")
    assert_allclose(each, published_images(signals * 7, scale="clip"), atol=1.01 / 200)
    alone = [published_images([signal], scale="clip")[0] for signal in signals]
    for mine, image in zip(alone, each, strict=True):  # alone, a clip is its own maximum
        assert_allclose(mine * image.max(), image, atol=1e-6)
    assert each.max() == 1

    together = published_images(signals, scale="global")
    assert together.max() == 1
    mean_power = np.array([power(signal).mean() for signal in signals])
    assert_allclose(
        together.mean(axis=(1, 2)) / mean_power, together.mean() / mean_power.mean(), rtol=0.02
    )


@pytest.mark.parametrize("scale", ["clip", "global"])
def test_log_mel_images_are_librosas_decibels(scale: str) -> None:
    signals = noise(3)
    images = log_mel_images(signals, scale=scale)
    assert images.shape == (3, 14, 56)
    assert images.min() >= 0
    assert images.max() == pytest.approx(1)
    mel = [
        librosa.feature.melspectrogram(y=s, sr=8000, n_fft=256, hop_length=143, n_mels=14)
        for s in signals
    ]
    for image, bands in zip(images, mel, strict=True):
        reference = np.max(bands if scale == "clip" else mel)
        decibels = librosa.power_to_db(bands, ref=reference, amin=1e-30, top_db=None)
        assert_allclose(image, np.maximum(1 + decibels / 80, 0), atol=1e-5)
    seconds = np.arange(8000) / 8000
    tones = np.sin(2 * np.pi * np.array([[90.0], [600.0], [3600.0]]) * seconds)
    rows = log_mel_images(tones, scale=scale).sum(axis=2).argmax(axis=1)
    assert rows.tolist() == sorted(rows.tolist())
    assert rows[0] == 0
    assert rows[2] >= 12


def test_recordings_of_any_rate_come_in_at_8_khz(tmp_path: Path) -> None:
    write_tone(tmp_path / "0_anna_0.wav", 440, 4000)
    for take, (rate, ears) in enumerate([(16000, 1), (44100, 2), (8000, 2)], start=1):
        samples = round(rate * 0.5)
        write_tone(tmp_path / f"0_anna_{take}.wav", 440, samples, rate=rate, ears=ears)
    signals = [read_recording(recording.path) for recording in find_recordings(tmp_path)]
    plain, *others = published_images(signals, scale="clip")
    for image in others:
        assert_allclose(image, plain, atol=0.02)


def test_a_recording_is_cut_or_followed_by_silence(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 9000).astype(np.int16)
    for take, length in enumerate([9000, 8000, 3000]):
        path = tmp_path / f"7_anna_{take}.wav"
        wavfile.write(path, 8000, samples[:length])
        signal = read_recording(path)
        kept = min(length, 8000)
        assert_array_equal(signal[:kept] * 32768, samples[:kept])  # as it is, to the last bit
        assert not signal[kept:].any()


def test_names_say_digit_speaker_and_take(tmp_path: Path) -> None:
    for name in ("3_anna_10.wav", "3_anna_9.wav", "0_bert_1.wav", "notes.txt"):
        (tmp_path / name).touch()
    found = [(r.digit, r.speaker, r.take) for r in find_recordings(tmp_path)]
    assert found == [(0, "bert", 1), (3, "anna", 9), (3, "anna", 10)]


@pytest.mark.parametrize("name", ["three_anna_0.wav", "3_anna.wav", "33_anna_0.wav", "3_a_b_0.wav"])
def test_a_name_that_says_nothing_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=rf"{name} .* call it DIGIT_SPEAKER_TAKE.wav"):
        find_recordings(tmp_path)


def test_what_is_no_sound_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "3_anna_0.wav"
    path.write_bytes(b"RIFF, or so it says")
    with pytest.raises(ValueError, match=r"3_anna_0.wav cannot be read as sound"):
        read_recording(path)


def test_idx_files_are_read_packed_or_not(tmp_path: Path) -> None:
    images = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    (tmp_path / "one").write_bytes(idx(images))
    (tmp_path / "two.gz").write_bytes(gzip.compress(idx(images)))
    for name in ("one", "two"):
        assert_array_equal(read_idx(tmp_path / name, 3), images)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(np.zeros(5)), "starts with 00000801 instead of 00000803"),
        (b"", "starts with  instead of 00000803"),
        (idx(np.zeros((2, 3, 4)))[:-1], "holds 23 bytes where its header announces 2 x 3 x 4"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "images", 3)


def test_missing_and_broken_idx_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither .*images nor images.gz"):
        read_idx(tmp_path / "images", 3)
    (tmp_path / "images.gz").write_bytes(gzip.compress(b"whole")[:-4])
    with pytest.raises(ValueError, match=r"images.gz cannot be unpacked"):
        read_idx(tmp_path / "images", 3)
