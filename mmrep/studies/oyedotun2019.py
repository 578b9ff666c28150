"""Oyedotun et al. 2019, Tables 1 to 4: gated fusion of colour and depth beside all it is made of.

Of each row, fold and seed there is one run. That fusion loses or a branch fails may be due to the
optimisation alone, so that every row's training loss stands beside its accuracy, and how many of
its runs have learnt nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binom

from mmrep.files import write_table
from mmrep.loggers import read_metrics, write_figure
from mmrep.plots.oyedotun2019 import Gain, Row, plot_gains, plot_rows
from mmrep.runs import read_facts
from mmrep.scores import flat
from mmrep.screen import print_columns, short
from mmrep.studies.group_tests import mean_and_deviation
from mmrep.studies.oyedotun2019_numbers import BACKBONES, KINDS, LITERATURE, ROWS, TABLES, published
from mmrep.studies.oyedotun2019_statements import (
    TEST_COLUMNS,
    Difference,
    Differences,
    by_fold,
    differences_of,
    print_tests,
    row_of,
    statements_of,
)
from mmrep.studies.pairs import common_folder, finished
from mmrep.studies.statements import conclude

SETS = {
    "washington": "Washington RGB-D Object",
    "bu3dfe": "BU-3DFE",
    "simulated": "simulated RGB-D",
}
CHANCE = 0.99  # accuracies that so many guesses stay within count as not learnt
RECIPE = ("trainer.max_epochs", "patience", "data.batch_size", "model.optimizer.lr",
          "checkpoint.use", "data.size", "data.missing", "data.augment")  # fmt: skip


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
Rows = dict[str, Runs]  # by model


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


def report_tables(folders: Sequence[Path], name: str) -> None:
    """Tables, tests, the paper's statements and two figures, of finished runs on one data set."""
    facts = runs_of(folders)
    data = _one_set(facts)
    titles, networks = _titles(facts)
    groups = grouped(facts)
    tests = {group: _differences(rows) for group, rows in groups.items()}
    study = common_folder([*facts])
    _write_tables(study / "analysis" / name, data, groups, titles, tests)
    for group, rows in groups.items():
        _print_table(data, group, rows, titles)
        for line in (*missing(group, rows), *_unequal(rows, facts, titles)):
            print(line)
        print_tests(tests[group], titles)
    _print_leak(groups, titles)
    _print_reservations(data, facts, networks)
    _draw(study, name, data, groups, titles, networks, tests)
    statements = [
        statement
        for group, found in tests.items()
        for statement in statements_of(
            found,
            data=data,
            preset=group.preset,
            folds=group.folds,
            of={backbone: f"{group}, {network}" for backbone, network in networks.items()},
        )
    ]
    conclude(study, name, statements, units="points of accuracy, over folds")


