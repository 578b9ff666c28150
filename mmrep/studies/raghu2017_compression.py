"""Raghu et al. 2017, App.5: how few directions of its late layers a trained network can do with.

A layer's outputs are projected on the first k of some directions, nothing is trained again, and
accuracy is taken: with SVCCA's directions of the layer and the same layer of another seed's
network, and with those of the layer and the network's own logits, which the paper finds better, the
last five layers doing with 0.35 of their size. Principal components and random directions stand
beside them.

Logits give at most as many directions as there are classes. Where more are kept, there follow those
of the layer's singular directions that correlate with no logit, by decreasing share of variance.
Layers that are projected at once keep what each keeps alone, directions of what the untouched
network gives; the paper does not say. Training images count as they are, not augmented.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from lightning.pytorch import LightningModule
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmrep.features import layer_names, read_features, require_same_samples
from mmrep.files import whole_file, write_table
from mmrep.loggers import write_figure
from mmrep.networks.compressed import Projection, behind, compressed, projected
from mmrep.plots.raghu2017_compression import plot_compression
from mmrep.runs import load_run, read_facts
from mmrep.screen import print_columns, short
from mmrep.stats.cca import Basis, canonical, whitened
from mmrep.stats.covariance import moments_of
from mmrep.stats.similarity import singular_directions
from mmrep.stats.subspaces import subspaces_from_moments
from mmrep.studies.pairs import common_folder, networks_of, pairs_of
from mmrep.studies.statements import Statement, conclude

SEED, LOGITS = "another seed's layer", "own logits"
METHODS = (SEED, LOGITS, "principal components", "random directions")
UNTOUCHED, AT_ONCE = "untouched", "all at once"
SPLITS = ("training", "test")
IMAGES, REPEATS = 128, 10  # of a batch, and how often it is timed
ALIKE = 1e-4  # of their largest, what logits may differ by where maps were merged in float32

Curve = tuple[list[float], Float[np.ndarray, "pairs shares"]]  # shares, and accuracy in percent


class Outputs(NamedTuple):
    """What late layers gave of the first samples of a split, maps flattened, and the logits."""

    layers: dict[str, Float[Tensor, "samples _"]]
    logits: Float[Tensor, "samples classes"]
    label: Int64[Tensor, "samples"]


class Fitted(NamedTuple):
    """A trained network, what it gave of either split, and directions by layer and method."""

    net: nn.Module
    data: Any
    splits: dict[str, Outputs]
    bases: dict[str, dict[str, Basis]]


class Point(NamedTuple):
    """Accuracy where a share of a layer's directions is kept, or of every layer's."""

    layer: str  # or all at once
    method: str
    share: float
    components: int  # that share of the units, or all there are, summed up; 0: none is projected
    parameters: int  # of the compressed network
    training: float  # percent of images
    test: float


def report_compression(
    folders: Sequence[Path],
    *,
    name: str,
    checkpoint: str,
    offset: int,
    layers: Sequence[str],
    shares: Sequence[float],
    share: float,
    kept: float,
    num_samples: int,
    within: float,
    smaller_within: float,
    seed: int,
) -> None:
    """Curves, statements and the smaller network, of networks in pairs of seeds i and i + `offset`.

    `share` is the paper's, which is to cost `within` points or fewer; `kept` the share of singular
    values before CCA; of training, the first `num_samples` images count. Of the first pair's
    network a smaller one is written that loses no more than `smaller_within` points in training.
    """
    if not shares or not all(0 < one <= 1 for one in (share, *shares)):
        raise ValueError(
            f"analysis.shares={[*shares]}, analysis.share={share}: each must be above 0, at most 1"
        )
    networks = networks_of(folders)
    if len(networks) > 1:
        raise ValueError(
            f"the runs are of {len(networks)} configurations, {'; '.join(networks)}: give the runs "
            "of one, which differ in their seeds alone"
        )
    ((of, by_seed),) = networks.items()
    study = common_folder(by_seed.values())
    found: list[list[Point]] = []
    smaller: list[Statement] = []
    for pair in pairs_of(by_seed, by_seed, offset, names=of):
        print(f"{short(pair[0])} with {short(pair[1])}")
        fitted = fit(
            *pair,
            checkpoint=checkpoint,
            layers=layers,
            kept=kept,
            num_samples=num_samples,
            seed=seed,
        )
        found.append([*points_of(fitted, sorted({*shares, share}))])
        if len(found) == 1:
            smaller = write_smaller(study / "analysis" / name, fitted, share, smaller_within)
    source, title = ("simulated" if fitted.data.simulated else "real"), fitted.data.title
    write_table(
        study / "analysis" / name / f"{name}.csv",
        ("source", "pair", *Point._fields),
        ((source, pair, *point) for pair, points in enumerate(found) for point in points),
    )
    figure = plot_compression(
        curves_of(found),
        {split: accuracies(found, UNTOUCHED, UNTOUCHED, split)[:, 0] for split in SPLITS},
        share=share,
        title=f"{title}: late layers on some of their directions, test images (dashed: training); "
        f"pairs of networks: {len(found)}",
        simulated=fitted.data.simulated,
    )
    write_figure(study, name, figure)
    statements = statements_of(found, title, share=share, within=within)
    conclude(study, name, [*statements, *smaller], units="in percent of images, and in points")


def fit(
    folder: Path,
    partner: Path,
    *,
    checkpoint: str,
    layers: Sequence[str],
    kept: float,
    num_samples: int,
    seed: int,
) -> Fitted:
    """Directions of the layers of a run, by its training images and those of its partner."""
    require_same_samples(read_facts(folder)["data"], read_facts(partner)["data"])
    (task, known), (other, _) = (load_run(run, checkpoint=checkpoint) for run in (folder, partner))
    data: Any = known
    net: Any = task.net
    if not 0 < num_samples <= len(data.train_set):
        raise ValueError(
            f"analysis.num_samples={num_samples} is not from 1 to {len(data.train_set)}, the "
            "number of training images"
        )
    names = layer_names(net, layers)
    behind(net, names[0])  # refuses what would be refused minutes later
    train, test = data.plain_train_dataloader(), data.val_dataloader()
    jobs = {
        "training": (task, train, num_samples),
        "partner": (other, train, num_samples),
        "test": (task, test, len(data.val_set)),
    }
    read = {
        what: outputs_of(of, loader, names, number)
        for what, (of, loader, number) in track(jobs.items(), description="outputs")
    }
    theirs = read.pop("partner").layers
    check_follow(net, names, read["test"])
    generator = torch.Generator().manual_seed(seed)
    bases = {
        layer: directions_of(
            read["training"].layers[layer],
            theirs.pop(layer),
            read["training"].logits,
            name=layer,
            kept=kept,
            generator=generator,
        )
        for layer in track(names, description="directions")
    }
    return Fitted(net, data, {split: read[split] for split in SPLITS}, bases)


def outputs_of(
    task: LightningModule, loader: DataLoader[Any], layers: Sequence[str], num_samples: int
) -> Outputs:
    """Of the first samples of a loader, in its order."""
    parts: dict[str, list[Tensor]] = {name: [] for name in (*layers, "logits")}
    labels: list[Tensor] = []
    with read_features(task, loader, [*parts]) as readings:
        for batch, found in readings:
            labels.append(batch.label)
            for name, of_layer in parts.items():
                of_layer.append(found[name].flatten(1))
            if sum(map(len, labels)) >= num_samples:
                break
    whole = {name: torch.cat(of_layer)[:num_samples] for name, of_layer in parts.items()}
    logits = whole.pop("logits")
    return Outputs(whole, logits, torch.cat(labels)[:num_samples])


def check_follow(net: nn.Module, layers: Sequence[str], outputs: Outputs) -> None:
    """Refuses layers behind which not every layer reads what the one before it gives."""
    few = outputs.layers[layers[0]][:IMAGES]
    wanted = outputs.logits[:IMAGES]
    try:
        with torch.no_grad():
            given = behind(net.eval(), layers[0])(few)
    except RuntimeError:  # shapes do not fit
        given = torch.full_like(wanted, torch.nan)
    if not torch.allclose(given, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())):
        raise ValueError(
            f"analysis.layers: behind {layers[0]!r} the layers of {type(net).__name__} do not "
            "follow one another, each on the flattened outputs of the one before: name later ones"
        )


def directions_of(
    own: Float[Tensor, "samples units"],
    partner: Float[Tensor, "samples _"],
    logits: Float[Tensor, "samples classes"],
    *,
    name: str,
    kept: float,
    generator: torch.Generator,
) -> dict[str, Basis]:
    """Bases of a layer by method; those by CCA and the principal ones span its kept directions."""
    moments = moments_of(own, partner, logits)
    keep = partial(singular_directions, kept=kept, of="singular_values")
    titles = (name, f"{name} of the other seed's network", "the logits")
    x, y, z = (whitened(moments, view, title, keep=keep) for view, title in enumerate(titles))
    random = subspaces_from_moments(("random_projection",), moments, generator=generator)
    to_seed, to_logits = (canonical(x, other, moments.n).x for other in (y, z))
    bases = (to_seed, to_logits, x.basis, *random.values())
    return dict(zip(METHODS, bases, strict=True))


def points_of(fitted: Fitted, shares: Sequence[float]) -> Iterator[Point]:
    """The untouched network, then every layer alone and all at once, by method and share."""
    units = {layer: len(by_method[SEED].mean) for layer, by_method in fitted.bases.items()}
    yield point_of(fitted, UNTOUCHED, 1.0, {}, UNTOUCHED)
    places = {layer: [layer] for layer in units} | {AT_ONCE: [*units]}
    jobs = [*product(places.items(), METHODS, shares)]
    for (place, layers), method, share in track(jobs, description="accuracy"):
        components = {layer: max(1, round(share * units[layer])) for layer in layers}
        yield point_of(fitted, method, share, components, place)


def point_of(
    fitted: Fitted, method: str, share: float, components: Mapping[str, int], place: str
) -> Point:
    """The network with so many directions of each layer, or all there are; without any, itself."""
    projections = projections_of(fitted, method, components)
    net = compressed(fitted.net, projections) if projections else fitted.net
    scores = (
        accuracy(net, next(iter(components or fitted.bases)), outputs)
        for outputs in fitted.splits.values()
    )
    kept = sum(one.directions.shape[1] for one in projections.values())
    return Point(place, method, share, kept, parameters_of(net), *scores)


def projections_of(
    fitted: Fitted, method: str, components: Mapping[str, int]
) -> dict[str, Projection]:
    """By layer, on its first directions."""
    projections = {}
    for layer, k in components.items():
        directions, inverse, mean = fitted.bases[layer][method]
        projections[layer] = Projection(directions[:, :k], inverse[:k], mean)
    return projections


def accuracy(net: nn.Module, layer: str, outputs: Outputs) -> float:
    """Percent of the samples, from what `layer` gave of them."""
    with torch.no_grad():
        logits = behind(net, layer)(outputs.layers[layer])
    return 100 * float((logits.argmax(dim=1) == outputs.label).double().mean())


def parameters_of(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def write_smaller(folder: Path, fitted: Fitted, share: float, within: float) -> list[Statement]:
    """`compressed.pt2`, which torch.export.load opens without mmrep, and `sizes.csv`.

    It keeps equally many directions of own logits in every layer: as many as there are classes, and
    half as many again until no more than `within` points are lost in training. The table has those
    that were tried beside the untouched network and the paper's share of each layer.
    """
    units = {layer: len(by_method[SEED].mean) for layer, by_method in fitted.bases.items()}
    first, data = next(iter(units)), fitted.data
    chosen: dict[str, dict[str, int]] = {
        UNTOUCHED: {},
        f"{share:g} of each layer": {layer: round(share * units[layer]) for layer in units},
    }
    points = {what: point_of(fitted, LOGITS, share, of, what) for what, of in chosen.items()}
    for k in numbers_up(len(data.class_names), max(units.values())):
        written = f"{k} of each layer"
        chosen[written] = dict.fromkeys(units, k)
        points[written] = point_of(fitted, LOGITS, np.nan, chosen[written], written)
        if points[UNTOUCHED].training - points[written].training <= within:
            break
    projections = {what: projections_of(fitted, LOGITS, of) for what, of in chosen.items()}
    nets = {
        what: compressed(fitted.net, of) if of else fitted.net for what, of in projections.items()
    }
    images = data.val_set.prepare(data.val_set[[*range(min(IMAGES, len(data.val_set)))]]).inputs
    late = fitted.splits["test"].layers[first][: len(images)]
    whole = milliseconds(nets.values(), images)
    behind_first = milliseconds([behind(net, first) for net in nets.values()], late)
    header = ("network", "parameters", "bytes", "ms", f"ms_behind_{first}", *SPLITS)
    rows: list[tuple[Any, ...]] = [
        (what, points[what].parameters, bytes_of(net), *times, *points[what][-2:])
        for (what, net), *times in zip(nets.items(), whole, behind_first, strict=True)
    ]
    write_table(folder / "sizes.csv", header, rows)
    path = folder / "compressed.pt2"
    any_number = ({0: torch.export.Dim("batch")},)
    with whole_file(path) as part:
        exported = torch.export.export(
            nets[written], (images[:2].clone(),), dynamic_shapes=any_number
        )
        torch.export.save(exported, part)
    print(f"{short(path)}: {written}; times of {len(images)} images in one thread")
    print_columns([header, *((what, *(f"{x:,.6g}" for x in numbers)) for what, *numbers in rows)])
    with torch.no_grad():
        wanted = projected(fitted.net, projections[written])(images)
        apart = float((nets[written](images) - wanted).abs().max() / wanted.abs().max())
    of, size = f"{data.title}, {written}", points[written].parameters
    percent = 100 * size / points[UNTOUCHED].parameters
    about = "smaller network: logits from those of the projected one, of the largest"
    return [
        Statement("smaller network: parameters, in percent of those before", of, None, percent,
                  None, "< 100", percent < 100),
        Statement(about, of, None, apart, None, f"<= {ALIKE:g}", apart <= ALIKE),
    ]  # fmt: skip


def numbers_up(first: int, most: int) -> Iterator[int]:
    """A number, half as many again, and so on, up to the first that is enough."""
    yield first
    while first < most:
        first = round(1.5 * first)
        yield first


def bytes_of(net: nn.Module) -> int:
    """Of its weights and whatever else it keeps."""
    return sum(tensor.nbytes for tensor in net.state_dict().values())


def milliseconds(nets: Collection[nn.Module], batch: Tensor) -> list[float]:
    """Median time of each network, by turns, in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = [[_seconds(net, batch) for net in nets] for _ in range(REPEATS + 1)]
    finally:
        torch.set_num_threads(threads)
    medians: list[float] = (1e3 * np.median(rounds[1:], axis=0)).tolist()  # the first one warms up
    return medians


