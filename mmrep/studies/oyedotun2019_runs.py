"""Runs of the tables of Oyedotun et al. 2019: which there are, what they reached, what lacks."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import OmegaConf
from scipy.stats import binom

from mmrep.loggers import read_metrics
from mmrep.runs import read_facts
from mmrep.scores import flat
from mmrep.screen import short
from mmrep.studies.group_tests import mean_and_deviation
from mmrep.studies.oyedotun2019_numbers import BACKBONES, ROWS
from mmrep.studies.oyedotun2019_statements import by_fold
from mmrep.studies.pairs import finished

CHANCE = 0.99  # accuracies that so many guesses stay within count as not learnt
RECIPE = ("trainer.max_epochs", "patience", "data.batch_size", "model.optimizer.lr",
          "checkpoint.use")  # fmt: skip
OF_IMAGES = ("size", "missing", "augment")  # the recipe's part that the data tell
PUBLISHED = {paper.lower() for paper in BACKBONES.values()}  # networks with weights of ImageNet


class Group(NamedTuple):
    """Runs whose rows are compared: one data set, cut into the same folds."""

    preset: str  # of a simulation, else ""
    split_by: str
    folds: int

    def __str__(self) -> str:
        return f"{self.preset}{', ' if self.preset else ''}{self.folds} folds by {self.split_by}"


class Trained(NamedTuple):
    """What a run has reached."""

    folder: Path
    accuracy: float  # percent of the test fold
    loss: float  # nats, over the last epoch of the training
    learnt: bool  # more than chance
    epochs: int
    parameters: int
    test_share: float  # test over training samples
    fingerprint: str


Runs = dict[tuple[int, int], Trained]  # by fold and seed
Rows = dict[str, Runs]  # by row


class Summary(NamedTuple):
    """A row of the table: accuracies in percent, the loss in nats."""

    paper: float | None
    accuracy: float  # the mean over folds of means over seeds
    deviation_over_folds: float | None
    deviation_over_seeds: float | None  # of means over folds
    folds_run: int
    seeds: int
    runs: int
    training_loss: float
    not_learnt: int  # runs within chance
    parameters: str
    epochs: str


def runs_of(folders: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """What finished runs of the tables' rows, trained on clean images, say; tells what is left out.

    Besides what is in `run.json`, each has its `row` and its `settings`. ValueError: there is none.
    """
    facts = {}
    corrupted: Counter[float] = Counter()
    for folder in finished(folders):
        found = read_facts(folder)
        rate, row = found["data"].get("corruption_rate"), row_of_run(found)
        if row is None or rate is None:
            print(f"left out {short(folder)}: no row of the tables")
        elif rate:
            corrupted[rate] += 1
        else:
            facts[folder] = found | {"row": row, "settings": settings_of(found)}
    for rate, number in sorted(corrupted.items()):
        print(f"left out, trained with data.corruption_rate={rate:g}: {number}")
    if not facts:
        raise ValueError(
            f"none of the {len(folders)} runs is a finished row of the tables, one of "
            f"{', '.join(ROWS)}: train them with python train.py "
            "experiment=oyedotun2019_simulated"
        )
    return facts


def row_of_run(facts: Mapping[str, Any]) -> str | None:
    """The row of a model's kind with the backbone that the run has; None where there is none."""
    kind, _ = ROWS.get(facts["model"], ("", ""))
    backbone = OmegaConf.select(OmegaConf.create(facts["config"]), "backbone")
    places = ((kind, backbone), (kind, ""))
    return next((row for row, place in ROWS.items() if place in places), None)


def settings_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe, network and weights, by dotted keys, with values in the places of all `${...}`.

    They are resolved key by key, since others may ask for what Hydra alone knew.
    """
    asked = OmegaConf.create(facts["config"])
    keys = (*RECIPE, "backbones", "frozen", "model.net", "weights")
    found = {key: OmegaConf.select(asked, key) for key in keys}
    plain = {
        key: OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part
        for key, part in found.items()
    }
    return plain | {f"data.{key}": facts["data"][key] for key in OF_IMAGES}


def starts_of(facts: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Of each branch its backbone, "" where depth is from scratch, and the source of its weights.

    None: they are as they were drawn.
    """
    settings, (_, backbone) = facts["settings"], ROWS[facts["row"]]
    weights = settings["weights"]
    for branch, of in settings["model.net"]["branches"].items():
        network = of["network"]
        source = weights.get(branch) if isinstance(weights, Mapping) else weights
        if network in PUBLISHED:
            source = "imagenet" if source == network else source
        elif source == "imagenet":  # which is then for other branches alone
            source = None
        yield "" if network == "depth_scratch" else backbone, source


