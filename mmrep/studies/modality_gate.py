"""Networks with gates, without them and of single modalities, under the same corruptions.

What the analysis `modality_gate` has written into each run is averaged over folds and seeds.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf

from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.plots.modality_gate import plot_networks
from mmrep.runs import read_facts
from mmrep.scores import flat
from mmrep.screen import print_columns, say_analysed, short
from mmrep.studies.group_tests import mean_and_deviation
from mmrep.studies.pairs import common_folder, finished

FOLDER = Path("analysis") / "modality_gate"


class Kind(NamedTuple):
    """What the study tells networks by."""

    network: str  # the model's name, and what tells it from others of that model
    corruption_rate: float  # of the training samples

    @property
    def training(self) -> str:
        rate = self.corruption_rate
        return f"trained corrupted (rate {rate:g})" if rate > 0 else "trained clean"

    def __str__(self) -> str:
        return f"{self.network}, {self.training}"


class Measured(NamedTuple):
    """The numbers of one network, by kind and level of corruption: accuracy, and gates' means."""

    fold: int | None
    seed: int
    numbers: dict[tuple[str, float], dict[str, float]]


@rank_zero_only
def report_gates(folders: Sequence[Path], name: str) -> None:
    """What was written into each run, and of several runs curves and a table of all.

    The runs' common folder gets `analysis/modality_gate/corruption.csv` and
    `figures/modality_gate_networks.png`, and beside it `_gate_NAME` for each gated modality.

    ValueError: none is DONE, several data sets, one network, fold and seed twice, or numbers of
    another epoch than a run's last, as checkpoint=init leaves them.
    """
    say_analysed(folders, name)
    if len(folders) == 1:
        return
    done = finished(folders)
    found, data = measured(done), read_facts(done[0])["data"]
    study = common_folder(folders)
    path = study / FOLDER / "corruption.csv"
    rows = averaged(found)
    columns = dict.fromkeys(column for row in rows for column in row)
    write_table(
        path, ("source", *columns), ((data["source"], *map(row.get, columns)) for row in rows)
    )
    figures = _draw(study, name, found, data)
    _say(found)
    print(f"table    {short(path)}")
    print(f"figures  {', '.join(map(short, figures))}")


def measured(folders: Sequence[Path]) -> dict[Kind, list[Measured]]:
    """What the analysis has found in finished runs, by what the networks are."""
    networks: dict[Kind, dict[tuple[Any, int], Path]] = {}
    sets: dict[tuple[str, str], Path] = {}
    known = {folder: read_facts(folder) for folder in folders}
    names = _names(known)
    for folder, facts in known.items():
        data = facts["config"]["data"]
        kind = Kind(names[folder], float(data.get("corruption_rate", 0)))
        place = facts["config"].get("fold", data.get("fold")), facts["seed"]
        by_place = networks.setdefault(kind, {})
        if place in by_place:
            raise ValueError(
                f"{short(by_place[place])} and {short(folder)} are both {kind} of fold {place[0]} "
                f"and seed {place[1]}: give one of them"
            )
        by_place[place] = folder
        sets[facts["data"]["name"], facts["data"]["source"]] = folder
    if len(sets) > 1:
        of = "; ".join(f"{source} {name}" for name, source in sets)
        raise ValueError(f"the runs are of {len(sets)} data sets, {of}: give those of one")
    return {
        kind: [Measured(*place, read_numbers(folder)) for place, folder in sorted(by_place.items())]
        for kind, by_place in sorted(networks.items())
    }


def _names(known: Mapping[Path, Mapping[str, Any]]) -> dict[Path, str]:
    """Each run's model and, of `model.net`, whatever differs between the runs of that model."""
    names: dict[Path, str] = {}
    for model in {facts["model"] for facts in known.values()}:
        nets = {
            folder: dict(flat(_network_of(facts)))
            for folder, facts in known.items()
            if facts["model"] == model
        }
        keys = dict.fromkeys(key for net in nets.values() for key in net)
        settings = dict.fromkeys(  # once, where those of several branches go together
            (key.rpartition(".")[2], tuple(str(net.get(key)) for net in nets.values()))
            for key in keys
        )
        differing = [(name, values) for name, values in settings if len({*values}) > 1]
        for place, folder in enumerate(nets):
            told = [f"{name}={values[place]}" for name, values in differing]
            names[folder] = ", ".join([model, *told])
    return names


