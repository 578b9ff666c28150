"""In which order layers become what they are at the end, and how alike layers are."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mmrep.plots.style import styled_figure, styled_panels

Lines = Mapping[
    str, tuple[np.ndarray, np.ndarray, np.ndarray]
]  # by layer: epochs, similarity, floor
DEPTH = colormaps["viridis"]  # from the first layer to the last; ordered in grey as well
NAMED = 16  # layers that a legend lists; of more, a bar shows the depth


def plot_dynamics(panels: Mapping[str, Lines], *, title: str, simulated: bool) -> Figure:
    """A row for each network: a line for each layer, within the first epoch and over all epochs.

    Similarity of a layer with its own final state (Raghu et al. 2017, Figure App.3); dotted, what
    it would be of samples that do not belong together.
    """
    rows = len(panels)
    size = (9.6, 3.0 * rows + 0.6)
    with styled_panels(rows, 2, *size, simulated=simulated, share_x=False) as (figure, grid):
        for (name, lines), (first, whole) in zip(panels.items(), grid, strict=True):
            for axes in (first, whole):
                _draw_lines(axes, lines)
            epochs = next(iter(lines.values()))[0]
            within = epochs[(epochs > 0) & (epochs <= 1)]
            first.set_xscale("symlog", linthresh=within.min() if len(within) else 1)
            first.set_xlim(0, 1)
            first.xaxis.set_major_formatter("{x:g}")
            first.set_title(f"{name}: first epoch" if name else "first epoch")
            first.set_ylabel("similarity with its final state\n(dotted: samples shuffled)")
            whole.set_title(f"{name}: whole training" if name else "whole training")
            whole.set(
                xlim=(0, None), ylim=(min(0, *(np.nanmin(y) for _, y, _ in lines.values())), 1.02)
            )
            _say_depth(figure, whole, [*lines])
        for axes in grid[-1]:
            axes.set_xlabel("epochs")
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def plot_matrices(
    panels: Mapping[str, Float64[np.ndarray, "layers final_layers"]],
    *,
    layers: tuple[Sequence[str], Sequence[str]],
    axes_of: tuple[str, str],
    title: str,
    simulated: bool,
) -> Figure:
    """A square for each title: how alike each layer (up) and each other layer (across) are.

    `layers` are the names up and across, `axes_of` what they are layers of.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    up, across = layers
    side = 1.6 + 0.17 * max(len(up), len(across), 10)
    size = (side * columns + 1.2, side * rows + 0.8)
    with styled_panels(rows, columns, *size, simulated=simulated) as (figure, grid):
        scale = Normalize(0, 1)
        for axes, (name, matrix) in zip(grid.flat, panels.items(), strict=True):
            axes.imshow(matrix, norm=scale, cmap=DEPTH, origin="lower")
            axes.grid(visible=False)
            axes.set_title(name)
            axes.set_xticks(range(len(across)), across, rotation=90, fontsize="x-small")
            axes.set_yticks(range(len(up)), up, fontsize="x-small")
            axes.set(xlabel=axes_of[1], ylabel=axes_of[0])
            axes.label_outer()
        figure.colorbar(ScalarMappable(scale, DEPTH), ax=[*grid.flat], label="similarity",
                        shrink=0.7)  # fmt: skip
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def plot_convergence(
    layers: Sequence[str],
    passed: Mapping[float, Float64[np.ndarray, "layers"]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """The epoch at which each layer, from the first to the last, reaches each level."""
    with styled_figure(max(5.0, 2.0 + 0.2 * len(layers)), 3.8, simulated=simulated) as (
        figure,
        axes,
    ):
        depth = np.arange(len(layers))
        for number, (level, epochs) in enumerate(passed.items()):
            axes.plot(depth, epochs, marker="os^Dv"[number % 5], label=f"reaches {level:g}")
        axes.set_xticks(depth, layers, rotation=90, fontsize="small")
        axes.set(ylabel="epoch", ylim=(0, None))
        axes.legend()
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def _draw_lines(axes: Axes, lines: Lines) -> None:
    for (name, (epochs, similarity, floor)), colour in zip(
        lines.items(), _colours(lines), strict=True
    ):
        label = f" {name}"  # Matplotlib hides what begins with an underscore
        axes.plot(epochs, similarity, color=colour, label=label, marker=".", markersize=3,
                  linewidth=1.2)  # fmt: skip
        axes.plot(epochs, floor, color=colour, linestyle=":", linewidth=0.7)


def _colours(lines: Lines) -> list[tuple[float, ...]]:
    last = max(1, len(lines) - 1)
    return [DEPTH(0.92 * number / last) for number in range(len(lines))]  # yellow is hard to see


def _say_depth(figure: Figure, axes: Axes, names: Sequence[str]) -> None:
    if len(names) <= NAMED:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="x-small")
        return
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1 / 0.92), DEPTH), ax=axes, ticks=[0, 1])
    bar.ax.set_ylim(0, 1)
    bar.ax.set_yticklabels([names[0], names[-1]], fontsize="x-small")
