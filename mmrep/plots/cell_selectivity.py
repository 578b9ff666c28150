"""Cells of a network by what they tell of what is seen and heard (Eguchi et al. 2019)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmrep.plots.style import panels_size, styled_figure, styled_panels

CELLS = ("none", "visual", "auditory", "inconsistent", "consistent")  # by their code
COLOURS = dict(zip(CELLS, ("0.82", "C0", "C1", "C3", "C2"), strict=True))
MARKERS = dict(zip(CELLS, "os^XD", strict=True))  # beside the colours, for readers who see grey
INPUTS = ("all inputs", "seen only", "heard only")
RANGES = ("one range for all units", "each unit's own range")
INPUT_OF = {"visual": "seen only", "auditory": "heard only"}


class Example(NamedTuple):
    """One cell: its responses to the samples of each stimulus, and its bits about each."""

    unit: int
    seen: Sequence[Float[np.ndarray, "_"]]
    heard: Sequence[Float[np.ndarray, "_"]]
    visual: Float[np.ndarray, "stimuli"]
    auditory: Float[np.ndarray, "stimuli"]


def plot_ranked_information(
    layers: Mapping[str, Float[np.ndarray, "2 3 _"]],
    thresholds: Float[np.ndarray, "2 2"],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Each cell's maximal information, in falling order, by layer (Figure 2).

    `layers` hold it by range of the bins, inputs and cell; `thresholds`, which are dotted, by range
    and modality.
    """
    width, height = panels_size(len(RANGES), len(INPUTS))
    with styled_panels(len(RANGES), len(INPUTS), width, height + 0.5, simulated=simulated) as (
        figure,
        panels,
    ):
        for i in range(len(RANGES)):
            for j in range(len(INPUTS)):
                axes = panels[i, j]
                for place, (name, bits) in enumerate(layers.items()):
                    ranks = np.arange(1, bits.shape[-1] + 1)
                    axes.plot(ranks, bits[i, j], color=f"C{place}", label=name)
                if j > 0:
                    _threshold_line(axes, thresholds[i, j - 1])
        label_information(panels, INPUTS)
        finish(figure, panels[0, 1], title)
    return figure


def label_information(panels: np.ndarray, columns: Sequence[str]) -> None:
    """Names the axes of ranked information: a row by range, a column by inputs."""
    for axes, column in zip(panels[0], columns, strict=True):
        axes.set_title(column)
    for axes, row in zip(panels[:, 0], RANGES, strict=True):
        axes.set_ylabel(f"{row}\nmaximal information (bits)")
    for axes in panels[-1]:
        axes.set_xlabel("cell, by rank")
    panels[0, 0].set_ylim(bottom=0)  # the axes share it, so only when all is drawn


