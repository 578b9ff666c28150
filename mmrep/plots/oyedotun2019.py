"""Fusion of colour and depth beside all it is made of (Oyedotun et al. 2019, Tables 1, 3 and 4)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmrep.plots.style import styled_panels

COLUMNS = 3  # panels side by side
APART = 0.15  # of the distance of rows: points above, their mean below
PAPER = {"linestyle": "none", "marker": "D", "markerfacecolor": "none", "color": "#b00020"}


class Row(NamedTuple):
    """Accuracies of a network in percent, of each fold; the paper's where it has one."""

    folds: Float64[np.ndarray, "_"]
    paper: float | None


class Gain(NamedTuple):
    """One network's accuracy less another's, in points, by fold and seed."""

    by_run: Mapping[tuple[int, int], float]
    mean: float  # over folds
    interval: tuple[float, float] | None  # at 95 %
    paper: float | None


def plot_rows(
    panels: Mapping[str, Mapping[str, Row]], *, order: Sequence[str], title: str, simulated: bool
) -> Figure:
    """A panel for each group of runs: a point for each fold, mean and deviation (ddof 1).

    Rows stand from top to bottom in `order`, whether or not a panel has them.
    """
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    size = (max(7.0, 2.0 + 3.2 * columns), 1.2 + (0.8 + 0.27 * len(order)) * lines)
    with styled_panels(lines, columns, *size, simulated=simulated) as (figure, grid):
        for axes, (name, rows) in zip(grid.flat, panels.items(), strict=False):
            for place, row in enumerate(order):
                if row not in rows:
                    continue
                folds, paper = rows[row]
                axes.plot(folds, np.full(len(folds), place - APART), "o", color="C5", alpha=0.6,
                          markersize=4, label="a fold")  # fmt: skip
                deviation = folds.std(ddof=1) if len(folds) > 1 else None
                axes.errorbar(folds.mean(), place + APART, xerr=deviation, fmt="|", color="C0",
                              markersize=11, capsize=3, label="mean and deviation")  # fmt: skip
                if paper is not None:
                    axes.plot(paper, place + APART, label="the paper", **PAPER)
            axes.set_title(name)
        for axes in [*grid.flat][len(panels) :]:
            axes.set_visible(False)
        for axes in [*grid.flat][: len(panels)][-columns:]:
            axes.set_xlabel("test accuracy (percent)")
            axes.tick_params(labelbottom=True)
        grid[0, 0].set_yticks(range(len(order)), order)
        grid[0, 0].set_ylim(len(order) - 0.5, -0.5)
        _name(figure, title, columns)
    return figure


def plot_gains(panels: Mapping[tuple[str, str], Gain], *, title: str, simulated: bool) -> Figure:
    """By backbone (rows) and group of runs (columns): the difference of each fold and seed.

    The mean is a line, the corrected test's interval a band, the paper's difference a dashed line.
    """
    backbones, groups = (list(dict.fromkeys(names)) for names in zip(*panels, strict=True))
    size = max(6.0, 3.4 * len(groups) + 0.6), 2.3 * len(backbones) + 1.1
    with styled_panels(len(backbones), len(groups), *size, simulated=simulated, share_x=False) as (
        figure,
        grid,
    ):
        seeds = sorted({seed for gain in panels.values() for _, seed in gain.by_run})
        for (backbone, group), gain in panels.items():
            axes = grid[backbones.index(backbone), groups.index(group)]
            axes.axhline(0, color="0.3", linewidth=1)
            if gain.interval is not None:
                axes.axhspan(*gain.interval, color="C0", alpha=0.15, linewidth=0,
                             label="95 % interval of the mean")  # fmt: skip
            axes.axhline(gain.mean, color="C0", label="mean over folds")
            if gain.paper is not None:
                axes.axhline(gain.paper, color="#b00020", linestyle="--", label="the paper")
            for place, seed in enumerate(seeds):
                points = [(fold, y) for (fold, of), y in gain.by_run.items() if of == seed]
                if points:
                    x, y = np.array(points).T
                    apart = 0.12 * (place - (len(seeds) - 1) / 2)  # lest seeds hide each other
                    axes.plot(x + apart, y, "o", color=f"C{1 + place % 7}", markersize=4,
                              label=f"seed {seed}")  # fmt: skip
            axes.set_title(f"{backbone}: {group}")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for axes in grid[:, 0]:
            axes.set_ylabel("difference (points)")
        for axes in grid[-1]:
            axes.set_xlabel("fold")
        _name(figure, title, len(groups))
    return figure


def _name(figure: Figure, title: str, columns: int) -> None:
    """A title, and one legend for all panels."""
    handles = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        [*handles.values()], [*handles], loc="outside lower center", ncols=max(3, 2 * columns)
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
