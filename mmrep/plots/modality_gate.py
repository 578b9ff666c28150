"""How open gates are, and what networks do where images are corrupted (Oyedotun et al. 2019)."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mmrep.plots.style import styled_figure, styled_panels

MARKERS = "osD^vPX"  # beside the colours, for readers who see grey
MOST_LINES = 2 * len(MARKERS)  # that can be told apart
MISSING = "#D55E00"  # where no depth was measured
HEIGHT_OF_CLASS, MOST_NAMED = 0.16, 60  # inches of a row of the map; rows with a name
NARROWEST = 7.2  # inches, for the title
LETTER, LINE = 0.075, 0.65  # inches in a legend: a letter; a line with its margins


def plot_gate_epochs(
    gates: Mapping[str, Mapping[str, Float[np.ndarray, "3 _"]]], *, title: str, simulated: bool
) -> Figure:
    """A panel for each modality: the mean gate of each class, and of all, over the epochs.

    Each class, and "all" first, has epoch, mean and deviation over samples; the band is the
    deviation of all.
    """
    most = max(map(len, gates.values())) - 1  # classes
    width = max(NARROWEST, 4.4 * len(gates))
    with styled_panels(1, len(gates), width, 4.2, simulated=simulated) as (figure, panels):
        for axes, (modality, classes) in zip(panels[0], gates.items(), strict=True):
            epochs, mean, deviation = classes["all"]
            if len(epochs) > 1:
                axes.fill_between(epochs, mean - deviation, mean + deviation, color="0.85", lw=0,
                                  label="deviation over samples")  # fmt: skip
            else:
                axes.errorbar(epochs, mean, deviation, color="0.6", capsize=4, zorder=1,
                              label="deviation over samples")  # fmt: skip
            names = [name for name in classes if name != "all"]
            for i, name in enumerate(names):
                look = line_look(i) | {"label": name, "markersize": 3.5}
                if most > MOST_LINES:
                    label = "classes" if i == 0 else None
                    look = {"color": "C0", "alpha": 0.35, "marker": ".", "label": label}
                axes.plot(*classes[name][:2], linewidth=1, **look)
            axes.plot(epochs, mean, color="black", marker="o", markersize=4, linewidth=2,
                      label="all")  # fmt: skip
            axes.set(title=f"gate of {modality}", xlabel="epochs of training")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panels[0, 0].set_ylabel("mean gate")
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def plot_gate_units(
    gates: Mapping[str, tuple[Float[np.ndarray, "2 _"], Float[np.ndarray, "classes _"]]],
    class_names: Sequence[str],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """By modality: units' mean and deviation over samples, in falling order, and by class.

    The map's columns are the units in the same order; its rows are classes.
    """
    height = max(2.8, HEIGHT_OF_CLASS * min(len(class_names), MOST_NAMED) + 1.0)
    with styled_figure(10.0, height * len(gates) + 0.6, simulated=simulated) as (figure, whole):
        whole.remove()
        panels = figure.subplots(len(gates), 2, squeeze=False)
        for (left, right), (modality, (units, by_class)) in zip(panels, gates.items(), strict=True):
            order = np.argsort(-units[0], kind="stable")
            mean, deviation = units[:, order]
            ranks = np.arange(1, len(order) + 1)
            left.fill_between(ranks, mean - deviation, mean + deviation, color="0.85", lw=0,
                              label="deviation over samples")  # fmt: skip
            left.plot(ranks, mean, color="C0", marker=".", markersize=3, label="mean")
            left.set(xlabel="unit, by rank", ylabel=f"gate of {modality}",
                     title="units over all samples")  # fmt: skip
            left.legend()
            extent = (0.5, len(order) + 0.5, len(by_class) - 0.5, -0.5)
            image = right.imshow(by_class[:, order], aspect="auto", cmap="viridis", extent=extent)
            figure.colorbar(image, ax=right, label="mean gate")
            if len(class_names) <= MOST_NAMED:
                right.set_yticks(range(len(class_names)), class_names, fontsize="x-small")
            right.set(xlabel="unit, by the same rank", title="units by class")
            right.grid(visible=False)
            for axes in (left, right):
                axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def plot_gate_samples(
    means: Mapping[str, Float[np.ndarray, "samples"]],
    correct: Bool[np.ndarray, "samples"],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """By modality: how many samples have which mean gate, by whether they are classified right."""
    width = max(NARROWEST, 4.4 * len(means))
    with styled_panels(1, len(means), width, 3.8, simulated=simulated, share_x=False) as (
        figure,
        panels,
    ):
        for axes, (modality, mean) in zip(panels[0], means.items(), strict=True):
            edges = np.histogram_bin_edges(mean, bins=min(40, max(5, len(mean) // 10)))
            for right, look, name in (
                (True, {"color": "C0", "alpha": 0.35}, "right"),
                (False, {"color": "C4", "fill": False, "hatch": "////"}, "wrong"),
            ):
                of = mean[correct == right]
                said = f", mean gate {of.mean():.3f}" if len(of) else ""
                label = f"{len(of)} {name}{said}"
                axes.hist(of, edges, histtype="stepfilled", label=label, **look)
            axes.set(title=f"gate of {modality}", xlabel="mean gate over units")
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1))
        panels[0, 0].set_ylabel("samples")
        panels[0, 0].yaxis.set_major_locator(MaxNLocator(integer=True))
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def plot_corruption(
    accuracy: Mapping[str, Float[np.ndarray, "2 levels"]],
    gates: Mapping[str, Mapping[str, Float[np.ndarray, "3 levels"]]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """A column for each corruption: level and accuracy; below, level, mean gate and deviation.

    There is a row of gates for each modality that has some; the band is their samples' deviation.
    """
    rows = 1 + len(gates)
    width = max(NARROWEST, 2.3 * len(accuracy) + 0.8)
    with styled_figure(width, 2.4 * rows + 0.9, simulated=simulated) as (figure, whole):
        whole.remove()
        panels = figure.subplots(rows, len(accuracy), squeeze=False, sharex=True, sharey="row")
        for column, (kind, (levels, right)) in zip(panels.T, accuracy.items(), strict=True):
            column[0].plot(levels, 100 * right, color="C0", marker="o", markersize=4)
            column[0].set(title=told(kind), ylim=(-3, 103))
            for axes, of_kind in zip(column[1:], gates.values(), strict=True):
                levels, mean, deviation = of_kind[kind]
                axes.fill_between(levels, mean - deviation, mean + deviation, color="0.85", lw=0)
                axes.plot(levels, mean, color="C2", marker="s", markersize=4)
            column[-1].set_xlabel(level_of(kind))
            column[-1].xaxis.set_major_formatter("{x:g}")
        panels[0, 0].set_ylabel("right answers (%)")
        for axes, modality in zip(panels[1:, 0], gates, strict=True):
            axes.set_ylabel(f"mean gate of {modality},\ndeviation over samples")
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def plot_networks(
    curves: Mapping[tuple[str, str], Mapping[str, Float[np.ndarray, "3 _"]]],
    flat: Mapping[str, Mapping[str, float]],
    *,
    quantity: str,
    title: str,
    simulated: bool,
) -> Figure:
    """By training (rows) and corruption (columns), a line for each network, against the level.

    Lines are level, mean and deviation over runs (NaN where there is one run). `flat` has, by
    training and network, what a network has intact: dotted, where it does not see what is bad.
    """
    trainings, kinds = (list(dict.fromkeys(names)) for names in zip(*curves, strict=True))
    networks = sorted({name for lines in curves.values() for name in lines})
    width, height = max(NARROWEST, 2.3 * len(kinds) + 0.8), 2.5 * len(trainings) + 1.4
    with styled_panels(len(trainings), len(kinds), width, height, simulated=simulated) as (
        figure,
        panels,
    ):
        for (training, kind), lines in curves.items():
            axes = panels[trainings.index(training), kinds.index(kind)]
            for i, network in enumerate(networks):
                if network in lines:
                    levels, mean, deviation = lines[network]
                    spread = None if np.isnan(deviation).any() else deviation
                    axes.errorbar(levels, mean, spread, **line_look(i), linewidth=1.3,
                                  elinewidth=0.8, capsize=2)  # fmt: skip
                elif network in flat.get(training, {}):
                    colour = line_look(i)["color"]
                    axes.axhline(flat[training][network], color=colour, linestyle=":", linewidth=1)
        for axes, kind in zip(panels[0], kinds, strict=True):
            axes.set_title(told(kind))
        for axes, kind in zip(panels[-1], kinds, strict=True):
            axes.set_xlabel(level_of(kind))
            axes.xaxis.set_major_formatter("{x:g}")
        for axes, training in zip(panels[:, 0], trainings, strict=True):
            axes.set_ylabel(f"{training}\n{quantity}")
        handles = [
            Line2D([], [], label=network, **line_look(i)) for i, network in enumerate(networks)
        ]
        if flat:
            look: dict[str, Any] = {"color": "0.4", "linestyle": ":", "linewidth": 1}
            handles.append(Line2D([], [], label="does not see this modality", **look))
        columns = columns_of([str(handle.get_label()) for handle in handles], width)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def plot_gate_images(
    examples: Mapping[str, tuple[Mapping[str, Float[np.ndarray, "_ _ _ _"]], Sequence[str]]],
    *,
    title: str,
    simulated: bool,
) -> Figure:
    """For the samples with the most and the least open gates, a row for each modality.

    Images are as the network sees them, from 0 to 1; those of three channels are colour, and in
    those of one what is 0 was not measured and is drawn in orange. Captions stand above each block.
    """
    rows = sum(len(images) for images, _ in examples.values())
    columns = max(len(captions) for _, captions in examples.values())
    width = max(NARROWEST, 1.15 * columns + 0.9)
    with styled_figure(width, 1.2 * rows + 0.5 * len(examples) + 0.9, simulated=simulated) as (
        figure,
        whole,
    ):
        whole.remove()
        panels = figure.subplots(rows, columns, squeeze=False)
        lines = iter(panels)
        for how, (images, captions) in examples.items():
            for number, (modality, of) in enumerate(images.items()):
                line = next(lines)
                for place, axes in enumerate(line):
                    if place < len(of):
                        _image(axes, of[place])
                        axes.set_title(captions[place] if number == 0 else "", loc="center",
                                       fontsize="small")  # fmt: skip
                    else:
                        axes.set_visible(False)
                line[0].set_ylabel(f"{how}\n{modality}" if number == 0 else modality)
        if any((of == 0).any() for images, _ in examples.values() for of in _maps(images)):
            missing = Patch(color=MISSING, label="not measured")
            figure.legend(handles=[missing], loc="outside lower center")
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def line_look(place: int) -> dict[str, Any]:
    """Colour and marker, filled for the first seven lines and hollow for the next."""
    hollow, i = divmod(place, len(MARKERS))
    colour = f"C{i}"
    return {
        "color": colour,
        "marker": MARKERS[i],
        "markersize": 4,
        "markerfacecolor": "white" if hollow % 2 else colour,
    }


def columns_of(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend, five at most, fit into `width` inches."""
    lengths = [len(label) for label in labels]
    for columns in range(min(5, len(labels)), 1, -1):
        longest = [part.max() for part in np.array_split(lengths, columns)]  # as Matplotlib does
        if sum(LETTER * length + LINE for length in longest) <= width:
            return columns
    return 1


def told(kind: str) -> str:
    """`depth_holes` as words."""
    return kind.replace("_", ", ")


def level_of(kind: str) -> str:
    """What a corruption's level is, from 0 to 1."""
    how = kind.rpartition("_")[2]
    return {
        "noise": "strength of the noise",
        "holes": "share of pixels missing",
        "missing": "share of samples without",
    }.get(how, "level")


def _maps(images: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return [of for of in images.values() if of.shape[1] == 1]


def _image(axes: Axes, image: Float[np.ndarray, "channels height width"]) -> None:
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if len(image) == 3:
        axes.imshow(image.transpose(1, 2, 0).clip(0, 1))
        return
    shades = matplotlib.colormaps["gray"].with_extremes(bad=MISSING)
    measured = np.ma.masked_equal(image[0], 0)
    axes.imshow(measured, cmap=shades, vmin=0, vmax=1)
