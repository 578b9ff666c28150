"""Eguchi et al. 2019: Figures 2 to 4 and the supplement's tables, over runs of every network."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from rich.progress import track

from mmrep import cells
from mmrep.cells import (
    AUDITORY,
    EXAMPLE_COLUMNS,
    VISUAL,
    example_rows,
    examples_of,
    layers_of,
    measure,
    own_thresholds_of,
)
from mmrep.files import whole_file, write_table
from mmrep.loggers import write_figure
from mmrep.networks import autoencoder
from mmrep.plots.cell_selectivity import plot_example_cells
from mmrep.plots.eguchi2019_cells import (
    plot_cells_by_layer,
    plot_counts_by_network,
    plot_information_by_pairing,
)
from mmrep.runs import epochs_of, load_checkpoint, load_run, read_facts
from mmrep.screen import print_columns
from mmrep.stats import cells as stats_cells
from mmrep.stats import information
from mmrep.stats.cells import (
    CONSTANTS,
    NORMALISATIONS,
    SHOWN,
    Thresholds,
    cell_classes,
    count_classes,
    own_thresholds,
    ranked_information,
)
from mmrep.stats.information import CELLS, threshold
from mmrep.studies import eguchi2019_numbers as published
from mmrep.studies.eguchi2019_cell_statements import group_tests_of, statements_of
from mmrep.studies.eguchi2019_runs import Kind, networks_of, say_missing
from mmrep.studies.group_tests import mean_and_deviation, print_tests, write_tests
from mmrep.studies.pairs import Networks, common_folder, folders_of
from mmrep.studies.statements import conclude

REFERENCE = Kind("mixed", 4, "consistent")  # whose 80th percentiles are everybody's thresholds
THRESHOLDS = ("constants", "reference", "self")
WHEN = ("before", "after")  # training
WORDS = {  # of thresholds, for figures
    "constants": "the published constants",
    "reference": f"80th percentiles of all runs of {REFERENCE}",
    "self": "80th percentiles of each network",
}


class Measured(NamedTuple):
    """A run's bits before and after training."""

    layers: list[str]
    before: Float64[np.ndarray, "layers shown normalisations stimuli units"]
    after: Float64[np.ndarray, "layers shown normalisations stimuli units"]


class Counts(NamedTuple):
    """How many cells of each class a kind of network has, run by run."""

    seeds: list[int]
    before: Float64[np.ndarray, "networks layers normalisations classes"]
    after: Float64[np.ndarray, "networks layers normalisations classes"]


def report_cells(
    folders: Sequence[Path],
    *,
    name: str,
    checkpoint: str,
    threshold: str | None,
    positive_only: bool,
) -> None:
    """Counts of cells, ranked information, examples, tests and the paper's statements.

    `threshold` says above what bits a cell is selective: `constants`, the paper's, on real MNIST
    and FSDD alone; `reference`, the 80th percentiles of all 4-layer networks trained on consistent
    pairs together; `self`, of each network on its own, which nearly erases what sets them apart.
    All that there are go into the tables, and figures and statements have the one asked for, by
    default the first of them.
    """
    networks = networks_of(folders)
    say_missing(networks, published.CELLS)
    study = common_folder(folders_of(networks))
    jobs = [(kind, folder) for kind, by_seed in networks.items() for folder in by_seed.values()]
    measured: dict[Kind, list[Measured]] = {kind: [] for kind in networks}
    for kind, folder in track(jobs, description="cells"):
        measured[kind].append(
            kept_measured(folder, checkpoint=checkpoint, positive_only=positive_only)
        )
    facts = read_facts(jobs[0][1])["data"]
    kinds = _kinds_of_threshold(threshold, facts, measured, positive_only=positive_only)
    counts = {of: _counts(networks, measured, of) for of in kinds}
    chosen = kinds[0]
    folder = study / "analysis" / name
    _write_tables(folder, name, counts, measured, facts["source"])
    _print_counts(counts[chosen], chosen, facts)
    path = jobs[0][1] / "checkpoints" / f"{checkpoint}.ckpt"
    epochs = epochs_of(torch.load(path, map_location="cpu", weights_only=True))
    terms = "" if positive_only else "; all terms of equation 4"
    how = f"{epochs} epochs; thresholds: {WORDS[chosen]}{terms}"
    _draw(study, name, counts[chosen], measured, facts, how=how)
    example = next(iter(networks.get(REFERENCE, networks[jobs[0][0]]).values()))
    _draw_examples(study, name, example, checkpoint, _bounds(chosen, measured), how=how)
    tests = group_tests_of(counts[chosen])
    write_tests(folder / "tests.csv", tests)
    print_tests(tests)
    ranked = {
        kind: {
            when: np.stack([getattr(one, when)[-1].max(axis=2).mean(axis=2) for one in of])
            for when in WHEN
        }
        for kind, of in measured.items()
    }
    units = "cells of 64 and bits, mean and deviation over runs"
    conclude(study, name, statements_of(counts[chosen], ranked), units=units)


