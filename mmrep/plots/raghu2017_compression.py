"""Accuracy against the share of a layer's directions that is kept (Raghu et al. 2017, App.5)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mmrep.plots.style import panels_size, styled_panels

LINES = {"training": "--", "test": "-"}
Curve = tuple[Sequence[float], Float[np.ndarray, "pairs shares"]]


def plot_compression(
    panels: Mapping[str, Mapping[str, Mapping[str, Curve]]],
    untouched: Mapping[str, Float[np.ndarray, "pairs"]],
    *,
    share: float,
    title: str,
    simulated: bool,
) -> Figure:
    """A panel for each layer: percent by method and split, means over pairs of networks.

    Dashed: training; grey: the untouched networks; dotted: the paper's `share`.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    width, height = panels_size(rows, columns)
    with styled_panels(rows, columns, width, height + 0.5, simulated=simulated) as (figure, drawn):
        for axes in drawn.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (layer, by_method) in zip(drawn.flat, panels.items(), strict=False):
            for split, line in LINES.items():
                axes.axhline(untouched[split].mean(), color="0.6", linestyle=line,
                             label="untouched")  # fmt: skip
                for colour, (method, by_split) in enumerate(by_method.items()):
                    shares, accuracy = by_split[split]
                    axes.plot(shares, accuracy.mean(axis=0), line, color=f"C{colour}",
                              marker=".", markersize=4, label=method)  # fmt: skip
            axes.axvline(share, color="black", linestyle=":", linewidth=1)
            axes.set(title=layer, xlabel="share of directions kept", ylabel="accuracy (percent)")
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.label_outer()
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
        names = ["untouched", *next(iter(panels.values()))]
        handles = drawn[0, 0].lines[len(names) : 2 * len(names)]  # those of the test images
        figure.legend(handles, names, loc="outside lower center", ncols=2 if columns < 3 else 5)
    return figure