def plot_cell_counts(
    layers: Mapping[str, Int[np.ndarray, "2 5"]],
    thresholds: Float[np.ndarray, "2 2"],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """How many cells of each class every layer has, by range of the bins (Figure 4)."""
    width = max(7.0, 1.6 * len(layers) + 3)
    with styled_panels(1, len(RANGES), width, 4.4, simulated=simulated) as (figure, panels):
        places = np.arange(len(layers))
        for j, (axes, bounds) in enumerate(zip(panels[0], thresholds, strict=True)):
            counts = np.stack([by_range[j] for by_range in layers.values()])
            base = np.zeros(len(layers), dtype=counts.dtype)
            for name in reversed(CELLS):  # what both modalities agree on stands at the bottom
                height = counts[:, CELLS.index(name)]
                bars = axes.bar(places, height, bottom=base, color=COLOURS[name], label=name)
                # A segment that is too low for its number is told by the CSV.
                shown = [str(n) if n > 0.04 * counts.sum(axis=1).max() else "" for n in height]
                axes.bar_label(bars, shown, label_type="center", fontsize="small")
                base += height
            axes.set_xticks(places, layers, rotation=0 if len(layers) < 3 else 20)
            axes.set_title(f"{RANGES[j]}\nthresholds {bounds[0]:.3f} and {bounds[1]:.3f} bits")
            axes.grid(visible=False, axis="x")
        panels[0, 0].set_ylabel("cells")
        finish(figure, panels[0, 0], title)
    return figure


def plot_cell_epochs(
    epochs: Sequence[int],
    counts: Int[np.ndarray, "2 epochs 5"],
    information: Float[np.ndarray, "2 epochs 3"],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Cells of each class, and the mean of cells' maximal information, over the epochs."""
    with styled_figure(9.5, 6.4, simulated=simulated) as (figure, whole):
        whole.remove()
        panels = figure.subplots(len(RANGES), 2, sharex=True, sharey="col")
        for i, row in enumerate(RANGES):
            for code, name in enumerate(CELLS):
                panels[i, 0].plot(
                    epochs,
                    counts[i, :, code],
                    color="0.6" if name == "none" else COLOURS[name],
                    marker=MARKERS[name],
                    markersize=4,
                    label=name,
                )
            for j, (name, colour) in enumerate(zip(INPUTS, ("black", "C0", "C1"), strict=True)):
                panels[i, 1].plot(
                    epochs, information[i, :, j], color=colour, marker=".", label=name
                )
            panels[i, 0].set_ylabel(f"{row}\ncells")
            panels[i, 1].set_ylabel("mean of cells'\nmaximal information (bits)")
        for axes in panels[-1]:  # once both rows are drawn, which share their scales
            axes.set_ylim(bottom=0)
            axes.set_xlabel("epochs of training")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for axes in panels[0]:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def plot_example_cells(
    examples: Mapping[str, Example | None],
    thresholds: Float[np.ndarray, "2"],
    stimuli: Sequence[str],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Of each class one cell: its responses, and its bits about each stimulus (Figure 3).

    A row of a map is a stimulus, a column a sample; each map has its own scale, as its bins have.
    Dashed: the thresholds above which a cell is selective.
    """
    heights = [1.9 if example else 0.3 for example in examples.values()]
    with styled_figure(11.0, sum(heights) + 1.4, simulated=simulated) as (figure, whole):
        whole.remove()
        ratios = {"width_ratios": (1, 1, 1.1), "height_ratios": heights}
        panels = figure.subplots(len(examples), 3, squeeze=False, gridspec_kw=ratios)
        for (name, example), (seen, heard, told) in zip(examples.items(), panels, strict=True):
            if example is None:
                for axes in (seen, heard, told):
                    axes.set_axis_off()
                seen.text(0, 0.5, f"{name}: none", transform=seen.transAxes, va="center")
                continue
            for axes, by_stimulus in ((seen, example.seen), (heard, example.heard)):
                image = axes.imshow(_padded(by_stimulus), aspect="auto")
                figure.colorbar(image, ax=axes)
                axes.set_yticks(range(len(stimuli)), stimuli, fontsize="x-small")
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
                axes.grid(visible=False)
            seen.set_ylabel(f"{name}\nunit {example.unit}")
            _draw_information(told, example, thresholds, stimuli)
        titles = ("response, seen only", "response, heard only", "information about each stimulus")
        for axes, text in zip(panels[0], titles, strict=True):
            axes.set_title(text)
        drawn = [row for row, example in zip(panels, examples.values(), strict=True) if example]
        if drawn:
            for axes in drawn[-1][:2]:
                axes.set_xlabel("sample of the stimulus")
            drawn[-1][2].set_xlabel("stimulus")
            handles, labels = drawn[0][2].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower right", ncols=4)
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def plot_units(
    visual: Float[np.ndarray, "2 units"],
    auditory: Float[np.ndarray, "2 units"],
    classes: Int[np.ndarray, "2 units"],
    thresholds: Float[np.ndarray, "2 2"],
    *,
    title: str,
) -> Figure:
    """Each unit by its maximal information on what is seen and heard, and by its class."""
    with styled_panels(1, len(RANGES), 9.0, 4.6, simulated=False) as (figure, panels):
        for j, axes in enumerate(panels[0]):
            for code, name in enumerate(CELLS):
                of = classes[j] == code
                axes.scatter(
                    visual[j, of],
                    auditory[j, of],
                    s=22,
                    color="0.6" if name == "none" else COLOURS[name],
                    marker=MARKERS[name],
                    label=name,
                )
            axes.axvline(thresholds[j, 0], color="black", linestyle=":", linewidth=1)
            axes.axhline(thresholds[j, 1], color="black", linestyle=":", linewidth=1)
            axes.set_title(
                f"{RANGES[j]}\nthresholds {thresholds[j, 0]:.3f} and {thresholds[j, 1]:.3f} bits"
            )
            axes.set_xlabel("maximal information, visual (bits)")
        panels[0, 0].set_ylabel("maximal information, auditory (bits)")
        axes.set(xlim=(0, None), ylim=(0, None))
        axes.margins(0.05)
        finish(figure, panels[0, 0], title)
    return figure


def _threshold_line(axes: Axes, bits: float) -> None:
    axes.axhline(bits, color="black", linestyle=":", linewidth=1)
    axes.annotate(
        f"threshold {bits:.3f}",
        (1, bits),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 2),
        textcoords="offset points",
        ha="right",
        fontsize="small",
    )


def _draw_information(
    axes: Axes, example: Example, thresholds: Float[np.ndarray, "2"], stimuli: Sequence[str]
) -> None:
    """Two bars for each stimulus; dashed the threshold of each modality."""
    places = np.arange(len(stimuli))
    for bits, bound, name, shift in (
        (example.visual, thresholds[0], "visual", -0.2),
        (example.auditory, thresholds[1], "auditory", 0.2),
    ):
        axes.bar(places + shift, bits, width=0.4, color=COLOURS[name], label=INPUT_OF[name])
        axes.axhline(
            bound,
            color=COLOURS[name],
            linestyle="--",
            linewidth=1,
            label=f"{INPUT_OF[name]}: threshold {bound:.3f}",
        )
    axes.set_xticks(places, stimuli)
    axes.set_ylabel("bits")
    axes.grid(visible=False, axis="x")


def _padded(rows: Sequence[Float[np.ndarray, "_"]]) -> Float[np.ndarray, "stimuli samples"]:
    """NaN, which is drawn blank, where a stimulus has fewer samples than others."""
    padded = np.full((len(rows), max(map(len, rows))), np.nan)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded


def finish(figure: Figure, labelled: Axes, title: str, *, columns: int = 5) -> None:
    """The title above, and below the legend of what `labelled` shows, in `columns`."""
    figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    handles, labels = labelled.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
