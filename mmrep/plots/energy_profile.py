"""Energy profiles of first layers, and what else is told of them (Chowers & Weiss 2023)."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmrep.plots.style import panels_size, styled_panels

FILTERS_SHOWN = 64
TITLE_WIDTH = 44  # letters over one panel
COMPONENT = "component of patches, from 0"  # by decreasing energy
DASHED = (
    "initial",
    "random initialisation",
    "formula",
)  # lines that are no trained network's begin so


def plot_energy_profiles(
    panels: Mapping[str, Mapping[str, Float[np.ndarray, "dimensions"]]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Profiles by panel and name, each divided by its largest value.

    Components are numbered from 0, by decreasing energy of the patches.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    width, height = panels_size(rows, columns)
    with styled_panels(rows, columns, width, height + 0.4, simulated=simulated) as (figure, grid):
        for axes, (name, profiles) in zip(grid.flat, panels.items(), strict=False):
            _profiles(axes, profiles, _colours(panels))
            axes.set_title(textwrap.fill(name, TITLE_WIDTH))
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        _finish(figure, grid, title, COMPONENT,
                "energy profile / its largest")  # fmt: skip
    return figure


def plot_profile_epochs(
    profiles: Mapping[str, Float[np.ndarray, "epochs dimensions"]],
    epochs: Sequence[int],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Profiles over the epochs as heat maps side by side, each row by its largest value.

    A profile of 0, as the change after no epoch, is left white.
    """
    width, height = panels_size(1, len(profiles))
    with styled_panels(
        1, len(profiles), width + 0.6, height, simulated=simulated, share_x=False
    ) as (figure, panels):
        for axes, (name, of_epochs) in zip(panels[0], profiles.items(), strict=True):
            largest = of_epochs.max(axis=1, keepdims=True)
            shade = np.divide(of_epochs, largest, out=np.full(of_epochs.shape, np.nan),
                              where=largest > 0)  # fmt: skip
            edges = np.arange(shade.shape[1] + 1) - 0.5
            rows = np.arange(len(shade) + 1)
            image = axes.pcolormesh(edges, rows, shade, vmin=0, vmax=1, cmap="Blues")
            axes.set(title=name, xlabel=COMPONENT)
            shown = np.unique(np.linspace(0, len(shade) - 1, 9).round().astype(int))
            axes.set_yticks(shown + 0.5, [str(epochs[i]) for i in shown])
            axes.grid(visible=False)
        panels[0, 0].set_ylabel("after epoch")
        figure.colorbar(image, ax=panels, label="energy profile / the epoch's largest")
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure


def plot_profile_convergence(
    panels: Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[float]]]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Correlations of profiles after each epoch, by panel and line."""
    width, height = panels_size(1, len(panels))
    lines = max(len(curves) for curves in panels.values())
    with styled_panels(1, len(panels), width + 1, height + 0.12 * lines, simulated=simulated) as (
        figure,
        grid,
    ):
        for axes, (name, curves) in zip(grid[0], panels.items(), strict=True):
            for label, (epochs, values) in curves.items():
                axes.plot(epochs, values, marker=".", color=_colours(panels)[label], label=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_title(name)
        _finish(figure, grid, title, "after epoch", "correlation")
    return figure


def plot_filters(
    panels: Mapping[str, Float[np.ndarray, "_ channels rows columns"]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Filters side by side, at most 64, each by its own largest weight: grey is 0.

    Filters of three channels are shown as colours, of others as the mean over channels.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with styled_panels(
        rows, columns, 3.4 * columns, 3.5 * rows + 0.4, simulated=simulated, share_x=False
    ) as (figure, grid):
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (name, filters) in zip(grid.flat, panels.items(), strict=False):
            axes.imshow(_mosaic(filters[:FILTERS_SHOWN]), interpolation="nearest", cmap="gray",
                        vmin=0, vmax=1, aspect="equal")  # fmt: skip
            more = f" ({FILTERS_SHOWN} of {len(filters)})" if len(filters) > FILTERS_SHOWN else ""
            axes.set_title(name + more)
            axes.set_axis_off()
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure


def plot_autocorrelation(
    panels: Mapping[tuple[str, str], Mapping[str, Float[np.ndarray, "shifts"]]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """C(delta) of images and of filters' responses, by input (rows) and direction (columns)."""
    inputs, directions = (list(dict.fromkeys(names)) for names in zip(*panels, strict=True))
    width, height = panels_size(len(inputs), len(directions))
    with styled_panels(
        len(inputs), len(directions), width + 1, height + 0.4, simulated=simulated
    ) as (figure, grid):
        for (given, direction), curves in panels.items():
            axes = grid[inputs.index(given), directions.index(direction)]
            for name, curve in curves.items():
                axes.plot(np.arange(len(curve)), curve, marker=".", label=name)
            axes.axhline(0, color="0.4", linewidth=0.8)
            axes.set_title(f"{given} input, {direction}")
        _finish(figure, grid, title, "distance (pixels)", "autocorrelation / that at 0")
    return figure


