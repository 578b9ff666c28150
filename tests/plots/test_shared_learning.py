"""Figure 5 shows means and deviations, and tells its lines apart."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmrep.plots.shared_learning import plot_shared_learning
from tests.plots.pictures import svg

TWO = np.array([40.0, 44.0])


@pytest.mark.parametrize("simulated", [True, False])
def test_panels_are_directions_and_lines_pairings(simulated: bool) -> None:
    accuracies = {
        ("V2A", "auditory", "consistent"): {2: TWO, 1: TWO - 10},
        ("V2A", "auditory", "inconsistent"): {1: TWO - 30, 2: TWO - 32},
        ("A2V", "visual", "consistent"): {1: TWO[:1], 2: TWO[:1]},
    }
    figure = plot_shared_learning(
        accuracies, {("V2A", "auditory", "consistent"): TWO + 5}, along="layers of the encoder",
        chance=10.0, title="digits", simulated=simulated,
    )  # fmt: skip
    left, right = figure.axes
    consistent, inconsistent, two_stage = left.containers
    assert consistent.lines[0].get_xydata().tolist() == [[1, 32], [2, 42]]
    spans = [segment[:, 1] for segment in consistent.lines[2][0].get_segments()]
    deviation = np.std(TWO, ddof=1)
    assert spans[1].tolist() == pytest.approx([42 - deviation, 42 + deviation])
    assert [c.lines[0].get_linestyle() for c in (consistent, inconsistent)] == ["-", "--"]
    assert two_stage.lines[0].get_xydata().tolist() == [[3, 47]]
    (alone,) = right.containers
    assert not alone.lines[2]  # one run has no deviation
    colours = [to_hex(c.lines[0].get_color()) for c in (consistent, inconsistent, alone)]
    assert colours[0] == colours[1] != colours[2]
    drawn = svg(figure)
    shown = ("two-stage", "tested on audition, inconsistent pairs", "chance", "digits")
    assert all(f">{text}<" in drawn for text in shown)
    assert ">tested on vision, inconsistent pairs<" not in drawn
    assert ("simulated data" in drawn) == simulated
