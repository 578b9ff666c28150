"""What Moreau et al. 2021 speak of beside their figures: correlations, sensors, fusion."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mmrep.plots.style import panels_size, styled_panels

CORRELATIONS = {  # line: colour, style, name
    "correlations": ("C0", "-", "canonical correlation, training"),
    "held_out": ("C4", "-", "held out"),
    "floor": ("C0", ":", "floor, training"),
    "floor_held_out": ("C4", ":", "floor, held out"),
    "explained": ("C2", "-", "share of the logits' variance in the first n"),
    "explained_differences": ("C2", "--", "the same without their common shift"),
}
LINES = ("-", "--", "-.")
MARKERS = "osD^vPX*"  # beside the colours, for readers who see grey


def plot_correlations(
    numbers: Mapping[str, Mapping[str, Float[np.ndarray, "pairs n"]]],
    *,
    num_classes: int,
    title: str,
    simulated: bool,
) -> Figure:
    """A panel for each group of pairs: correlations, their floors, and the logits' share, by n.

    Mean and deviation (ddof 0) over pairs; dotted: as many components as there are classes.
    """
    columns = min(3, len(numbers))
    rows = -(-len(numbers) // columns)
    width, height = panels_size(rows, columns)
    with styled_panels(rows, columns, width, height, simulated=simulated) as (figure, panels):
        for axes in panels.flat[len(numbers) :]:
            axes.set_visible(False)
        for axes, (group, by_name) in zip(panels.flat, numbers.items(), strict=False):
            for name, (colour, line, label) in CORRELATIONS.items():
                mean, deviation = by_name[name].mean(axis=0), by_name[name].std(axis=0)
                n = np.arange(1, len(mean) + 1)
                axes.plot(n, mean, color=colour, linestyle=line, label=label)
                axes.fill_between(n, mean - deviation, mean + deviation, color=colour, alpha=0.1,
                                  linewidth=0)  # fmt: skip
            axes.axvline(num_classes, color="black", linestyle=":", linewidth=1)
            axes.set(title=group, ylim=(-0.05, 1.02), xlabel="component n")
            axes.set_ylabel("correlation; share of variance")
            axes.label_outer()
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2 if columns < 3 else 3)
    return figure


def plot_sensor_matrix(
    matrices: Mapping[str, Mapping[tuple[str, str], Float[np.ndarray, "pairs"]]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Mean and deviation (ddof 0) over pairs for each partner (row) and tested sensor (column)."""
    sensors = list(dict.fromkeys(tested for _, tested in next(iter(matrices.values()))))
    size = max(3.4, 1.0 * len(sensors) + 1.0)
    with styled_panels(1, len(matrices), size * len(matrices), size, simulated=simulated) as (
        figure,
        panels,
    ):
        for axes, (name, matrix) in zip(panels[0], matrices.items(), strict=True):
            means = np.array([[matrix[p, t].mean() for t in sensors] for p in sensors])
            axes.imshow(means)
            axes.set_xticks(range(len(sensors)), sensors, rotation=30, ha="right",
                            rotation_mode="anchor")  # fmt: skip
            axes.set_yticks(range(len(sensors)), sensors)
            axes.set_title(name, fontsize="small")
            axes.grid(visible=False)
            middle = (means.min() + means.max()) / 2
            for (row, column), mean in np.ndenumerate(means):
                deviation = matrix[sensors[row], sensors[column]].std()
                axes.text(column, row, f"{mean:.2f}\n±{deviation:.2f}", ha="center", va="center",
                          color="white" if mean > middle else "black", fontsize=8)  # fmt: skip
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def plot_fusion(
    panels: Mapping[str, Mapping[str, tuple[Sequence[int], Float[np.ndarray, "pairs n"]]]],
    levels: Mapping[str, Mapping[str, Float[np.ndarray, "pairs"]]],
    *,
    num_classes: int,
    score: str,
    title: str,
    simulated: bool,
) -> Figure:
    """For each set of sensors: scores of fused variates against n, and of other fusions as lines.

    Mean and deviation (ddof 0) over repetitions; dotted: as many components as there are classes.
    """
    names = list(dict.fromkeys(name for of_sensors in levels.values() for name in of_sensors))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with styled_panels(rows, columns, 9.0, 3.0 * rows + 1.6, simulated=simulated) as (
        figure,
        drawn,
    ):
        for axes in drawn.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (sensors, curves) in zip(drawn.flat, panels.items(), strict=False):
            for i, (name, (n, scores)) in enumerate(curves.items()):
                mean, deviation = scores.mean(axis=0), scores.std(axis=0)
                axes.plot(n, mean, color=f"C{i}", marker=MARKERS[i], markersize=3, label=name)
                axes.fill_between(n, mean - deviation, mean + deviation, color=f"C{i}", alpha=0.1,
                                  linewidth=0)  # fmt: skip
            for name, scores in levels[sensors].items():
                grey, line = divmod(names.index(name), len(LINES))
                axes.axhline(scores.mean(), color=("black", "0.6")[grey % 2], linewidth=1,
                             linestyle=LINES[line], label=name)  # fmt: skip
            axes.axvline(num_classes, color="black", linestyle=":", linewidth=1)
            axes.set_title(sensors, fontsize="medium")
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set(xlabel="components of each pair", ylabel=score)
            axes.label_outer()
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
        labelled = {
            label: handle
            for axes in drawn.flat
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(labelled.values(), labelled, loc="outside lower center", ncols=3)
    return figure
