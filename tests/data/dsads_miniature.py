"""Writes some segments of Daily and Sports Activities as UCI distributes them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

Place = tuple[int, int, int]  # activity 1..19, subject 1..8, number 1..60


def write_segments(folder: Path, places: Iterable[Place]) -> None:
    """`folder`/aNN/pN/sNN.txt: 125 lines of 45 numbers, another signal in each file and column.

    Each column is an offset, an oscillation and some noise, with 5 significant digits as in the
    originals, so that spectra differ from file to file and from column to column.
    """
    time = np.arange(125)[:, None] / 25
    for activity, subject, number in places:
        random = np.random.default_rng((activity, subject, number))
        frequency, offset = random.uniform(0.5, 10, 45), random.uniform(-9, 9, 45)
        noise = random.normal(scale=0.1, size=(125, 45))
        values = offset + np.sin(2 * np.pi * frequency * time) + noise
        path = folder / f"a{activity:02}" / f"p{subject}" / f"s{number:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (",".join(f"{value:.5g}" for value in line) for line in values)
        path.write_text("\n".join(lines) + "\n")
