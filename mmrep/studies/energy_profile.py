"""The analysis `energy_profile` of weights that no run has left, on the images of a data set."""

from pathlib import Path
from typing import Any

import torch

from mmrep.first_layer import Filters, History, axes_of_training, keep_axes, kept_axes
from mmrep.first_layer_report import report, sample_of
from mmrep.loggers import write_figure
from mmrep.screen import say_analysed
from mmrep.stats.energy import PatchAxes
from mmrep.weights import filters_of, read_weights

UNKNOWN = -1  # after how many epochs weights were written, which files do not tell


def report_weights(
    data: Any,
    *,
    name: str,
    weights: Any,
    partner: str | None,
    layer: str | None,
    folder: str,
    num_images: int,
    data_dir: str | None,
) -> None:
    """What `energy_profile` leaves of a run but for what needs epochs, into a folder in `folder`.

    `weights` and `partner` are sources of `mmrep.weights.read_weights`, `layer` a name in the
    former. Patches are taken at every pixel, as runs' are unless their first layer reads them side
    by side.
    """
    if data is None:
        raise ValueError(
            f"weights={weights} have profiles along axes of images' patches: choose the images, "
            "such as data=cifar10, or data=images data.folder=FOLDER"
        )
    if not isinstance(weights, str):
        raise ValueError(
            f"weights={weights}: give one source, or several to analysis=chowers2023_filters"
        )
    if num_images < 2:
        raise ValueError(f"analysis.num_images={num_images} must be at least 2")
    layer, history = _history_of(weights, layer, data_dir)
    compared = None if partner is None else _history_of(partner, None, data_dir)[1]
    set_up(data)
    check_filters(history.filters[-1], data, f"weights={weights}: layer={layer!r}")
    if compared is not None:
        check_filters(compared.filters[-1], data, f"partner={partner}")
        if compared.filters[-1].shape[1:] != history.filters[-1].shape[1:]:
            raise ValueError(
                f"partner={partner} has filters of {tuple(compared.filters[-1].shape[1:])} and "
                f"these weights of {tuple(history.filters[-1].shape[1:])}: profiles compare along "
                "the same axes alone"
            )
    target = Path(folder, name_of(weights))
    figures = report(
        target,
        history,
        axes_beside(target, data, history.filters[-1].shape[-1]),
        data,
        network=f"{name_of(weights)}, {layer}",
        stride=1,
        num_images=num_images,
        partner=compared,
    )
    for figure_name, figure in figures.items():
        write_figure(target, figure_name, figure)
    say_analysed([target], name)


def name_of(source: str) -> str:
    """What is to be read in titles and names of folders: a file's name, or a run's with it."""
    path = Path(source)
    if path.is_dir():
        return path.absolute().name
    if (run := path.absolute().parent).name == "checkpoints":
        return f"{run.parent.name}_{path.stem}"
    return path.stem


def set_up(data: Any) -> None:
    data.prepare_data()
    data.setup("fit")


def check_filters(filters: Filters, data: Any, whose: str) -> None:
    """Raises where filters do not read the images' patches."""
    _, channels, rows, columns = filters.shape
    images = sample_of(data, 1).normalised
    if channels != images.shape[1] or rows != columns or rows > min(images.shape[2:]):
        raise ValueError(
            f"{whose} has filters of {channels} x {rows} x {columns}, which are no patches of "
            f"images of {' x '.join(map(str, images.shape[1:]))}: choose a network's first layer, "
            "of square filters, and images with its channels"
        )


def axes_beside(folder: Path, data: Any, size: int) -> PatchAxes:
    """Axes of all training images, from `folder` if they have been kept there."""
    axes = kept_axes(folder, data, size, 1)
    if axes is None:
        axes = axes_of_training(data, size, 1, torch.device("cpu"))
        keep_axes(folder, axes, data, size, 1)
    return axes


def _history_of(source: str, layer: str | None, data_dir: str | None) -> tuple[str, History]:
    """A layer's name, and its filters as all that is known of their training."""
    name, filters = filters_of(read_weights(source, data_dir=data_dir), layer)
    return name, History((UNKNOWN,), (filters.float(),))
