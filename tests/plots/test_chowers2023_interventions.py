"""Correlations and profiles against the component that labels go by."""

import io

import numpy as np
import pytest

from mmrep.plots.chowers2023_interventions import plot_labels_by_energy
from mmrep.plots.style import style


@pytest.mark.parametrize("simulated", [True, False])
def test_a_panel_shows_correlations_beside_the_profile(simulated: bool) -> None:
    correlations = {
        "the weights": {0: np.array([0.5, 0.7]), 15: np.array([0.0, 0.2])},
        "the change": {3: np.array([0.9])},
    }
    permuted = {name: np.array([2.0, 4.0, 1.0]) for name in correlations}
    figure = plot_labels_by_energy(correlations, permuted, title="t", simulated=simulated)
    left, right = figure.axes
    (bars,) = left.containers
    assert bars.lines[0].get_xydata() == pytest.approx(np.array([[0, 0.6], [15, 0.1]]))
    spans = [np.diff(segment[:, 1]).item() for segment in bars.lines[2][0].get_segments()]
    assert spans == pytest.approx([2 * np.std([0, 0.2], ddof=1)] * 2)
    profile = next(line for line in right.lines if line.get_linestyle() == "--")
    assert profile.get_xydata().tolist() == [[0, 0.5], [1, 1], [2, 0.25]]
    file = io.StringIO()
    with style():
        figure.savefig(file, format="svg")
    assert ("simulated data" in file.getvalue()) == simulated
