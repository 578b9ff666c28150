"""How well heads on codes of one modality do on the other (Eguchi et al. 2019, Figure 5)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmrep.plots.style import styled_panels

DIRECTIONS = {"V2A": "learnt on vision (V2A)", "A2V": "learnt on audition (A2V)"}
COLOURS = {"visual": "C0", "auditory": "C4"}  # of the modality tested on
MARKERS = {"visual": "o", "auditory": "s"}
LINES = {"consistent": "-", "inconsistent": "--"}  # by the pairs that the encoder was trained with

# By direction, tested modality and pairing, then by depth or layer: percent right of each run.
Accuracies = Mapping[tuple[str, str, str], Mapping[int, Float[np.ndarray, "_"]]]


def plot_shared_learning(
    accuracies: Accuracies,
    two_stage: Mapping[tuple[str, str, str], Float[np.ndarray, "_"]],
    *,
    along: str,
    chance: float,
    title: str,
    simulated: bool,
) -> Figure:
    """A panel for each direction: percent right along depth or layer, mean and deviation (ddof 1).

    Colour and marker are the tested modality, solid and filled are encoders trained with consistent
    pairs, dashed and hollow those with inconsistent ones; how the published figure tells its lines
    apart is not on record beyond that. The two-stage network stands on its own to the right.
    """
    places = sorted({place for by_place in accuracies.values() for place in by_place})
    apart = places[-1] + 1 if places else 1
    with styled_panels(1, 2, 7.4, 3.9, simulated=simulated) as (figure, panels):
        for axes, (direction, name) in zip(panels[0], DIRECTIONS.items(), strict=True):
            of_direction = {key[1:]: by for key, by in accuracies.items() if key[0] == direction}
            for (tested, pairing), by_place in of_direction.items():
                _draw(axes, by_place, tested, pairing)
            for (way, tested, pairing), runs in two_stage.items():
                if way == direction:
                    _draw(axes, {apart: runs}, tested, pairing)
            axes.axhline(chance, color="black", linestyle=":", linewidth=1)
            axes.set_xticks(
                [*places, *[apart] * bool(two_stage)],
                [*map(str, places), *["two-stage"] * bool(two_stage)],
            )
            axes.set(title=name, xlabel=along, ylabel="right answers (%)", ylim=(-2, 102))
            axes.label_outer()
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
        shown = {key[1:] for key in (*accuracies, *two_stage)}
        handles = [
            Line2D([], [], **_look(tested, pairing), label=f"tested on {sense}, {pairing} pairs")
            for tested, sense in (("visual", "vision"), ("auditory", "audition"))
            for pairing in LINES
            if (tested, pairing) in shown
        ]
        handles.append(Line2D([], [], color="black", linestyle=":", linewidth=1, label="chance"))
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _draw(
    axes: Axes, by_place: Mapping[int, Float[np.ndarray, "_"]], tested: str, pairing: str
) -> None:
    places = sorted(by_place)
    means = [by_place[place].mean() for place in places]
    deviations = [
        by_place[place].std(ddof=1) if len(by_place[place]) > 1 else np.nan for place in places
    ]
    several = not np.isnan(deviations).all()  # one run has no deviation
    axes.errorbar(places, means, deviations if several else None, capsize=2, elinewidth=1,
                  **_look(tested, pairing))  # fmt: skip


def _look(tested: str, pairing: str) -> dict[str, Any]:
    colour = COLOURS[tested]
    return {
        "color": colour,
        "marker": MARKERS[tested],
        "markersize": 4.5,
        "markerfacecolor": colour if pairing == "consistent" else "white",
        "linestyle": LINES[pairing],
    }
