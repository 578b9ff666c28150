"""Cells over many networks (Eguchi et al. 2019, Figures 2 and 4)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmrep.plots.cell_selectivity import CELLS, COLOURS, INPUTS, RANGES, finish, label_information
from mmrep.plots.style import panels_size, styled_panels

LOOKS = {  # of Figure 2's curves
    "before": {"color": "0.55", "linestyle": ":"},
    "inconsistent": {"color": "C3", "linestyle": "--"},
    "consistent": {"color": "C2", "linestyle": "-"},
}


def plot_information_by_pairing(
    ranked: Mapping[str, Float[np.ndarray, "networks 3 2 cells"]], *, title: str, simulated: bool
) -> Figure:
    """Each cell's maximal information, in falling order, before and after training (Figure 2).

    By inputs and by the range of the bins; the line is the mean over networks of the cells of one
    rank, the band their deviation (ddof 1).
    """
    width, height = panels_size(len(RANGES), len(INPUTS))
    with styled_panels(len(RANGES), len(INPUTS), width, height + 0.4, simulated=simulated) as (
        figure,
        panels,
    ):
        for i in range(len(RANGES)):
            for j in range(len(INPUTS)):
                axes = panels[i, j]
                for name, networks in ranked.items():
                    mean = networks[:, j, i].mean(axis=0)
                    ranks = np.arange(1, len(mean) + 1)
                    axes.plot(ranks, mean, label=name, **LOOKS[name])
                    if len(networks) > 1:
                        deviation = networks[:, j, i].std(axis=0, ddof=1)
                        band = {"color": LOOKS[name]["color"], "alpha": 0.2, "linewidth": 0}
                        axes.fill_between(ranks, mean - deviation, mean + deviation, **band)
        label_information(
            panels, [f"{letter}: {shown}" for letter, shown in zip("ABC", INPUTS, strict=True)]
        )
        finish(figure, panels[0, 0], title)
    return figure


def plot_counts_by_network(
    counts: Mapping[str, Mapping[str, Float[np.ndarray, "networks 2 5"]]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """How many cells of each class, by panel and network (Figure 4), mean and deviation (ddof 1).

    A row for each range of the bins; counts are in the order of the classes' codes.
    """
    width, height = panels_size(len(RANGES), len(counts))
    selective = CELLS[1:]
    with styled_panels(
        len(RANGES), len(counts), width + 0.8, height + 0.4, simulated=simulated, share_x=False
    ) as (figure, panels):
        for i, row in enumerate(RANGES):
            for j, (panel, networks) in enumerate(counts.items()):
                axes = panels[i, j]
                places = np.arange(len(networks))
                for k, name in enumerate(selective):
                    code = CELLS.index(name)
                    values = [of[:, i, code] for of in networks.values()]
                    deviations = [v.std(ddof=1) if len(v) > 1 else 0 for v in values]
                    axes.bar(places + (k - 1.5) * 0.2, [v.mean() for v in values], 0.2,
                             yerr=deviations, color=COLOURS[name], label=name,
                             error_kw={"elinewidth": 0.8})  # fmt: skip
                axes.set_xticks(places, list(networks))
                if i == 0:
                    axes.set_title(panel)
            panels[i, 0].set_ylabel(f"{row}\ncells")
            panels[i, 0].yaxis.set_major_locator(MaxNLocator(integer=True))
        panels[0, 0].set_ylim(bottom=0)  # the axes share it, so only when all is drawn
        finish(figure, panels[0, 0], title)
    return figure


def plot_cells_by_layer(
    counts: Mapping[tuple[int, str], Sequence[Float[np.ndarray, "networks 2 5"]]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Consistent cells of each layer, by depth and pairing: mean and deviation (ddof 1)."""
    width, height = panels_size(1, len(RANGES))
    consistent = CELLS.index("consistent")
    with styled_panels(1, len(RANGES), width, height, simulated=simulated) as (figure, panels):
        for i, (axes, row) in enumerate(zip(panels[0], RANGES, strict=True)):
            for (depth, pairing), layers in counts.items():
                places = np.arange(1, len(layers) + 1)
                means = [of[:, i, consistent].mean() for of in layers]
                deviations = [
                    of[:, i, consistent].std(ddof=1) if len(of) > 1 else 0 for of in layers
                ]
                axes.errorbar(places, means, deviations, label=f"{depth} layers, {pairing}",
                              color=f"C{depth - 1}", linestyle=LOOKS[pairing]["linestyle"],
                              marker="o", capsize=2)  # fmt: skip
            axes.set(title=row, xlabel="layer of the encoder", ylabel="consistent cells")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[0, 0].set_ylim(bottom=0)
        finish(figure, panels[0, 0], title, columns=3)
    return figure
