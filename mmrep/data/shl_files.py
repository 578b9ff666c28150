"""The text files of the SHL 2018 challenge: checked, and converted once to memory-mapped arrays.

`train/` holds one text file per signal and `Label.txt`: a line is one segment, 6,000 numbers of
60 s at 100 Hz. The lines were shuffled: `train_order.txt` gives the rank in time of each, from 1.
"""

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, no_type_check

import numba
import numpy as np
import rich.progress
from jaxtyping import Bool, Float32, Int64, UInt8

from mmrep.data.cache import code_digest
from mmrep.files import alone, require_space, whole_file

SIGNALS = (
    *(f"{sensor}_{axis}" for sensor in ("Acc", "Gra", "LAcc", "Gyr", "Mag") for axis in "xyz"),
    *(f"Ori_{axis}" for axis in "xyzw"),
    "Pressure",
)
SAMPLES = 6000  # in a segment
THREADS = min(os.cpu_count() or 1, 8)  # a few parse as fast as one reads and writes
BLOCK_LINES = 16  # what a thread parses at a time: 1 MB of a signal, so that it stays in its cache
LONGEST = 64  # bytes a number may take: a damaged file without line ends is not read as one line
REMEDY = (
    "copy it again from where it came (SHL 2018 is downloaded by hand, 20 GB, from "
    "http://www.shl-dataset.org/)"
)
Numbers = Float32[np.ndarray, "lines samples"]


class _Content(NamedTuple):
    """What every number of a file must be."""

    name: str
    holds: Callable[[Numbers], Bool[np.ndarray, "lines samples"]]


SIGNAL = _Content("a finite number", np.isfinite)
LABEL = _Content("a label from 1 to 8", lambda x: (x >= 1) & (x <= 8) & (x == np.rint(x)))


def convert_signal(
    root: Path, name: str, *, samples: int = SAMPLES, threads: int = THREADS
) -> Path:
    """A .npy of one of SIGNALS, float32 (segments, samples) in order of time, for `mmap_mode="r"`.

    It is made in `root/converted/` when it is first asked for, and anew when its text or the order
    has changed: its name tells which it is of. No other signal's file is touched. ValueError: the
    text is damaged (the first bad line is named). FileNotFoundError: no text. OSError: no space.
    """
    if name not in SIGNALS:
        raise ValueError(f"{name!r} is not one of SHL's signals {', '.join(SIGNALS)}")
    read = partial(_read, content=SIGNAL, samples=samples, threads=threads)
    return _converted(root, name, read, slice(0, samples))


def read_labels(
    root: Path, *, samples: int = SAMPLES, threads: int = THREADS
) -> Int64[np.ndarray, " segments"]:
    """The transport mode of each segment, 0 to 7, in order of time: its middle label, less 1.

    `Label.txt` is read and checked to the last label, once; errors are those of `convert_signal`.
    """
    read = partial(_read, content=LABEL, samples=samples, threads=threads)
    middle = slice(samples // 2, samples // 2 + 1)
    return np.load(_converted(root, "Label", read, middle))[:, 0].astype(np.int64) - 1


def _converted(
    root: Path, name: str, read: Callable[[Path], Generator[Numbers, None, None]], columns: slice
) -> Path:
    """Some columns of a text file in order of time, under a name that tells what they are of."""
    text, order = root / "train" / f"{name}.txt", root / "train" / "train_order.txt"
    for path in (text, order):
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no {path}: {root} must hold SHL's folder train/ with {name}.txt and "
                "train_order.txt; download them by hand (20 GB) from http://www.shl-dataset.org/"
            )
    state, ranks = text.stat(), _ranks(order)
    code = code_digest(__file__)
    source = f"{state.st_size} {state.st_mtime_ns} {columns} {ranks} {code}"
    folder = root / "converted"
    path = folder / f"{name}-{hashlib.sha256(source.encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        with alone(folder / f".{name}.lock"):
            if not path.exists():  # or another process has made it while this one waited
                for old in (*folder.glob(f"{name}-*"), *folder.glob(f".{name}-*")):
                    old.unlink()  # of another text, or left by a conversion that was killed
                with whole_file(path) as part, closing(read(text)) as blocks:
                    _write(part, blocks, ranks, columns, text)
    return path


def _write(
    part: Path, blocks: Iterator[Numbers], ranks: list[int], columns: slice, text: Path
) -> None:
    shape = (len(ranks), columns.stop - columns.start)
    require_space(part.parent, 4 * shape[0] * shape[1])
    start = np.lib.format.open_memmap(part, "w+", np.float32, shape=shape).offset
    done = 0
    with part.open("r+b") as array:  # not mapped: a full disk would then end the process
        for numbers in blocks:
            for rank, row in zip(ranks[done:], numbers[:, columns], strict=False):
                array.seek(start + (rank - 1) * row.nbytes)
                array.write(row.data)
            done += len(numbers)
        array.flush()
        os.fsync(array.fileno())  # or a power cut may leave zeros under a finished name
    if done != len(ranks):
        raise ValueError(
            f"{text} ends after line {done} where train_order.txt ranks {len(ranks)} segments, so "
            f"one of the two is cut short or of another set; {REMEDY}"
        )


