"""Labels by the energy of one component, and first layers (Chowers & Weiss 2023, Figure 17)."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmrep.plots.style import panels_size, styled_panels


def plot_labels_by_energy(
    correlations: Mapping[str, Mapping[int, Float[np.ndarray, "_"]]],
    permuted: Mapping[str, Float[np.ndarray, "dimensions"]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """A panel for each name: against the component, counted from 0, that labels go by.

    The correlation of profiles learnt from true and from permuted labels, mean and deviation over
    pairs (ddof 1); and dashed the profile learnt from permuted labels, by its largest value.
    """
    width, height = panels_size(1, len(correlations))
    with styled_panels(1, len(correlations), width + 0.6, height, simulated=simulated) as (
        figure,
        grid,
    ):
        for axes, (name, by_component) in zip(grid[0], correlations.items(), strict=True):
            values = by_component.values()
            axes.errorbar(
                [*by_component],
                [one.mean() for one in values],
                [one.std(ddof=1) if len(one) > 1 else 0 for one in values],
                color="C0", marker="o", markersize=4, capsize=2,
                label="correlation, true and permuted labels",
            )  # fmt: skip
            profile = permuted[name]
            axes.plot(profile / profile.max(), "--", color="C4", linewidth=1.2,
                      label="profile of permuted labels / its largest")  # fmt: skip
            axes.axhline(0, color="0.4", linewidth=0.8)
            axes.set(title=name, xlabel="component that labels go by, from 0")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure
