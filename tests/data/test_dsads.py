"""`DSADS` on miniature files in UCI's format, and on the real ones where they are."""

import math
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mmrep.data.dsads import (
    ACTIVITIES,
    DSADS,
    SENSORS,
    UNITS,
    Archive,
    choose_signal,
    find_segments,
    read_segments,
    window_starts,
)
from mmrep.data.in_memory import PROJECT, InMemory
from mmrep.data.spectrogram import log_spectrogram
from tests.data.dsads_miniature import write_segments

PLACES = [(a, p, s) for a in (1, 2, 19) for p in (1, 2, 7) for s in (1, 2, 3, 4)]
REAL = PROJECT / "data"
real = pytest.mark.skipif(
    not (REAL / "dsads" / "data").exists(), reason=f"no DSADS in {REAL}/dsads/data"
)


def dsads(root: Path, **changes: Any) -> DSADS:
    """The set under `root`, with windows of 10 s."""
    arguments: dict[str, Any] = {
        "data_dir": str(root),
        "sensor": "acc_norm",
        "unit": "torso",
        "window_seconds": 10,
        "hop_seconds": 5,
        "val_subjects": [7],
        "num_classes": 19,
        "batch_size": 4,
        "seed": 0,
    }
    return DSADS(**arguments | changes)


def ready(root: Path, **changes: Any) -> DSADS:
    data = dsads(root, **changes)
    data.prepare_data()
    data.setup("fit")
    return data


def whole(data: DSADS) -> InMemory:
    """Training and validation together, in the order of `index`."""
    sets = (data.train_set, data.val_set)
    order = torch.cat([s.index for s in sets]).argsort()
    inputs, label, index = (
        torch.cat([getattr(s, key) for s in sets])[order] for key in ("inputs", "label", "index")
    )
    return InMemory(inputs, label, index)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dsads")
    write_segments(root / "dsads" / "data", PLACES)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    shutil.copytree(written / "dsads" / "data", tmp_path / "dsads" / "data")
    return tmp_path


def literal_signal(root: Path, activity: int, subject: int, unit: str, sensor: str) -> list[float]:
    """The files of one subject and activity, one after another, number by number."""
    first = 9 * ["torso", "right_arm", "left_arm", "right_leg", "left_leg"].index(unit)
    first += {"acc": 0, "gyr": 3, "mag": 6}[sensor[:3]]
    signal = []
    for number in (1, 2, 3, 4):
        path = root / f"dsads/data/a{activity:02}/p{subject}/s{number:02}.txt"
        for line in path.read_text().splitlines():
            x, y, z = map(float, line.split(",")[first : first + 3])
            signal.append({"x": x, "y": y, "z": z, "norm": math.hypot(x, y, z)}[sensor[4:]])
    return signal


@pytest.mark.parametrize(
    ("unit", "sensor"),
    [("torso", "acc_norm"), ("right_arm", "gyr_x"), ("left_leg", "mag_z"), ("left_arm", "mag_y")],
)
def test_windows_are_those_of_a_literal_derivation(written: Path, unit: str, sensor: str) -> None:
    data = whole(ready(written, unit=unit, sensor=sensor))
    signals, labels = [], []
    for activity in (1, 2, 19):
        for subject in (1, 2, 7):
            signal = literal_signal(written, activity, subject, unit, sensor)
            for start in (0, 125, 250):  # 20 s hold three windows of 10 s, 5 s apart
                signals.append(signal[start : start + 250])
                labels.append(activity - 1)
    expected = log_spectrogram(torch.tensor(signals), rate=25.0, window_seconds=5.0)
    assert isinstance(data.inputs, Tensor)
    assert_close(data.inputs, expected[:, None], atol=2e-3, rtol=0)  # float64 against float32 norms
    assert data.label.tolist() == labels
    assert data.index.tolist() == list(range(27))


def test_sensors_and_units_have_their_columns() -> None:
    channels = np.arange(45, dtype=np.float32).reshape(1, 1, 45)  # each column holds its number
    axes = [s for s in SENSORS if not s.endswith("norm")]
    columns = [choose_signal(channels, unit, sensor) for unit in UNITS for sensor in axes]
    assert np.concatenate(columns).tolist() == list(range(45))
    assert len(SENSORS) == 12


