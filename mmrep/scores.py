"""The analysis `scores`: what finished runs reached, averaged over their seeds."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.plots.scores import plot_class_scores
from mmrep.runs import is_done, read_facts
from mmrep.screen import short

HEADLINES = ("val/f1", "val/accuracy")
Facts = dict[str, Any]


def report_scores(folders: Sequence[Path], over: Sequence[str]) -> None:
    """Prints mean and deviation of the scores, and draws the F1 of each class, for each data set.

    Finished classifiers count. Runs that differ in nothing but the keys `over` (such as `seed`) are
    averaged; a row is named by its sensor, and by whatever else tells it from the others. The runs'
    common folder gets `figures/scores_DATA_SOURCE.png` and `analysis/scores/DATA_SOURCE.csv`.
    """
    done = [folder for folder in folders if is_done(folder)]
    facts = [read_facts(folder) for folder in done]
    # one run for each configuration: the same one run twice is no second sample
    unique = {json.dumps(run["config"], sort_keys=True): run for run in facts}
    facts = [run for run in unique.values() if HEADLINES[0] in run["scores"]]
    if not facts:
        raise ValueError(
            f"of the {len(folders)} runs {len(done)} are DONE and none of them has "
            f"{HEADLINES[0]}: choose finished runs of a classifier"
        )
    common = Path(os.path.commonpath([folder.absolute() for folder in done]))
    sets: dict[tuple[str, str], list[Facts]] = defaultdict(list)
    for run in facts:
        sets[run["data"]["name"], run["data"]["source"]].append(run)
    for (name, source), runs in sorted(sets.items()):
        _report(common, name, source, by_configuration(runs, over))


def by_configuration(runs: Sequence[Facts], over: Sequence[str]) -> dict[str, list[Facts]]:
    """Runs that differ in nothing but the keys `over`, under what tells them from the others."""
    configs = [dict(flat(run["config"])) for run in runs]
    known = {key for config in configs for key in config if not key.startswith("logger")}
    keys = sorted(known - {"sensor", *over})
    differing = [key for key in keys if len({str(config.get(key)) for config in configs}) > 1]
    groups: dict[str, list[Facts]] = defaultdict(list)
    for run, config in zip(runs, configs, strict=True):
        told = [f"{key}={config.get(key)}" for key in differing]
        groups[", ".join([*filter(None, [run["sensor"]]), *told]) or _network(run)].append(run)
    return dict(sorted(groups.items()))


def _network(run: Facts) -> str:
    """The network's class and depth, which may be another than the model's file says."""
    net = run["config"]["model"]["net"]
    kind = net["_target_"].rpartition(".")[2]
    return f"{kind} {net['depth']}" if "depth" in net else kind


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its whole key."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _report(common: Path, name: str, source: str, groups: dict[str, list[Facts]]) -> None:
    classes = next(iter(groups.values()))[0]["data"]["class_names"]
    rows = [
        (group, score, len(runs), *_mean_and_deviation([run["scores"][score] for run in runs]))
        for group, runs in groups.items()
        for score in (*HEADLINES, *(f"val/f1/{name}" for name in classes))
    ]
    table_path = common / "analysis" / "scores" / f"{name}_{source}.csv"
    header = ("source", "runs_of", "score", "runs", "mean", "standard_deviation")
    write_table(table_path, header, ((source, *row) for row in rows))
    table = Table(title=f"{name} ({source})", title_justify="left")
    for column in ("runs of", "score", "runs", "mean", "standard deviation"):
        table.add_column(column)
    for group, score, num_runs, mean, deviation in rows:
        spread = f"{deviation:.4f}" if num_runs > 1 else "-"
        if score in HEADLINES:
            table.add_row(group, score, str(num_runs), f"{mean:.4f}", spread)
    Console().print(table)
    figure = plot_class_scores(
        {
            group: np.array([[run["scores"][f"val/f1/{c}"] for c in classes] for run in runs])
            for group, runs in groups.items()
        },
        classes,
        title=f"{name}: F1 of each class, validation",
        simulated=source == "simulated",
    )
    path = write_figure(common, f"scores_{name}_{source}", figure)
    print(f"scores: {short(path)}, {short(table_path)}")


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, which one run does not have (nan)."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