def _seconds(net: nn.Module, batch: Tensor) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        net(batch)
    return time.perf_counter() - start


def accuracies(
    found: Sequence[Sequence[Point]], layer: str, method: str, split: str
) -> Float[np.ndarray, "pairs shares"]:
    """In percent, by pair of networks and share."""
    return np.array(
        [
            [getattr(point, split) for point in points if point[:2] == (layer, method)]
            for points in found
        ]
    )


def curves_of(found: Sequence[Sequence[Point]]) -> dict[str, dict[str, dict[str, Curve]]]:
    """By layer, method and split."""
    layers = dict.fromkeys(point.layer for point in found[0][1:])
    shares = [*dict.fromkeys(point.share for point in found[0][1:])]
    return {
        layer: {
            method: {split: (shares, accuracies(found, layer, method, split)) for split in SPLITS}
            for method in METHODS
        }
        for layer in layers
    }


def statements_of(
    found: Sequence[Sequence[Point]], title: str, *, share: float, within: float
) -> list[Statement]:
    """What the paper says of own logits, and what stands beside it; points lost and gained."""
    statements = []
    for layer, by_method in reversed(curves_of(found).items()):
        for split in SPLITS:
            of = f"{title}, {layer}, {split}"
            own = accuracies(found, UNTOUCHED, UNTOUCHED, split)
            lost = {}
            for method, by_split in by_method.items():
                shares, curve = by_split[split]
                lost[method] = own - curve
                at_share = lost[method][:, shares.index(share)]
                about = f"{method}, {share:g} kept: points lost"
                claimed = method == LOGITS
                statements.append(
                    Statement(about, of, None, at_share.mean(), _spread(at_share),
                              f"<= {within:g}" if claimed else "",
                              bool(at_share.mean() <= within) if claimed else None)
                )  # fmt: skip
            few = shares.index(share) + 1
            for method in METHODS:
                if method != LOGITS:
                    more = mean_height((lost[method] - lost[LOGITS])[:, :few], shares[:few])
                    claimed = method == SEED
                    about = f"{LOGITS} above {method}, mean over shares up to {share:g}"
                    statements.append(
                        Statement(about, of, None, more.mean(), _spread(more),
                                  ">= 0" if claimed else "",
                                  bool(more.mean() >= 0) if claimed else None)
                    )  # fmt: skip
    return statements


def mean_height(
    curves: Float[np.ndarray, "pairs shares"], shares: Sequence[float]
) -> Float[np.ndarray, "pairs"]:
    """Of curves drawn over a linear axis of shares, as the paper's are; of one point, itself."""
    if len(shares) == 1:
        return curves[:, 0]
    return np.trapezoid(curves, shares, axis=1) / (shares[-1] - shares[0])


def _spread(values: Float[np.ndarray, "pairs"]) -> float | None:
    """Deviation (ddof 0) over pairs; one has none."""
    return float(values.std()) if len(values) > 1 else None
