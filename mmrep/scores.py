"""The analysis `scores`: what finished runs reached, by data set and sensor, over their seeds."""

import csv
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mmrep.files import whole_file
from mmrep.plots.scores import plot_class_scores
from mmrep.plots.style import style
from mmrep.runs import is_done, read_facts
from mmrep.screen import short

HEADLINES = ("val/f1", "val/accuracy")


def report_scores(folders: Sequence[Path]) -> None:
    """Prints mean and deviation of the scores, and draws the F1 of each class, for each data set.

    Classifiers count that are DONE. Their common folder gets `figures/scores_DATA.png` and
    `analysis/scores/DATA.csv` with a row for each sensor and score.
    """
    done = [
        folder
        for folder in folders
        if is_done(folder) and HEADLINES[0] in read_facts(folder)["scores"]
    ]
    if not done:
        raise ValueError(
            f"none of the {len(folders)} runs is DONE and has {HEADLINES[0]}: finish one with "
            "resume=true, or choose runs of a classifier"
        )
    common = Path(os.path.commonpath([folder.absolute() for folder in done]))
    facts = sorted(map(read_facts, done), key=_data_set)
    for (name, source), runs in groupby(facts, key=_data_set):
        by_sensor = {
            sensor or "": list(of_sensor)
            for sensor, of_sensor in groupby(sorted(runs, key=_sensor), key=_sensor)
        }
        _report(common, name, source, by_sensor)


def _report(
    common: Path, name: str, source: str, by_sensor: dict[str, list[dict[str, Any]]]
) -> None:
    classes = next(iter(by_sensor.values()))[0]["data"]["class_names"]
    rows = [
        (sensor, score, len(runs), *_mean_and_deviation([run["scores"][score] for run in runs]))
        for sensor, runs in by_sensor.items()
        for score in (*HEADLINES, *(f"val/f1/{name}" for name in classes))
    ]
    table_path = common / "analysis" / "scores" / f"{name}.csv"
    with whole_file(table_path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("sensor", "score", "runs", "mean", "standard_deviation"))
        writer.writerows(rows)
    table = Table(title=f"{name} ({source})", title_justify="left")
    for column in ("sensor", "score", "runs", "mean", "standard deviation"):
        table.add_column(column)
    for sensor, score, num_runs, mean, deviation in rows:
        if score in HEADLINES:
            table.add_row(sensor, score, str(num_runs), f"{mean:.4f}", f"{deviation:.4f}")
    Console().print(table)
    figure = plot_class_scores(
        {
            sensor: np.array([[r["scores"][f"val/f1/{c}"] for c in classes] for r in runs])
            for sensor, runs in by_sensor.items()
        },
        classes,
        title=f"{name}: F1 of each class, validation",
        simulated=source == "simulated",
    )
    for suffix in (".svg", ".png"):
        path = common / "figures" / f"scores_{name}{suffix}"
        with whole_file(path) as part, style():
            figure.savefig(part)
    print(f"scores: {short(path)}, {short(table_path)}")


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, which one run does not have (nan)."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def _data_set(facts: dict[str, Any]) -> tuple[str, str]:
    return facts["data"]["name"], facts["data"]["source"]


def _sensor(facts: dict[str, Any]) -> str:
    return facts["sensor"] or ""
