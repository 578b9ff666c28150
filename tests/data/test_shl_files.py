"""SHL's text files against `numpy.loadtxt` and a literal scatter, and everything wrong in them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmrep.data import shl_files
from mmrep.data.shl_files import SIGNALS, convert_signal, read_labels
from tests.data.shl_miniature import write_miniature_shl

SEGMENTS, SAMPLES = 12, 10
ODD_NUMBERS = (
    "0 -0 7 -7. .5 -.5 +3 1e3 1E+05 -2.5e-3 1e-22 1e22 1e23 1e-23 9007199254740991 9007199254740993"
    " 0.1234567890123456789 -9.80665000000000000000000 3.141592653589793 1e-45 1e-400 000012.50"
    " 3.4028235e38 123456789012345678 1234567890123456789012 16777217 0.00000000000000000000001e25"
    " 1.00000017881393432617187499 4.35 5e-324 2.2250738585072014e-308 1e0000000001 8388609.5"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_miniature_shl(tmp_path, segments=SEGMENTS, samples=SAMPLES, signals=["Acc_x", "Mag_z"])
    return tmp_path


def in_order_of_time(root: Path, name: str) -> np.ndarray:
    lines = np.loadtxt(root / "train" / f"{name}.txt", ndmin=2)
    order = np.loadtxt(root / "train" / "train_order.txt", dtype=int, ndmin=1)
    ordered = np.full_like(lines, np.nan)
    for i in range(len(lines)):
        ordered[order[i] - 1] = lines[i]
    return ordered


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def with_word(line: int, column: int, word: str) -> Callable[[list[str]], list[str]]:
    """Changes one word; both counted from 1."""

    def change(lines: list[str]) -> list[str]:
        words = lines[line - 1].split()
        words[column - 1] = word
        return [*lines[: line - 1], " ".join(words), *lines[line:]]

    return change


def test_signals_are_the_twenty_of_the_challenge() -> None:
    assert len(set(SIGNALS)) == 20
    assert {"Acc_x", "Gra_y", "LAcc_z", "Gyr_x", "Mag_y", "Ori_w", "Pressure"} < set(SIGNALS)


@pytest.mark.parametrize("block_lines", [1, 5, 12, 100])
@pytest.mark.parametrize("threads", [1, 3])
def test_equals_loadtxt_and_scatter(
    root: Path, block_lines: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shl_files, "BLOCK_LINES", block_lines)
    path = convert_signal(root, "Acc_x", samples=SAMPLES, threads=threads)
    array = np.load(path, mmap_mode="r")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, in_order_of_time(root, "Acc_x").astype(np.float32))
    labels = read_labels(root, samples=SAMPLES, threads=threads)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, in_order_of_time(root, "Label")[:, SAMPLES // 2] - 1)


@pytest.mark.parametrize(
    ("plain", "other"),
    [
        (" ", "\t"),
        (" ", " \t  "),
        ("\n", " \n"),
        ("\n", "\t \n"),
        ("\n", "\n   "),
        ("\n", "\r\n"),
        ("\n", "\n\n \r\n"),
        ("\n", "\n\n\n\n\n\n"),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\n\n \n"])
@pytest.mark.parametrize("block_lines", [1, 3, 100])
def test_any_white_space_separates(
    root: Path,
    plain: str,
    other: str,
    end: str,
    block_lines: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shl_files, "BLOCK_LINES", block_lines)
    expected = in_order_of_time(root, "Acc_x").astype(np.float32)
    text = root / "train" / "Acc_x.txt"
    text.write_bytes((text.read_text().strip().replace(plain, other) + end).encode())
    np.testing.assert_array_equal(np.load(convert_signal(root, "Acc_x", samples=SAMPLES)), expected)


@pytest.mark.parametrize("format", ["%d", "%.3f", "%16.7e", "%.18e", "%.25f", "%+.9G"])
def test_every_format_equals_loadtxt_to_the_last_bit(tmp_path: Path, format: str) -> None:
    train = write_miniature_shl(tmp_path, segments=40, samples=50, signals=[])
    generator = np.random.default_rng(1)
    numbers = generator.normal(size=(40, 50)) * 10.0 ** generator.integers(-12, 12, size=(40, 50))
    np.savetxt(train / "Gyr_y.txt", numbers, fmt=format)
    converted = np.load(convert_signal(tmp_path, "Gyr_y", samples=50))
    expected = in_order_of_time(tmp_path, "Gyr_y").astype(np.float32)
    np.testing.assert_array_equal(converted.view(np.int32), expected.view(np.int32))


@pytest.mark.parametrize("word", ODD_NUMBERS.split())
def test_odd_numbers_are_what_python_takes_them_for(root: Path, word: str) -> None:
    edit(root / "train" / "Acc_x.txt", with_word(3, 4, word))
    converted = np.load(convert_signal(root, "Acc_x", samples=SAMPLES))
    rank = int((root / "train" / "train_order.txt").read_text().split()[2])
    expected = np.array(float(word)).astype(np.float32)
    assert converted[rank - 1, 3].tobytes() == expected.tobytes()  # the sign of 0 as well


def test_label_is_the_one_at_the_middle_column(root: Path) -> None:
    edit(root / "train" / "Label.txt", lambda lines: ["1 1 1 1 1 8 2 2 2 2"] * len(lines))
    np.testing.assert_array_equal(read_labels(root, samples=SAMPLES), [7] * SEGMENTS)


def test_order_may_stand_on_one_line_or_have_decimals(root: Path) -> None:
    expected = in_order_of_time(root, "Acc_x").astype(np.float32)
    order = root / "train" / "train_order.txt"
    order.write_text(" ".join(f"{float(rank):.7e}" for rank in order.read_text().split()))
    np.testing.assert_array_equal(np.load(convert_signal(root, "Acc_x", samples=SAMPLES)), expected)


def test_official_size_of_a_line_is_the_default(tmp_path: Path) -> None:
    write_miniature_shl(tmp_path, segments=2, samples=6000, signals=["Pressure"])
    assert np.load(convert_signal(tmp_path, "Pressure"), mmap_mode="r").shape == (2, 6000)
    assert read_labels(tmp_path).shape == (2,)


def test_only_the_file_that_was_asked_for_is_needed(root: Path) -> None:
    (root / "train" / "Label.txt").unlink()
    (root / "train" / "Mag_z.txt").unlink()
    path = convert_signal(root, "Acc_x", samples=SAMPLES)
    assert path.parent == root / "converted"
    assert visible(root) == [path.name]


# ---- what is wrong


@pytest.mark.parametrize(("block_lines", "threads"), [(1, 3), (3, 1), (100, 2)])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda lines: [*lines[:6], lines[6] + " 1.5", *lines[7:]],
            r"Acc_x\.txt, line 7: 11 values where a segment has 10.*damaged or cut short.*copy it",
        ),
        (
            lambda lines: [*lines[:6], lines[6].rpartition(" ")[0], *lines[7:]],
            r"Acc_x\.txt, line 7: 9 values where a segment has 10",
        ),
        (
            lambda lines: [*lines[:-1], lines[-1][:30]],
            r"Acc_x\.txt, line 12: [1-4] values where a segment has 10.*cut short",
        ),
        (
            lambda lines: [lines[0] + " " + lines[1], *lines[2:]],
            r"Acc_x\.txt, line 1: 20 values where a segment has 10",
        ),
        (
            lambda lines: lines[:8],
            r"Acc_x\.txt ends after line 8 where train_order\.txt ranks 12 segments.*copy it",
        ),
        (
            lambda lines: [*lines, lines[0]],
            r"Acc_x\.txt ends after line 13 where train_order\.txt ranks 12",
        ),
        (lambda lines: [], r"Acc_x\.txt ends after line 0 where"),
        (with_word(5, 2, "nan"), r"line 5, value 2: 'nan' is not a finite number.*download"),
        (with_word(5, 2, "-inf"), r"line 5, value 2: '-inf' is not a finite number"),
        (with_word(5, 2, "1e39"), r"line 5, value 2: '1e39' is not a finite number"),
        (with_word(12, 10, "x"), r"line 12, value 10: 'x' is not a finite number"),
        (with_word(1, 1, "-"), r"line 1, value 1: '-' is not a finite number"),
        (with_word(1, 1, "."), r"line 1, value 1: '\.' is not a finite number"),
        (with_word(1, 1, "1.2.3"), r"line 1, value 1: '1\.2\.3' is not a finite number"),
        (with_word(1, 1, "--1"), r"line 1, value 1: '--1' is not a finite number"),
        (with_word(1, 1, "1e"), r"line 1, value 1: '1e' is not a finite number"),
        (with_word(1, 1, "1e+"), r"line 1, value 1: '1e\+' is not a finite number"),
        (with_word(1, 1, "e5"), r"line 1, value 1: 'e5' is not a finite number"),
        (with_word(1, 1, "0x1A"), r"line 1, value 1: '0x1A' is not a finite number"),
        (with_word(1, 1, "1,5"), r"line 1, value 1: '1,5' is not a finite number"),
        (with_word(1, 1, "1_5"), r"line 1, value 1: '1_5' is not a finite number"),
        (with_word(1, 1, "\0"), r"line 1, value 1: '\\x00' is not a finite number"),
        (with_word(1, 1, "1\0"), r"line 1: 11 values where a segment has 10"),
        (with_word(1, 1, "\ufeff1"), r"line 1, value 1: .* is not a finite number"),
        (
            lambda lines: with_word(9, 1, "x")([*lines[:10], "1", *lines[11:]]),
            r"line 9, value 1: 'x'",  # the first of two
        ),
        (
            lambda lines: with_word(11, 1, "x")([*lines[:9], "1", *lines[10:]]),
            r"line 10: 1 values",
        ),
        (
            lambda lines: ["", *with_word(2, 3, "x")(lines)],
            r"line 3, value 3: 'x'",  # blank lines are passed over, but counted
        ),
    ],
)
def test_first_damaged_line_is_named(
    root: Path,
    change: Callable[[list[str]], list[str]],
    message: str,
    block_lines: int,
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shl_files, "BLOCK_LINES", block_lines)
    edit(root / "train" / "Acc_x.txt", change)
    with pytest.raises(ValueError, match=message):
        convert_signal(root, "Acc_x", samples=SAMPLES, threads=threads)
    assert visible(root) == []


def test_a_file_without_line_ends_is_refused_before_it_fills_the_memory(root: Path) -> None:
    (root / "train" / "Acc_x.txt").write_bytes(bytes(10_000))  # as a broken copy may leave it
    with pytest.raises(ValueError, match=r"line 1: 640 values where a segment has 10"):
        convert_signal(root, "Acc_x", samples=SAMPLES)  # of 64 bytes for each of 10 numbers


@pytest.mark.parametrize("label", ["0", "9", "-1", "2.5", "nan", "bus"])
@pytest.mark.parametrize("column", [1, 6])  # any, and the one that is used
def test_label_outside_1_to_8(root: Path, label: str, column: int) -> None:
    edit(root / "train" / "Label.txt", with_word(4, column, label))
    message = rf"Label\.txt, line 4, value {column}: '{label}' is not a label from 1 to 8.*copy it"
    with pytest.raises(ValueError, match=message):
        read_labels(root, samples=SAMPLES)


@pytest.mark.parametrize("rank", ["0", "13", "-2", "1.5", "nan", "first", "twice"])
def test_order_that_is_no_permutation(root: Path, rank: str) -> None:
    order = root / "train" / "train_order.txt"
    word = order.read_text().split()[2] if rank == "twice" else rank
    edit(order, with_word(8, 1, word))
    message = (
        rf"train_order\.txt, line 8: '{word}' is no rank from 1 to 12, or comes twice.*copy it"
    )
    with pytest.raises(ValueError, match=message):
        convert_signal(root, "Acc_x", samples=SAMPLES)


@pytest.mark.parametrize("name", ["Acc_x", "train_order", "Label"])
def test_absent_file(root: Path, name: str) -> None:
    (root / "train" / f"{name}.txt").unlink()
    absent = re.escape(str(root / "train" / f"{name}.txt"))
    with pytest.raises(FileNotFoundError, match=rf"no {absent}.*by hand.*shl-dataset\.org"):
        read_labels(root) if name == "Label" else convert_signal(root, "Acc_x")


def test_unknown_signal(root: Path) -> None:
    with pytest.raises(ValueError, match=r"'Acc_norm' is not one of SHL's signals Acc_x, Acc_y"):
        convert_signal(root, "Acc_norm")


def test_too_small_a_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=479))
    message = r"converted needs 0\.0 MB and its disk has 0\.0 MB free: make room"
    with pytest.raises(OSError, match=message):
        convert_signal(root, "Acc_x", samples=SAMPLES)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=480))
    convert_signal(root, "Acc_x", samples=SAMPLES)  # 12 segments of 10 samples of 4 bytes


# ---- once, whole, and alone


def visible(root: Path) -> list[str]:
    """What is left in the folder, but for the locks."""
    return sorted(p.name for p in (root / "converted").iterdir() if p.suffix != ".lock")


def test_a_finished_conversion_is_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, labels = (
        convert_signal(root, "Acc_x", samples=SAMPLES),
        read_labels(root, samples=SAMPLES),
    )
    monkeypatch.setattr(shl_files, "_write", None)  # whoever calls it now fails
    assert convert_signal(root, "Acc_x", samples=SAMPLES) == path
    np.testing.assert_array_equal(read_labels(root, samples=SAMPLES), labels)


def test_another_text_is_converted_again(root: Path) -> None:
    first = convert_signal(root, "Acc_x", samples=SAMPLES)
    other = convert_signal(root, "Mag_z", samples=SAMPLES)
    edit(root / "train" / "Acc_x.txt", lambda lines: lines[::-1])  # of the same size
    second = convert_signal(root, "Acc_x", samples=SAMPLES)
    expected = in_order_of_time(root, "Acc_x").astype(np.float32)
    np.testing.assert_array_equal(np.load(second), expected)
    assert visible(root) == sorted([second.name, other.name])  # the first one is gone
    assert first != second


def test_another_order_is_converted_again(root: Path) -> None:
    convert_signal(root, "Acc_x", samples=SAMPLES)
    edit(root / "train" / "train_order.txt", lambda lines: lines[::-1])
    converted = np.load(convert_signal(root, "Acc_x", samples=SAMPLES))
    np.testing.assert_array_equal(converted, in_order_of_time(root, "Acc_x").astype(np.float32))


def test_another_number_of_samples_is_not_taken_from_what_is_there(root: Path) -> None:
    convert_signal(root, "Acc_x", samples=SAMPLES)
    with pytest.raises(ValueError, match="line 1: 10 values where a segment has 5"):
        convert_signal(root, "Acc_x", samples=5)


def test_interrupted_conversion_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(file: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            convert_signal(root, "Acc_x", samples=SAMPLES)
    assert visible(root) == []
    converted = np.load(convert_signal(root, "Acc_x", samples=SAMPLES))
    np.testing.assert_array_equal(converted, in_order_of_time(root, "Acc_x").astype(np.float32))


CONVERT = """
import os, sys
from pathlib import Path
from mmrep.data.shl_files import convert_signal
if sys.argv[2] == "killed":
    os.fsync = lambda file: os._exit(9)
print(convert_signal(Path(sys.argv[1]), "Acc_x", samples=10).name)
"""


def test_killed_conversion_is_made_anew(root: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", CONVERT, root, "killed"], capture_output=True)
    assert killed.returncode == 9, killed.stderr
    assert len(visible(root)) == 1  # the part
    path = convert_signal(root, "Acc_x", samples=SAMPLES)
    assert visible(root) == [path.name]
    expected = in_order_of_time(root, "Acc_x").astype(np.float32)
    np.testing.assert_array_equal(np.load(path), expected)


def test_processes_that_convert_at_once_share_one_file(root: Path) -> None:
    command = [sys.executable, "-c", CONVERT, str(root), ""]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate()[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert sum("Converting Acc_x.txt" in output for output in outputs) == 1
    [name] = {output.splitlines()[-1] for output in outputs}
    assert visible(root) == [name]
    expected = in_order_of_time(root, "Acc_x").astype(np.float32)
    np.testing.assert_array_equal(np.load(root / "converted" / name), expected)


def test_progress_is_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert_signal(root, "Acc_x", samples=SAMPLES)
    assert "Converting Acc_x.txt" in capsys.readouterr().out
