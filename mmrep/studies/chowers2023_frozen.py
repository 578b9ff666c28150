"""Chowers & Weiss 2023, Figures 2 and 20: what a first layer that never learns costs, by depth.

Compared is what a training logs along the way. Accuracy on the training images, which the paper
shows too, is not among it; the training loss is, which dropout and batch norm raise.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from mmrep.files import write_table
from mmrep.loggers import read_metrics, write_figure
from mmrep.plots.chowers2023_frozen import plot_frozen
from mmrep.runs import read_facts
from mmrep.screen import short
from mmrep.studies.chowers2023 import TITLES
from mmrep.studies.group_tests import mean_and_deviation
from mmrep.studies.pairs import common_folder, finished, folders_of, networks_of
from mmrep.studies.statements import Statement, conclude

ACCURACY = "val/accuracy"
QUANTITIES = {ACCURACY: "validation accuracy", "val/loss": "validation loss",
              "train/loss": "training loss"}  # fmt: skip
UNITS = {ACCURACY: "percent", "val/loss": "nats", "train/loss": "nats"}
FIRST_LAYER = {False: "free", True: "frozen"}
SMALL = 1.0  # percent of images: what "almost indistinguishable" is taken to mean; no published one

Curves = Float64[np.ndarray, "runs epochs quantities"]  # accuracy in percent, losses in nats


class Kind(NamedTuple):
    """What the study tells networks by."""

    depth: int
    frozen: bool  # the first layer

    def __str__(self) -> str:
        return f"VGG{self.depth}, first layer {FIRST_LAYER[self.frozen]}"


class Trained(NamedTuple):
    """The networks of one kind in the order of their seeds, up to the last epoch that all have."""

    seeds: list[int]
    curves: Curves


def report_frozen(folders: Sequence[Path], name: str) -> None:
    """Curves, gaps and the paper's statement, of VGGs that finished on one data set."""
    runs = runs_of(folders)
    found = {kind: read_trained(by_seed) for kind, by_seed in runs.items()}
    gaps = gaps_of(found)
    if not gaps:
        raise ValueError(
            f"there are no runs of one depth and seed with the first layer free and frozen, but of "
            f"{'; '.join(map(str, found))}: train them with python train.py "
            "experiment=chowers2023_frozen"
        )
    study = common_folder(folders_of(runs))
    facts = read_facts(next(iter(next(iter(runs.values())).values())))
    _write_tables(study / "analysis" / name, found, gaps, facts["data"]["source"])
    _draw(study, name, found, facts)
    print("accuracy on the training images is not logged, and left out")
    units = "free minus frozen; accuracy in percent, losses in nats"
    conclude(study, name, statements_of(gaps, _title(facts)), units=units)


def runs_of(folders: Sequence[Path]) -> dict[Kind, dict[int, Path]]:
    """Finished VGGs by kind and seed; says what is left out.

    ValueError: none, several data sets, or networks that differ in more than the study asks for.
    """
    vggs = []
    for folder in finished(folders):
        if _net(folder)["_target_"].endswith(".VGG"):
            vggs.append(folder)
        else:
            print(f"left out {short(folder)}: no VGG")
    if not vggs:
        raise ValueError(
            f"none of the {len(folders)} runs is a finished VGG: train them with python train.py "
            "experiment=chowers2023_frozen"
        )
    runs: dict[Kind, dict[int, Path]] = {}
    for name, by_seed in networks_of(vggs).items():
        net = _net(next(iter(by_seed.values())))
        kind = Kind(net["depth"], bool(net.get("freeze_first_layer")))
        if kind in runs:
            raise ValueError(
                f"{name}: there are others of {kind}, such as "
                f"{short(next(iter(runs[kind].values())))}; give runs that differ in depth, first "
                "layer and seed alone"
            )
        runs[kind] = by_seed
    return dict(sorted(runs.items()))


def read_trained(by_seed: Mapping[int, Path]) -> Trained:
    curves = [read_curves(folder) for folder in by_seed.values()]
    shared = min(map(len, curves))
    return Trained([*by_seed], np.stack([one[:shared] for one in curves]))


def read_curves(run: Path) -> Float64[np.ndarray, "epochs quantities"]:
    """What a run has logged after each epoch of its training.

    The validation of the trained network, which stands in a last row, is of no further epoch.
    """
    rows = [row for row in read_metrics(run / "metrics.csv") if QUANTITIES.keys() <= row.keys()]
    if not rows:
        raise ValueError(
            f"{run} has no epoch with {', '.join(QUANTITIES)} in metrics.csv: train it anew"
        )
    factor = {"percent": 100.0, "nats": 1.0}
    return np.array(
        [[factor[UNITS[name]] * float(row[name]) for name in QUANTITIES] for row in rows]
    )


def gaps_of(found: Mapping[Kind, Trained]) -> dict[int, Trained]:
    """By depth: free minus frozen, of seeds that have both, up to the last epoch of both.

    Networks of one seed start from the same weights and see the images in the same order.
    """
    gaps = {}
    for depth in dict.fromkeys(kind.depth for kind in found):
        free, frozen = (found.get(Kind(depth, one)) for one in FIRST_LAYER)
        seeds = [] if not free or not frozen else [s for s in free.seeds if s in frozen.seeds]
        if free is None or frozen is None or not seeds:
            print(f"left out depth {depth}: no seed with the first layer free and frozen")
            continue
        shared = min(free.curves.shape[1], frozen.curves.shape[1])
        x, y = (of.curves[[of.seeds.index(s) for s in seeds], :shared] for of in (free, frozen))
        gaps[depth] = Trained(seeds, x - y)
    return gaps


