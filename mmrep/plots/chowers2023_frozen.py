"""Training with the first layer free and frozen (Chowers & Weiss 2023, Figures 2 and 20)."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmrep.plots.style import panels_size, styled_panels

LINES = {"free": ("C0", "-"), "frozen": ("C4", "--")}  # colour and line of the first layer


def plot_frozen(
    panels: Mapping[tuple[str, str], Mapping[str, Float64[np.ndarray, "_ _"]]],
    *,
    unit: str,
    title: str,
    simulated: bool,
) -> Figure:
    """By quantity (rows) and network (columns): mean over runs after each epoch, and deviation.

    Each line is given as runs x epochs, by what the first layer is: free or frozen. One run has no
    deviation (ddof 1).
    """
    quantities, networks = (list(dict.fromkeys(names)) for names in zip(*panels, strict=True))
    width, height = panels_size(len(quantities), len(networks))
    with styled_panels(len(quantities), len(networks), width, height, simulated=simulated) as (
        figure,
        grid,
    ):
        for (quantity, network), lines in panels.items():
            axes = grid[quantities.index(quantity), networks.index(network)]
            for name, runs in lines.items():
                colour, line = LINES[name]
                epochs, mean = np.arange(1, runs.shape[1] + 1), runs.mean(axis=0)
                axes.plot(epochs, mean, line, color=colour, marker=".", label=name)
                if len(runs) > 1:
                    deviation = runs.std(axis=0, ddof=1)
                    axes.fill_between(
                        epochs, mean - deviation, mean + deviation, color=colour, alpha=0.2, lw=0
                    )
            axes.set_title(network)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for axes, quantity in zip(grid[:, 0], quantities, strict=True):
            axes.set_ylabel(f"{quantity} ({unit})")
        for axes in grid[-1]:
            axes.set_xlabel("epoch")
        handles = {
            label: handle
            for axes in grid.flat
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            [*handles.values()],
            [f"first layer {name}" for name in handles],
            loc="outside lower center",
            ncols=len(handles),
        )
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure
