"""How loss and scores went over the epochs."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmrep.plots.style import styled_figure

Curve = tuple[Sequence[int], Sequence[float]]  # epochs and values


def plot_learning_curves(
    losses: Mapping[str, Curve], scores: Mapping[str, Curve], *, title: str, simulated: bool
) -> Figure:
    """Losses against the left axis, solid; scores between 0 and 1 against the right one, dashed."""
    with styled_figure(6.0, 3.6, simulated=simulated) as (figure, axes):
        for i, (name, (epochs, values)) in enumerate(losses.items()):
            axes.plot(epochs, values, color=f"C{i}", label=name, marker=".")
        if scores:
            right = axes.twinx()
            right.spines["right"].set_visible(True)
            right.grid(visible=False)
            right.set(ylabel="score", ylim=(0, 1))
        for i, (name, (epochs, values)) in enumerate(scores.items(), start=len(losses)):
            right.plot(epochs, values, color=f"C{i}", label=name, marker=".", linestyle="--")
        axes.set(xlabel="epoch", ylabel="loss (nats)", title=title)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        figure.legend(loc="outside lower center", ncols=4)
    return figure
