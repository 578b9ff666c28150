"""Raghu et al. 2017, Figure App.2: what translations of the images make of maps' covariance.

Over the pixels of a channel it is dense; over its spatial frequencies nearly diagonal, and exactly
so where convolutions are circular and the images come with all their cyclic shifts. Then CCA may go
frequency by frequency: see `raghu2017_dft_time`.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Complex128, Float64
from lightning.pytorch import LightningModule
from torch import Tensor

from mmrep.features import read_features
from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.networks.circular import circular
from mmrep.plots.raghu2017_dft import plot_covariances, plot_times
from mmrep.runs import load_checkpoint, load_run
from mmrep.stats.covariance import Scatter, add_to_scatter
from mmrep.stats.translations import (
    fourier_covariance,
    no_products,
    off_diagonal_share,
    pixel_covariance,
)
from mmrep.studies.energy_profile import name_of, set_up
from mmrep.studies.raghu2017_dft_time import (
    Timed,
    in_time,
    pairs_of_one_size,
    statements_of_time,
)
from mmrep.studies.shifted_images import check_images, check_maps, shifted
from mmrep.studies.statements import Statement, conclude

PADDINGS = {"zeros": "zero padding", "circular": "circular padding"}
SHIFTS = {"none": "images as they are", "all": "all their shifts"}
BASES = ("pixels", "frequencies")
DENSE, NEARLY = 0.5, 0.1  # shares off the diagonal
EXACT = 1e-10  # far above what rounding leaves of a square


class Covariance(NamedTuple):
    """The covariance of a layer's channels, side by side, over their pixels."""

    layer: str
    size: tuple[int, int]  # of the maps, height and width
    samples: int
    pixels: Float64[Tensor, "columns columns"]

    def over(
        self, basis: str
    ) -> Float64[Tensor, "columns columns"] | Complex128[Tensor, "columns columns"]:
        """Over one of `BASES`."""
        return self.pixels if basis == "pixels" else fourier_covariance(self.pixels, self.size)


class Share(NamedTuple):
    """How much of a covariance is off its diagonal, of a channel with itself or with another."""

    layer: str
    height: int
    width: int
    samples: int
    padding: str
    shifts: str
    basis: str
    channel: int
    other: int
    share: float


def report_dft(folders: Sequence[Path], *, name: str, checkpoint: str, **choices: Any) -> None:
    """Figures, tables and statements, into each run's folder; `choices` are those of `report`."""
    for folder in folders:
        report(folder, name, *load_run(folder, checkpoint=checkpoint), **choices)


def report_weights(
    data: Any,
    *,
    name: str,
    weights: str,
    model: LightningModule | None,
    folder: str,
    data_dir: str | None,
    **choices: Any,
) -> None:
    """As `report_dft` of weights that no run has left, into a folder of their name in `folder`.

    `weights` is a source of `mmrep.weights.read_weights`, `model` a task that they fit.
    """
    if data is None or model is None:
        raise ValueError(
            f"weights={weights} are read into a network, which sees images: choose the model that "
            "was trained, such as model=resnet20, and data=cifar10 if it brings none"
        )
    load_checkpoint(model, weights, data_dir=data_dir)
    set_up(data)
    report(Path(folder, name_of(weights)), name, model.eval(), data, **choices)


def report(
    folder: Path,
    name: str,
    task: LightningModule,
    data: Any,
    *,
    layers: Sequence[str],
    channels: Sequence[int],
    compared: Sequence[str],
    num_images: int,
    num_shifted: int,
    largest: int,
) -> None:
    """Covariances of `channels` of `layers`; Theorem 1 and times of pairs among `compared`.

    Images are the first of validation: `num_images` as they are, and of `num_shifted` all cyclic
    shifts. Pairs are flattened to at most `largest` columns.
    """
    check_images(data, num_images=num_images, num_shifted=num_shifted)
    on_torus: Any = copy.deepcopy(task)
    on_torus.net = circular(on_torus.net)
    tasks = {"zeros": task, "circular": on_torus}
    pairs = pairs_of_one_size(on_torus, data, compared, largest=largest)
    shares: list[Share] = []
    panels: dict[str, dict[tuple[str, str], Any]] = {}
    for padding, shifts in product(PADDINGS, SHIFTS):
        all_shifts = shifts == "all"
        seen = shifted(data, num_shifted) if all_shifts else data.probe_dataloader(num_images)
        for one in covariances(tasks[padding], seen, layers, channels):
            for basis in BASES:
                covariance = one.over(basis)
                shares += shares_of(one, covariance, channels, (padding, shifts, basis))
                places = one.size[0] * one.size[1]
                place = PADDINGS[padding], f"{basis},\n{SHIFTS[shifts]}"
                drawn = covariance[:places, :places].abs().numpy()
                panels.setdefault(one.layer, {})[place] = drawn
    for layer, of_layer in panels.items():
        title = f"{data.title}: covariance of channel {channels[0]} of {layer}"
        figure = plot_covariances(of_layer, title=title, simulated=data.simulated)
        write_figure(folder, f"{name}_{layer}", figure)
    timed = [*in_time(on_torus, data, pairs, num_images=num_shifted, largest=largest)]
    figure = plot_times(
        _by_size(timed),
        title=f"{data.title}: CCA of all columns at once, and by frequencies",
        simulated=data.simulated,
    )
    write_figure(folder, f"{name}_time", figure)
    out = folder / "analysis" / name
    write_table(out / "shares.csv", Share._fields, shares)
    write_table(out / "time.csv", Timed._fields, timed)
    statements = [*statements_of_shares(shares, data.title), *statements_of_time(timed, data.title)]
    conclude(folder, name, statements, units="shares of the sum of squares off the diagonal")