def test_norm_stays_in_float32() -> None:
    channels = np.zeros((1, 2, 45), np.float32)
    channels[0, 1, :3] = (2, 3, 6)
    norm = choose_signal(channels, "torso", "acc_norm")
    assert norm.dtype == np.float32
    assert norm.tolist() == [0, 7]


def test_windows_stop_at_a_gap_and_at_every_change(tmp_path: Path) -> None:
    write_segments(tmp_path, [(1, 1, n) for n in (1, 2, 4, 5, 6)] + [(1, 2, 7), (2, 2, 8)])
    starts = window_starts(find_segments(tmp_path), window=250, hop=125)
    # files 1 and 2 hold one window, 4 to 6 two, and the two last ones none, alone as they are
    assert starts.tolist() == [0, 250, 375]


@pytest.mark.parametrize("missing", [1, 4])
def test_a_gap_at_an_end_shortens_the_run(root: Path, missing: int) -> None:
    (root / f"dsads/data/a02/p7/s0{missing}.txt").unlink()
    assert ready(root).label_counts(with_val=True)[[0, 1, 18]].tolist() == [9, 8, 9]


def test_subjects_are_split_and_windows_keep_their_numbers(written: Path) -> None:
    one = ready(written, val_subjects=[7])
    other = ready(written, val_subjects=[1, 2], sensor="gyr_y")
    # three windows for each of three subjects, activity by activity
    seventh = [9 * a + 6 + window for a in range(3) for window in range(3)]
    assert one.val_set.index.tolist() == seventh == other.train_set.index.tolist()
    assert set(one.train_set.index.tolist()) == set(range(27)) - set(seventh)
    assert_close(whole(one).inputs, whole(ready(written, val_subjects=[2])).inputs)
    assert not torch.equal(whole(one).inputs, whole(other).inputs)


def test_numbers_are_read_as_written(written: Path) -> None:
    path = written / "dsads/data/a01/p1/s01.txt"
    literal = [[float(x) for x in line.split(",")] for line in path.read_text().splitlines()]
    (values,) = read_segments([path])
    assert values.tolist() == np.array(literal, np.float32).tolist()


def test_facts_say_how_much_of_the_set_there_was(root: Path) -> None:
    (root / "dsads/data/a02/p7/s04.txt").unlink()
    facts = ready(root, unit="left_leg", hop_seconds=2.52).facts()
    assert facts["num_segments"] == 35
    assert facts["num_segments_when_complete"] == 9120
    assert facts["segments_per_subject_and_activity"] == {"fewest": 3, "most": 4}
    assert (facts["val_subjects"], facts["unit"]) == ([7], "left_leg")
    assert (facts["window_seconds"], facts["hop_seconds"]) == (10.0, 2.52)
    assert facts["class_names"] == list(ACTIVITIES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sensor": "acc_nrm"},
            r"sensor='acc_nrm' is not one of acc_x, acc_y, acc_z, acc_norm, gy",
        ),
        ({"unit": "head"}, r"data\.unit='head' is not one of torso, right_arm, left_arm, right_l"),
        ({"val_subjects": [7, 9]}, r"data\.val_subjects=\[9\] are not among the subjects \(1, 2,"),
        ({"num_classes": 8}, r"data\.num_classes=8: DSADS has 19 classes"),
        ({"window_seconds": 5}, r"data\.window_seconds=5 must be more than the 5\.0 s"),
        ({"hop_seconds": 0.01}, r"data\.hop_seconds=0\.01 must be 0\.04 s \(a sample\) or more"),
    ],
)
def test_a_wrong_choice_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dsads(tmp_path, **changes)


@pytest.mark.parametrize(
    ("val_subjects", "side"), [([], "validation"), ([8], "validation"), ([1, 2, 7], "training")]
)
def test_an_empty_side_is_named(written: Path, val_subjects: list[int], side: str) -> None:
    message = rf"data\.val_subjects={re.escape(str(val_subjects))} leaves no window for {side}"
    with pytest.raises(ValueError, match=message + r".* the subjects \[1, 2, 7\]"):
        ready(written, val_subjects=val_subjects)


