"""Profiles are dots and formulas lines, each with 1 as its largest value."""

import numpy as np
import pytest

from mmrep.plots.chowers2023_theorem import Curve, plot_theorem
from tests.plots.pictures import svg


@pytest.mark.parametrize("simulated", [True, False])
def test_dots_are_measured_and_lines_are_formulas(simulated: bool) -> None:
    up, down = np.array([1.0, 2.0, 4.0]), np.array([3.0, 0.3, 0.03])
    early = Curve(up, {"formula": 2 * up})
    late = Curve(down, {"formula": up, "main text": up**2})
    panels = {"several": {"t = 1": early, "t = 2": late}, "one": {"t = 2": late}}
    figure = plot_theorem(panels, title="images", simulated=simulated)
    several, one = figure.axes
    dots, line, *others = several.lines
    assert dots.get_xydata().tolist() == [[0, 0.25], [1, 0.5], [2, 1]]
    assert line.get_ydata().tolist() == dots.get_ydata().tolist()
    assert others[0].get_ydata().tolist() == pytest.approx([1, 0.1, 0.01])
    assert others[2].get_ydata().tolist() == [1 / 16, 1 / 4, 1]
    assert [each.get_linestyle() for each in (line, *others)] == ["-", "None", "-", "--"]
    colours = [each.get_color() for each in (dots, line, *others)]
    assert colours == ["C0"] * 2 + ["C2"] * 3
    shown = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (several, one)]
    assert shown == [["t = 1", "formula", "t = 2", "main text"], ["t = 2", "formula", "main text"]]
    assert ("simulated data" in svg(figure)) == simulated
