"""What a network still tells on n components of its features."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmrep.plots.style import panels_size, styled_panels

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
    panels: Mapping[str, Mapping[str, Mapping[str, Curve]]],
    *,
    num_classes: int,
    score: str,
    title: str,
    simulated: bool,
) -> Figure:
    """A line for each method: mean and deviation (ddof 0) over repetitions, against n.

    `panels` are rows of columns, by their titles (Moreau et al. 2021, Figures 4 and 5). Dotted: as
    many components as there are classes.
    """
    rows, columns = len(panels), len(next(iter(panels.values())))
    width, height = panels_size(rows, columns)
    with styled_panels(rows, columns, width, height, simulated=simulated) as (figure, drawn):
        for i, (row, by_column) in enumerate(panels.items()):
            for j, (column, curves) in enumerate(by_column.items()):
                _draw_curves(drawn[i, j], curves, num_classes=num_classes)
                if i == 0:
                    drawn[i, j].set_title(column)
            drawn[i, 0].set_ylabel("\n".join(filter(None, [row, score])))
        for axes in drawn[-1]:
            axes.set_xlabel("components kept")
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
        handles, labels = drawn[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3 if columns == 1 else 7)
    return figure


def _draw_curves(axes: Axes, curves: Mapping[str, Curve], *, num_classes: int) -> None:
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
