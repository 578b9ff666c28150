"""Scores of classes, by sensor."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from mmrep.plots.style import styled_figure

MARKERS = "osD^vPX*"  # beside the colours, for readers who see grey


def plot_class_scores(
    scores: Mapping[str, Float[np.ndarray, "runs classes"]],
    class_names: Sequence[str],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """Mean F1 of each class for each sensor; bars span one standard deviation over the runs."""
    short = max(map(len, scores)) < 20
    height = 4.2 + (0 if short else 0.2 * len(scores))
    width = max(5.0, 0.45 * len(class_names) + 2)
    with styled_figure(width, height, simulated=simulated) as drawn:
        figure, axes = drawn
        places = np.arange(len(class_names))
        offsets = np.linspace(-0.2, 0.2, len(scores)) if len(scores) > 1 else [0.0]
        for i, ((sensor, f1), offset) in enumerate(zip(scores.items(), offsets, strict=True)):
            spread = f1.std(axis=0, ddof=1) if len(f1) > 1 else None
            axes.errorbar(
                places + offset,
                f1.mean(axis=0),
                yerr=spread,
                fmt=MARKERS[i % len(MARKERS)],
                markersize=4,
                capsize=2,
                label=f"{sensor} ({len(f1)} run{'s' * (len(f1) > 1)})",
            )
        axes.set_xticks(places, class_names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set(ylabel="F1 (mean ± standard deviation)", ylim=(-0.03, 1.03), title=title)
        figure.legend(loc="outside lower center", ncols=3 if short else 1)
    return figure
