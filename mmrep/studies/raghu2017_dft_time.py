"""Raghu et al. 2017, Theorem 1: CCA of whole maps is CCA by frequencies, which is much faster."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float64
from lightning.pytorch import LightningModule
from torch import Tensor

from mmrep.features import read_features
from mmrep.stats.cca import cca
from mmrep.stats.fourier import dft_cca
from mmrep.stats.translations import cyclic_shifts
from mmrep.studies.shifted_images import check_maps, shifted
from mmrep.studies.statements import Statement

AGREE = 1e-10  # between correlations, in float64
REPEATS = 2  # of timings; the faster one counts

Found = TypeVar("Found")


class Timed(NamedTuple):
    """CCA of two flattened layers ("naive") beside CCA by frequencies, on the same maps."""

    layer: str
    other: str
    side: int  # n: pixels of the maps, height and width
    channels: int  # k, of each layer
    columns: int  # k n^2
    samples: int
    difference: float  # the largest between the sorted correlations
    naive_seconds: float  # of the processor
    dft_seconds: float
    naive_cost: float  # (k n^2)^2.5, as the appendix counts it
    dft_cost: float  # n^2 k^2.5 + k n^2 log n


def pairs_of_one_size(
    task: LightningModule, data: Any, layers: Sequence[str], *, largest: int
) -> dict[int, tuple[str, str]]:
    """The first two of the layers with maps of n x n pixels, at most `largest`, by n."""
    by_size: dict[int, list[str]] = {}
    with read_features(task, data.probe_dataloader(1), layers) as readings:
        for _, outputs in readings:
            for layer, maps in outputs.items():
                n = _steps(layer, maps, data.val_set.inputs.shape[-1])
                by_size.setdefault(n, []).append(layer)
    pairs = {
        n: (of[0], of[1]) for n, of in sorted(by_size.items()) if n**2 <= largest and len(of) > 1
    }
    if not pairs:
        found = ", ".join(f"{layer} ({n} x {n})" for n, of in by_size.items() for layer in of)
        raise ValueError(
            f"analysis.compared={[*layers]} gives {found}, of which no two have maps of one size "
            f"of at most analysis.largest={largest} pixels: name more layers"
        )
    return pairs


def in_time(
    task: LightningModule,
    data: Any,
    pairs: Mapping[int, tuple[str, str]],
    *,
    num_images: int,
    largest: int,
) -> Iterator[Timed]:
    """Both ways for pairs of layers of a network whose convolutions are circular, in float64.

    Layers are taken by their first 1, 2, 4, ... channels, up to `largest` columns. Samples are the
    maps of all shifts of the images. Of a layer whose steps are of t pixels these are all shifts of
    its maps of the images shifted by less than t.
    """
    side = data.val_set.inputs.shape[-1]
    step = side // min(pairs)
    channels = {layer: largest // n**2 for n, pair in pairs.items() for layer in pair}
    parts: dict[str, list[Tensor]] = {layer: [] for layer in channels}
    with read_features(task, shifted(data, num_images, step), [*parts], double=True) as readings:
        for _, outputs in readings:
            for layer, of in parts.items():
                of.append(outputs[layer][:, : channels[layer]].cpu())
    for n, pair in pairs.items():
        own = side // n
        of_pair = (torch.cat(parts.pop(layer)) for layer in pair)
        x, y = (
            cyclic_shifts(maps.view(-1, step, step, *maps.shape[1:])[:, :own, :own].flatten(0, 2))
            for maps in of_pair
        )
        # Up to a phase, shifts of one map are one sample of a frequency.
        most = min(x.shape[1], y.shape[1], num_images * own**2 // 2)
        for k in (2**power for power in range(most.bit_length())):
            yield timed(pair, x[:, :k], y[:, :k])


def timed(
    names: tuple[str, str],
    x: Float64[Tensor, "samples channels n n"],
    y: Float64[Tensor, "samples channels n n"],
) -> Timed:
    """The correlations and the times of both ways."""
    k, n = x.shape[1], x.shape[2]
    x_columns, y_columns = x.flatten(1), y.flatten(1)
    naive, naive_seconds = _fastest(lambda: cca(x_columns, y_columns, variance_kept=1.0))
    by_frequency, dft_seconds = _fastest(lambda: dft_cca(x, y))
    ours = by_frequency.flatten().sort(descending=True).values
    theirs = torch.zeros_like(ours)  # beyond the rank, as there
    theirs[: len(naive.correlations)] = naive.correlations
    return Timed(
        *names,
        side=n,
        channels=k,
        columns=k * n**2,
        samples=len(x),
        difference=float((ours - theirs).abs().max()),
        naive_seconds=naive_seconds,
        dft_seconds=dft_seconds,
        naive_cost=(k * n**2) ** 2.5,
        dft_cost=n**2 * k**2.5 + k * n**2 * math.log(n),
    )


def statements_of_time(found: Sequence[Timed], title: str) -> Iterator[Statement]:
    """Theorem 1, and the ratio of times at the most columns of each size of maps."""
    for n in dict.fromkeys(one.side for one in found):
        of_size = [one for one in found if one.side == n]
        most = of_size[-1]
        of = f"{title}, {most.layer} and {most.other}, circular padding"
        worst = max(one.difference for one in of_size)
        about = "Theorem 1: correlations by frequencies, from those of all columns at once"
        yield Statement(about, of, None, worst, None, f"at most {AGREE:g}", worst <= AGREE)
        ratio, costs = most.naive_seconds / most.dft_seconds, most.naive_cost / most.dft_cost
        about = f"seconds at once over seconds by frequencies, {most.columns} columns"
        bound = f"above 1, the appendix's costs {costs:.3g}"
        yield Statement(about, of, None, ratio, None, bound, ratio > 1)


def _steps(layer: str, maps: Tensor, side: int) -> int:
    """How many whole steps a layer makes on each axis of square images."""
    check_maps(layer, maps)
    height, width = maps.shape[2:]
    if height != width or side % height:
        raise ValueError(
            f"{layer} has maps of {height} x {width}, whose places are no whole steps on images of "
            f"{side} x {side}: choose another layer, or a network whose strides divide {side}"
        )
    return int(height)


def _fastest(work: Callable[[], Found]) -> tuple[Found, float]:
    """What it gives, and the seconds of the processor that it takes."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        found = work()
        seconds.append(time.process_time() - start)
    return found, min(seconds)
