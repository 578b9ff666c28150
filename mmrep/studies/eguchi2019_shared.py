"""Eguchi et al. 2019: Figure 5, and what the paper states of shared representations."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.plots.shared_learning import plot_shared_learning
from mmrep.runs import read_facts
from mmrep.studies import eguchi2019_numbers as published
from mmrep.studies.eguchi2019_runs import (
    TWO_STAGE_DEPTH,
    Kind,
    networks_of,
    say_missing,
)
from mmrep.studies.group_tests import (
    GroupTest,
    above,
    anova,
    mean_and_deviation,
    print_tests,
    t_tests,
    write_tests,
)
from mmrep.studies.pairs import common_folder, folders_of
from mmrep.studies.shared_learning import (
    DIRECTIONS,
    MODALITIES,
    SharedAccuracy,
    kept_shared_accuracy,
)
from mmrep.studies.statements import Statement, conclude

TWO_STAGE = Kind("two-stage", TWO_STAGE_DEPTH, "consistent")
DEPTHS = (1, 2, 3, 4)
SENSES = {"visual": "vision", "auditory": "audition"}
CROSS = {"V2A": "auditory", "A2V": "visual"}  # the modality that the head has never met
NEAR = 5  # points that "near" and "about" mean
WITHIN = {
    "visual": (90.0, 90.0),
    "auditory": (60.0, 74.0),
}  # percent of the modality that was learnt
DIFFERENT = 0.05  # p below which consistent pairs count as different from inconsistent ones

# Percent right of each run: layers, directions (V2A, A2V), tested modalities (visual, auditory).
Accuracy = Float64[np.ndarray, "runs layers directions modalities"]


class Found(NamedTuple):
    """Of one kind of network, its runs in the order of their seeds."""

    seeds: list[int]
    layers: list[int]
    percent: Accuracy

    def of(self, direction: str, tested: str, layer: int = -1) -> Float64[np.ndarray, "runs"]:
        """Percent right of each run; `layer` is a place among those read, the last by default."""
        return self.percent[:, layer, [*DIRECTIONS].index(direction), MODALITIES.index(tested)]


def report_shared_learning(
    folders: Sequence[Path], *, name: str, checkpoint: str, epochs: int, layers: str, seed: int
) -> None:
    """Heads on the frozen codes of all runs: Figure 5, tables, tests, the paper's statements."""
    networks = networks_of(folders)
    study = common_folder(folders_of(networks))
    jobs = [(kind, folder) for kind, by_seed in networks.items() for folder in by_seed.values()]
    scores: dict[Kind, list[SharedAccuracy]] = {kind: [] for kind in networks}
    for kind, folder in track(jobs, description="heads on codes"):
        scores[kind].append(
            kept_shared_accuracy(
                folder, checkpoint=checkpoint, epochs=epochs, layers=layers, seed=seed
            )
        )
    found = {
        kind: Found([*networks[kind]], of[0].layers, 100 * np.stack([one.accuracy for one in of]))
        for kind, of in scores.items()
    }
    facts = read_facts(jobs[0][1])["data"]
    say_missing(networks, published.SHARED)
    print_accuracies(found, facts)
    _write_tables(study / "analysis" / name, name, found, facts["source"])
    _draw(study, name, found, facts)
    rows = group_tests_of(found)
    write_tests(study / "analysis" / name / "tests.csv", rows)
    print_tests(rows)
    statements = statements_of(found, chance=100 / len(facts["class_names"]))
    conclude(study, name, statements, units="percent right, mean and deviation over runs")


