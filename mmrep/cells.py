"""What the cells of a network's layers tell of its validation samples, on any number of ranks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from lightning.pytorch import LightningModule
from torch import Tensor

from mmrep.features import read_features
from mmrep.metrics.extrema import Extrema
from mmrep.metrics.histogram import Histogram
from mmrep.metrics.sums import Sums
from mmrep.plots.cell_selectivity import Example
from mmrep.stats.cells import (
    NORMALISATIONS,
    SHOWN,
    Thresholds,
    both_ranges,
    example_cells,
    information_by_layer,
    own_thresholds,
)

EXAMPLE_COLUMNS = ("class", "unit", "modality")  # then the stimuli
VISUAL, AUDITORY = SHOWN.index("visual"), SHOWN.index("auditory")


class Layer(NamedTuple):
    """What the cells of one layer tell and how they respond; axes as in `stats.cells`."""

    information: Float64[Tensor, "shown normalisations stimuli units"]
    mean_response: Float64[Tensor, "shown stimuli units"]


class Examples(NamedTuple):
    """Cells to show, None for a class without any, and what they respond to each sample."""

    cells: dict[str, Example | None]
    units: list[int]
    responses: Float64[Tensor, "samples units"]


def layers_of(net: Any) -> list[str]:
    """The layers of a network's encoder; where it has none, its features."""
    encoder = getattr(net, "encoder", None)
    return (
        ["features"] if encoder is None else [f"encoder.{n}" for n, _ in encoder.named_children()]
    )


def require_conditions(data: Any) -> None:
    """Refuses data whose samples are not shown to the eye alone and to the ear alone."""
    conditions = getattr(data, "conditions", ())
    if missing := [name for name in ("visual", "auditory") if name not in conditions]:
        raise ValueError(
            f"cell_selectivity finds no {' and no '.join(missing)} samples in {data.name}: choose "
            "data with these conditions, such as mnist_fsdd (model=av_mixed)"
        )


def measure(
    task: LightningModule, data: Any, layers: Sequence[str], *, positive_only: bool = True
) -> dict[str, Layer]:
    """The cells of each layer, from two passes over the validation samples of all ranks.

    Raises ValueError on responses that are not finite.
    """
    widths: list[int] = []
    extrema: dict[str, Extrema] = {}
    for _, shown, outputs in _responses(task, data, layers):
        if not extrema:
            widths = [output.shape[1] for output in outputs]
            extrema = {name: Extrema(sum(widths)).to(task.device) for name in SHOWN}
        for name, rows in shown.items():
            extrema[name].update(torch.cat(outputs, dim=1)[rows])
    num_stimuli = len(data.class_names)
    histograms, sums = {}, {}
    for name, metric in extrema.items():
        ranges = both_ranges(metric.compute(), widths)
        histograms[name] = Histogram(ranges, num_stimuli=num_stimuli).to(task.device)
        sums[name] = Sums(num_stimuli, sum(widths)).to(task.device)
    for label, shown, outputs in _responses(task, data, layers):
        for name, rows in shown.items():
            response = torch.cat(outputs, dim=1)[rows]
            histograms[name].update(response.repeat(1, len(NORMALISATIONS)), label[rows])
            sums[name].update(response, label[rows])
    information, means = [], []
    for name in SHOWN:
        counts = histograms[name].compute().cpu()
        information.append(information_by_layer(counts, widths, positive_only=positive_only))
        samples = counts[:, :, : sum(widths)].sum(dim=1)  # a stimulus without any has the mean NaN
        means.append(torch.split(sums[name].compute().cpu() / samples, widths, dim=1))
    return {
        name: Layer(*map(torch.stack, parts))
        for name, *parts in zip(
            layers, zip(*information, strict=True), zip(*means, strict=True), strict=True
        )
    }


def responses_of(
    task: LightningModule, data: Any, layer: str, units: Sequence[int]
) -> Float64[Tensor, "samples units"]:
    """What a few units of a layer respond to each validation sample, in the samples' order."""
    index, order = data.val_set.index.to(task.device).sort()
    responses = Sums(len(index), len(units)).to(task.device)
    with read_features(task, data.val_dataloader(), [layer], double=True) as readings:
        for batch, outputs in readings:
            row = order[torch.searchsorted(index, batch.index)]
            responses.update(outputs[layer][:, list(units)], row)
    return responses.compute().cpu()


def examples_of(
    task: LightningModule, data: Any, name: str, layer: Layer, thresholds: Thresholds
) -> Examples:
    """A cell of each class to show (Figure 3), by one range for all units; all ranks take part."""
    published = NORMALISATIONS.index("all")
    bits = layer.information[:, published]
    chosen = example_cells(
        bits[VISUAL],
        bits[AUDITORY],
        layer.mean_response[VISUAL],
        layer.mean_response[AUDITORY],
        thresholds,
    )
    units = [unit for unit in chosen.values() if unit is not None]
    responses = responses_of(task, data, name, units)
    condition, label = data.condition(data.val_set.index), data.val_set.label

    def by_stimulus(unit: int, modality: str) -> list[np.ndarray]:
        response = responses[:, units.index(unit)]
        shown = condition == data.conditions.index(modality)
        return [response[shown & (label == s)].numpy() for s in range(len(data.class_names))]

    cells = {
        cell: None
        if unit is None
        else Example(
            unit,
            by_stimulus(unit, "visual"),
            by_stimulus(unit, "auditory"),
            bits[VISUAL, :, unit].numpy(),
            bits[AUDITORY, :, unit].numpy(),
        )
        for cell, unit in chosen.items()
    }
    return Examples(cells, units, responses)


def example_rows(
    examples: Mapping[str, Example | None],
) -> list[tuple[str, int, str, *tuple[float, ...]]]:
    """The table beside Figure 3: class, unit, modality, and the bits about each stimulus."""
    return [
        (name, example.unit, modality, *bits.tolist())
        for name, example in examples.items()
        if example is not None
        for modality, bits in (("visual", example.visual), ("auditory", example.auditory))
    ]


def _responses(
    task: LightningModule, data: Any, layers: Sequence[str]
) -> Iterator[tuple[Int64[Tensor, "batch"], dict[str, Bool[Tensor, "batch"]], list[Tensor]]]:
    """Label, which samples belong to each of `SHOWN`, and each layer's output."""
    with read_features(task, data.val_dataloader(), layers, double=True) as readings:
        for batch, outputs in readings:
            for name in layers:
                if outputs[name].ndim != 2:
                    raise ValueError(
                        f"layer {name!r} gives {tuple(outputs[name].shape)}: cells are the units "
                        "of a layer with one number for each sample and unit"
                    )
            condition = data.condition(batch.index)
            shown = {
                name: condition == data.conditions.index(name)
                if name in data.conditions
                else torch.ones_like(condition, dtype=torch.bool)
                for name in SHOWN
            }
            yield batch.label, shown, [outputs[name] for name in layers]


def own_thresholds_of(layer: Layer) -> list[Thresholds]:
    """The 80th percentiles of a layer's own information, for each normalisation."""
    pairs = zip(layer.information[VISUAL], layer.information[AUDITORY], strict=True)
    return [own_thresholds(*pair) for pair in pairs]