def statements_of(gaps: Mapping[int, Trained], data: str) -> list[Statement]:
    """That the curves become almost indistinguishable with depth, for which no number is printed.

    Of the gap between mean curves, after the last epoch and as the mean distance over all epochs.
    """
    shallow, deep = min(gaps), max(gaps)
    statements = []
    for quantity, title in QUANTITIES.items():
        for reading in ("last epoch", "mean over epochs"):
            if shallow < deep:
                shrinks = _distance(gaps[shallow], quantity, reading)
                shrinks -= _distance(gaps[deep], quantity, reading)
                about = f"{title}, {reading}: gap shrinks with depth"
                of = f"{data}, VGG{shallow} to VGG{deep}"
                statements.append(Statement(about, of, None, shrinks, None, "> 0", shrinks > 0))
            size, spread = _distance(gaps[deep], quantity, reading), None
            if reading == "last epoch":
                *_, spread = mean_and_deviation(_of(gaps[deep], quantity)[:, -1])
            bound, holds = "", None
            if quantity == ACCURACY:
                bound, holds = f"at most {SMALL:g}", size <= SMALL
            about = f"{title}, {reading}: size of the gap"
            statements.append(
                Statement(about, f"{data}, VGG{deep}", None, size, spread, bound, holds)
            )
    return statements


def _distance(gap: Trained, quantity: str, reading: str) -> float:
    """Of the mean curves."""
    by_epoch = np.abs(_of(gap, quantity).mean(axis=0))
    return float(by_epoch[-1] if reading == "last epoch" else by_epoch.mean())


def _of(trained: Trained, quantity: str) -> Float64[np.ndarray, "runs epochs"]:
    return trained.curves[..., [*QUANTITIES].index(quantity)]


def _write_tables(
    folder: Path, found: Mapping[Kind, Trained], gaps: Mapping[int, Trained], source: str
) -> None:
    write_table(
        folder / "curves.csv",
        ("source", "depth", "first_layer", "seed", "epoch", *QUANTITIES),
        (
            (source, kind.depth, FIRST_LAYER[kind.frozen], seed, epoch, *values)
            for kind, of in found.items()
            for seed, run in zip(of.seeds, of.curves.tolist(), strict=True)
            for epoch, values in enumerate(run, start=1)
        ),
    )
    header = ("source", "depth", "quantity", "unit", "epoch", "seeds", "free", "free_deviation",
              "frozen", "frozen_deviation", "gap", "gap_deviation", "gap_over_epochs")  # fmt: skip
    write_table(folder / "gaps.csv", header, ((source, *row) for row in _gap_rows(found, gaps)))


def _gap_rows(
    found: Mapping[Kind, Trained], gaps: Mapping[int, Trained]
) -> Iterator[tuple[Any, ...]]:
    """After the last epoch that free and frozen have, of the seeds that have both."""
    for depth, gap in gaps.items():
        epochs = gap.curves.shape[1]
        for quantity in QUANTITIES:
            ends: list[float | None] = []
            for one in FIRST_LAYER:
                kind = found[Kind(depth, one)]
                chosen = [kind.seeds.index(seed) for seed in gap.seeds]
                ends += mean_and_deviation(_of(kind, quantity)[chosen, epochs - 1])
            ends += mean_and_deviation(_of(gap, quantity)[:, -1])
            over = _distance(gap, quantity, "mean over epochs")
            yield depth, quantity, UNITS[quantity], epochs, len(gap.seeds), *ends, over


def _draw(study: Path, name: str, found: Mapping[Kind, Trained], facts: Mapping[str, Any]) -> None:
    """A figure of accuracy, and one of the losses."""
    counts = sorted({len(of.seeds) for of in found.values()})
    runs = f"runs: {'-'.join(map(str, dict.fromkeys((counts[0], counts[-1]))))}"
    for suffix, shown in (("", [ACCURACY]), ("_loss", ["val/loss", "train/loss"])):
        panels = {
            (QUANTITIES[quantity], f"VGG{depth}"): {
                FIRST_LAYER[kind.frozen]: _of(of, quantity)
                for kind, of in found.items()
                if kind.depth == depth
            }
            for quantity in shown
            for depth in dict.fromkeys(kind.depth for kind in found)
        }
        figure = plot_frozen(
            panels,
            unit=UNITS[shown[0]],
            title=f"{_title(facts)}: first layer free or frozen as it was drawn; {runs}",
            simulated=facts["data"]["source"] == "simulated",
        )
        write_figure(study, f"{name}{suffix}", figure)


def _title(facts: Mapping[str, Any]) -> str:
    name, classes = facts["data"]["name"], facts["config"]["data"].get("classes")
    title = TITLES.get(name, name)
    return f"{title} {'/'.join(classes)}" if classes else title


def _net(run: Path) -> dict[str, Any]:
    net: dict[str, Any] = read_facts(run)["config"]["model"]["net"]
    return net
