"""Figures show what they were given, and say where it was simulated."""

import numpy as np
import pytest

from mmrep.plots.cca_projection import plot_cca_projection
from mmrep.plots.confusion import plot_confusion
from mmrep.plots.learning_curves import plot_learning_curves
from mmrep.plots.moreau2021 import (
    CORRELATIONS,
    plot_correlations,
    plot_fusion,
    plot_sensor_matrix,
)
from mmrep.plots.scores import plot_class_scores
from tests.plots.pictures import svg


@pytest.mark.parametrize("simulated", [True, False])
def test_confusion_shows_counts_and_names(simulated: bool) -> None:
    counts = np.array([[7, 0], [2, 31]])
    drawn = svg(plot_confusion(counts, ["Still", "Walk"], title="SHL", simulated=simulated))
    assert all(f">{text}<" in drawn for text in ("7", "2", "31", "Still", "Walk", "SHL"))
    assert ("simulated data" in drawn) == simulated


def test_confusion_of_a_class_without_samples_has_no_share() -> None:
    figure = plot_confusion(np.zeros((2, 2), int), ["a", "b"], title="", simulated=False)
    assert np.array_equal(figure.axes[0].images[0].get_array(), np.zeros((2, 2)))


def test_learning_curves_carry_their_points() -> None:
    losses = {"train/loss": ([1, 2], [0.9, 0.5])}
    scores = {"val/f1": ([1, 2], [0.3, 0.6])}
    figure = plot_learning_curves(losses, scores, title="SHL", simulated=True)
    left, right = figure.axes
    assert left.lines[0].get_xydata().tolist() == [[1, 0.9], [2, 0.5]]
    assert right.lines[0].get_xydata().tolist() == [[1, 0.3], [2, 0.6]]
    assert "simulated data" in svg(figure)


def test_class_scores_show_mean_and_deviation() -> None:
    scores = {"acc_norm": np.array([[0.2, 0.8], [0.4, 0.8]]), "gyr_y": np.array([[0.5, 0.1]])}
    figure = plot_class_scores(scores, ["Still", "Walk"], title="SHL", simulated=False)
    two_runs, one_run = figure.axes[0].containers
    assert two_runs.lines[0].get_ydata().tolist() == pytest.approx([0.3, 0.8])
    spans = [segment[:, 1] for segment in two_runs.lines[2][0].get_segments()]
    deviation = np.std([0.2, 0.4], ddof=1)
    assert spans[0].tolist() == pytest.approx([0.3 - deviation, 0.3 + deviation])
    assert not one_run.lines[2]  # one run has no deviation


def test_projection_curves_show_means_bands_and_the_number_of_classes() -> None:
    curves = {
        "pca": ([1, 2, 4], np.array([[0.2, 0.5, 0.9]])),
        "cca_random": ([1, 2, 4], np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.9]])),
    }
    figure = plot_cca_projection(
        {"original head": {"gyr_y": curves}},
        num_classes=2,
        score="accuracy",
        title="CIFAR-10",
        simulated=False,
    )
    pca, random, classes = figure.axes[0].lines
    assert pca.get_ydata().tolist() == [0.2, 0.5, 0.9]
    assert random.get_ydata().tolist() == pytest.approx([0.2, 0.3, 0.9])
    assert list(classes.get_xdata()) == [2, 2]
    band = figure.axes[0].collections[1].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.1)  # one deviation (ddof 0) below 0.2
    drawn = svg(figure)
    assert all(f">{text}<" in drawn for text in ("cca random", "CIFAR-10", "gyr_y", "accuracy"))


def test_correlations_show_each_groups_means_beside_their_floor() -> None:
    pairs = np.array([[0.9, 0.5, 0.1], [0.7, 0.3, 0.1]])
    numbers = {"gyr_y": dict.fromkeys(CORRELATIONS, pairs), "acc_norm": dict.fromkeys(
        CORRELATIONS, pairs[:, :2])}  # fmt: skip
    figure = plot_correlations(numbers, num_classes=2, title="SHL", simulated=True)
    first, second = figure.axes
    assert first.lines[0].get_xydata().tolist() == [[1, 0.8], [2, 0.4], [3, 0.1]]
    assert [len(line.get_xdata()) for line in second.lines[:-1]] == [2] * len(CORRELATIONS)
    drawn = svg(figure)
    assert all(f">{text}<" in drawn for text in ("gyr_y", "acc_norm", "floor, held out", "SHL"))
    assert "simulated data" in drawn


def test_the_matrix_of_sensors_has_partners_as_rows() -> None:
    lost = {("a", "a"): np.array([1.0]), ("a", "b"): np.array([2.0, 4.0]),
            ("b", "a"): np.array([5.0]), ("b", "b"): np.array([6.0])}  # fmt: skip
    figure = plot_sensor_matrix({"points lost": lost}, title="SHL", simulated=False)
    assert figure.axes[0].images[0].get_array().tolist() == [[1, 3], [5, 6]]
    assert ">±1.00<" in svg(figure)


def test_fusion_gives_one_name_one_line_in_all_panels() -> None:
    curve = {"CCA by pairs, linear svm": ([1, 2], np.array([[0.2, 0.4], [0.4, 0.4]]))}
    levels = {"a + b": {"sum of logits": np.array([0.5, 0.7]), "a alone": np.array([0.3])},
              "b + c": {"sum of logits": np.array([0.4]), "b alone": np.array([0.2])}}  # fmt: skip
    figure = plot_fusion({"a + b": curve, "b + c": curve}, levels, num_classes=2, score="accuracy",
                         title="SHL", simulated=False)  # fmt: skip
    left, right = figure.axes
    assert left.lines[0].get_ydata() == pytest.approx([0.3, 0.4])
    assert left.lines[1].get_ydata()[0] == pytest.approx(0.6)
    styles = {
        line.get_label(): (line.get_linestyle(), line.get_color())
        for axes in (left, right)
        for line in axes.lines[1:3]
    }
    assert len(set(styles.values())) == 3
