"""Moreau et al. 2021, section 2.3: is to classify what networks share as good as to add logits?

The paper claims it of the sum of the first canonical variates, X1' + X2', against the sum of the
logits, Y1 + Y2, and does not measure it. Three sensors are fused by pairs (the variates of all
three pairs side by side) and, which is ours, by multi-set CCA.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from rich.progress import track
from torch import Tensor

from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.plots.moreau2021 import plot_fusion
from mmrep.stats.classifiers import CLASSIFIERS, predictions
from mmrep.stats.curves import grid
from mmrep.stats.multiset import EQUAL as EQUAL_VALUES
from mmrep.stats.multiset import fused, multiset_cca
from mmrep.stats.subspaces import scores_from_counts
from mmrep.studies.moreau2021 import UNITS, is_simulated, print_table_1, title_of
from mmrep.studies.pairs import Networks, common_folder, folders_of, networks_of
from mmrep.studies.recorded import Recorded, record, require_same
from mmrep.studies.statements import Statement, conclude

EQUAL = 2  # points that "about as good" means
SUM_OF_LOGITS = "sum of logits"


# By sensors and repetition, what `scores_of` gives.
Numbers = Mapping[tuple[str, ...], Sequence[Mapping[str, tuple[list[int], np.ndarray]]]]


class Variates(NamedTuple):
    """What networks share, on both splits: columns in order of how much they share it."""

    train: Float[Tensor, "train_samples columns"]
    validation: Float[Tensor, "samples columns"]
    per_component: int  # columns that belong to one n


class Fusion(NamedTuple):
    """Predictions of the validation samples by every fusion of some networks."""

    sensors: tuple[str, ...]
    repetition: int
    by_components: dict[str, tuple[list[int], Int64[Tensor, "n samples"]]]
    others: dict[str, Int64[Tensor, "samples"]]


def report_fusion(
    folders: Sequence[Path], *, name: str, checkpoint: str, landmarks: int, seed: int
) -> None:
    """Scores and agreement of all fusions, for every pair of sensors and for all of them."""
    networks = networks_of(folders)
    if len(networks) < 2:
        raise ValueError(f"there are runs of {', '.join(networks)} alone: fusion needs 2 sensors")
    study = common_folder(folders_of(networks))
    chosen: list[tuple[str, ...]] = [*combinations(networks, 2)]
    if len(networks) == 3:
        if len(set.intersection(*(set(by_seed) for by_seed in networks.values()))) < 3:
            print("left out all three together: no two networks of one seed, so it takes 3 seeds")
        else:
            chosen.append(tuple(networks))
    jobs = [
        (sensors, repetition, folders_of)
        for sensors in chosen
        for repetition, folders_of in enumerate(together(networks, sensors))
    ]
    paths = sorted({folder for _, _, folders_of in jobs for folder in folders_of})
    records = {
        folder: record(folder, checkpoint=checkpoint)
        for folder in track(paths, description="features")
    }
    first = records[paths[0]]
    print_table_1(first)
    found = [
        fuse(sensors, i, [records[folder] for folder in of], landmarks=landmarks, seed=seed)
        for sensors, i, of in track(jobs, description="fusions")
    ]
    numbers: Numbers = {
        sensors: [scores_of(one, first) for one in found if one.sensors == sensors]
        for sensors in chosen
    }
    _write(study, name, numbers, first)
    conclude(study, name, fusion_statements(numbers, first), units=UNITS)


def together(networks: Mapping[str, Networks], sensors: Sequence[str]) -> list[list[Path]]:
    """One network of each sensor, no two of one seed: of two sensors, seeds i and i + 5 of ten.

    One seed gives all sensors' networks the same initial weights.
    """
    seeds = sorted(set.intersection(*(set(networks[sensor]) for sensor in sensors)))
    if len(seeds) < len(sensors):
        raise ValueError(
            f"{', '.join(sensors)} have the seeds {seeds} in common: train at least {len(sensors)}"
        )
    step = len(seeds) // len(sensors)
    return [
        [
            networks[sensor][seeds[(repetition + place * step) % len(seeds)]]
            for place, sensor in enumerate(sensors)
        ]
        for repetition in range(max(1, len(seeds) // 2))
    ]


def fuse(
    sensors: tuple[str, ...],
    repetition: int,
    networks: Sequence[Recorded],
    *,
    landmarks: int,
    seed: int,
) -> Fusion:
    """Fits every fusion on the training samples and predicts the validation samples."""
    for other in networks[1:]:
        require_same(networks[0], other)
    first = networks[0]
    classes, units = first.num_classes, first.train.features.shape[1]
    shared = {"CCA by pairs": pairwise_variates(networks)}
    if len(networks) > 2:
        shared["multi-set CCA"] = multiset_variates(networks)
    options: dict[str, Any] = {"landmarks": landmarks, "seed": seed}
    by_components = {}
    for how, variates in shared.items():
        there = variates.train.shape[1] // variates.per_component
        components = sorted({n for n in grid(classes, units) if n < there} | {there})
        columns = [n * variates.per_component for n in components]
        for classifier in CLASSIFIERS:
            predicted = predictions(
                classifier, variates.train, first.train.label, variates.validation,
                components=columns, **options,
            )  # fmt: skip
            by_components[f"{how}, {classifier.replace('_', ' ')}"] = components, predicted
    logits = torch.stack([network.logits(network.validation) for network in networks])
    train, validation = (
        torch.cat([getattr(network, split).features for network in networks], dim=1)
        for split in ("train", "validation")
    )
    concatenated = predictions(
        "logistic_regression", train, first.train.label, validation,
        components=[train.shape[1]], **options,
    )[0]  # fmt: skip
    others = {
        SUM_OF_LOGITS: logits.sum(dim=0).argmax(dim=1),
        "mean of probabilities": logits.softmax(dim=2).mean(dim=0).argmax(dim=1),
        "concatenated features": concatenated,
    }
    alone = zip(sensors, logits.argmax(dim=2), strict=True)
    return Fusion(sensors, repetition, by_components, others | {f"{s} alone": p for s, p in alone})


def pairwise_variates(networks: Sequence[Recorded]) -> Variates:
    """X_i' + X_j' of every pair, the first columns of all pairs first."""
    pairs = [multiset_variates(pair) for pair in combinations(networks, 2)]
    shortest = min(pair.train.shape[1] for pair in pairs)
    train, validation = (
        torch.stack([getattr(pair, split)[:, :shortest] for pair in pairs], dim=2).flatten(1)
        for split in ("train", "validation")
    )
    return Variates(train, validation, len(pairs))


def multiset_variates(networks: Sequence[Recorded]) -> Variates:
    """The sums of variates; of two networks, CCA's, as far as they correlate positively."""
    fit = multiset_cca(*(network.train.features for network in networks))
    shared = int((fit.eigenvalues > 1 + EQUAL_VALUES).sum())  # 1 is no other's, less a difference
    train, validation = (
        fused(fit, *(getattr(network, split).features for network in networks))[:, :shared]
        for split in ("train", "validation")
    )
    return Variates(train, validation, 1)