def runs_of(folders: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """What finished runs of the tables' rows, trained on clean images, say; tells what is left out.

    ValueError: there is none.
    """
    facts = {}
    corrupted: Counter[float] = Counter()
    for folder in finished(folders):
        found = read_facts(folder)
        rate = found["data"].get("corruption_rate")
        if found["model"] not in ROWS or rate is None:
            print(f"left out {short(folder)}: no row of the tables")
        elif rate:
            corrupted[rate] += 1
        else:
            facts[folder] = found
    for rate, number in sorted(corrupted.items()):
        print(f"left out, trained with data.corruption_rate={rate:g}: {number}")
    if not facts:
        raise ValueError(
            f"none of the {len(folders)} runs is a finished row of the tables, one of "
            f"{', '.join(ROWS)}: train them with python train.py "
            "experiment=oyedotun2019_simulated"
        )
    return facts


def grouped(facts: Mapping[Path, Mapping[str, Any]]) -> dict[Group, Rows]:
    """Runs by what may be compared, rows in the tables' order.

    ValueError: two runs of one row, fold and seed, or rows that were tested on different images.
    """
    groups: dict[Group, Rows] = {}
    for model in ROWS:
        for folder, found in facts.items():
            if found["model"] != model:
                continue
            data = found["data"]
            rows = groups.setdefault(
                Group(data.get("preset") or "", data["split_by"], data["folds"]), {}
            )
            of_row, key = rows.setdefault(model, {}), (data["fold"], found["seed"])
            if key in of_row:
                raise ValueError(
                    f"{short(of_row[key].folder)} and {short(folder)} are both {model} with fold "
                    f"{key[0]} and seed {key[1]}: give one of them"
                )
            of_row[key] = read_trained(folder, found)
            first = next(row[key] for row in rows.values() if key in row)
            if first.fingerprint != data["fingerprint"]:
                raise ValueError(
                    f"{short(first.folder)} and {short(folder)} are of fold {key[0]} and other "
                    "images: give runs of one selection and size of the data"
                )
    return dict(sorted(groups.items()))


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
                x, y = (by_fold(_accuracies(of[model])) for of in (rows, groups[other]))
                yield group, model, float(np.mean([*x.values()])), float(np.mean([*y.values()]))


def _accuracies(runs: Runs) -> dict[tuple[int, int], float]:
    return {key: run.accuracy for key, run in runs.items()}


def _one_set(facts: Mapping[Path, Mapping[str, Any]]) -> str:
    sets = {found["data"]["set"] for found in facts.values()}
    if len(sets) > 1:
        raise ValueError(f"the runs are of {', '.join(sorted(sets))}: give those of one data set")
    return sets.pop()


def _titles(facts: Mapping[Path, Mapping[str, Any]]) -> tuple[dict[str, str], dict[str, str]]:
    """Of the rows; and by backbone the network that is the paper's, or holds its place."""
    networks = {}
    for backbone, paper in BACKBONES.items():
        found = {of["config"]["backbones"][backbone]["network"] for of in facts.values()}
        if len(found) > 1:
            raise ValueError(
                f"the runs have {', '.join(sorted(found))} for {paper}: give those with one"
            )
        network = found.pop()
        networks[backbone] = paper if network == paper.lower() else network
    titles = {
        model: KINDS[kind].format(networks.get(backbone, ""))
        for model, (kind, backbone) in ROWS.items()
    }
    return titles, networks


def _differences(rows: Rows) -> Differences:
    share = np.mean([run.test_share for runs in rows.values() for run in runs.values()])
    scores = {model: _accuracies(runs) for model, runs in rows.items()}
    return differences_of(scores, test_share=float(share))


def summary_of(runs: Runs, paper: float | None) -> Summary:
    scores = _accuracies(runs)
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


def _print_table(data: str, group: Group, rows: Rows, titles: Mapping[str, str]) -> None:
    """With every published table beside simulated data, each as of the real data that it is of."""
    papers = {"paper": published(data, group.folds)}
    if data == "simulated":
        papers = {
            f"{SETS[of].split()[0]} (real), {folds} folds": table
            for (of, folds), table in TABLES.items()
        }
    papers = {heading: table for heading, table in papers.items() if table}
    lines = [("row", *papers, "ours", "over seeds", "folds x seeds", "parameters", "epochs",
              "training loss", "not learnt")]  # fmt: skip
    for model, title in titles.items():
        printed = (f"{table[model]:.2f}" for table in papers.values())
        if model not in rows:
            lines.append((title, *printed, *[""] * 7))
            continue
        s = summary_of(rows[model], None)
        spread = "" if s.deviation_over_folds is None else f" ± {s.deviation_over_folds:.2f}"
        seeds = "" if s.deviation_over_seeds is None else f"{s.deviation_over_seeds:.2f}"
        whole = s.runs == s.folds_run * s.seeds
        runs = f"{s.folds_run} x {s.seeds}" + ("" if whole else f", {s.runs} runs")
        lines.append((title, *printed, f"{s.accuracy:.2f}{spread}", seeds, runs, s.parameters,
                      s.epochs, f"{s.training_loss:.3f}",
                      f"{s.not_learnt} of {s.runs}"))  # fmt: skip
    print(f"\n{SETS[data]}, {group}: test accuracy in percent, mean ± deviation over folds")
    print_columns(lines)


def _unequal(
    rows: Rows, facts: Mapping[Path, Mapping[str, Any]], titles: Mapping[str, str]
) -> Iterator[str]:
    """A line for each part of the recipe that is not the same for all runs."""
    configs = {
        titles[model]: [dict(flat(facts[run.folder]["config"])) for run in runs.values()]
        for model, runs in rows.items()
    }
    for key in RECIPE:
        having: dict[str, dict[str, None]] = {}
        for title, of_row in configs.items():
            for config in of_row:
                having.setdefault(str(config.get(key)), {})[title] = None
        if len(having) > 1:
            told = (f"{value} ({', '.join(of)})" for value, of in having.items())
            yield f"recipes differ: {key} is {'; '.join(told)}"


def _print_leak(groups: Mapping[Group, Rows], titles: Mapping[str, str]) -> None:
    lines: list[tuple[str, ...]] = [
        (str(group), titles[model], f"{x:.2f}", f"{y:.2f}", f"{y - x:+.2f}")
        for group, model, x, y in leaks(groups)
    ]
    if lines:
        print("\nleak: what random frames add to folds by group, in points")
        print_columns([("", "row", "by group", "by frame", "leak"), *lines])


def _print_reservations(
    data: str, facts: Mapping[Path, Mapping[str, Any]], networks: Mapping[str, str]
) -> None:
    """What a number of ours must not be taken for; and Table 2."""
    for backbone, paper in BACKBONES.items():
        if networks[backbone] != paper:
            weights = {of["config"]["backbones"][backbone]["weights"] for of in facts.values()}
            told = sorted("not pretrained" if of is None else f"from {of}" for of in weights)
            print(f"{networks[backbone]}, {' or '.join(told)}, holds the place of {paper}")
    if data == "simulated":
        print(
            "simulated data, and small networks that have seen simulated colour images at most: "
            "the paper's columns are of real data and compare with none of ours"
        )
    if any(of["checkpoint"] == "best" for of in facts.values()):
        print("weights that were best on the test fold are scored, which is too kind to them")
    if data == "bu3dfe":
        print("Table 2, as printed in the paper, not run")
        print_columns([(title, f"{number:.2f}") for title, number in LITERATURE.items()])


def _write_tables(
    folder: Path,
    data: str,
    groups: Mapping[Group, Rows],
    titles: Mapping[str, str],
    tests: Mapping[Group, Differences],
) -> None:
    of_group = ("set", *Group._fields)
    rows = [(group, model, runs) for group, of in groups.items() for model, runs in of.items()]
    write_table(
        folder / "runs.csv",
        (*of_group, "row", "model", "fold", "seed", "accuracy", "training_loss", "learnt",
         "epochs", "parameters", "run"),
        (
            (data, *group, titles[model], model, *key, run.accuracy, run.loss, run.learnt,
             run.epochs, run.parameters, short(run.folder))
            for group, model, runs in rows
            for key, run in sorted(runs.items())
        ),
    )  # fmt: skip
    write_table(
        folder / "table.csv",
        (*of_group, "row", "model", *Summary._fields),
        (
            (data, *group, titles[model], model,
             *summary_of(runs, published(data, group.folds).get(model)))
            for group, model, runs in rows
        ),
    )  # fmt: skip
    write_table(
        folder / "tests.csv",
        (*of_group, *TEST_COLUMNS),
        (
            (data, *group, *row_of(test, titles))
            for group, found in tests.items()
            for test in found.values()
        ),
    )
    write_table(
        folder / "leak.csv",
        ("set", "preset", "folds", "row", "model", "by_group", "by_frame", "leak"),
        (
            (data, group.preset, group.folds, titles[model], model, x, y, y - x)
            for group, model, x, y in leaks(groups)
        ),
    )


def _draw(
    study: Path,
    name: str,
    data: str,
    groups: Mapping[Group, Rows],
    titles: Mapping[str, str],
    networks: Mapping[str, str],
    tests: Mapping[Group, Differences],
) -> None:
    """A figure of all rows, and one of what the gate gains."""
    rows = {
        str(group): {
            titles[model]: Row(
                np.array([*by_fold(_accuracies(runs)).values()]),
                published(data, group.folds).get(model),
            )
            for model, runs in of.items()
        }
        for group, of in groups.items()
    }
    simulated = data == "simulated"
    title = f"{SETS[data]}: test accuracy of each fold"
    write_figure(study, name, plot_rows(rows, order=[*titles.values()], title=title,
                                        simulated=simulated))  # fmt: skip
    gains = {
        (networks[backbone], str(group)): Gain(
            test.by_run,
            test.mean,
            (test.found.low, test.found.high) if test.found and test.found.deviation else None,
            _gain(published(data, group.folds), test),
        )
        for backbone in BACKBONES
        for group, found in tests.items()
        if (test := found.get(("gated", "naive", backbone)))
    }
    if gains:
        title = f"{SETS[data]}: gated minus naive fusion"
        write_figure(study, f"{name}_gain", plot_gains(gains, title=title, simulated=simulated))


def _gain(printed: Mapping[str, float], test: Difference) -> float | None:
    return printed[test.a] - printed[test.b] if printed else None
