"""How well each layer tells each class's logit: the curves of the program's page."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure

from mmrep.plots.style import panels_size, styled_panels

COLOURS = 8  # of our style, after which lines are dashed, then dotted
LINES = ("-", "--", ":", "-.")


class Panel(NamedTuple):
    """One network's curves, or several networks' mean ones."""

    layers: Sequence[str]
    curves: Float64[np.ndarray, "classes layers"]
    floor: Float64[np.ndarray, "layers"]  # what chance gives


def plot_class_sensitivity(
    panels: Mapping[str, Panel], classes: Sequence[str], *, title: str, simulated: bool
) -> Figure:
    """A line for each class over the layers, in the order of the forward pass; grey is chance."""
    width, height = panels_size(len(panels), 1)
    names = -(-len(classes) // 6)  # rows of the legend
    with styled_panels(
        len(panels), 1, width + 1.5, height + 0.2 * names, simulated=simulated, share_x=False
    ) as (figure, grid):
        for axes, (name, panel) in zip(grid[:, 0], panels.items(), strict=True):
            depth = np.arange(len(panel.layers))
            for number, (label, curve) in enumerate(zip(classes, panel.curves, strict=True)):
                line = LINES[number // COLOURS % len(LINES)]
                axes.plot(depth, curve, line, color=f"C{number % COLOURS}", marker="o",
                          markersize=3, label=label)  # fmt: skip
            axes.plot(depth, panel.floor, color="0.5", linewidth=1, label="by chance")
            axes.set_xticks(depth, panel.layers, rotation=90, fontsize="small")
            axes.set(title=name, ylabel="correlation", ylim=(0, 1.02))
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure
