"""`analysis=recorded_cells`: from a file of responses to classes, as a user calls it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrep.studies.recorded_cells import report_recorded_cells
from tests.scripts import run

LETTERS = np.array([[3, 17, 80], [68, 31, 1], [73, 25, 2], [65, 12, 23]])  # the paper's Table 1


def table_1() -> dict[str, Any]:
    """Three units: that of the table in vision, in audition, and in both."""
    response = np.concatenate([np.repeat([0.0, 0.5, 1.0], row) for row in LETTERS])
    label = np.repeat(np.arange(4), 100)
    silent = np.zeros(400)
    return {
        "visual": np.stack([response, silent, response], axis=1),
        "visual_label": label,
        "auditory": np.stack([silent, response, response], axis=1),
        "auditory_label": label,
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.with_name(f"{path.stem}_cells.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("positive_only", "printed"), [(False, (1.097, 0.380)), (True, (1.275, 0.427))]
)
def test_table_1_as_the_article_prints_it_and_as_its_program_does(
    tmp_path: Path, positive_only: bool, printed: tuple[float, float]
) -> None:
    """Units tell most of A (stimulus 0); a threshold between A and B says which are selective."""
    path = tmp_path / "table1.npz"
    np.savez(path, **table_1(), units=np.array(["eye", "ear", "both"]))
    bounds = {"visual_threshold": printed[1] + 0.001, "auditory_threshold": printed[0] - 0.001}
    report_recorded_cells([], str(path), **bounds, num_bins=3, positive_only=positive_only)
    rows = rows_of(path)
    assert [row["unit"] for row in rows] == ["eye", "ear", "both"] * 2
    assert [row["normalisation"] for row in rows] == ["all"] * 3 + ["unit"] * 3
    assert [row["class"] for row in rows] == ["visual", "auditory", "consistent"] * 2
    both = rows[2]
    assert (both["visual_stimulus"], both["auditory_stimulus"]) == ("0", "0")
    assert float(both["visual_information"]) == pytest.approx(printed[0], abs=5e-4)
    assert float(both["auditory_threshold"]) == bounds["auditory_threshold"]
    # Above what it tells of A, it is selective to nothing.
    bounds["visual_threshold"] = printed[0] + 0.001
    report_recorded_cells([], str(path), **bounds, num_bins=3, positive_only=positive_only)
    assert [row["class"] for row in rows_of(path)] == ["none", "auditory", "auditory"] * 2


def test_command_writes_beside_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", **table_1())
    printed = run(tmp_path, "analyze.py", "analysis=recorded_cells", "activations=some.npz")
    assert "recorded_cells: some_cells.csv, some_cells.png" in printed
    assert "range of unit  above" in printed
    assert (tmp_path / "some_cells.png").stat().st_size > 10_000
    rows = rows_of(tmp_path / "some.npz")
    assert [row["unit"] for row in rows] == ["0", "1", "2"] * 2
    # Of 12 values 4 are those of the silent unit; the 80th percentile lies between C and A.
    assert [row["class"] for row in rows[:3]] == ["visual", "auditory", "consistent"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"auditory": None}, "lacks auditory: it must hold visual, visual_label, auditory,"),
        ({"visual": np.zeros(400)}, r"visual is float64 of shape \(400,\): give a number for"),
        ({"visual": np.zeros((400, 2))}, "2 units in visual, 3 in auditory: record the same"),
        ({"visual_label": np.zeros(3, int)}, r"visual_label has shape \(3,\) for 400 samples"),
        ({"visual_label": np.full(400, 0.5)}, "visual_label must be whole numbers from 0"),
        (
            {"visual_label": np.repeat(np.arange(5), 80)},
            r"auditory_label has no sample of the stimuli \[4\]: number from 0 the stimuli",
        ),
        ({"units": np.array(["a"])}, "1 names in units for 3 units: name each one"),
        ({"visual": np.full((400, 3), np.nan)}, "the range of unit 0 is nan to nan"),
    ],
)
def test_files_that_say_something_else_are_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **{k: v for k, v in (table_1() | change).items() if v is not None})
    with pytest.raises(ValueError, match=said):
        report_recorded_cells([], str(path))


def test_no_file_and_a_file_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs a file of responses: activations=FILE.npz"):
        report_recorded_cells([], None)
    with pytest.raises(FileNotFoundError, match=r"activations=.*none.npz is not there"):
        report_recorded_cells([], str(tmp_path / "none.npz"))
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(ValueError, match=r"text.npz is no .npz file of numbers"):
        report_recorded_cells([], str(tmp_path / "text.npz"))
    with pytest.raises(ValueError, match=r"reads activations=FILE.npz and no run: leave out runs"):
        report_recorded_cells([tmp_path], "x.npz")
