"""One look for all figures."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("mmrep.mplstyle")


def style() -> AbstractContextManager[None]:
    """Our look, for drawing and for saving: Matplotlib settles some colours only when it saves."""
    return rc_context(fname=STYLE)


@contextmanager
def styled_figure(width: float, height: float, *, simulated: bool) -> Iterator[tuple[Figure, Axes]]:
    """A figure of `width` x `height` inches, and its axes, drawn in our style within the block.

    Where the data were simulated, the figure says so.
    """
    with styled_panels(1, 1, width, height, simulated=simulated) as (figure, panels):
        yield figure, panels[0, 0]


@contextmanager
def styled_panels(
    rows: int, columns: int, width: float, height: float, *, simulated: bool, share_x: bool = True
) -> Iterator[tuple[Figure, np.ndarray]]:
    """As `styled_figure`, of `rows` x `columns` axes that share their scales.

    Without `share_x` only those of one column share what runs along x.
    """
    with style():
        figure = Figure(figsize=(width, height), layout="constrained")
        panels = figure.subplots(
            rows, columns, squeeze=False, sharex="all" if share_x else "col", sharey=True
        )
        yield figure, panels
        if simulated:
            figure.text(0.995, 0.995, "simulated data", ha="right", va="top", style="italic",
                        color="#b00020", fontsize="small")  # fmt: skip


def panels_size(rows: int, columns: int) -> tuple[float, float]:
    """Width and height, in inches, of a figure of so many panels with a legend below."""
    return max(6.0, 3.4 * columns + 0.6), max(4.0, 2.5 * rows + 1.0)
