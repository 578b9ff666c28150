"""Daily and Sports Activities: inertial sensors at five places of the body, 25 Hz.

Barshan & Yuksek 2014, 10.1093/comjnl/bxt075; UCI Machine Learning Repository, data set 256, CC BY
4.0. Nineteen activities, 5 minutes each by 8 subjects, cut into files `data/aNN/pN/sNN.txt` of 5 s:
125 lines of 45 numbers, which are for each unit (torso, right arm, left arm, right leg, left leg)
the x, y, z of accelerometer (m/s^2), gyroscope (rad/s) and magnetometer (in fields of the Earth).
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyarrow import csv

from mmrep.data import spectrogram
from mmrep.data.cache import cached_array, code_digest
from mmrep.data.download import download_folder
from mmrep.data.in_memory import InMemory, InMemoryDataModule, data_folder

RATE = 25.0  # Hz
LINES, COLUMNS = 125, 45
LARGEST = float(np.finfo(np.float32).max)
SPECTRUM_SECONDS = 5.0  # of the windows within a window that a spectrogram is made of
CHUNK = 256  # windows between two steps of the progress bar
UNITS = ("torso", "right_arm", "left_arm", "right_leg", "left_leg")  # in the order of the columns
KINDS = ("acc", "gyr", "mag")
SENSORS = tuple(f"{kind}_{part}" for kind in KINDS for part in ("x", "y", "z", "norm"))
SUBJECTS = (1, 2, 3, 4, 5, 6, 7, 8)
ACTIVITIES = (
    *("sit", "stand", "lie on back", "lie on right side", "climb stairs", "descend stairs"),
    *("stand in lift", "move in lift", "walk in car park", "walk on flat treadmill"),
    *("walk on sloped treadmill", "run on treadmill", "stepper", "cross trainer"),
    *("cycle lying", "cycle upright", "row", "jump", "play basketball"),
)


class Archive(NamedTuple):
    """Where the set comes from, and how many files it has when it is complete."""

    url: str
    num_segments: int


UCI = Archive(
    "https://archive.ics.uci.edu/static/public/256/daily+and+sports+activities.zip", 19 * 8 * 60
)


class Segment(NamedTuple):
    """One file: activity 1..19, subject 1..8, and its place in the 5 minutes, from 1."""

    activity: int
    subject: int
    number: int
    path: Path


class DSADS(InMemoryDataModule):
    """Log spectrograms of one sensor of one unit, split into training and validation by subject.

    Samples are windows of `window_seconds`, one every `hop_seconds`, cut from files that follow one
    another. They are numbered through all activities, subjects and times, so `index` means the same
    window whatever the sensor, the unit and the split. There is no test split.
    """

    name = "dsads"
    class_names = ACTIVITIES

    def __init__(
        self,
        *,
        data_dir: str | None,
        sensor: str,
        unit: str,
        window_seconds: float | int,
        hop_seconds: float | int,
        val_subjects: Sequence[int],
        num_classes: int,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(batch_size, seed)
        for key, value, allowed in (("sensor", sensor, SENSORS), ("data.unit", unit, UNITS)):
            if value not in allowed:
                raise ValueError(f"{key}={value!r} is not one of {', '.join(allowed)}")
        if num_classes != len(ACTIVITIES):
            raise ValueError(f"data.num_classes={num_classes}: DSADS has {len(ACTIVITIES)} classes")
        self.sensor, self.unit, self.val_subjects = sensor, unit, [*val_subjects]
        if unknown := [subject for subject in val_subjects if subject not in SUBJECTS]:
            raise ValueError(f"data.val_subjects={unknown} are not among the subjects {SUBJECTS}")
        self.window, self.hop = round(window_seconds * RATE), round(hop_seconds * RATE)  # samples
        if window_seconds <= SPECTRUM_SECONDS:
            raise ValueError(
                f"data.window_seconds={window_seconds} must be more than the {SPECTRUM_SECONDS} s "
                "that each spectrum takes"
            )
        if self.hop < 1:
            raise ValueError(
                f"data.hop_seconds={hop_seconds} must be {1 / RATE} s (a sample) or more"
            )
        self.archive = UCI
        self.folder = data_folder(data_dir) / "dsads"

    @property
    def title(self) -> str:
        return f"DSADS {self.unit} {self.sensor}"

    def prepare_data(self) -> None:
        if not (segments := find_segments(self.folder / "data")):
            download_folder(self.archive.url, None, self.folder, "data")
            segments = find_segments(self.folder / "data")
            if len(segments) != self.archive.num_segments:
                raise ValueError(
                    f"{self.archive.url} brought {len(segments)} files aNN/pN/sNN.txt instead of "
                    f"{self.archive.num_segments}: start again to use them as they are, or replace "
                    f"{self.folder / 'data'}"
                )
        self._spectrograms(segments, window_starts(segments, self.window, self.hop))

    def setup(self, stage: str) -> None:
        self.segments = find_segments(self.folder / "data")
        starts = window_starts(self.segments, self.window, self.hop)
        inputs = self._spectrograms(self.segments, starts)
        activity, subject = np.array([s[:2] for s in self.segments])[starts // LINES].T
        label, index = torch.from_numpy(activity - 1), torch.arange(len(starts))
        in_val = np.isin(subject, self.val_subjects)
        for split, chosen in (("training", ~in_val), ("validation", in_val)):
            if not chosen.any():
                raise ValueError(
                    f"data.val_subjects={self.val_subjects} leaves no window for {split}: there "
                    f"are windows of the subjects {np.unique(subject).tolist()}"
                )
        self.train_set, self.val_set = (
            InMemory(torch.from_numpy(inputs[chosen]), label[chosen], index[chosen])
            for chosen in (~in_val, in_val)
        )

    def facts(self) -> dict[str, Any]:
        """Besides what all sets say: the choices made, and how much of the set there was."""
        files = [len([*group]) for _, group in groupby(self.segments, key=lambda s: s[:2])]
        return super().facts() | {
            "sensor": self.sensor,
            "unit": self.unit,
            "window_seconds": self.window / RATE,
            "hop_seconds": self.hop / RATE,
            "val_subjects": self.val_subjects,
            "num_segments": len(self.segments),
            "num_segments_when_complete": self.archive.num_segments,
            "segments_per_subject_and_activity": {"fewest": min(files), "most": max(files)},
        }

    def _spectrograms(self, segments: list[Segment], starts: NDArray[np.int64]) -> NDArray[Any]:
        """(windows, 1, 48, 48), memory-mapped: computed in the first call, and then kept."""
        if not len(starts):
            raise ValueError(
                f"data.window_seconds={self.window / RATE} is longer than every run of successive "
                f"files in {self.folder / 'data'} ({len(segments)} files of {LINES / RATE} s)"
            )
        states = [(s.path.relative_to(self.folder).as_posix(), s.path.stat()) for s in segments]
        files = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
        read = {
            "files": hashlib.sha256(repr(files).encode()).hexdigest(),
            "code": code_digest(__file__),
        }
        groups = groupby(segments, key=lambda s: s[:2])
        channels = cached_array(
            self.folder / "converted",
            "channels",
            read,
            (len(segments), LINES, COLUMNS),
            (read_segments([s.path for s in group]) for _, group in groups),
        )
        made: dict[str, Any] = {
            "channels": read,
            "signal": [self.unit, self.sensor],
            "windows": [self.window, self.hop],
            "code": code_digest(spectrogram.__file__),
        }
        return cached_array(
            self.folder / "converted",
            f"{self.unit}_{self.sensor}",
            made,
            (len(starts), 1, 48, 48),
            self._chunks(channels, starts),
        )

    def _chunks(self, channels: NDArray[Any], starts: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        signal = choose_signal(channels, self.unit, self.sensor)
        for first in range(0, len(starts), CHUNK):
            samples = starts[first : first + CHUNK, None] + np.arange(self.window)
            yield spectrogram.log_spectrogram(
                torch.from_numpy(signal[samples]), rate=RATE, window_seconds=SPECTRUM_SECONDS
            )[:, None].numpy()


def find_segments(folder: Path) -> list[Segment]:
    """The files under `folder` by activity, subject and time; none where there is no `folder`."""
    segments = []
    for path in folder.glob("a*/p*/s*.txt"):
        name = path.relative_to(folder).as_posix()
        match = re.fullmatch(r"a(0[1-9]|1\d)/p([1-8])/s(\d\d)\.txt", name)
        if match is None:
            raise ValueError(
                f"{path} is no aNN/pN/sNN.txt with activity 01 to 19 and subject 1 to 8: remove it"
            )
        activity, subject, number = map(int, match.groups())
        segments.append(Segment(activity, subject, number, path))
    return sorted(segments)


def window_starts(segments: Sequence[Segment], window: int, hop: int) -> NDArray[np.int64]:
    """The first sample of each window, counted through all segments put end to end.

    A window stays within one activity of one subject, and within numbers that follow one another.
    """
    activity, subject, number = np.array([s[:3] for s in segments], dtype=np.int64).reshape(-1, 3).T
    ends = (np.diff(activity) != 0) | (np.diff(subject) != 0) | (np.diff(number) != 1)
    firsts = [0, *(np.flatnonzero(ends) + 1), len(segments)]
    starts = [np.arange(LINES * a, LINES * b - window + 1, hop) for a, b in pairwise(firsts)]
    return np.concatenate(starts)


def choose_signal(channels: NDArray[Any], unit: str, sensor: str) -> NDArray[np.float32]:
    """One axis, or the float32 norm over x, y, z: every sample of all segments put end to end."""
    kind, part = sensor.split("_")
    first = 9 * UNITS.index(unit) + 3 * KINDS.index(kind)
    axes = channels.reshape(-1, COLUMNS)[:, first : first + 3]
    if part == "norm":
        return np.sqrt(np.square(axes).sum(axis=1))
    return np.array(axes[:, "xyz".index(part)])


def read_segments(paths: Sequence[Path]) -> NDArray[np.float32]:
    """(files, 125, 45), read in one go; ValueError: one of them is not 125 lines of 45 numbers."""
    names = [f"column {i}" for i in range(COLUMNS)]
    try:
        texts = [path.read_bytes().strip() for path in paths]
        if any(text.count(b"\n") != LINES - 1 for text in texts):
            raise ValueError("another number of lines")
        table = csv.read_csv(
            pa.py_buffer(b"\n".join(texts)),
            csv.ReadOptions(column_names=names, use_threads=False),
            csv.ParseOptions(ignore_empty_lines=False, quote_char=False),
            csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float32()), null_values=[]),
        )
        values = np.stack([column.to_numpy() for column in table.columns], axis=1)
        if not np.isfinite(values).all():
            raise ValueError("a number that is not finite")
    except ValueError:  # pyarrow's are such, and know neither file nor line
        for path in paths:
            _refuse_if_wrong(path)
        raise
    return values.reshape(len(paths), LINES, COLUMNS)


def _refuse_if_wrong(path: Path) -> None:
    remedy = f"replace it by the original from {UCI.url}, or remove it: windows then end at the gap"
    lines = path.read_text(errors="replace").strip().split("\n")
    for number, line in enumerate(lines, start=1):
        fields = line.split(",")
        if len(fields) != COLUMNS:
            raise ValueError(
                f"{path}, line {number}: {len(fields)} values instead of {COLUMNS}; {remedy}"
            )
        for field in fields:
            try:
                finite = abs(float(field)) <= LARGEST  # false for nan too
            except ValueError:
                finite = False
            if not finite:
                raise ValueError(f"{path}, line {number}: {field!r} is no finite number; {remedy}")
    if len(lines) != LINES:
        raise ValueError(f"{path}, line {len(lines)}: the last of {LINES} was due; {remedy}")
