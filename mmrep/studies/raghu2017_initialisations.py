"""Raghu et al. 2017, Figure App.4: the layers of two networks that differ in their seed alone."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from rich.progress import track

from mmrep.dynamics import Comparison, comparable, read_probe
from mmrep.features import require_same_samples
from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.plots.learning_dynamics import plot_matrices
from mmrep.plots.raghu2017_initialisations import plot_same_layers
from mmrep.runs import load_run, read_facts
from mmrep.stats.assessment import Assessment
from mmrep.stats.representations import assessed, similarity_between
from mmrep.studies.pairs import common_folder, networks_of
from mmrep.studies.raghu2017 import comparison_for, run_titles
from mmrep.studies.statements import Statement, conclude


class Pair(NamedTuple):
    """All layers of one network (up) with all of another (across), and equal ones in detail."""

    titles: tuple[str, str]
    layers: tuple[str, ...]
    matrix: Float64[np.ndarray, "layers layers"]
    same: list[Assessment]  # layer by layer


def report_initialisations(
    folders: Sequence[Path],
    name: str,
    *,
    layers: Sequence[str] | None,
    checkpoint: str = "last",
    **how: Any,
) -> None:
    """Every pair of seeds of every network: all layers with all layers, floors, intervals, ranks.

    `how` is what `mmrep.dynamics.Comparison` holds but the layers.
    """
    networks = networks_of(folders)
    couples = [
        (x, y) for by_seed in networks.values() for x, y in combinations(by_seed.values(), 2)
    ]
    if not couples:
        raise ValueError(
            f"no two of the {len(folders)} runs differ in their seed alone: train another, such as "
            f"python train.py experiment={name}"
        )
    pairs = [
        compare(x, y, comparison_for(x, layers, **how), checkpoint=checkpoint)
        for x, y in track(couples, description=name)
    ]
    study = common_folder(folder for couple in couples for folder in couple)
    simulated = any(read_facts(x)["data"]["source"] == "simulated" for x, _ in couples)
    by = comparison_for(couples[0][0], layers, **how).title
    for number, pair in enumerate(pairs):
        figure = plot_matrices(
            {"": pair.matrix},
            layers=(pair.layers, pair.layers),
            axes_of=pair.titles,
            title=f"Two initialisations: {by}",
            simulated=simulated,
        )
        write_figure(study, name if len(pairs) == 1 else f"{name}_{number}", figure)
    figure = plot_same_layers(
        {
            f"{pair.titles[0]} and {pair.titles[1]}": (
                pair.layers,
                np.array([s[:4] for s in pair.same]),
            )
            for pair in pairs
        },
        title=f"The same layer of two initialisations: {by}",
        simulated=simulated,
    )
    write_figure(study, f"{name}_same_layers", figure)
    _write(study / "analysis" / name, pairs)
    statements = [statement for pair in pairs for statement in _statements(pair)]
    conclude(study, name, statements, units="similarities (Figure App.4)")


def compare(x: Path, y: Path, comparison: Comparison, *, checkpoint: str) -> Pair:
    """All layers of one run with all layers of another, on the same validation samples."""
    probes = []
    for folder in (x, y):
        task, data = load_run(folder, checkpoint=checkpoint)
        set_of: Any = data  # one of ours: facts
        probes.append((read_probe(task, data, comparison), set_of.facts()))
    (ours, our_data), (theirs, their_data) = probes
    require_same_samples(our_data, their_data)
    measure = comparison.measure
    up, across = comparable(ours, comparison, x), comparable(theirs, comparison, y)
    names = tuple(name for name in up if name in across)
    matrix = [[similarity_between(up[i], across[j]) for j in names] for i in names]
    generator = torch.Generator().manual_seed(comparison.seed)
    same = [
        assessed(
            measure,
            ours.layers[name],
            theirs.layers[name],
            permutations=comparison.permutations,
            resamples=comparison.resamples,
            generator=generator,
        )
        for name in names
    ]
    titles = run_titles([x, y])
    return Pair((titles[x], titles[y]), names, np.array(matrix), same)


def _write(folder: Path, pairs: Sequence[Pair]) -> None:
    write_table(
        folder / "matrices.csv",
        ("network", "other", "layer", "other_layer", "similarity"),
        (
            (*pair.titles, one, other, pair.matrix[i, j])
            for pair in pairs
            for i, one in enumerate(pair.layers)
            for j, other in enumerate(pair.layers)
        ),
    )
    write_table(
        folder / "same_layers.csv",
        ("network", "other", "layer", *Assessment._fields[:5], "rank", "other_rank"),
        (
            (*pair.titles, layer, *found[:5], *found.ranks)
            for pair in pairs
            for layer, found in zip(pair.layers, pair.same, strict=True)
        ),
    )


def _statements(pair: Pair) -> list[Statement]:
    """First and last layers agree, middle ones less; a layer is most like the one of its depth."""
    of = f"{pair.titles[0]} and {pair.titles[1]}"
    own = np.array([found.value for found in pair.same])
    between = own[1:-1] if len(own) > 2 else own
    lowest = pair.layers[int(between.argmin()) + (len(own) > 2)]
    inside = between.min()
    nearest = np.abs(pair.matrix.argmax(axis=1) - np.arange(len(own)))
    above = [found.low > found.floor for found in pair.same]
    return [
        Statement("similarity of the first layers", of, None, float(own[0]), None,
                  f"above the least, that of {lowest}", bool(own[0] > inside)),
        Statement("similarity of the last layers", of, None, float(own[-1]), None,
                  f"above the least, that of {lowest}", bool(own[-1] > inside)),
        Statement("least similarity of a layer between them", of, None, float(inside), None, "",
                  None),
        Statement("median distance, in layers, to the other network's most similar layer", of,
                  None, float(np.median(nearest)), None, "<= 1", bool(np.median(nearest) <= 1)),
        Statement("share of layers more alike than chance (interval above the floor)", of, None,
                  float(np.mean(above)), None, "1", all(above)),
    ]  # fmt: skip