def grouped(facts: Mapping[Path, Mapping[str, Any]]) -> dict[Group, Rows]:
    """Runs by what may be compared, rows in the tables' order.

    ValueError: two runs of one row, fold and seed, runs of one row with other networks, or rows
    that were tested on different images.
    """
    _refuse_other_networks(facts)
    groups: dict[Group, Rows] = {}
    for row in ROWS:
        for folder, found in facts.items():
            if found["row"] != row:
                continue
            data = found["data"]
            rows = groups.setdefault(
                Group(data.get("preset") or "", data["split_by"], data["folds"]), {}
            )
            of_row, key = rows.setdefault(row, {}), (data["fold"], found["seed"])
            if key in of_row:
                raise ValueError(
                    f"{short(of_row[key].folder)} and {short(folder)} are both {row} with fold "
                    f"{key[0]} and seed {key[1]}: give one of them"
                )
            of_row[key] = read_trained(folder, found)
            first = next(runs[key] for runs in rows.values() if key in runs)
            if first.fingerprint != data["fingerprint"]:
                raise ValueError(
                    f"{short(first.folder)} and {short(folder)} are of fold {key[0]} and other "
                    "images: give runs of one size, and one selection, simulation and masking, of "
                    "the images"
                )
    return dict(sorted(groups.items()))


def _refuse_other_networks(facts: Mapping[Path, Mapping[str, Any]]) -> None:
    firsts: dict[str, Path] = {}
    for folder, found in facts.items():
        first = firsts.setdefault(found["row"], folder)
        ours, others = _network_of(facts[first]), _network_of(found)
        for key in ours | others:
            if ours.get(key) != others.get(key):
                raise ValueError(
                    f"{short(first)} and {short(folder)} are both {found['row']}, with "
                    f"{key}={ours.get(key)} and {others.get(key)}: give runs of one network"
                )


def _network_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    settings, (_, backbone) = facts["settings"], ROWS[facts["row"]]
    frozen = {"frozen": settings["frozen"]} if backbone else {}  # of no meaning without one
    return frozen | dict(flat(settings["model.net"], "model.net."))


def read_trained(folder: Path, facts: Mapping[str, Any]) -> Trained:
    """ValueError: a run whose metrics.csv has no training loss."""
    logged = [row for row in read_metrics(folder / "metrics.csv") if "train/loss" in row]
    if not logged:
        raise ValueError(f"{folder} has no train/loss in metrics.csv: train it anew")
    data = facts["data"]
    tested, classes = data["num_val"], len(data["class_names"])
    right = round(facts["scores"]["val/accuracy"] * tested)  # which single precision has rounded
    return Trained(
        folder,
        100 * right / tested,
        float(logged[-1]["train/loss"]),
        bool(right > binom.ppf(CHANCE, tested, 1 / classes)),
        facts["epochs"],
        facts["parameters"],
        tested / data["num_train"],
        data["fingerprint"],
    )


def missing(group: Group, rows: Rows) -> Iterator[str]:
    """A line for each row and seed without all folds; seeds are those that any row has."""
    seeds = sorted({seed for runs in rows.values() for _, seed in runs})
    for model in ROWS:
        if model not in rows:
            yield f"{model} is missing"
            continue
        for seed in seeds:
            gone = [k for k in range(group.folds) if (k, seed) not in rows[model]]
            if len(gone) == group.folds:
                yield f"seed {seed} of {model} is missing"
            elif gone:
                several = "folds" if len(gone) > 1 else "fold"
                are = "are" if len(gone) > 1 else "is"
                yield f"{several} {', '.join(map(str, gone))} of {model} seed {seed} {are} missing"


def leaks(groups: Mapping[Group, Rows]) -> Iterator[tuple[Group, str, float, float]]:
    """Rows with folds by group and by frame: the mean accuracy of either.

    Frames that look nearly alike stand on both sides of random folds; folds by group have none.
    """
    for group, rows in groups.items():
        other = group._replace(split_by="frame")
        if group.split_by == "group" and other in groups:
            for model in filter(groups[other].get, rows):
                x, y = (by_fold(accuracies(of[model])) for of in (rows, groups[other]))
                yield group, model, float(np.mean([*x.values()])), float(np.mean([*y.values()]))


def accuracies(runs: Runs) -> dict[tuple[int, int], float]:
    return {key: run.accuracy for key, run in runs.items()}


def summary_of(runs: Runs, paper: float | None) -> Summary:
    scores = accuracies(runs)
    folds = by_fold(scores)
    seeds = by_fold({(seed, fold): x for (fold, seed), x in scores.items()})
    mean, deviation = mean_and_deviation(np.array([*folds.values()]))
    return Summary(
        paper,
        mean,
        deviation,
        mean_and_deviation(np.array([*seeds.values()]))[1],
        len(folds),
        len(seeds),
        len(runs),
        float(np.mean([run.loss for run in runs.values()])),
        sum(not run.learnt for run in runs.values()),
        _range(run.parameters for run in runs.values()),
        _range(run.epochs for run in runs.values()),
    )


def _range(values: Iterable[int]) -> str:
    found = sorted(values)
    return " to ".join(f"{value:,}" for value in dict.fromkeys((found[0], found[-1])))