def kept_measured(folder: Path, *, checkpoint: str, positive_only: bool) -> Measured:
    """The bits of each layer of a run's encoder, with the initial weights and a checkpoint's.

    From `analysis/cells/CHECKPOINT.npz` where it has been done with these weights and options.
    """
    files = [folder / "checkpoints" / f"{name}.ckpt" for name in ("init", checkpoint)]
    modules = (cells, stats_cells, information, autoencoder)
    sources = [Path(module.__file__ or "") for module in modules]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (*files, *sources)]
    key = json.dumps([digests, positive_only])
    path = folder / "analysis" / "cells" / f"{checkpoint}.npz"
    if path.exists() and str((stored := np.load(path))["key"]) == key:
        return Measured(stored["layers"].tolist(), stored["before"], stored["after"])
    found = []
    task, data = load_run(folder, checkpoint=checkpoint)
    layers = layers_of(task.net)
    for name in ("init", checkpoint):
        load_checkpoint(task, folder / "checkpoints" / f"{name}.ckpt")
        of_layer = measure(task, data, layers, positive_only=positive_only)
        found.append(torch.stack([of_layer[layer].information for layer in layers]).numpy())
    with whole_file(path) as part:
        np.savez(part, key=key, layers=layers, before=found[0], after=found[1])
    return Measured(layers, *found)


def _kinds_of_threshold(
    asked: str | None,
    facts: Mapping[str, Any],
    measured: Mapping[Kind, Sequence[Measured]],
    *,
    positive_only: bool,
) -> list[str]:
    """Those that there are, the one that is asked for first."""
    known = positive_only and (facts["name"], facts["source"]) == ("mnist_fsdd", "real")
    there = {"constants": known, "reference": REFERENCE in measured, "self": True}
    if asked is not None and not there.get(asked, False):
        allowed = ", ".join(name for name in THRESHOLDS if there[name])
        raise ValueError(
            f"threshold={asked!r} is not one of {allowed}, which there are: constants are of "
            f"positive terms on real mnist_fsdd alone, and the reference is {REFERENCE}"
        )
    names = [name for name in THRESHOLDS if there[name]]
    return sorted(names, key=lambda name: name != asked) if asked else names


def _bounds(of: str, measured: Mapping[Kind, Sequence[Measured]]) -> list[Thresholds]:
    """The thresholds of all networks, for each normalisation; none where each has its own."""
    if of == "constants":
        return [CONSTANTS] * len(NORMALISATIONS)
    if of == "self":
        return []
    last = np.stack([one.after[-1] for one in measured[REFERENCE]])
    return [
        Thresholds(
            *(
                threshold(torch.from_numpy(last[:, shown, how].reshape(-1, 1)))
                for shown in (VISUAL, AUDITORY)
            )
        )
        for how in range(len(NORMALISATIONS))
    ]


