"""Covariances over pixels and over spatial frequencies, and how long CCA takes in either."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from mmrep.plots.style import panels_size, styled_panels

LOWEST = 1e-4  # of a covariance's largest magnitude: what is no more is white
SHOWN = 128  # places on a side; of more, the largest of neighbours is shown

Line = tuple[Sequence[int], Sequence[float], Sequence[float]]  # columns, seconds, costs


def plot_covariances(
    panels: Mapping[tuple[str, str], Float64[np.ndarray, "places places"]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Magnitudes by row and column, each of its largest; dark is large, shades are logarithmic.

    Pixels run row by row, frequencies in FFT order.
    """
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*panels, strict=True))
    with styled_panels(
        len(rows), len(columns), 2.5 * len(columns) + 0.9, 2.4 * len(rows) + 0.6,
        simulated=simulated,
    ) as (figure, grid):  # fmt: skip
        for (row, column), covariance in panels.items():
            axes = grid[rows.index(row), columns.index(column)]
            shown = _largest_of_neighbours(covariance / covariance.max())
            image = axes.imshow(
                np.maximum(shown, LOWEST),
                norm=LogNorm(LOWEST, 1),
                cmap="Greys",
                interpolation="nearest",
                extent=(0, len(covariance), len(covariance), 0),
            )
            axes.grid(visible=False)
            if row == rows[0]:
                letter = "abcdefgh"[columns.index(column)]
                axes.set_title(f"{letter}. {column}")
            if row == rows[-1]:
                axes.set_xlabel(column.partition(",")[0])
            if column == columns[0]:
                axes.set_ylabel(row)
        figure.colorbar(image, ax=grid, label="magnitude / its largest", shrink=0.8, extend="min")
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def plot_times(panels: Mapping[str, Mapping[str, Line]], *, title: str, simulated: bool) -> Figure:
    """Seconds of the processor over columns, by panel and line; dotted, costs of the appendix.

    Costs are known up to a factor, and go through the last measured point.
    """
    width, height = panels_size(1, len(panels))
    with styled_panels(1, len(panels), width, height, simulated=simulated) as (figure, grid):
        for axes, (name, lines) in zip(grid[0], panels.items(), strict=True):
            for number, (label, (columns, seconds, costs)) in enumerate(lines.items()):
                axes.plot(columns, seconds, "o-", color=f"C{number}", label=label)
                scaled = np.multiply(costs, seconds[-1] / costs[-1])
                axes.plot(columns, scaled, ":", color=f"C{number}", label=f"{label}, by its cost")
            axes.set(xscale="log", yscale="log", title=name, xlabel="channels x pixels")
            axes.xaxis.set_major_formatter("{x:g}")
        grid[0, 0].set_ylabel("seconds of the processor")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def _largest_of_neighbours(
    covariance: Float64[np.ndarray, "places places"],
) -> Float64[np.ndarray, "shown shown"]:
    step = -(-len(covariance) // SHOWN)
    starts = np.arange(0, len(covariance), step)
    fewer: np.ndarray = np.maximum.reduceat(np.maximum.reduceat(covariance, starts), starts, axis=1)
    return fewer
