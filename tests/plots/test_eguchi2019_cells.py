"""Figures of cells over networks: means and deviations where they belong, and whole."""

from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from mmrep.plots.cell_selectivity import CELLS
from mmrep.plots.eguchi2019_cells import (
    plot_cells_by_layer,
    plot_counts_by_network,
    plot_information_by_pairing,
)
from tests.plots.pictures import svg

RANDOM = np.random.default_rng(0)
CONSISTENT = CELLS.index("consistent")


def some_counts(networks: int, highest: int) -> np.ndarray:
    """By network, range of the bins and class."""
    return RANDOM.integers(highest, size=(networks, 2, len(CELLS))).astype(float)


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def ends_of_error_bars(axes: Sequence[object]) -> list[float]:
    return [
        y
        for one in axes
        for lines in one.collections
        if isinstance(lines, LineCollection)
        for segment in lines.get_segments()
        for y in segment[:, 1]
    ]


@pytest.mark.parametrize("simulated", [True, False])
def test_information_is_a_mean_over_networks_and_a_band_around_it(simulated: bool) -> None:
    ranked = {
        name: np.sort(RANDOM.random((3, 3, 2, 6)), axis=3)[..., ::-1].copy()
        for name in ("before", "inconsistent", "consistent")
    }
    figure = plot_information_by_pairing(ranked, title="four layers", simulated=simulated)
    assert len(figure.axes) == 6  # two ranges of the bins, three inputs
    heard, own = 2, 1
    axes = figure.axes[3 * own + heard]
    for line, band, bits in zip(axes.lines, axes.collections, ranked.values(), strict=True):
        values = bits[:, heard, own]
        assert line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
        assert line.get_ydata() == pytest.approx(values.mean(axis=0))
        edges = band.get_paths()[0].vertices
        top = values.mean(axis=0) + values.std(axis=0, ddof=1)
        assert edges[:, 1].max() == pytest.approx(top.max())
        assert edges[:, 1].max() < axes.get_ylim()[1]
    assert [axes.get_title("left") for axes in figure.axes[:3]] == [
        "A: all inputs", "B: seen only", "C: heard only"
    ]  # fmt: skip
    assert figure.axes[0].get_ylim()[0] == 0
    assert legend_of(figure) == [*ranked]
    drawn = svg(figure)
    assert "four layers" in drawn
    assert ("simulated data" in drawn) == simulated


def test_one_network_has_no_band() -> None:
    figure = plot_information_by_pairing(
        {"consistent": RANDOM.random((1, 3, 2, 6))}, title="", simulated=False
    )
    assert not any(axes.collections for axes in figure.axes)


@pytest.mark.parametrize("simulated", [True, False])
def test_counts_are_bars_by_network_with_error_bars_that_fit(simulated: bool) -> None:
    counts = {
        "mixed": {"1": some_counts(4, 5), "4": some_counts(4, 64)},
        "frameworks": {"mixed, 4": some_counts(4, 9), "two-stage": some_counts(1, 9)},
    }
    figure = plot_counts_by_network(counts, title="", simulated=simulated)
    assert len(figure.axes) == 4
    assert [axes.get_title("left") for axes in figure.axes] == ["mixed", "frameworks", "", ""]
    highest = 0.0
    for i in range(2):
        for axes, networks in zip(figure.axes[2 * i : 2 * i + 2], counts.values(), strict=True):
            if i == 1:  # the scale of a column stands below it
                assert [label.get_text() for label in axes.get_xticklabels()] == [*networks]
            bars = [container for container in axes.containers if hasattr(container, "patches")]
            assert [container.get_label() for container in bars] == [*CELLS[1:]]
            for code, container in enumerate(bars, start=1):
                found = [bar.get_height() for bar in container]
                values = [of[:, i, code] for of in networks.values()]
                assert found == [of.mean() for of in values]
                deviations = [of.std(ddof=1) if len(of) > 1 else 0 for of in values]
                segments = container.errorbar.lines[2][0].get_segments()
                tops = [segment[:, 1].max() for segment in segments]
                assert tops == pytest.approx(np.add(found, deviations))
                highest = max(highest, *tops)
    assert highest > 40  # of one panel alone, but all share the scale
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low == 0
        assert high > highest
    assert legend_of(figure) == [*CELLS[1:]]
    assert ("simulated data" in svg(figure)) == simulated


def test_every_layer_has_its_consistent_cells() -> None:
    counts = {
        (2, "consistent"): [some_counts(3, 9), some_counts(3, 64)],
        (2, "inconsistent"): [some_counts(3, 5), some_counts(3, 5)],
        (3, "consistent"): [some_counts(1, 64) for _ in range(3)],
    }
    figure = plot_cells_by_layer(counts, title="cells", simulated=True)
    assert [axes.get_title("left") for axes in figure.axes] == [
        "one range for all units", "each unit's own range"
    ]  # fmt: skip
    for i, axes in enumerate(figure.axes):
        for container, layers in zip(axes.containers, counts.values(), strict=True):
            line = container.lines[0]
            assert line.get_xdata().tolist() == [*range(1, len(layers) + 1)]
            assert list(line.get_ydata()) == [of[:, i, CONSISTENT].mean() for of in layers]
        first, second, third = (container.lines[0] for container in axes.containers)
        assert first.get_color() == second.get_color() != third.get_color()  # by depth
        assert first.get_linestyle() == third.get_linestyle() != second.get_linestyle()
    ends = ends_of_error_bars(figure.axes)
    of_all = [of[:, i, CONSISTENT] for i in range(2) for of in counts[2, "consistent"]]
    assert max(ends) >= max(of.mean() + of.std(ddof=1) for of in of_all) - 1e-9
    for axes in figure.axes:
        assert axes.get_ylim()[0] == 0
        assert axes.get_ylim()[1] > max(ends)
    assert legend_of(figure) == [f"{depth} layers, {pairing}" for depth, pairing in counts]
    assert "simulated data" in svg(figure)