def print_accuracies(found: Mapping[Kind, Found], facts: Mapping[str, Any]) -> None:
    """Heads on the last layer, beside the paper's."""
    mark = ", simulated data" if facts["source"] == "simulated" else ""
    table = Table(
        title=f"{facts['name']}{mark}: percent right on the last layer (paper's one run)",
        title_justify="left",
        box=SIMPLE,  # narrow enough for a terminal
    )
    for column in ("network, pairs", "runs", "head"):
        table.add_column(column)
    for sense in SENSES.values():
        table.add_column(f"on {sense}", justify="right")
    for kind, of in found.items():
        for direction in DIRECTIONS:
            cells = []
            for tested in MODALITIES:
                mean, deviation = mean_and_deviation(of.of(direction, tested))
                spread = "" if deviation is None else f" ± {deviation:.1f}"
                paper = published.shared_accuracy(kind, of.layers[-1], direction, tested)
                cells.append(f"{mean:.1f}{spread}" + ("" if paper is None else f" ({paper:g})"))
            table.add_row(str(kind), str(len(of.seeds)), direction, *cells)
    Console().print(table)


def _write_tables(folder: Path, name: str, found: Mapping[Kind, Found], source: str) -> None:
    of_network = ("source", "framework", "depth", "pairing")
    of_head = ("layer", "direction", "tested")
    write_table(
        folder / f"{name}.csv",
        (*of_network, "seed", *of_head, "percent"),
        (
            (source, *kind, seed, *head, percent)
            for kind, of in found.items()
            for *head, runs, _ in _heads(kind, of)
            for seed, percent in zip(of.seeds, runs, strict=True)
        ),
    )
    header = (*of_network, *of_head, "runs", "percent", "deviation", "paper")
    every = [
        (layer == of.layers[-1], (source, *kind, layer, *head, len(runs), *mean_and_deviation(runs),
                                  paper))
        for kind, of in found.items()
        for layer, *head, runs, paper in _heads(kind, of)
    ]  # fmt: skip
    write_table(folder / "layers.csv", header, (row for _, row in every))
    write_table(folder / "summary.csv", header, (row for is_last, row in every if is_last))


def _heads(
    kind: Kind, of: Found
) -> Iterator[tuple[int, str, str, Float[np.ndarray, "runs"], float | None]]:
    """Layer, direction, tested modality; percent right of each run, and the paper's."""
    for place, layer in enumerate(of.layers):
        for direction, tested in product(DIRECTIONS, MODALITIES):
            paper = published.shared_accuracy(kind, layer, direction, tested)
            yield layer, direction, tested, of.of(direction, tested, place), paper


def _draw(study: Path, name: str, found: Mapping[Kind, Found], facts: Mapping[str, Any]) -> None:
    """Figure 5, and the same along the layers of the deepest network."""
    counts = sorted({len(of.seeds) for of in found.values()})
    runs = f"runs: {'-'.join(map(str, sorted({counts[0], counts[-1]})))}"
    shared = {
        "chance": 100 / len(facts["class_names"]),
        "simulated": facts["source"] == "simulated",
    }
    heads = [*product(DIRECTIONS, MODALITIES)]
    by_depth: dict[tuple[str, str, str], dict[int, np.ndarray]] = {}
    by_layer: dict[tuple[str, str, str], dict[int, np.ndarray]] = {}
    two_stage: dict[tuple[str, str, str], np.ndarray] = {}
    for (framework, depth, pairing), of in found.items():
        for direction, tested in heads:
            key = (direction, tested, pairing)
            if framework == "two-stage":
                two_stage[key] = of.of(direction, tested)
                continue
            by_depth.setdefault(key, {})[depth] = of.of(direction, tested)
            if depth == DEPTHS[-1] and len(of.layers) > 1:
                by_layer[key] = {
                    layer: of.of(direction, tested, place) for place, layer in enumerate(of.layers)
                }
    figure = plot_shared_learning(
        by_depth, two_stage, along="layers of the encoder",
        title=f"{facts['name']}: heads on the last layer's codes; {runs}", **shared,
    )  # fmt: skip
    write_figure(study, name, figure)
    if by_layer:
        figure = plot_shared_learning(
            by_layer, {}, along=f"layer of the {DEPTHS[-1]}-layer encoder",
            title=f"{facts['name']}: heads on each layer's codes; {runs}", **shared,
        )  # fmt: skip
        write_figure(study, f"{name}_layers", figure)