def covariances(
    task: LightningModule, loader: Any, layers: Sequence[str], channels: Sequence[int]
) -> Iterator[Covariance]:
    """Of each layer, in one pass over the images."""
    scatters: dict[str, Scatter] = {}
    sizes: dict[str, tuple[int, int]] = {}
    with read_features(task, loader, layers) as readings:
        for _, outputs in readings:
            for layer, maps in outputs.items():
                check_maps(layer, maps, channels)
                sizes[layer] = (maps.shape[2], maps.shape[3])
                rows = maps[:, [*channels]].flatten(1).cpu()
                before = scatters.get(layer) or no_products(rows.shape[1])
                scatters[layer] = add_to_scatter(before, (rows,))
    for layer, scatter in scatters.items():
        yield Covariance(layer, sizes[layer], scatter.n, pixel_covariance(scatter))


def shares_of(
    one: Covariance,
    covariance: Float64[Tensor, "columns columns"] | Complex128[Tensor, "columns columns"],
    channels: Sequence[int],
    condition: tuple[str, str, str],
) -> Iterator[Share]:
    """Within each channel and of each two; `condition` is padding, shifts and basis."""
    places = one.size[0] * one.size[1]
    blocks = covariance.view(len(channels), places, len(channels), places)
    numbers = range(len(channels))
    for a, b in [*((a, a) for a in numbers), *combinations(numbers, 2)]:
        both = channels[a], channels[b]
        try:
            share = off_diagonal_share(blocks[a, :, b])
        except ValueError as error:
            raise ValueError(f"layer {one.layer!r}, channels {both}: {error}") from None
        yield Share(one.layer, *one.size, one.samples, *condition, *both, share)


def statements_of_shares(shares: Sequence[Share], title: str) -> Iterator[Statement]:
    """The four panels of Figure App.2, of each layer with either padding; means over channels."""
    for layer, padding in dict.fromkeys((one.layer, one.padding) for one in shares):
        known = [one for one in shares if (one.layer, one.padding) == (layer, padding)]
        of = f"{title}, {layer}, {PADDINGS[padding]}"
        still, still_by_frequency, moved, moved_by_frequency = (
            _mean(known, basis, shifts) for shifts, basis in product(SHIFTS, BASES)
        )
        yield _at_least("a. pixels, images as they are: dense", of, still, DENSE)
        about = "b. frequencies, images as they are"
        yield _at_most(f"{about}: nearly diagonal", of, still_by_frequency, NEARLY)
        yield _at_most(f"{about}: share over that of pixels", of, still_by_frequency / still, 1.0)
        yield _at_least("c. pixels, all shifts: dense", of, moved, DENSE)
        about = "d. frequencies, all shifts: diagonal"
        yield _at_most(about, of, moved_by_frequency, EXACT)
        if any(one.channel != one.other for one in known):
            across = _mean(known, "frequencies", "all", across=True)
            yield _at_most(f"{about}, one channel with another", of, across, EXACT)


def _mean(shares: Sequence[Share], basis: str, shifts: str, *, across: bool = False) -> float:
    found = [
        one.share
        for one in shares
        if (one.basis, one.shifts, one.channel != one.other) == (basis, shifts, across)
    ]
    return sum(found) / len(found)


def _at_least(about: str, of: str, ours: float, low: float) -> Statement:
    return Statement(about, of, None, ours, None, f"at least {low:g}", ours >= low)


def _at_most(about: str, of: str, ours: float, high: float) -> Statement:
    return Statement(about, of, None, ours, None, f"at most {high:g}", ours <= high)


def _by_size(timed: Sequence[Timed]) -> Mapping[str, Any]:
    """Columns, seconds and costs of both ways, in a panel for each size of maps."""
    panels: dict[str, dict[str, Any]] = {}
    for n in dict.fromkeys(one.side for one in timed):
        of = [one for one in timed if one.side == n]
        columns = [one.columns for one in of]
        panels[f"{n} x {n} pixels"] = {
            "all at once": (columns, [x.naive_seconds for x in of], [x.naive_cost for x in of]),
            "by frequencies": (columns, [x.dft_seconds for x in of], [x.dft_cost for x in of]),
        }
    return panels
