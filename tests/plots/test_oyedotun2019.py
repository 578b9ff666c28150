"""Rows and gains of the fusion tables: points, means, deviations, and what the paper has."""

import numpy as np
import pytest

from mmrep.plots.oyedotun2019 import APART, Gain, Row, plot_gains, plot_rows
from tests.plots.pictures import svg

ORDER = ["RGB", "depth", "fused"]


@pytest.mark.parametrize("simulated", [True, False])
def test_rows_stand_at_their_places(simulated: bool) -> None:
    panels = {
        "5 folds": {
            "fused": Row(np.array([70.0, 80.0]), None if simulated else 90.0),
            "RGB": Row(np.array([60.0]), None),
        },
        "10 folds": {"depth": Row(np.array([50.0, 40.0, 60.0]), None)},
    }
    figure = plot_rows(panels, order=ORDER, title="solids", simulated=simulated)
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ORDER
    low, high = first.get_ylim()
    assert low > high  # the first row is on top
    shown = [line.get_xydata().tolist() for line in first.lines if line.get_label() == "a fold"]
    assert shown == [[[60, -APART]], [[70, 2 - APART], [80, 2 - APART]]]
    rgb, fused = first.containers
    deviation = np.std([70, 80], ddof=1)
    (bar,) = fused.lines[2]
    assert bar.get_segments()[0].tolist() == pytest.approx(
        np.array([[75 - deviation, 2 + APART], [75 + deviation, 2 + APART]])
    )
    assert fused.lines[0].get_xydata().tolist() == [[75, 2 + APART]]
    assert not rgb.has_xerr  # one fold has no deviation
    paper = [line for line in first.lines if line.get_label() == "the paper"]
    at = [line.get_xydata().tolist() for line in paper]
    assert at == ([] if simulated else [[[90, 2 + APART]]])
    assert all(line.get_markerfacecolor() == "none" for line in paper)
    assert second.lines[0].get_ydata().tolist() == [1 - APART] * 3
    drawn = svg(figure)
    assert all(f">{text}<" in drawn for text in (*ORDER, "solids", "5 folds", "10 folds", "a fold"))
    assert ("simulated data" in drawn) == simulated
    assert (">the paper<" in drawn) != simulated


def test_panels_without_a_group_are_left_out() -> None:
    row = Row(np.array([1.0, 2.0]), None)
    panels = {f"group {i}": {"RGB": row} for i in range(4)}
    figure = plot_rows(panels, order=ORDER, title="", simulated=True)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == [*panels]
    assert [bool(axes.get_xlabel()) for axes in shown] == [False, True, True, True]


def test_gains_are_by_fold_and_seed() -> None:
    by_run = {(0, 0): 1.0, (0, 7): 2.0, (1, 0): 3.0}
    panels = {
        ("VGG19", "5 folds"): Gain(by_run, 2.25, (-1.0, 5.5), 4.0),
        ("ResNet50", "10 folds"): Gain({(2, 7): -1.0}, -1.0, None, None),
    }
    figure = plot_gains(panels, title="gated minus naive", simulated=False)
    first, *empty, last = figure.axes
    lines = {line.get_label(): line for line in first.lines}
    zero, seven = (lines[f"seed {seed}"].get_xydata() for seed in (0, 7))
    assert zero[:, 1].tolist() == [1, 3]
    assert seven[:, 1].tolist() == [2]
    assert [round(x) for x in zero[:, 0]] == [0, 1]
    assert zero[0, 0] < seven[0, 0]  # side by side
    assert lines["mean over folds"].get_xydata()[:, 1].tolist() == [2.25] * 2
    assert lines["the paper"].get_xydata()[:, 1].tolist() == [4.0] * 2
    (band,) = first.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((-1, 5.5))
    assert not last.patches
    of_seven = {line.get_label(): line for line in last.lines}["seed 7"]
    assert of_seven.get_color() == lines["seed 7"].get_color() != lines["seed 0"].get_color()
    assert "the paper" not in {line.get_label() for line in last.lines}
    assert not any(axes.lines for axes in empty)
    drawn = svg(figure)
    assert all(f">{text}<" in drawn for text in ("VGG19: 5 folds", "ResNet50: 10 folds", "fold"))
