"""Which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from matplotlib.figure import Figure

from mmrep.plots.style import styled_figure


def plot_confusion(
    confusion: Int[np.ndarray, "classes classes"],
    class_names: Sequence[str],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Counts by true (row) and predicted (column) class; the shade is the share of the row."""
    size = len(class_names)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = max(4.2, 0.42 * size + 1.6)
    with styled_figure(side + 0.9, side, simulated=simulated) as (figure, axes):
        image = axes.imshow(share, vmin=0, vmax=1)
        figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
        axes.set_xticks(range(size), class_names, rotation=90 if size > 8 else 45,
                        ha="center" if size > 8 else "right",
                        rotation_mode="default" if size > 8 else "anchor")  # fmt: skip
        axes.set_yticks(range(size), class_names)
        axes.set(xlabel="predicted class", ylabel="true class", title=title)
        axes.grid(visible=False)
        if size <= 20:  # above, numbers would not be legible
            for row, column in zip(*np.nonzero(confusion), strict=True):
                colour = "white" if share[row, column] > 0.5 else "black"
                axes.text(column, row, str(confusion[row, column]), ha="center", va="center",
                          color=colour, fontsize=8 if size <= 10 else 6)  # fmt: skip
    return figure