def plot_label_correlations(
    panels: Mapping[str, Float[np.ndarray, "dimensions _"]],
    *,
    title: str,
    simulated: bool,
    noise: Mapping[str, Float[np.ndarray, "dimensions"]] | None = None,
) -> Figure:
    """Correlations of each component with each class, one panel for each reading (Figure 5).

    `noise` is what chance would leave of their root mean square, and is dotted.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    width, height = panels_size(rows, columns)
    with styled_panels(rows, columns, width, height, simulated=simulated) as (figure, grid):
        for axes, (name, correlation) in zip(grid.flat, panels.items(), strict=True):
            places = np.arange(len(correlation))
            axes.plot(places, correlation, color="C0", alpha=0.35, linewidth=0.9)
            mean_square = np.nanmean(np.square(correlation), axis=1)
            axes.plot(places, np.sqrt(mean_square), color="C4", label="root mean square of classes")
            axes.plot([], [], color="C0", alpha=0.5, label="one class")
            if noise is not None:
                axes.plot(places, noise[name], color="0.2", linestyle=":", label="by chance")
            axes.set_title(name)
        _finish(figure, grid, title, COMPONENT, "correlation with the label")
    return figure


def _colours(panels: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """One for each line's name, the same in all panels."""
    names = dict.fromkeys(name for lines in panels.values() for name in lines)
    return {name: f"C{place}" for place, name in enumerate(names)}


def _profiles(
    axes: Axes, profiles: Mapping[str, Float[np.ndarray, "_"]], colours: Mapping[str, str]
) -> None:
    for name, profile in profiles.items():
        axes.plot(
            np.arange(len(profile)),
            profile / profile.max(),
            color=colours[name],
            linestyle="--" if name.startswith(DASHED) else "-",
            label=name,
        )
    axes.set_ylim(bottom=0)


def _finish(figure: Figure, grid: np.ndarray, title: str, x: str, y: str) -> None:
    """Titles, names of the axes along the edges, and one legend of all names below."""
    for axes in grid[:, 0]:
        axes.set_ylabel(y)
    for column in grid.T:
        lowest = [axes for axes in column if axes.get_visible()][-1]
        lowest.set_xlabel(x)
        lowest.tick_params(labelbottom=True)
    handles = {
        label: handle
        for axes in grid.flat
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    widest = 0.6 + 0.075 * max(map(len, handles))  # inches that one name takes
    columns = max(1, min(len(handles), int(figure.get_figwidth() / widest)))
    figure.legend([*handles.values()], [*handles], loc="outside lower center", ncols=columns)
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")


def _mosaic(filters: Float[np.ndarray, "_ channels rows columns"]) -> np.ndarray:
    """One image of all filters, a pixel of white between them."""
    count, channels, rows, columns = filters.shape
    scaled = 0.5 + 0.5 * filters / np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    if channels != 3:
        scaled = scaled.mean(axis=1, keepdims=True).repeat(3, axis=1)
    side = int(np.ceil(np.sqrt(count)))
    mosaic = np.ones((side * (rows + 1) - 1, side * (columns + 1) - 1, 3))
    for number, one in enumerate(scaled):
        top, left = number // side * (rows + 1), number % side * (columns + 1)
        mosaic[top : top + rows, left : left + columns] = one.transpose(1, 2, 0)
    return mosaic
