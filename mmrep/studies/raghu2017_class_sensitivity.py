"""Raghu et al. 2017, class sensitivity: how well each layer of a ResNet tells each class's logit.

A logit is a map of one pixel, which shares the zero frequency alone with a layer's maps: DFT-CCA is
CCA with the channels' means over pixels, whose one correlation is that of the logit with its best
linear prediction. The paper's network sees ImageNet; the numbers of its figure stand beside ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Float64
from lightning.pytorch import LightningModule
from rich.progress import track
from scipy.stats import spearmanr
from torch import Tensor

from mmrep.features import read_features
from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.plots.raghu2017_class_sensitivity import Panel, plot_class_sensitivity
from mmrep.runs import load_run, read_facts
from mmrep.stats.assessment import Assessment, assess_chunks
from mmrep.stats.covariance import moments_of
from mmrep.stats.mantel import FEWEST, mantel
from mmrep.stats.similarity import mean_cca_from_moments
from mmrep.studies.pairs import common_folder, folders_of, networks_of
from mmrep.studies.statements import Statement, conclude

CHUNKS = 20  # of the samples, for floors and intervals
SIXTH = 6  # the layer, from 1, at which the figure's classes are told apart best
IMAGENET = {"fire truck": 0.63, "husky": 0.58, "eskimo dog": 0.56, "s_terrier": 0.41,
            "w_terrier": 0.37}  # fmt: skip
REACHED = 0.999  # of 1, at the last layer
DIFFERENT = 0.05  # p of a rank correlation that counts

Curves = Float64[np.ndarray, "classes layers"]
Table = Float64[np.ndarray, "classes classes"]


class Sensitivity(NamedTuple):
    """One network: each layer's correlation with each class's logit, and how classes are alike."""

    layers: tuple[str, ...]
    found: list[list[Assessment]]  # by class, then by layer
    logits: Table  # correlations of any two classes' logits
    confused: Table  # share of the one class's samples that are called the other, mean of both ways

    @property
    def curves(self) -> Curves:
        return np.array([[one.value for one in of_class] for of_class in self.found])


class Alike(NamedTuple):
    """Two classes, by the means over networks."""

    one: str
    other: str
    distance: float  # root mean square between their curves
    logits: float
    confused: float


def report_class_sensitivity(
    folders: Sequence[Path],
    *,
    name: str,
    checkpoint: str,
    layers: Sequence[str],
    pairs: Sequence[Sequence[str]],
    permutations: int,
    seed: int,
) -> None:
    """A panel, tables and statements for each configuration among the runs, over its seeds.

    `layers` are named as in `read_features`. `pairs` are classes said to be similar.
    """
    networks = networks_of(folders)
    every = folders_of(networks)
    study, facts = common_folder(every), read_facts(every[0])["data"]
    classes = facts["class_names"]
    _check_pairs(pairs, classes)
    jobs = [(of, one) for of, by_seed in networks.items() for one in by_seed.items()]
    found: dict[str, dict[int, Sensitivity]] = {of: {} for of in networks}
    title = ""  # of the one data set
    for of, (run_seed, folder) in track(jobs, description=name):
        task, data = load_run(folder, checkpoint=checkpoint)
        found[of][run_seed] = sensitivity(task, data, layers, permutations=permutations, seed=seed)
        title = cast(Any, data).title
    figure = plot_class_sensitivity(
        {of: _panel([*by_seed.values()]) for of, by_seed in found.items()},
        classes,
        title=f"{title}: correlation of each layer with each class's logit",
        simulated=facts["source"] == "simulated",
    )
    write_figure(study, name, figure)
    out = study / "analysis" / name
    _write_curves(out / "curves.csv", found, classes)
    alike = {of: alike_classes([*by_seed.values()], classes) for of, by_seed in found.items()}
    rows = [(of, *one) for of, every_pair in alike.items() for one in every_pair]
    write_table(out / "pairs.csv", ("of", *Alike._fields), rows)
    statements = [
        statement
        for of, by_seed in found.items()
        for statement in (
            *statements_of_curves([*by_seed.values()], f"{title}, {of}"),
            *statements_of_pairs(alike[of], classes, pairs, f"{title}, {of}", seed=seed),
        )
    ]
    conclude(study, name, statements, units="correlations with a class's logit")


def sensitivity(
    task: LightningModule, data: Any, layers: Sequence[str], *, permutations: int, seed: int
) -> Sensitivity:
    """Of one network, on all validation samples."""
    views, logits, label = channel_means(task, data, layers)
    if len(label) < CHUNKS:
        raise ValueError(f"{len(label)} validation samples make no {CHUNKS} chunks: take more")
    generator = torch.Generator().manual_seed(seed)
    measure = partial(mean_cca_from_moments, variance_kept=1.0)
    found = [
        [
            assess_chunks(
                measure,
                [
                    moments_of(view[chunk::CHUNKS], logits[chunk::CHUNKS, number, None])
                    for chunk in range(CHUNKS)
                ],
                permutations=permutations,
                generator=generator,
            )
            for view in views.values()
        ]
        for number in range(logits.shape[1])
    ]
    correlations = np.corrcoef(logits.double().numpy().T)
    return Sensitivity(tuple(views), found, correlations, confusion_of_classes(logits, label))


def channel_means(
    task: LightningModule, data: Any, layers: Sequence[str]
) -> tuple[dict[str, Float[Tensor, "samples _"]], Float[Tensor, "samples classes"], Tensor]:
    """Means over pixels by layer, in the order of the forward pass; logits; labels."""
    parts: dict[str, list[Tensor]] = {}
    labels = []
    with read_features(task, data.val_dataloader(), [*layers, "logits"]) as readings:
        for batch, outputs in readings:
            labels.append(batch.label.cpu())
            for layer, output in outputs.items():
                if output.ndim not in (2, 4):
                    raise ValueError(
                        f"layer {layer!r} gives {tuple(output.shape)}: choose layers of samples x "
                        "channels x height x width, or of samples x units"
                    )
                means = output.mean(dim=(2, 3)) if output.ndim == 4 else output
                parts.setdefault(layer, []).append(means.cpu())
    views = {layer: torch.cat(of) for layer, of in parts.items()}
    logits = views["logits"]
    if "logits" not in layers:
        del views["logits"]
    return views, logits, torch.cat(labels)


def confusion_of_classes(logits: Float[Tensor, "samples classes"], label: Tensor) -> Table:
    """Share of a class's samples that are called another one, the mean of both ways."""
    number = logits.shape[1]
    counts = torch.bincount(number * label + logits.argmax(dim=1), minlength=number**2)
    counts = counts.view(number, number).double()
    share = (counts / counts.sum(dim=1, keepdim=True).clamp(min=1)).numpy()
    both: Table = (share + share.T) / 2
    return both