def _network_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`model.net` in plain values: a backbone, say, is named elsewhere in the configuration."""
    net = OmegaConf.create(facts["config"]).model.net
    plain: dict[str, Any] = OmegaConf.to_container(net, resolve=True)  # type: ignore[assignment]
    return plain


def read_numbers(run: Path) -> dict[tuple[str, float], dict[str, float]]:
    """Accuracy and, as far as there are gates, their means and deviations over samples.

    FileNotFoundError: the run has not been analysed. ValueError: it was with other weights than
    those after its last epoch.
    """
    path = run / FOLDER / "corruption.csv"
    remedy = f"python analyze.py analysis=modality_gate runs={run}"
    if not path.exists():
        raise FileNotFoundError(f"{run} has no {FOLDER / 'corruption.csv'}: {remedy}")
    with path.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    last, epoch = read_facts(run)["epochs"], next((row.get("epoch") for row in rows), None)
    if epoch != str(last):
        raise ValueError(
            f"{path} is of epoch {epoch or 'unknown'}, and the run was trained to epoch {last}: "
            f"write it anew with {remedy}"
        )
    return {
        (row["kind"], float(row["level"])): {
            name: float(value)
            for name, value in row.items()
            if name == "accuracy" or name.startswith("gate_")
        }
        for row in rows
    }


def averaged(found: Mapping[Kind, Sequence[Measured]]) -> list[dict[str, Any]]:
    """A row for each network, corruption and level that all its runs have.

    `accuracy_deviation` and `gate_NAME_deviation_over_runs` are over runs (with n - 1);
    `gate_NAME_deviation` is the mean of the runs' deviations over samples.
    """
    rows: list[dict[str, Any]] = []
    for kind, runs in found.items():
        for corruption, level in _shared(runs):
            row: dict[str, Any] = {
                "network": kind.network,
                "corruption_rate": kind.corruption_rate,
                "kind": corruption,
                "level": level,
                "runs": len(runs),
                "folds": len({run.fold for run in runs}),
                "seeds": len({run.seed for run in runs}),
            }
            for name in runs[0].numbers[corruption, level]:
                values = np.array([run.numbers[corruption, level][name] for run in runs])
                mean, deviation = mean_and_deviation(values)
                over = "_deviation" if name == "accuracy" else "_deviation_over_runs"
                row |= {name: mean}
                if name == "accuracy" or not name.endswith("_deviation"):
                    row |= {f"{name}{over}": deviation}
            rows.append(row)
    return rows


def _shared(runs: Sequence[Measured]) -> list[tuple[str, float]]:
    return [key for key in runs[0].numbers if all(key in run.numbers for run in runs)]


def _curve(runs: Sequence[Measured], corruption: str, name: str) -> Float64[np.ndarray, "3 levels"]:
    """Level, mean and deviation over runs."""
    keys = [key for key in _shared(runs) if key[0] == corruption]
    values = np.array([[run.numbers[key][name] for key in keys] for run in runs])
    deviation = values.std(axis=0, ddof=1) if len(runs) > 1 else np.full(len(keys), np.nan)
    return np.stack([[level for _, level in keys], values.mean(axis=0), deviation])


def _draw(
    study: Path, name: str, found: Mapping[Kind, Sequence[Measured]], data: Mapping[str, Any]
) -> list[Path]:
    """A figure of accuracy, and one of each modality's gates."""
    counts = sorted({len(runs) for runs in found.values()})
    over = f"runs: {'-'.join(map(str, dict.fromkeys((counts[0], counts[-1]))))}"
    simulated = data.get("set") == "simulated"
    of = f"simulated solids, {data['preset']}" if simulated else data["name"]
    title = f"{of}, tested folds; mean and deviation over folds and seeds; {over}"
    paths = []
    for number in _numbers(found):
        accuracy = number == "accuracy"
        factor = 100 if accuracy else 1
        curves: dict[tuple[str, str], dict[str, Float64[np.ndarray, "3 _"]]] = {}
        flat: dict[str, dict[str, float]] = {}
        having = {k: runs for k, runs in found.items() if number in _first(runs)}
        for kind, runs in sorted(having.items(), key=lambda of: of[0].corruption_rate):
            for corruption in _corruptions(found):
                lines = curves.setdefault((kind.training, corruption), {})
                if any(key[0] == corruption for key in _shared(runs)):
                    scale = np.array([[1], [factor], [factor]])
                    lines[kind.network] = _curve(runs, corruption, number) * scale
            if accuracy:
                intact = np.mean([_first([run])[number] for run in runs])
                flat.setdefault(kind.training, {})[kind.network] = float(factor * intact)
        figure = plot_networks(
            curves,
            flat,
            quantity="right answers (%)" if accuracy else f"mean gate of {number[len('gate_') :]}",
            title=title,
            simulated=data["source"] == "simulated",
        )
        suffix = "" if accuracy else f"_{number}"
        paths.append(write_figure(study, f"{name}_networks{suffix}", figure))
    return paths


def _first(runs: Sequence[Measured]) -> dict[str, float]:
    """Of the first run, what it does with intact images."""
    return next(iter(runs[0].numbers.values()))


def _corruptions(found: Mapping[Kind, Sequence[Measured]]) -> list[str]:
    """Those of any network, in the order in which the one that sees most has them."""
    of_networks = [[corruption for corruption, _ in _shared(runs)] for runs in found.values()]
    by_length = sorted(of_networks, key=len, reverse=True)
    return list(dict.fromkeys(corruption for of in by_length for corruption in of))


def _numbers(found: Mapping[Kind, Sequence[Measured]]) -> list[str]:
    """Accuracy, then each modality's mean gate."""
    names = dict.fromkeys(name for runs in found.values() for name in _first(runs))
    return [name for name in names if not name.endswith("_deviation")]


def _say(found: Mapping[Kind, Sequence[Measured]]) -> None:
    """Accuracy of intact images, and under the most of each corruption."""
    corruptions = _corruptions(found)
    table = [("network", "training", "runs", "intact", *corruptions)]
    for kind, runs in found.items():
        ends = {corruption: level for corruption, level in _shared(runs)}  # the last stays
        told = [
            f"{np.mean([run.numbers[c, ends[c]]['accuracy'] for run in runs]):.1%}"
            if c in ends
            else "-"
            for c in corruptions
        ]
        intact = np.mean([_first([run])["accuracy"] for run in runs])
        table.append((kind.network, kind.training, str(len(runs)), f"{intact:.1%}", *told))
    print("\nright answers, of intact images and under the most of each corruption:")
    print_columns(table)
