"""A small SHL 2018 folder in the official text layout, for tests of whatever reads it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmrep.data.shl_files import SIGNALS


def write_miniature_shl(
    root: Path,
    *,
    segments: int = 12,
    samples: int = 10,
    signals: Sequence[str] = SIGNALS,
    seed: int = 0,
) -> Path:
    """Writes `root/train/`, the lines shuffled as in the challenge, and returns that folder.

    Signals are noise with 7 decimals. A label lasts for a segment and a half on average, and all
    eight come in turn, so that labels change within segments.
    """
    generator = np.random.default_rng(seed)
    train = root / "train"
    train.mkdir(parents=True)
    ranks = generator.permutation(segments) + 1
    np.savetxt(train / "train_order.txt", ranks, fmt="%d")
    for name in signals:
        in_order_of_time = generator.normal(scale=9.0, size=(segments, samples))
        np.savetxt(train / f"{name}.txt", in_order_of_time[ranks - 1], fmt="%.7f")
    lengths = generator.integers(1, 3 * samples, size=segments * samples)
    modes = np.resize(generator.permutation(8) + 1, len(lengths))
    labels = np.repeat(modes, lengths)[: segments * samples].reshape(segments, samples)
    np.savetxt(train / "Label.txt", labels[ranks - 1], fmt="%d")
    return train