def test_a_window_longer_than_any_run_is_named(written: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.window_seconds=25\.0 is longer than every run"):
        ready(written, window_seconds=25)


def edited_line(number: int, change: Callable[[str], str]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        lines = text.splitlines()
        lines[number - 1] = change(lines[number - 1])
        return "\n".join(lines) + "\n"

    return edit


WRONG_FILES = [
    (edited_line(3, lambda line: line.rpartition(",")[0]), "line 3: 44 values instead of 45"),
    (edited_line(125, lambda line: line + ",1"), "line 125: 46 values instead of 45"),
    (edited_line(7, lambda line: "nan" + line[line.index(",") :]), "line 7: 'nan' is no finite"),
    (edited_line(7, lambda line: "1e99" + line[line.index(",") :]), "line 7: '1e99' is no finite"),
    (edited_line(9, lambda line: "1;2" + line[line.index(",") :]), "line 9: '1;2' is no finite"),
    (edited_line(9, lambda line: line[line.index(",") :]), "line 9: '' is no finite number"),
    (edited_line(50, lambda line: ""), "line 50: 1 values instead of 45"),
    (edited_line(50, lambda line: line + "\n" + line), "line 126: the last of 125 was due"),
    (lambda text: text[: text.index("\n") + 1] * 124, "line 124: the last of 125 was due"),
    (lambda text: text[:-400], r"line 1\d\d: \d+ values instead of 45"),
    (lambda text: "", "line 1: 1 values instead of 45"),
]


@pytest.mark.parametrize(("spoil", "message"), WRONG_FILES, ids=[m for _, m in WRONG_FILES])
def test_a_wrong_file_is_named_with_its_line(
    root: Path, spoil: Callable[[str], str], message: str
) -> None:
    path = root / "dsads/data/a02/p2/s03.txt"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(
        ValueError, match=rf"a02/p2/s03\.txt, {message}.* replace it by the original"
    ):
        ready(root)
    assert not list((root / "dsads").rglob("channels*"))
    path.unlink()  # the other remedy
    assert ready(root).facts()["num_segments"] == 35


@pytest.mark.parametrize("other", [str.strip, "{}\n\n".format, lambda t: t.replace("\n", "\r\n")])
def test_other_line_ends_change_nothing(root: Path, other: Callable[[str], str]) -> None:
    path = root / "dsads/data/a01/p1/s01.txt"
    before = read_segments([path, path])
    path.write_text(other(path.read_text()), newline="")
    assert np.array_equal(read_segments([path, path]), before)


@pytest.mark.parametrize("name", ["a20/p1/s01.txt", "a01/p9/s01.txt", "a01/p1/s1.txt"])
def test_a_file_out_of_the_layout_is_named(root: Path, name: str) -> None:
    path = root / "dsads/data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    with pytest.raises(ValueError, match=rf"{name} is no aNN/pN/sNN\.txt .* remove it"):
        ready(root)


def test_files_are_read_once_for_all_sensors(root: Path) -> None:
    before = whole(ready(root)).inputs
    for segment in find_segments(root / "dsads/data"):  # of the same size and time: no numbers
        state = segment.path.stat()
        segment.path.write_bytes(b"x" * state.st_size)
        os.utime(segment.path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert_close(whole(ready(root)).inputs, before)
    assert len(ready(root, sensor="mag_x", unit="left_leg").train_set) == 18


def test_a_file_that_was_changed_is_read_anew(root: Path) -> None:
    before = whole(ready(root)).inputs
    path = root / "dsads/data/a02/p7/s01.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(reversed(lines)))  # of the same size
    os.utime(path, ns=(0, 0))
    assert not torch.equal(whole(ready(root)).inputs, before)


def test_another_set_of_files_is_read_anew(root: Path) -> None:
    first = ready(root)
    write_segments(root / "dsads/data", [(2, 7, 5)])
    second = ready(root)
    assert len(second.val_set) == len(first.val_set) + 1
    expected = literal_windows_of_last_run(root)
    assert isinstance(second.val_set.inputs, Tensor)
    assert_close(second.val_set.inputs[3:7, 0], expected, atol=2e-3, rtol=0)
    (root / "dsads/data/a02/p7/s05.txt").unlink()
    assert_close(whole(ready(root)).inputs, whole(first).inputs)


def literal_windows_of_last_run(root: Path) -> Tensor:
    signal = literal_signal(root, 2, 7, "torso", "acc_norm")
    for line in (root / "dsads/data/a02/p7/s05.txt").read_text().splitlines():
        signal.append(math.hypot(*map(float, line.split(",")[:3])))
    windows = [signal[start : start + 250] for start in (0, 125, 250, 375)]
    return log_spectrogram(torch.tensor(windows), rate=25.0, window_seconds=5.0)


def zipped(root: Path, path: Path) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for segment in find_segments(root / "dsads/data"):
            archive.write(segment.path, segment.path.relative_to(root / "dsads"))
    return path.as_uri()


def test_the_set_is_downloaded_where_it_is_not(written: Path, tmp_path: Path) -> None:
    data = dsads(tmp_path / "elsewhere")
    data.archive = Archive(zipped(written, tmp_path / "daily.zip"), len(PLACES))
    data.prepare_data()
    data.setup("fit")
    assert_close(whole(data).inputs, whole(ready(written)).inputs)


def test_an_incomplete_archive_is_named_and_then_used(written: Path, tmp_path: Path) -> None:
    data = dsads(tmp_path / "elsewhere")
    data.archive = Archive(zipped(written, tmp_path / "daily.zip"), 9120)
    with pytest.raises(
        ValueError, match=r"brought 36 files aNN/pN/sNN\.txt instead of 9120: start"
    ):
        data.prepare_data()
    data.prepare_data()
    data.setup("fit")
    assert data.facts()["num_segments"] == 36


def test_no_set_and_no_network_is_one_sentence(tmp_path: Path) -> None:
    data = dsads(tmp_path)
    data.archive = Archive((tmp_path / "nowhere" / "daily.zip").as_uri(), 9120)
    with pytest.raises(FileNotFoundError) as raised:
        data.prepare_data()
    assert str(raised.value).startswith(f"there is no {tmp_path}/dsads/data, and daily.zip could")
    assert str(raised.value).endswith(f"put it into {tmp_path}/dsads")


@pytest.fixture(scope="session")
def real_dsads() -> DSADS:
    return ready(REAL, window_seconds=20, val_subjects=[7, 8])


@real
@pytest.mark.real
def test_real_set_is_whole(real_dsads: DSADS) -> None:
    facts = real_dsads.facts()
    files = facts["segments_per_subject_and_activity"]
    assert files["fewest"] == files["most"]
    assert facts["num_segments"] == 19 * 8 * files["most"]
    windows = files["most"] - 3  # of 20 s, 5 s apart, in `most` files of 5 s: 11 in 14
    assert real_dsads.label_counts(with_val=True).tolist() == [8 * windows] * 19
    assert len(real_dsads.train_set) == 19 * 6 * windows
    assert len(real_dsads.val_set) == 19 * 2 * windows
    assert torch.isfinite(whole(real_dsads).inputs).all()


@real
@pytest.mark.real
def test_real_accelerometers_feel_gravity_in_the_direction_of_the_body() -> None:
    segments = [s for s in find_segments(REAL / "dsads/data") if s.activity in (2, 3, 4)]
    channels = read_segments([s.path for s in segments])
    for unit in UNITS:
        assert np.median(choose_signal(channels, unit, "acc_norm")) == pytest.approx(9.8, abs=0.1)
    torso = channels[..., :3].mean(axis=1)
    # whoever stands has x upwards, who lies on the back z, who lies on the right side y downwards
    for activity, axis, sign in ((2, 0, 1), (3, 2, 1), (4, 1, -1)):
        for subject in range(1, 9):
            chosen = [s[:2] == (activity, subject) for s in segments]
            mean = sign * torso[chosen].mean(axis=0)
            assert mean[axis] == np.abs(mean).max() > 7


@real
@pytest.mark.real
def test_real_jumping_is_stronger_than_sitting(real_dsads: DSADS) -> None:
    data = whole(real_dsads)
    assert isinstance(data.inputs, Tensor)
    sit, jump = (data.inputs[data.label == ACTIVITIES.index(a)].mean() for a in ("sit", "jump"))
    assert jump > sit + 3  # natural log of power: more than 20 times