def _counts(
    networks: Mapping[Kind, Networks], measured: Mapping[Kind, Sequence[Measured]], of: str
) -> dict[Kind, Counts]:
    shared = _bounds(of, measured)
    counts = {}
    for kind, runs in measured.items():
        by_when = []
        for when in WHEN:
            each = []
            for one in runs:
                bits = torch.from_numpy(getattr(one, when))
                own = shared or [
                    own_thresholds(*of_range)
                    for of_range in bits[-1][[VISUAL, AUDITORY]].unbind(dim=1)
                ]
                classes = [cell_classes(layer[VISUAL], layer[AUDITORY], own) for layer in bits]
                each.append(count_classes(torch.stack(classes)).double().numpy())
            by_when.append(np.stack(each))
        counts[kind] = Counts([*networks[kind]], *by_when)
    return counts


def _write_tables(
    folder: Path,
    name: str,
    counts: Mapping[str, Mapping[Kind, Counts]],
    measured: Mapping[Kind, Sequence[Measured]],
    source: str,
) -> None:
    """Every count of every run, and their means beside the paper's."""
    of_network = ("source", "framework", "depth", "pairing", "layer", "when", "normalisation")
    write_table(
        folder / f"{name}.csv",
        (*of_network, "threshold", "seed", *CELLS),
        (
            (source, *kind, *place, of, seed, *classes)
            for of, by_kind in counts.items()
            for kind, found in by_kind.items()
            for *place, values in _places(found)
            for seed, classes in zip(found.seeds, values.astype(int), strict=True)
        ),
    )
    ours = [f"{cell}{end}" for cell in CELLS for end in ("", "_deviation")]
    papers = [f"paper_{cell}" for cell in published.CELL_CLASSES]
    write_table(
        folder / "summary.csv",
        (*of_network, "threshold", "runs", *ours, *papers),
        (
            (source, *kind, *place, of, len(values),
             *(number for of_class in values.T for number in mean_and_deviation(of_class)),
             *(_paper(kind, place, of, found) or [None] * len(papers)))
            for of, by_kind in counts.items()
            for kind, found in by_kind.items()
            for *place, values in _places(found)
        ),
    )  # fmt: skip
    write_table(
        folder / "information.csv",
        (*of_network, "seed", *(f"max_information_{shown}" for shown in SHOWN)),
        (
            (source, *kind, layer + 1, when, how, seed,
             *getattr(one, when)[layer, :, j].max(axis=1).mean(axis=1))
            for kind, runs in measured.items()
            for seed, one in zip(next(iter(counts.values()))[kind].seeds, runs, strict=True)
            for layer in range(len(one.layers))
            for when in WHEN
            for j, how in enumerate(NORMALISATIONS)
        ),
    )  # fmt: skip


def _places(
    found: Counts,
) -> Iterator[tuple[int, str, str, Float64[np.ndarray, "networks classes"]]]:
    """Layer, when, normalisation, and the counts of all runs there."""
    for when in WHEN:
        values = getattr(found, when)
        for layer in range(values.shape[1]):
            for j, how in enumerate(NORMALISATIONS):
                yield layer + 1, when, how, values[:, layer, j]


def _paper(
    kind: Kind, place: Sequence[Any], of: str, found: Counts
) -> tuple[int, int, int, int] | None:
    """What was published: of the last layer, after training, by one range and the constants."""
    there = place == [found.after.shape[1], "after", "all"] and of == "constants"
    return published.CELLS.get(kind) if there else None


def _print_counts(counts: Mapping[Kind, Counts], of: str, facts: Mapping[str, Any]) -> None:
    names = (*published.CELL_CLASSES, "none")
    rows: list[tuple[str, ...]] = [("network, pairs", "runs", "range of bins", *names)]
    for kind, found in counts.items():
        for j, how in enumerate(("of all units", "of each unit")):
            classes = found.after[:, -1, j]
            shown = []
            for name in names:
                mean, deviation = mean_and_deviation(classes[:, CELLS.index(name)])
                shown.append(f"{mean:.1f}" + ("" if deviation is None else f" ± {deviation:.1f}"))
            rows.append((str(kind), str(len(found.seeds)), how, *shown))
    mark = ", simulated data" if facts["source"] == "simulated" else ""
    print(f"\n{facts['name']}{mark}: cells of the last layer; thresholds: {of}")
    print_columns(rows)


