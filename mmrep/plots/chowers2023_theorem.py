"""Where a linear CNN follows the formula of Chowers & Weiss 2023 and where it does not."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure

from mmrep.plots.style import styled_panels

LOWEST = 1e-4  # of a profile's largest value, at the bottom of the panels


class Curve(NamedTuple):
    """An energy profile, and what is to be compared with it."""

    measured: Float64[np.ndarray, "dimensions"]
    formulas: Mapping[str, Float64[np.ndarray, "dimensions"]]  # by what they say


def plot_theorem(
    panels: Mapping[str, Mapping[str, Curve]], *, title: str, simulated: bool
) -> Figure:
    """A panel for each title, of profiles by their names: dots are measured, lines are formulas.

    Of each profile and formula the largest value is 1. A profile's first formula is solid, in its
    colour, the second one dashed; a formula that several profiles share is named once.
    """
    rows = -(-len(panels) // 2)
    with styled_panels(rows, 2, 8.2, 3.1 * rows + 0.5, simulated=simulated) as (figure, grid):
        for axes, (name, curves) in zip(grid.flat, panels.items(), strict=True):
            for number, (of, curve) in enumerate(curves.items()):
                component = np.arange(len(curve.measured))
                colour = f"C{2 * number}"
                axes.semilogy(component, _scaled(curve.measured), "o", color=colour,
                              markersize=3.5, label=of)  # fmt: skip
                named = {text for other in [*curves.values()][:number] for text in other.formulas}
                for (says, formula), line in zip(curve.formulas.items(), ("-", "--"), strict=False):
                    axes.semilogy(component, _scaled(formula), line, color=colour, linewidth=1.2,
                                  label=None if says in named else says)  # fmt: skip
            axes.set(title=name, xlabel="component, from 0", ylabel="energy profile (largest = 1)",
                     ylim=(LOWEST, 1.6))  # fmt: skip
            axes.legend(fontsize="small", ncols=1 + (len(curves) > 1))
            axes.label_outer()
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def _scaled(
    profile: Float64[np.ndarray, "dimensions"],
) -> Float64[np.ndarray, "dimensions"]:
    return profile / profile.max()