def alike_classes(networks: Sequence[Sensitivity], classes: Sequence[str]) -> list[Alike]:
    """Each two classes."""
    curves, logits, confused = (
        np.mean([getattr(one, part) for one in networks], axis=0)
        for part in ("curves", "logits", "confused")
    )
    return [
        Alike(
            classes[i],
            classes[j],
            float(np.sqrt(np.mean((curves[i] - curves[j]) ** 2))),
            float(logits[i, j]),
            float(confused[i, j]),
        )
        for i, j in combinations(range(len(classes)), 2)
    ]


def statements_of_curves(networks: Sequence[Sensitivity], of: str) -> Iterator[Statement]:
    """Where the curves begin and end, and the figure's numbers of other data beside ours."""
    curves = np.stack([one.curves for one in networks])
    layers = networks[0].layers
    floors = np.array([[[x.floor for x in row] for row in one.found] for one in networks])
    above = (curves - floors).min(axis=(1, 2))
    about = "least of all layers and classes, above its floor"
    yield Statement(about, of, None, *_over(above), "above 0", bool(above.mean() > 0))
    last = curves[:, :, -1].min(axis=1)
    about, bound = f"least of all classes at the last layer, {layers[-1]}", f"at least {REACHED:g}"
    yield Statement(about, of, 1.0, *_over(last), bound, bool(last.mean() >= REACHED))
    if len(layers) == 1:
        return
    depth = np.arange(len(layers))
    grows = np.array([spearmanr(depth, one.mean(axis=0)).statistic for one in curves])
    about = "rank correlation of the mean over classes with depth"
    yield Statement(about, of, None, *_over(grows), "above 0", bool(grows.mean() > 0))
    if len(layers) < SIXTH:
        return
    sixth = curves[:, :, SIXTH - 1]
    for which, ours, (name, paper) in (
        ("highest", sixth.max(axis=1), max(IMAGENET.items(), key=lambda item: item[1])),
        ("lowest", sixth.min(axis=1), min(IMAGENET.items(), key=lambda item: item[1])),
    ):
        about = f"{which} class at layer {SIXTH}, {layers[SIXTH - 1]} (paper: ImageNet, {name})"
        yield Statement(about, of, paper, *_over(ours), "", None)