def _draw(
    study: Path,
    name: str,
    counts: Mapping[Kind, Counts],
    measured: Mapping[Kind, Sequence[Measured]],
    facts: Mapping[str, Any],
    *,
    how: str,
) -> None:
    """Figures 2 and 4, and the consistent cells layer by layer."""
    simulated = facts["source"] == "simulated"
    numbers = sorted({len(found.seeds) for found in counts.values()})
    runs = f"runs: {'-'.join(map(str, sorted({numbers[0], numbers[-1]})))}"
    title = f"{facts['name']}: {how}; {runs}"
    pairings = {
        pairing: found
        for pairing in ("inconsistent", "consistent")
        if (found := measured.get(REFERENCE._replace(pairing=pairing)))
    }
    if pairings:
        initial = pairings.get("consistent") or pairings["inconsistent"]
        ranked = {"before": _ranked(initial, "before")} | {
            pairing: _ranked(found, "after") for pairing, found in pairings.items()
        }
        figure = plot_information_by_pairing(
            ranked,
            title=f"{facts['name']}: cells of the last of 4 layers; {how.split(';')[0]}; {runs}",
            simulated=simulated,
        )
        write_figure(study, f"{name}_information", figure)
    after = {kind: found.after[:, -1] for kind, found in counts.items()}
    panels = {
        f"mixed, {pairing} pairs, by layers": {
            str(kind.depth): values
            for kind, values in after.items()
            if kind.framework == "mixed" and kind.pairing == pairing
        }
        for pairing in ("inconsistent", "consistent")
    }
    frameworks = {
        ("mixed, 4" if kind.framework == "mixed" else kind.framework): values
        for kind, values in after.items()
        if kind.pairing == "consistent" and (kind.framework != "mixed" or kind.depth == 4)
    }
    panels |= {"frameworks, consistent pairs": frameworks}
    if panels := {panel: networks for panel, networks in panels.items() if networks}:
        figure = plot_counts_by_network(panels, title=title, simulated=simulated)
        write_figure(study, f"{name}_counts", figure)
    by_layer = {
        (kind.depth, kind.pairing): [found.after[:, i] for i in range(found.after.shape[1])]
        for kind, found in counts.items()
        if found.after.shape[1] > 1
    }
    if by_layer:
        write_figure(
            study,
            f"{name}_layers",
            plot_cells_by_layer(by_layer, title=title, simulated=simulated),
        )


def _draw_examples(
    study: Path, name: str, folder: Path, checkpoint: str, bounds: list[Thresholds], *, how: str
) -> None:
    """Figure 3, of one network."""
    task, loaded = load_run(folder, checkpoint=checkpoint)
    data: Any = loaded  # one of ours: title, class_names
    layer = layers_of(task.net)[-1]
    cells_of = measure(task, data, [layer])[layer]
    published = (bounds or own_thresholds_of(cells_of))[NORMALISATIONS.index("all")]
    examples = examples_of(task, data, layer, cells_of, published).cells
    write_table(
        study / "analysis" / name / "examples.csv",
        EXAMPLE_COLUMNS + data.class_names,
        example_rows(examples),
    )
    figure = plot_example_cells(
        examples,
        np.array(published),
        data.class_names,
        title=f"{data.title}: {folder.name}, {layer}\n{how}, one range for all units",
        simulated=data.simulated,
    )
    write_figure(study, f"{name}_examples", figure)


def _ranked(
    runs: Sequence[Measured], when: str
) -> Float64[np.ndarray, "networks shown normalisations cells"]:
    last = np.stack([getattr(one, when)[-1] for one in runs])
    return ranked_information(torch.from_numpy(last)).numpy()