def group_tests_of(found: Mapping[Kind, Found]) -> list[GroupTest]:
    """Of the last layer's accuracy on the modality never met, where there are runs enough."""
    rows: list[GroupTest] = []
    several = {kind: of for kind, of in found.items() if len(of.seeds) > 1}
    for direction, tested in CROSS.items():
        head = f"{direction} on {SENSES[tested]}"
        percent = {kind: of.of(direction, tested) for kind, of in several.items()}
        for kind in percent:
            if kind.pairing == "consistent" and (other := _inconsistent(kind)) in percent:
                about = f"{head}: consistent pairs above inconsistent"
                rows += t_tests(about, kind.network, percent[kind], percent[other])
        if (mixed := _mixed(DEPTHS[-1])) in percent and TWO_STAGE in percent:
            about = f"{head}: mixed above two-stage"
            paper = f"< {published.MIXED_ABOVE_TWO_STAGE[direction]:g}"
            of_both = (percent[mixed], percent[TWO_STAGE])
            rows += t_tests(about, str(mixed), *of_both, paper_p=paper)
        for pairing in ("consistent", "inconsistent"):
            kinds = [kind for kind in percent if kind[::2] == ("mixed", pairing)]
            if len(kinds) > 1:
                of = f"{', '.join(str(kind.depth) for kind in kinds)} layers, {pairing}"
                rows.append(anova(f"{head}: depth", of, [percent[kind] for kind in kinds]))
    return rows


def statements_of(found: Mapping[Kind, Found], *, chance: float) -> list[Statement]:
    """The published numbers beside ours, then what the paper claims of them."""
    return [*_numbers(found), *_claims(found, chance)]


def _numbers(found: Mapping[Kind, Found]) -> Iterator[Statement]:
    for kind, of in found.items():
        for layer, direction, tested, runs, paper in _heads(kind, of):
            if paper is not None:
                about = f"{direction} on {SENSES[tested]}, layer {layer}"
                yield Statement(about, str(kind), paper, *mean_and_deviation(runs), "", None)


def _claims(found: Mapping[Kind, Found], chance: float) -> Iterator[Statement]:
    """Of the networks that the paper shows."""
    shown = {kind: of for kind, of in found.items() if kind in published.SHARED}
    for (direction, own), (kind, of) in product(DIRECTIONS.items(), shown.items()):
        low, high = WITHIN[own][0] - NEAR, WITHIN[own][1] + NEAR
        about = f"{direction} on {SENSES[own]}, which was learnt"
        yield _between(about, str(kind), of.of(direction, own), low, high)
        head = f"{direction} on {SENSES[CROSS[direction]]}, never met"
        cross = of.of(direction, CROSS[direction])
        if kind.pairing == "inconsistent":
            about = f"{head}: near chance after inconsistent pairs"
            yield _between(about, str(kind), cross, chance - NEAR, chance + NEAR)
        elif (other := _inconsistent(kind)) in shown:
            about = f"{head}: consistent pairs above inconsistent"
            others = shown[other].of(direction, CROSS[direction])
            yield above(about, kind.network, cross, others, DIFFERENT)
    mixed = _mixed(DEPTHS[-1])
    if mixed in found and TWO_STAGE in found:
        for direction, tested in CROSS.items():
            about = f"{direction} on {SENSES[tested]}, never met: mixed above two-stage"
            ours, others = (found[kind].of(direction, tested) for kind in (mixed, TWO_STAGE))
            bound = published.MIXED_ABOVE_TWO_STAGE[direction]
            yield above(about, str(mixed), ours, others, bound)


def _between(
    about: str, of: str, runs: Float[np.ndarray, "runs"], low: float, high: float
) -> Statement:
    mean, deviation = mean_and_deviation(runs)
    bound = f"{low:g} to {high:g}"
    return Statement(about, of, None, mean, deviation, bound, low <= mean <= high)


def _mixed(depth: int) -> Kind:
    return Kind("mixed", depth, "consistent")


def _inconsistent(kind: Kind) -> Kind:
    return kind._replace(pairing="inconsistent")