def _read(
    text: Path, *, content: _Content, samples: int, threads: int
) -> Generator[Numbers, None, None]:
    """The segments in the order of the file, a few blocks of them in memory at a time."""
    parse = partial(_parse, text=text, content=content, samples=samples)
    pending: deque[Future[Numbers]] = deque()
    with (
        rich.progress.open(text, "rb", buffering=0, description=f"Converting {text.name}") as raw,
        BufferedReader(raw, 2**20) as file,  # type: ignore[type-var]  # it is a RawIOBase
        ThreadPoolExecutor(threads) as pool,
    ):
        lines = iter(partial(file.readline, LONGEST * samples), b"")
        blocks = iter(lambda: [*itertools.islice(lines, BLOCK_LINES)], [])
        for number, block in enumerate(blocks):
            pending.append(pool.submit(parse, block, 1 + number * BLOCK_LINES))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _parse(
    lines: list[bytes], first: int, *, text: Path, content: _Content, samples: int
) -> Numbers:
    """The segments of some lines, of which `first` is the number of the first; blank ones drop."""
    numbers = np.full((len(lines), samples), np.nan, np.float32)
    counts = np.zeros(len(lines), np.int64)
    ended = (line if line.endswith(b"\n") else line + b"\n" for line in lines)
    _scan(np.frombuffer(b"".join(ended), np.uint8), numbers, counts)
    bad = (counts != samples) | ~content.holds(numbers).all(axis=1)
    for line in np.flatnonzero(bad & (counts > 0)):
        where = f"{text}, line {first + line}"
        if counts[line] != samples:
            raise ValueError(
                f"{where}: {counts[line]} values where a segment has {samples}, so the file is "
                f"damaged or cut short; {REMEDY}"
            )
        numbers[line] = _slowly(lines[line], where, content)
    return numbers if counts.all() else numbers[counts > 0]


def _slowly(line: bytes, where: str, content: _Content) -> Float32[np.ndarray, " samples"]:
    """The numbers of a line that `_scan` does not take all of; or what is wrong with it."""
    words = line.split()
    with np.errstate(over="ignore"):  # of float32: to infinity, which is refused below
        numbers = np.array([_number(word) for word in words]).astype(np.float32)
    for column in np.flatnonzero(~content.holds(numbers[None])):
        raise ValueError(
            f"{where}, value {column + 1}: {words[column][:32].decode(errors='replace')!r} is not "
            f"{content.name}, so the file is damaged; {REMEDY}"
        )
    return numbers


def _number(word: bytes) -> float:
    try:
        return float(word) if b"_" not in word else np.nan  # Python takes 1_0 for 10
    except ValueError:
        return np.nan


def _ranks(order: Path) -> list[int]:
    """What `train_order.txt` holds: a permutation of 1 to the number of segments."""
    lines = order.read_bytes().splitlines()
    words = [(number, word) for number, line in enumerate(lines, 1) for word in line.split()]
    left = {float(rank) for rank in range(1, len(words) + 1)}
    for number, word in words:
        if _number(word) not in left:
            raise ValueError(
                f"{order}, line {number}: {word[:32].decode(errors='replace')!r} is no rank from 1 "
                f"to {len(words)}, or comes twice, so the file is damaged; {REMEDY}"
            )
        left.remove(float(word))
    return [int(float(word)) for _, word in words]


NEWLINE, SPACE, TAB, RETURN, MINUS, PLUS, POINT, SMALL_E = b"\n \t\r-+.e"
POWERS_OF_TEN = np.array([float(10**power) for power in range(23)])  # all that float64 has exactly
# signed indices would be checked at each look-up, which takes a quarter more time
NONE, ONE, THREE, DIGITS = np.uint64(0), np.uint64(1), np.uint64(3), np.uint64(15)


@numba.njit(nogil=True)
@no_type_check
def _scan(
    text: UInt8[np.ndarray, " bytes"], numbers: Numbers, counts: Int64[np.ndarray, " lines"]
) -> None:
    """Parses lines, each with its newline, and counts the words on each.

    NaN is left for a word that is no number, and for one of more than 15 digits or a power of ten
    beyond 22: below these, one product or quotient gives the nearest float64, as Python would.
    """
    here = line = column = NONE
    while here < np.uint64(len(text)):
        byte = text[here]
        if byte <= SPACE:
            if byte == NEWLINE:
                counts[line] = column
                line += ONE
                column = NONE
            elif byte < TAB or RETURN < byte < SPACE:
                column += ONE  # a control character: a word left NaN, so that its line is refused
            here += ONE
            continue
        negative = byte == MINUS
        start = here + np.uint64(negative)
        here, mantissa = _digits(text, start, np.int64(0))
        length, exponent = here - start, np.int64(0)
        if text[here] == POINT:
            start = here + ONE
            here, mantissa = _digits(text, start, mantissa)
            length += here - start
            exponent = -np.int64(here - start)
        exact = length - ONE < DIGITS  # and not 0: unsigned, 0 - 1 is huge
        if text[here] | SPACE == SMALL_E:
            down = text[here + ONE] == MINUS
            start = here + ONE + np.uint64(down or text[here + ONE] == PLUS)
            here, power = _digits(text, start, np.int64(0))
            exponent += -power if down else power
            exact &= (here - start - ONE < THREE) & (exponent >= -22) & (exponent <= 22)
        while text[here] > SPACE:
            exact = False
            here += ONE
        if column < np.uint64(numbers.shape[1]):
            number = np.nan
            if exact and exponent > 0:
                number = mantissa * POWERS_OF_TEN[np.uint64(exponent)]
            elif exact:
                number = mantissa / POWERS_OF_TEN[np.uint64(-exponent)]
            numbers[line, column] = -number if negative else number
        column += ONE


@numba.njit(nogil=True)
@no_type_check
def _digits(
    text: UInt8[np.ndarray, " bytes"], here: np.uint64, number: np.int64
) -> tuple[np.uint64, np.int64]:
    """Where the digits end, and the number with them appended."""
    digit = np.uint8(text[here] - 48)  # whatever is no digit is above 9
    while digit <= 9:
        number = 10 * number + np.int64(digit)
        here += ONE
        digit = np.uint8(text[here] - 48)
    return here, number
