"""Learning curves with the first layer free and frozen: means, deviations, and what is which."""

import numpy as np
import pytest

from mmrep.plots.chowers2023_frozen import plot_frozen
from tests.plots.pictures import svg

RUNS = np.array([[10.0, 20.0, 30.0], [14.0, 20.0, 36.0]])


@pytest.mark.parametrize("simulated", [True, False])
def test_panels_are_networks_and_lines_first_layers(simulated: bool) -> None:
    panels = {
        ("validation loss", "VGG11"): {"free": RUNS, "frozen": RUNS[:1, :2]},
        ("validation loss", "VGG16"): {"frozen": RUNS - 5},
        ("training loss", "VGG11"): {"free": RUNS + 1},
    }
    figure = plot_frozen(panels, unit="nats", title="cats and dogs", simulated=simulated)
    first, second, third, empty = figure.axes
    free, frozen = first.lines
    assert free.get_xydata().tolist() == [[1, 12], [2, 20], [3, 33]]
    assert frozen.get_xydata().tolist() == [[1, 10], [2, 20]]
    assert (free.get_linestyle(), frozen.get_linestyle()) == ("-", "--")
    (band,) = first.collections  # one run has no deviation
    deviation = np.std([30, 36], ddof=1)
    low, high = (edge(band.get_paths()[0].vertices[:, 1]) for edge in (np.min, np.max))
    assert (low, high) == pytest.approx((12 - np.std([10, 14], ddof=1), 33 + deviation))
    (alone,) = second.lines
    assert alone.get_color() == frozen.get_color() != free.get_color()
    assert third.lines[0].get_ydata().tolist() == [13, 21, 34]
    assert not empty.lines
    drawn = svg(figure)
    shown = ("validation loss (nats)", "training loss (nats)", "first layer frozen", "VGG16",
             "cats and dogs")  # fmt: skip
    assert all(f">{text}<" in drawn for text in shown)
    assert ("simulated data" in drawn) == simulated
