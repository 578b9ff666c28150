"""How alike the same layer of two networks is."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure

from mmrep.plots.style import panels_size, styled_panels


def plot_same_layers(
    panels: Mapping[str, tuple[Sequence[str], Float64[np.ndarray, "layers 4"]]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """A panel for each pair of networks: each layer's similarity, its interval and its floor.

    `panels` hold the layers' names and, for each, value, floor, low and high.
    """
    rows = len(panels)
    width, height = panels_size(rows, 1)
    with styled_panels(rows, 1, width + 1.5, height, simulated=simulated, share_x=False) as (
        figure,
        grid,
    ):
        for axes, (name, (layers, found)) in zip(grid[:, 0], panels.items(), strict=True):
            value, floor, low, high = found.T
            depth = np.arange(len(layers))
            axes.fill_between(depth, low, high, alpha=0.25, linewidth=0, label="95 % interval")
            axes.plot(depth, value, marker="o", label="similarity")
            axes.plot(depth, floor, color="0.4", linestyle="--", label="of samples shuffled")
            axes.set_xticks(depth, layers, rotation=90, fontsize="small")
            axes.set(title=name, ylabel="similarity", ylim=(min(0.0, float(floor.min())), 1.02))
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure
