"""Units mixed and recovered, and what tells noise from use (Raghu et al. 2017, App.1, B.0.1)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmrep.plots.style import styled_figure, styled_panels

MARKERS = "os^vDP"


class Shown(NamedTuple):
    """Units over samples that stand in the order of their classes, mixed, and recovered."""

    numbers: Sequence[int]  # of the units in their layer
    units: Float64[np.ndarray, "samples units"]
    mixed: Float64[np.ndarray, "samples units"]
    recovered: Float64[np.ndarray, "samples units"]
    ends: Sequence[int]  # of the classes among the samples
    class_names: Sequence[str]
    error: float  # of all samples, of the units' size


def plot_recovery(panels: Mapping[str, Shown], *, simulated: bool) -> Figure:
    """A row for each network: its units mixed, and recovered (thin, black) over what they were."""
    with styled_panels(len(panels), 2, 10.0, 2.6 * len(panels) + 1.2, simulated=simulated) as (
        figure,
        drawn,
    ):
        for (left, right), (title, shown) in zip(drawn, panels.items(), strict=True):
            samples = np.arange(len(shown.units))
            for unit, number in enumerate(shown.numbers):
                colour = f"C{unit}"
                left.plot(samples, shown.mixed[:, unit], color=colour, linewidth=0.8)
                right.plot(samples, shown.units[:, unit], color=colour, linewidth=2.5, alpha=0.6,
                           label=f"unit {number}")  # fmt: skip
                right.plot(samples, shown.recovered[:, unit], color="black", linewidth=0.5)
            middles = (np.array([0, *shown.ends[:-1]]) + np.array(shown.ends) - 1) / 2
            for axes in (left, right):
                for end in shown.ends[:-1]:
                    axes.axvline(end - 0.5, color="0.8", linewidth=0.6)
                axes.set_xticks(middles, shown.class_names, rotation=30, ha="right",
                                rotation_mode="anchor")  # fmt: skip
                axes.grid(visible=False)
            left.set(title=f"{title}: mixed", ylabel="activation")
            right.set_title(f"recovered by CCA (black), error {shown.error:.0e} of their size")
            right.legend(fontsize="small")
        figure.supxlabel("validation images, by class", fontsize="medium")
    return figure


def plot_thought_experiment(
    noises: Sequence[float], similarities: Mapping[str, Sequence[float]], *, title: str
) -> Figure:
    """Similarity of A and B by the noise of B, each measure's last number being that of A and C."""
    with styled_figure(6.4, 4.6, simulated=True) as (figure, axes):
        for colour, (measure, (*of_b, of_c)) in enumerate(similarities.items()):
            axes.plot(noises, of_b, color=f"C{colour}", marker=MARKERS[colour], markersize=5,
                      label=measure)  # fmt: skip
            axes.axhline(of_c, color=f"C{colour}", linestyle=(2 * colour, (3, 6)))
        axes.set(xscale="log", ylim=(0, 1.05), ylabel="similarity")
        axes.set_xlabel("deviation of B's noise, of that of A's units")
        axes.xaxis.set_major_formatter("{x:g}")
        handles, labels = axes.get_legend_handles_labels()
        handles += [
            Line2D([], [], color="black", linestyle="-"),
            Line2D([], [], color="black", linestyle="--"),
        ]
        labels += ["(A, B)", "(A, C)"]
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure
