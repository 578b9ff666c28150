"""Gates by epoch, unit, sample and corruption, networks side by side, and images with holes."""

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from mmrep.plots.modality_gate import (
    MISSING,
    plot_corruption,
    plot_gate_epochs,
    plot_gate_images,
    plot_gate_samples,
    plot_gate_units,
    plot_networks,
)
from tests.plots.pictures import svg

LOOK: Any = {"title": "solids", "simulated": True}


def edges(band: Any) -> tuple[float, float]:
    heights = band.get_paths()[0].vertices[:, 1]
    return float(heights.min()), float(heights.max())


@pytest.mark.parametrize("classes", [2, 10, 15])
def test_epochs_have_a_line_for_each_class_and_a_band_for_all(classes: int) -> None:
    curves = {"all": np.array([[1.0, 4.0], [0.5, 0.7], [0.1, 0.2]])}
    curves |= {f"c{i}": np.array([[1.0, 4.0], [0.5, 0.1 * i], [0, 0]]) for i in range(classes)}
    figure = plot_gate_epochs({"depth": curves}, **LOOK)
    (axes,) = figure.axes
    *of_classes, of_all = axes.lines
    assert [line.get_ydata()[1] for line in of_classes] == [0.1 * i for i in range(classes)]
    assert of_all.get_xydata().tolist() == [[1, 0.5], [4, 0.7]]
    assert edges(axes.collections[0]) == pytest.approx((0.4, 0.9))
    drawn = svg(figure)
    assert ">gate of depth<" in drawn
    assert ("c1<" in drawn) == (classes < 15)  # more lines than can be told apart have no names
    assert "simulated data" in drawn


def test_units_are_ranked_and_the_map_follows() -> None:
    units = np.array([[0.2, 0.8, 0.5], [0.1, 0.0, 0.2]])
    by_class = np.array([[0.1, 0.9, 0.5], [0.3, 0.7, 0.5]])
    figure = plot_gate_units({"depth": (units, by_class)}, ["a", "b"], **LOOK)
    left, right, _ = figure.axes
    assert left.lines[0].get_xydata().tolist() == [[1, 0.8], [2, 0.5], [3, 0.2]]
    assert edges(left.collections[0]) == pytest.approx((0.1, 0.8))
    assert right.images[0].get_array().tolist() == [[0.9, 0.5, 0.1], [0.7, 0.5, 0.3]]
    assert [label.get_text() for label in right.get_yticklabels()] == ["a", "b"]


def test_samples_are_counted_by_whether_they_are_right() -> None:
    mean = np.array([0.1, 0.1, 0.2, 0.9])
    correct = np.array([True, False, True, False])
    drawn = svg(plot_gate_samples({"depth": mean}, correct, **LOOK))
    assert "2 right, mean gate 0.150" in drawn
    assert "2 wrong, mean gate 0.500" in drawn
    none = plot_gate_samples({"depth": mean}, np.ones(4, dtype=bool), **LOOK)
    assert "0 wrong<" in svg(none)


def test_corruptions_have_a_column_each_and_gates_a_row() -> None:
    accuracy = {
        "depth_holes": np.array([[0, 1], [0.9, 0.4]]),
        "rgb_noise": np.array([[0, 1], [0.9, 0.5]]),
    }
    gates = {
        "depth": {kind: np.array([[0, 1], [0.5, 0.3], [0.1, 0.2]]) for kind in accuracy},
    }
    figure = plot_corruption(accuracy, gates, **LOOK)
    first, second, gate, _ = figure.axes
    assert first.lines[0].get_xydata().tolist() == [[0, 90], [1, 40]]
    assert second.lines[0].get_ydata().tolist() == [90, 50]
    assert gate.lines[0].get_ydata().tolist() == [0.5, 0.3]
    assert edges(gate.collections[0]) == pytest.approx((0.1, 0.6))
    drawn = svg(figure)
    shown = ("depth, holes", "share of pixels missing", "strength of the noise")
    assert all(f">{text}<" in drawn for text in shown)
    assert len(plot_corruption(accuracy, {}, **LOOK).axes) == 2


def test_networks_are_lines_and_those_that_do_not_see_it_dotted() -> None:
    line = np.array([[0, 1], [90, 40], [2, 3]], dtype=float)
    alone = line * [[1], [1], [np.nan]]
    curves = {
        ("trained clean", "depth_holes"): {"rgbd_gated": line},
        ("trained clean", "rgb_noise"): {"rgbd_gated": line, "rgbd_rgb": alone},
    }
    flat = {"trained clean": {"rgbd_gated": 90.0, "rgbd_rgb": 80.0}}
    figure = plot_networks(curves, flat, quantity="right (%)", **LOOK)
    depth, rgb = figure.axes
    (dotted,) = [one for one in depth.lines if one.get_linestyle() == ":"]
    assert list(dotted.get_ydata()) == [80, 80]
    assert not [one for one in rgb.lines if one.get_linestyle() == ":"]
    assert len(depth.containers) == 1
    gated, single = rgb.containers
    assert gated[0].get_ydata().tolist() == single[0].get_ydata().tolist() == [90, 40]
    assert (gated.has_yerr, single.has_yerr) == (True, False)
    assert dotted.get_color() == single[0].get_color() != gated[0].get_color()
    drawn = svg(figure)
    assert all(text in drawn for text in ("rgbd_gated", "does not see this modality", "right (%)"))


@pytest.mark.parametrize("told", ["", ", gate_reads=None", ", gate_reads=['rgb', 'depth']" * 2])
@pytest.mark.parametrize("kinds", [1, 5])
def test_networks_with_long_names_stay_in_the_picture(told: str, kinds: int) -> None:
    line = np.array([[0, 1], [90, 40], [2, 3]], dtype=float)
    lines = {f"rgbd_{name}{told}": line for name in ("gated", "naive", "rgb", "depth")}
    curves = {("trained clean", f"depth_kind{i}"): lines for i in range(kinds)}
    figure = plot_networks(curves, {"trained clean": {}}, quantity="right (%)", **LOOK)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 5
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 < box.y1 < min(axes.bbox.y0 for axes in figure.axes)


def test_what_was_not_measured_has_a_colour_of_its_own() -> None:
    depth = np.full((2, 1, 4, 4), 0.5)
    depth[0, 0, 1, 2] = 0
    images = {"rgb": np.full((2, 3, 4, 4), 0.25), "depth": depth}
    examples = {"most open": (images, ["cube\n0.9", "cone\n0.8"])}
    figure = plot_gate_images(examples, **LOOK)
    colour, _, shades, _ = figure.axes
    assert colour.images[0].get_array().shape == (4, 4, 3)
    drawn = shades.images[0]
    pixels = drawn.to_rgba(drawn.get_array())
    assert pixels[1, 2] == pytest.approx(to_rgba(MISSING))
    assert pixels[0, 0][0] == pixels[0, 0][1] == pixels[0, 0][2]  # a shade of grey
    assert "not measured" in svg(figure)
    whole = {"most open": ({"depth": depth[1:]}, ["cone\n0.8"])}
    assert "not measured" not in svg(plot_gate_images(whole, **LOOK))
    assert [axes.get_title() for axes in figure.axes] == ["cube\n0.9", "cone\n0.8", "", ""]
