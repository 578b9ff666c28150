"""Digits without any files: scikit-learn's handwritten ones and spoken ones from a synthesiser.

The images are real (E. Alpaydin & C. Kaynak 1998, UCI data set 80, CC BY 4.0): 1,797 of 8 x 8
pixels, made 28 x 28 here. The speech is not: a train of glottal pulses and noise passes three
resonators, whose frequencies move from one sound's formants to the next one's. The formants of
vowels are the men's averages of Peterson & Barney (1952, 10.1121/1.1906875); those of consonants
and all durations are plausible sizes. No speaker of FSDD was imitated.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from numpy.random import Generator, default_rng

from mmrep.data.digits import RATE, SAMPLES, resized

SIZE = 28  # pixels, height and width
STEP = 40  # samples between two settings of the synthesiser: 5 ms
TAKES = 50  # of each digit and speaker, as FSDD has
BANDWIDTHS = np.array([80.0, 110.0, 160.0])  # Hz, of the resonators
GAINS = np.array([1.0, 0.5, 0.25])  # of the resonators, which stand side by side
HISS = 0.3  # of noise beside the voice
OPEN = 0.6  # the share of a period in which the glottis is open
BACKGROUND = 3e-4  # rms, where a clip's loudest sample is 1


class Sound(NamedTuple):
    """What the synthesiser is set to in the middle of a sound."""

    voice: float
    noise: float
    formants: tuple[float, float, float]  # Hz


SOUNDS = {
    "i": Sound(0.8, 0.0, (270, 2290, 3010)),
    "I": Sound(0.9, 0.0, (390, 1990, 2550)),
    "E": Sound(1.0, 0.0, (530, 1840, 2480)),
    "A": Sound(1.0, 0.0, (730, 1090, 2440)),
    "O": Sound(1.0, 0.0, (570, 840, 2410)),
    "U": Sound(0.9, 0.0, (440, 1020, 2240)),
    "u": Sound(0.8, 0.0, (300, 870, 2240)),
    "V": Sound(1.0, 0.0, (640, 1190, 2390)),  # as in "one"
    "@": Sound(0.7, 0.0, (500, 1500, 2400)),
    "r": Sound(0.7, 0.0, (420, 1300, 1600)),
    "w": Sound(0.6, 0.0, (290, 610, 2150)),
    "n": Sound(0.4, 0.0, (250, 1500, 2500)),
    "v": Sound(0.3, 0.1, (250, 1100, 2300)),
    "z": Sound(0.3, 0.5, (250, 1700, 2600)),
    "s": Sound(0.0, 0.8, (300, 1700, 2700)),
    "f": Sound(0.0, 0.4, (300, 1100, 2300)),
    "T": Sound(0.0, 0.3, (300, 1400, 2500)),  # as in "three"
    "t": Sound(0.0, 1.0, (350, 1800, 2700)),  # the burst
    "k": Sound(0.0, 0.7, (300, 1900, 2300)),
    "-": Sound(0.0, 0.0, (300, 1500, 2500)),  # the closure before a burst
}
WORDS = (  # each digit's sounds and their ms
    (("z", 80), ("i", 110), ("r", 70), ("O", 110), ("U", 90)),
    (("w", 80), ("V", 160), ("n", 130)),
    (("t", 40), ("u", 280)),
    (("T", 90), ("r", 70), ("i", 230)),
    (("f", 100), ("O", 200), ("r", 120)),
    (("f", 100), ("A", 150), ("I", 110), ("v", 80)),
    (("s", 130), ("I", 100), ("-", 70), ("k", 30), ("s", 140)),
    (("s", 120), ("E", 100), ("v", 60), ("@", 80), ("n", 100)),
    (("E", 110), ("i", 110), ("-", 80), ("t", 40)),
    (("n", 90), ("A", 140), ("I", 100), ("n", 110)),
)


class Speaker(NamedTuple):
    """A voice: pitch (Hz), what the formants are multiplied by, and the peak of the sound."""

    pitch: float
    size: float
    loudness: float


SPEAKERS = {  # one is loud and one is soft, as FSDD's are
    "simulated_low": Speaker(105.0, 1.0, 0.3),
    "simulated_high": Speaker(190.0, 1.15, 0.06),
}


def handwritten_digits() -> tuple[UInt8[np.ndarray, "images 28 28"], Int64[np.ndarray, "images"]]:
    """All 1,797 in their order, and which digit each is."""
    from sklearn.datasets import load_digits  # where real data are read, nothing needs it

    stored = load_digits()
    bytes_ = np.round(stored.images * (255 / 16)).astype(np.uint8)  # 17 levels
    return np.stack([resized(image, SIZE, SIZE) for image in bytes_]), stored.target


def spoken_digits(
    takes: int, seed: int
) -> tuple[Float32[np.ndarray, "clips 8000"], Int64[np.ndarray, "clips 3"]]:
    """Clips of one second at 8 kHz, and the digit, speaker (by number) and take of each.

    Takes differ in pitch, pace, formants and loudness. A take is the same however many there are.
    """
    ids = np.array(
        [
            (digit, speaker, take)
            for take in range(takes)
            for digit in range(len(WORDS))
            for speaker in range(len(SPEAKERS))
        ]
    )
    jitter, breath, room = default_rng(seed).spawn(3)
    voices = [*SPEAKERS.values()]
    settings = [_settings(WORDS[digit], voices[speaker], jitter) for digit, speaker, _ in ids]
    pitch, voice, noise, loudness, formants = (
        np.stack(part) for part in zip(*settings, strict=True)
    )
    shape = len(ids), SAMPLES
    voiced = _upsampled(voice) * _pulses(_upsampled(pitch))
    hiss = _upsampled(noise) * breath.standard_normal(shape, np.float32)
    speech = _resonances(voiced, HISS * hiss, formants)
    # The mouth lets high frequencies out: what comes from inside is differenced.
    speech = np.diff(speech, axis=1, prepend=np.float32(0))
    speech /= np.abs(speech).max(axis=1, keepdims=True)
    clips = loudness * (speech + BACKGROUND * room.standard_normal(shape, np.float32))
    order = np.lexsort(ids.T[::-1])
    return clips[order], ids[order]


def _settings(
    word: tuple[tuple[str, int], ...], speaker: Speaker, rng: Generator
) -> tuple[
    Float32[np.ndarray, "steps"],
    Float32[np.ndarray, "steps"],
    Float32[np.ndarray, "steps"],
    Float32[np.ndarray, "1"],
    Float32[np.ndarray, "steps 3"],
]:
    """Pitch, voice, noise, loudness and formants of one take, every 5 ms."""
    sounds = [SOUNDS[name] for name, _ in word]
    lengths = np.array([ms for _, ms in word]) * rng.lognormal(0, 0.12, len(word))
    lengths *= rng.lognormal(0, 0.1)
    ends = rng.uniform(10, 40) + np.cumsum(lengths)  # ms
    # A sound holds in its middle half; settings move evenly from one sound to the next.
    knots = np.stack([ends - 0.75 * lengths, ends - 0.25 * lengths], axis=1).ravel()
    edges = [ends[0] - lengths[0], *knots, ends[-1]]
    time = np.arange(SAMPLES // STEP) * (1000 * STEP / RATE)

    def level(values: list[float]) -> Float64[np.ndarray, "steps"]:
        return np.interp(time, edges, [0.0, *np.repeat(values, 2), 0.0])

    middle = np.array([sound.formants for sound in sounds]) * speaker.size
    middle *= rng.lognormal(0, 0.04) * rng.lognormal(0, 0.04, middle.shape)
    formants = np.stack([np.interp(time, knots, np.repeat(row, 2)) for row in middle.T], axis=1)
    falling = np.interp(time, [edges[0], edges[-1]], [1.1, 0.85])  # as at the end of a sentence
    return (
        (speaker.pitch * rng.lognormal(0, 0.07) * falling).astype(np.float32),
        level([sound.voice for sound in sounds]).astype(np.float32),
        level([sound.noise for sound in sounds]).astype(np.float32),
        np.array([speaker.loudness * rng.lognormal(0, 0.3)], dtype=np.float32),
        formants.astype(np.float32),
    )


def _upsampled(settings: Float32[np.ndarray, "clips steps"]) -> Float32[np.ndarray, "clips 8000"]:
    return np.repeat(settings, STEP, axis=1)


def _pulses(pitch: Float32[np.ndarray, "clips 8000"]) -> Float32[np.ndarray, "clips 8000"]:
    """The change of the glottal flow: open for 0.6 of a period, then shut."""
    turns = np.cumsum(pitch, axis=1, dtype=np.float64) / RATE
    phase = (turns - np.floor(turns)).astype(np.float32)
    flow = np.where(phase < OPEN, np.square(np.sin(np.pi / OPEN * phase)), 0).astype(np.float32)
    return np.diff(flow, axis=1, prepend=np.float32(0))


def _resonances(
    voiced: Float32[np.ndarray, "clips 8000"],
    hiss: Float32[np.ndarray, "clips 8000"],
    formants: Float32[np.ndarray, "clips steps 3"],
) -> Float32[np.ndarray, "clips 8000"]:
    """Three two-pole filters side by side, all clips at once.

    Hiss starts at teeth or lips, so the cavity behind them, the first formant's, is not heard.
    """
    radius = np.exp(-np.pi * BANDWIDTHS / RATE).astype(np.float32)[:, None]
    angle = (2 * np.pi / RATE) * np.ascontiguousarray(formants.transpose(1, 2, 0))
    memory = 2 * radius * np.cos(angle)
    drive = GAINS.astype(np.float32)[:, None] * (1 - radius) * np.sin(angle)  # about equal peaks
    low, high = np.ascontiguousarray(voiced.T), np.ascontiguousarray((voiced + hiss).T)
    spoken = np.empty_like(low)
    before, now = np.zeros((2, 3, len(voiced)), dtype=np.float32)
    source = np.empty_like(now)
    for sample in range(SAMPLES):
        step = sample // STEP
        source[0], source[1:] = low[sample], high[sample]
        before, now = now, drive[step] * source + memory[step] * now - radius**2 * before
        spoken[sample] = now.sum(axis=0)
    return spoken.T