def statements_of_pairs(
    alike: Sequence[Alike],
    classes: Sequence[str],
    pairs: Sequence[Sequence[str]],
    of: str,
    *,
    seed: int,
) -> Iterator[Statement]:
    """Similar classes have similar curves: those that are named, and by the network's own doing."""
    distances = np.array([one.distance for one in alike])
    for pair in pairs:
        (own,) = (one.distance for one in alike if {one.one, one.other} == {*pair})
        closer = float((distances < own).sum() / max(1, len(distances) - 1))
        about = f"{' and '.join(pair)}: share of other pairs whose curves are closer"
        yield Statement(about, of, None, closer, None, "below 0.5", closer < 0.5)
    if len(classes) < FEWEST:
        print(f"{of}: {len(classes)} classes, fewer than {FEWEST}, so no rank correlation")
        return
    near = _table(-distances, len(classes))
    for what, values in (
        ("correlation of logits", [one.logits for one in alike]),
        ("confusion", [one.confused for one in alike]),
    ):
        rank, p = mantel(near, _table(np.array(values), len(classes)), seed=seed)
        about = f"nearness of curves and {what}: rank correlation over pairs, p = {p:.2g}"
        bound = f"above 0, p < {DIFFERENT:g}"
        yield Statement(about, of, None, rank, None, bound, bool(rank > 0 and p < DIFFERENT))


def _over(values: Float64[np.ndarray, "networks"]) -> tuple[float, float | None]:
    """Mean, and deviation where there are several networks."""
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None


def _table(values: Float64[np.ndarray, "pairs"], classes: int) -> Table:
    table = np.zeros((classes, classes))
    table[np.triu_indices(classes, k=1)] = values
    both: Table = table + table.T
    return both


def _panel(networks: Sequence[Sensitivity]) -> Panel:
    """Layers, curves of classes and of chance, by the means over networks."""
    floors = [[[x.floor for x in row] for row in one.found] for one in networks]
    curves = np.mean([one.curves for one in networks], axis=0)
    return Panel(networks[0].layers, curves, np.mean(floors, axis=(0, 1)))


def _write_curves(
    path: Path, found: Mapping[str, Mapping[int, Sensitivity]], classes: Sequence[str]
) -> None:
    rows = (
        (of, seed, label, number, layer, *assessed[:5], assessed.ranks[0])
        for of, by_seed in found.items()
        for seed, network in by_seed.items()
        for label, of_class in zip(classes, network.found, strict=True)
        for number, (layer, assessed) in enumerate(
            zip(network.layers, of_class, strict=True), start=1
        )
    )
    header = ("of", "seed", "class", "number", "layer", "correlation", "floor", "low", "high",
              "held_out", "rank")  # fmt: skip
    write_table(path, header, rows)


def _check_pairs(pairs: Sequence[Sequence[str]], classes: Sequence[str]) -> None:
    for pair in pairs:
        if len({*pair}) != 2 or not {*pair} <= {*classes}:
            raise ValueError(
                f"analysis.pairs: {[*pair]} is no pair of {', '.join(classes[:100])}; name two "
                "classes each, or none with analysis.pairs=[]"
            )