def scores_of(fusion: Fusion, first: Recorded) -> dict[str, tuple[list[int], np.ndarray]]:
    """By fusion: n (none for those without), and (2, n) score and agreement with added logits."""
    reference = fusion.others[SUM_OF_LOGITS]
    rows = fusion.by_components | {
        name: ([], predicted[None]) for name, predicted in fusion.others.items()
    }
    return {
        name: (
            components,
            np.array([
                [score_of(one, first) for one in predicted],
                [float((one == reference).double().mean()) for one in predicted],
            ]),
        )
        for name, (components, predicted) in rows.items()
    }  # fmt: skip


def score_of(predicted: Int64[Tensor, "samples"], first: Recorded) -> float:
    """The score of predictions, macro F1 or accuracy, as the networks have theirs."""
    classes, label = first.num_classes, first.validation.label
    counts = torch.bincount(label * classes + predicted, minlength=classes**2)
    return float(scores_from_counts(counts.view(1, classes, classes), first.score))


def fusion_statements(numbers: Numbers, first: Recorded) -> list[Statement]:
    """Assertion 9 for each set of sensors and each classifier, at n = classes; all in percent."""
    statements = []
    for sensors, repetitions in numbers.items():
        of = " + ".join(sensors)
        logits = np.array([100 * one[SUM_OF_LOGITS][1][0, 0] for one in repetitions])
        for name, (components, _) in repetitions[0].items():
            n = first.num_classes
            column = max((i for i, kept in enumerate(components) if kept <= n), default=0)
            ours, equal = np.array([100 * one[name][1][:, column] for one in repetitions]).T
            about = f"{name}, n = {n}" if components else name
            statements.append(Statement(about, of, None, ours.mean(), ours.std(), "", None))
            if name != SUM_OF_LOGITS:
                statements.append(
                    Statement(f"{about}: equal predictions with added logits", of, None,
                              equal.mean(), equal.std(), "", None)
                )  # fmt: skip
            if components:
                more = ours - logits
                statements.append(
                    Statement(f"9. {about}: score above that of added logits", of, None,
                              more.mean(), more.std(), f">= {-EQUAL}", bool(more.mean() >= -EQUAL))
                )  # fmt: skip
    return statements


def _write(study: Path, name: str, numbers: Numbers, first: Recorded) -> None:
    source = first.facts["data"]["source"]
    rows = (
        (source, " + ".join(sensors), repetition, fusion, n or "", *values)
        for sensors, repetitions in numbers.items()
        for repetition, one in enumerate(repetitions)
        for fusion, (components, both) in one.items()
        for n, values in zip(components or [0], both.T, strict=True)
    )
    header = ("source", "sensors", "repetition", "fusion", "n", first.score, "agreement")
    write_table(study / "analysis" / name / f"{name}.csv", header, rows)
    curves, levels = {}, {}
    for sensors, repetitions in numbers.items():
        of = " + ".join(sensors)
        shortest = {
            fusion: min((one[fusion][0] for one in repetitions), key=len)[:-1]
            for fusion in repetitions[0]
        }  # but for the last n, how many there are, which differs
        curves[of] = {
            fusion: (n, np.stack([one[fusion][1][0, : len(n)] for one in repetitions]))
            for fusion, n in shortest.items()
            if n
        }
        levels[of] = {
            fusion: np.array([one[fusion][1][0, 0] for one in repetitions])
            for fusion, (n, _) in repetitions[0].items()
            if not n
        }
    figure = plot_fusion(
        curves,
        levels,
        num_classes=first.num_classes,
        score=first.score.replace("_f1", " F1"),
        title=title_of(first, "fusion by what networks share", numbers),
        simulated=is_simulated(first),
    )
    write_figure(study, name, figure)
