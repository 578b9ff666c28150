"""Figures of cells show the numbers they were given, their thresholds, and where there are none."""

import numpy as np
import pytest

from mmrep.plots.cell_selectivity import (
    CELLS,
    Example,
    plot_cell_counts,
    plot_cell_epochs,
    plot_example_cells,
    plot_ranked_information,
    plot_units,
)
from mmrep.stats import information
from tests.plots.pictures import svg

BOUNDS = np.array([[0.9, 0.8], [0.7, 0.6]])


def test_classes_are_those_of_the_statistics() -> None:
    assert CELLS == information.CELLS


@pytest.mark.parametrize("simulated", [True, False])
def test_ranked_information_has_a_line_for_each_layer_and_the_thresholds(simulated: bool) -> None:
    bits = np.linspace(2, 0, 24).reshape(2, 3, 4)
    figure = plot_ranked_information(
        {"layer1": bits, "layer2": bits / 2}, BOUNDS, title="MNIST", simulated=simulated
    )
    first, second = figure.axes[0].lines
    assert first.get_ydata().tolist() == bits[0, 0].tolist()
    assert second.get_xdata().tolist() == [1, 2, 3, 4]
    heard = figure.axes[5]
    assert heard.lines[0].get_ydata().tolist() == bits[1, 2].tolist()
    assert list(heard.lines[2].get_ydata()) == [0.6, 0.6]
    drawn = svg(figure)
    assert "threshold 0.900" in drawn
    assert ("simulated data" in drawn) == simulated


def test_counts_stack_up_to_the_units() -> None:
    counts = np.array([[1, 2, 3, 4, 5], [15, 0, 0, 0, 0]])
    figure = plot_cell_counts({"layer1": counts}, BOUNDS, title="", simulated=False)
    own = figure.axes[0]
    heights = {bars.get_label(): bars[0].get_height() for bars in own.containers}
    assert heights == dict(zip(CELLS, counts[0], strict=True))
    assert sum(heights.values()) == own.containers[-1][0].get_y() + heights["none"] == 15
    assert "thresholds 0.700 and 0.600 bits" in svg(figure)


def test_epochs_show_all_points_within_the_scales() -> None:
    counts = np.arange(30).reshape(2, 3, 5)
    bits = np.array([np.full((3, 3), 0.1), np.full((3, 3), 3.0)])
    figure = plot_cell_epochs([0, 5, 10], counts, bits, title="", simulated=True)
    assert figure.axes[2].lines[4].get_xydata().tolist() == [[0, 19], [5, 24], [10, 29]]
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert all(low <= y <= high for line in axes.lines for y in line.get_ydata())
    assert "simulated data" in svg(figure)


def test_examples_show_responses_information_and_where_a_class_has_no_cell() -> None:
    seen = [np.array([0.1, 0.2, 0.3]), np.array([0.4])]
    cell = Example(7, seen, seen[::-1], np.array([2.0, 0.5]), np.array([0.3, 0.1]))
    figure = plot_example_cells(
        {"visual": cell, "auditory": None}, BOUNDS[0], ["zero", "one"], title="", simulated=False
    )
    image = figure.axes[0].images[0]
    assert np.isnan(image.get_array().filled(np.nan)).tolist() == [[False] * 3, [False, True, True]]
    assert image.get_clim() == (0.1, 0.4)
    bars = [bar.get_height() for bar in figure.axes[2].patches]
    assert bars == [2.0, 0.5, 0.3, 0.1]
    drawn = svg(figure)
    assert all(text in drawn for text in ("auditory: none", "unit 7", "zero", "0.900"))
    nothing = plot_example_cells({"visual": None}, BOUNDS[0], ["a"], title="", simulated=False)
    assert "visual: none" in svg(nothing)


def test_units_lie_where_their_information_says() -> None:
    bits = np.array([[0.5, 1.5], [1.0, 2.0]])
    classes = np.array([[0, 4], [4, 4]])
    figure = plot_units(bits, bits / 2, classes, BOUNDS, title="")
    points = {c.get_label(): c.get_offsets().tolist() for c in figure.axes[0].collections}
    assert (points["none"], points["consistent"]) == ([[0.5, 0.25]], [[1.5, 0.75]])
    assert figure.axes[1].get_xlim()[1] > 2.0
