"""What a figure shows, as text."""

import io

from matplotlib.figure import Figure

from mmrep.plots.style import style


def svg(figure: Figure) -> str:
    file = io.StringIO()
    with style():
        figure.savefig(file, format="svg")
    return file.getvalue()
