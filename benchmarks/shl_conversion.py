"""Converts text like SHL's, beside `numpy.loadtxt`: `python -m benchmarks.shl_conversion`.

Rounds are interleaved, so that a busy machine is busy for both; the best of each is shown. CPU
seconds are those of all threads. Ours also checks the text and writes the array to disk.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mmrep.data.shl_files import convert_signal

SEGMENTS = 2000  # 129 MB, an eighth of an official file
ROUNDS = 7


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        text = write_text(root)
        megabytes = text.stat().st_size / 1e6
        ours = partial(convert_signal, root, "Acc_x")
        ways: dict[str, Callable[[], object]] = {
            "numpy.loadtxt": partial(np.loadtxt, text, dtype=np.float32),
            "mmrep, 1 thread": partial(ours, threads=1),
            "mmrep, 2 threads": partial(ours, threads=2),
        }
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        convert_anew(text, ours)  # Numba compiles
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = [[convert_anew(text, way) for way in ways.values()] for _ in range(ROUNDS)]
    best = np.min(seconds, axis=0)
    table = Table("", "CPU s", "MB/s", "ratio", "wall s", "MB/s", "ratio")
    for name, times in zip(ways, best, strict=True):
        speeds = zip(times, megabytes / times, best[0] / times, strict=True)
        table.add_row(name, *(f"{number:.3g}" for speed in speeds for number in speed))
    console = Console()
    console.print(f"{megabytes:.0f} MB of text, {os.cpu_count()} cores, best of {ROUNDS} rounds")
    console.print(table)
    console.print(f"peak memory {peak / 1024:.0f} MiB, of which before {before / 1024:.0f} MiB")


def write_text(root: Path) -> Path:
    generator = np.random.default_rng(0)
    train = root / "train"
    train.mkdir()
    np.savetxt(train / "train_order.txt", generator.permutation(SEGMENTS) + 1, fmt="%d")
    with (train / "Acc_x.txt").open("w") as text:
        for _ in range(SEGMENTS):  # one at a time, to leave the peak of memory to the conversion
            np.savetxt(text, generator.normal(scale=9.0, size=(1, 6000)), fmt="%.7f")
    return train / "Acc_x.txt"


def convert_anew(text: Path, way: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of a conversion that finds no finished one."""
    text.touch()
    cpu, wall = time.process_time(), time.perf_counter()
    with redirect_stdout(StringIO()):  # the progress bars
        way()
    return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    main()
