"""Oyedotun et al. 2019, Tables 1 to 4: gated fusion of colour and depth beside all it is made of.

Of each row, fold and seed there is one run. That fusion loses or a branch fails may be due to the
optimisation alone, so that every row's training loss stands beside its accuracy, and how many of
its runs have learnt nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.plots.oyedotun2019 import Gain, Row, plot_gains, plot_rows
from mmrep.screen import print_columns, short
from mmrep.studies.oyedotun2019_numbers import BACKBONES, KINDS, LITERATURE, ROWS, TABLES, published
from mmrep.studies.oyedotun2019_runs import (
    OF_IMAGES,
    RECIPE,
    Group,
    Rows,
    Summary,
    accuracies,
    grouped,
    leaks,
    missing,
    runs_of,
    starts_of,
    summary_of,
)
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
from mmrep.studies.pairs import common_folder
from mmrep.studies.statements import conclude

SETS = {
    "washington": "Washington RGB-D Object",
    "bu3dfe": "BU-3DFE",
    "simulated": "simulated RGB-D",
}


def report_tables(folders: Sequence[Path], name: str, *, data: str) -> None:
    """Tables, tests, the paper's statements and two figures, of finished runs on one data set.

    `data` is one of `SETS`. ValueError: runs of another, or that do not belong together.
    """
    facts = runs_of(folders)
    _refuse_other_sets(facts, data)
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
    _print_reservations(data, facts, titles, networks)
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


def _refuse_other_sets(facts: Mapping[Path, Mapping[str, Any]], data: str) -> None:
    for folder, found in facts.items():
        if (other := found["data"]["set"]) != data:
            raise ValueError(
                f"{short(folder)} is of data.set={other}, not {data}: give runs of {data} alone, "
                f"or those of {other} to analysis=oyedotun2019_{other}"
            )


def _titles(facts: Mapping[Path, Mapping[str, Any]]) -> tuple[dict[str, str], dict[str, str]]:
    """Of the rows; and by backbone the network that is the paper's, or holds its place."""
    networks = {}
    for backbone, paper in BACKBONES.items():
        found = {of["settings"]["backbones"][backbone]["network"] for of in facts.values()}
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
    scores = {model: accuracies(runs) for model, runs in rows.items()}
    return differences_of(scores, test_share=float(share))


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
    for key in (*RECIPE, *(f"data.{key}" for key in OF_IMAGES)):
        having: dict[str, dict[str, None]] = {}
        for model, runs in rows.items():
            for run in runs.values():
                value = facts[run.folder]["settings"][key]
                having.setdefault(str(value), {})[titles[model]] = None
        if len(having) > 1:
            yield f"recipes differ: {key} is {_told(having)}"


def _told(having: Mapping[str, Iterable[str]]) -> str:
    """Values, and which rows have them if there are several."""
    if len(having) == 1:
        return next(iter(having))
    return "; ".join(f"{value} ({', '.join(of)})" for value, of in having.items())


def _print_leak(groups: Mapping[Group, Rows], titles: Mapping[str, str]) -> None:
    lines: list[tuple[str, ...]] = [
        (str(group), titles[model], f"{x:.2f}", f"{y:.2f}", f"{y - x:+.2f}")
        for group, model, x, y in leaks(groups)
    ]
    if lines:
        print("\nleak: what random frames add to folds by group, in points")
        print_columns([("", "row", "by group", "by frame", "leak"), *lines])


def _print_reservations(
    data: str,
    facts: Mapping[Path, Mapping[str, Any]],
    titles: Mapping[str, str],
    networks: Mapping[str, str],
) -> None:
    """What a number of ours must not be taken for; and Table 2."""
    starts: dict[str, dict[str, dict[str, None]]] = {"": {}, **{name: {} for name in BACKBONES}}
    for found in facts.values():
        for backbone, source in starts_of(found):
            told = "not pretrained" if source is None else f"from {source}"
            starts[backbone].setdefault(told, {})[titles[found["row"]]] = None
    for backbone, paper in BACKBONES.items():
        network, having = networks[backbone], starts[backbone]
        if network == paper and having.keys() - {"from imagenet"}:
            print(f"{network}, {_told(having)}")
        elif network != paper and having:
            print(f"{network}, {_told(having)}, holds the place of {paper}")
    if starts[""].keys() - {"not pretrained"}:
        print(f"what rows call scratch: {_told(starts[''])}")
    if data == "simulated":
        print("simulated data: the paper's columns are of real data and compare with none of ours")
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
                np.array([*by_fold(accuracies(runs)).values()]),
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
