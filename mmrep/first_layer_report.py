"""Tables and figures of one first layer: what `energy_profile` leaves of a run or a weight file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from matplotlib.figure import Figure
from torch import Tensor

from mmrep.batch import Batch
from mmrep.files import whole_file, write_table
from mmrep.first_layer import (
    FOLDER,
    Filters,
    History,
    Row,
    correlations_of,
    formula,
    prepared,
    profiles_of,
)
from mmrep.plots.energy_profile import (
    plot_autocorrelation,
    plot_energy_profiles,
    plot_filters,
    plot_label_correlations,
    plot_profile_epochs,
)
from mmrep.stats.autocorrelation import (
    DIRECTIONS,
    autocorrelation,
    filter_autocorrelation,
    lagged_moments,
)
from mmrep.stats.energy import (
    LabelCorrelations,
    PatchAxes,
    label_correlations,
    patch_axes,
    whitening_filters,
)

READINGS = {name: name.replace("_", ", ") for name in LabelCorrelations._fields}
MAX_SHIFT = 15  # pixels
MAX_PIXELS = 2**21  # of the images whose autocorrelation is taken
Curves = dict[tuple[str, str], dict[str, np.ndarray]]  # by input and direction; by name


class Sample(NamedTuple):
    """Some training images as the network sees them and as they came, with their labels."""

    normalised: Float[Tensor, "images channels height width"]
    raw: Float[Tensor, "images channels _ _"]  # pixels from 0 to 1
    label: Int64[Tensor, "images"]


def sample_of(data: Any, num_images: int) -> Sample:
    """Images that lie evenly over the training set, whose order may be that of classes."""
    total = len(data.train_set)
    chosen = np.unique(np.linspace(0, total - 1, min(num_images, total)).round().astype(int))
    batch: Batch = data.plain_train_set[chosen.tolist()]
    normalised = prepared(data, batch, torch.device("cpu"))
    inputs = batch.inputs
    assert isinstance(inputs, Tensor)  # as `prepared` asks
    raw = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
    return Sample(normalised, raw, batch.label)


def autocorrelations(sample: Sample, axes: PatchAxes, filters: Mapping[str, Filters]) -> Curves:
    """C(delta) of the images and of what filters make of them, on either input, in each direction.

    Beside the filters that are given stand those that whiten the input's patches.
    """
    size = next(iter(filters.values())).shape[-1]
    curves: Curves = {}
    _, channels, height, width = sample.raw.shape
    enough = -(-MAX_PIXELS // (height * width))  # large images tell as much by their number
    for given, of in (("normalised", sample.normalised), ("raw", sample.raw)):
        images = of[:: -(-len(of) // enough)]
        own = axes if given == "normalised" else patch_axes(images, size)
        all_filters = {**filters, "whitening filters": whitening_filters(*own, channels=channels)}
        for direction in DIRECTIONS:
            extent = images.shape[3] if direction == "horizontal" else images.shape[2]
            max_shift = min(MAX_SHIFT, extent - size)
            moments = lagged_moments(images, size, max_shift, direction)
            of_filters = {
                name: filter_autocorrelation(one, moments).numpy()
                for name, one in all_filters.items()
            }
            pixels = autocorrelation(images, max_shift, direction).numpy()
            curves[given, direction] = {"pixels": pixels, **of_filters}
    return curves


def report(
    folder: Path,
    history: History,
    axes: PatchAxes,
    data: Any,
    *,
    network: str,
    stride: int,
    num_images: int,
    partner: History | None = None,
) -> dict[str, Figure]:
    """Writes the tables of `FOLDER` and gives the figures, by their names.

    Patches laid side by side (a stride above 1) have no neighbours, hence no autocorrelation.
    """
    profiles = profiles_of(history, axes.axes)
    rows = [*correlations_of(history, axes, partner)]
    write_correlations(folder, rows)
    _write_profiles(folder, history, axes, profiles)
    sample = sample_of(data, num_images)
    labels = label_correlations(
        sample.normalised,
        sample.label,
        axes.axes,
        num_classes=len(data.class_names),
        stride=stride,
    )
    _write_labels(folder, labels, data.class_names)
    title = f"{data.title}; {network}"
    common: dict[str, Any] = {"title": title, "simulated": data.simulated}
    learned = history.filters[-1]
    if history.initial is not None and len(history.epochs) > 1:
        shown = {"initial filters": history.initial, "learned filters": learned}
    else:
        drawn = torch.randn(learned.shape, generator=torch.Generator().manual_seed(0))
        shown = {"random filters": drawn, "learned filters": learned}
    figures = {
        "energy_profile": plot_energy_profiles(_panels(profiles, axes, rows), **common),
        "energy_profile_filters": plot_filters(
            {name: filters.numpy() for name, filters in shown.items()}, **common
        ),
        "energy_profile_labels": plot_label_correlations(
            {READINGS[name]: part.numpy() for name, part in labels._asdict().items()},
            **common,
        ),
    }
    if stride == 1:
        curves = autocorrelations(sample, axes, shown)
        write_autocorrelations(folder / FOLDER / "autocorrelation.csv", curves)
        figures["energy_profile_autocorrelation"] = plot_autocorrelation(curves, **common)
    if len(history.epochs) > 1:
        figures["energy_profile_epochs"] = plot_profile_epochs(
            {name: of.numpy() for name, of in profiles.items()}, history.epochs, **common
        )
    return figures


def _panels(
    profiles: Mapping[str, Tensor], axes: PatchAxes, rows: list[Row]
) -> dict[str, dict[str, np.ndarray]]:
    """The last profiles of weights and change, beside the initial one and the formula."""
    panels: dict[str, dict[str, np.ndarray]] = {}
    for name, of_epochs in profiles.items():
        if not of_epochs[-1].any():  # the change of a layer that is frozen, or not yet trained
            continue
        panel = "learned weights" if name == "weights" else "change since the start"
        lines = {name: of_epochs[-1].numpy()}
        if "change" in profiles:
            lines["initial weights"] = profiles["weights"][0].numpy()
        last = [row for row in rows if row.of == name][-1]
        if np.isfinite(last.step):
            lines["formula"] = formula(axes, last.step).numpy()
            panel += f" (formula: r = {last.with_formula:.2f})"
        panels[panel] = lines
    return panels


def write_correlations(folder: Path, rows: list[Row]) -> None:
    write_table(folder / FOLDER / "correlations.csv", Row._fields, rows)


def write_autocorrelations(path: Path, curves: Curves) -> None:
    write_table(
        path,
        ("input", "direction", "of", "shift", "autocorrelation"),
        (
            (given, direction, name, shift, value)
            for (given, direction), lines in curves.items()
            for name, curve in lines.items()
            for shift, value in enumerate(curve.tolist())
        ),
    )


def _write_profiles(
    folder: Path, history: History, axes: PatchAxes, profiles: Mapping[str, Tensor]
) -> None:
    write_table(
        folder / FOLDER / "profiles.csv",
        ("epoch", "component", "energy", *profiles),
        (
            (epoch, i, axes.energy[i].item(), *(of[row, i].item() for of in profiles.values()))
            for row, epoch in enumerate(history.epochs)
            for i in range(len(axes.energy))
        ),
    )
    arrays: dict[str, Any] = {name: of.numpy() for name, of in profiles.items()}
    with whole_file(folder / FOLDER / "profiles.npz") as part:
        np.savez(part, epochs=history.epochs, energy=axes.energy.numpy(), **arrays)


def _write_labels(folder: Path, labels: LabelCorrelations, class_names: tuple[str, ...]) -> None:
    write_table(
        folder / FOLDER / "label_correlations.csv",
        ("reading", "component", *class_names),
        (
            (name, i, *row)
            for name, part in labels._asdict().items()
            for i, row in enumerate(part.tolist())
        ),
    )
