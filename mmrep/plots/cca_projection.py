"""What a network still tells on n components of its features."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmrep.plots.style import styled_figure

COLOURS = {  # the paper's
    "cca_highest": (1, 0, 0),
    "cca_lowest": (0.9, 0.9, 0),
    "cca_random": (1, 0.5, 0),
    "pca": (0.05, 0.9, 0.05),
    "max_activation": (0.8, 0.2, 1),
    "random_projection": (0.2, 0.23, 1),
    "random_selection": (0.2, 0.8, 1),
}
Curve = tuple[Sequence[int], np.ndarray]  # n, and scores of (repetitions, n)


def plot_cca_projection(
    curves: Mapping[str, Curve],
    *,
    num_classes: int,
    score: str,
    title: str,
    simulated: bool,
) -> Figure:
    """A line for each method: mean and deviation (ddof 0) over repetitions, against n.

    Dotted: as many components as there are classes (Moreau et al. 2021, Figure 4).
    """
    with styled_figure(6.0, 4.0, simulated=simulated) as (figure, axes):
        draw_curves(axes, curves, num_classes=num_classes)
        axes.set(xlabel="components kept", ylabel=score, title=title)
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def draw_curves(axes: Axes, curves: Mapping[str, Curve], *, num_classes: int) -> None:
    """The lines, bands and marks of one panel."""
    for method, (components, scores) in curves.items():
        mean, deviation = scores.mean(axis=0), scores.std(axis=0)
        colour = COLOURS[method]
        axes.plot(components, mean, color=colour, label=method.replace("_", " "), marker=".")
        axes.fill_between(
            components, mean - deviation, mean + deviation, color=colour, alpha=0.1, linewidth=0
        )
    axes.axvline(num_classes, color="black", linestyle=":", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(0, 1)
