"""Raghu et al. 2017, Figures App.3 and App.6: which layers are first what they are at the end."""

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import track

from mmrep.dynamics import (
    LEVELS,
    Comparison,
    Dynamics,
    convergence,
    dynamics,
    probes,
    read_dynamics,
    write_dynamics,
)
from mmrep.loggers import write_figure
from mmrep.plots.learning_dynamics import plot_convergence, plot_dynamics, plot_matrices
from mmrep.runs import load_run, read_facts
from mmrep.screen import short
from mmrep.snapshots import Snapshot, states_of
from mmrep.stats.convergence import depth_correlation
from mmrep.studies.pairs import common_folder, finished
from mmrep.studies.raghu2017 import comparison_for, network_class, run_titles
from mmrep.studies.raghu2017_numbers import LSTM_NUMBERS, NORMALISED, OUTPUTS
from mmrep.studies.statements import Statement, conclude

SAME = 0.95  # how alike a layer and its batch norm are at least, to be called the same


class Network(NamedTuple):
    """A run and its learning dynamics."""

    folder: Path
    title: str
    kind: str  # the network's class
    found: Dynamics


def report_dynamics(
    folders: Sequence[Path], name: str, *, layers: Sequence[str] | None, **how: Any
) -> None:
    """Figures and statements of the learning dynamics of all runs, in their common folder.

    A run's dynamics are kept in its folder, `analysis/learning_dynamics`, and computed where those
    there are of another comparison; `how` is what `mmrep.dynamics.Comparison` holds but the layers.
    """
    done = finished(folders)
    networks = [
        _network(folder, title, comparison_for(folder, layers, **how))
        for folder, title in run_titles(done).items()
    ]
    study = common_folder(done)
    simulated = any(read_facts(one)["data"]["source"] == "simulated" for one in done)
    by = comparison_for(done[0], layers, **how).title
    figure = plot_dynamics(
        {one.title: one.found.lines for one in networks},
        title=f"Each layer and its own final state: {by}",
        simulated=simulated,
    )
    write_figure(study, name, figure)
    for one in networks:
        about: dict[str, Any] = {"title": f"{one.title}: {by}", "simulated": simulated}
        inside = one.folder.absolute().relative_to(study.absolute())
        ending = "_".join(("", *inside.parts))
        squares = plot_matrices(
            one.found.squares,
            layers=(one.found.layers, one.found.layers),
            axes_of=("layers during training", "layers at the end"),
            **about,
        )
        write_figure(study, f"{name}_matrices{ending}", squares)
        passed = dict(zip(LEVELS, convergence(one.found), strict=True))
        order = plot_convergence(one.found.layers, passed, **about)
        write_figure(study, f"{name}_order{ending}", order)
    statements = [statement for one in networks for statement in statements_of(one)]
    conclude(study, name, statements, units="similarities; epochs")


def _network(folder: Path, title: str, comparison: Comparison) -> Network:
    states = states_of(folder)
    found = read_dynamics(folder, comparison, states)
    if found is None:
        task, data = load_run(folder)

        def tracked(all_states: Sequence[Snapshot]) -> Any:
            return track(all_states, description=short(folder))

        found = dynamics(probes(task, data, states, comparison), states, comparison, tracked)
        write_dynamics(folder, found, comparison)
    return Network(folder, title, network_class(folder), found)


def statements_of(network: Network) -> list[Statement]:
    """What the paper says of such a network, asked of this one."""
    found, rows = network.found, []
    for level, epochs in zip(LEVELS, convergence(found), strict=True):
        about = f"rank correlation of depth and the epoch of reaching {level:g}"
        rows.append(_asked(about, network, depth_correlation(epochs).correlation, above=True))
        if found.layers[-1] in OUTPUTS:  # few directions, of which training decides first
            without = depth_correlation(epochs[:-1]).correlation
            about = f"{about}, but for {found.layers[-1]}"
            rows.append(_asked(about, network, without, above=True))
    for share in (0.35, 0.75):
        at = int(np.abs(found.epoch - share * found.epoch[-1]).argmin())
        about = f"rank correlation of depth and similarity after {share:.0%}"
        correlation = depth_correlation(found.own[at]).correlation
        rows.append(_asked(about, network, correlation, above=False))
    for layer, norm in NORMALISED.get(network.kind, ()):
        if {layer, norm} <= {*found.layers}:
            i, j = found.layers.index(norm), found.layers.index(layer)
            alike = float(found.matrices[-1, i, j])
            about = f"{norm} says what {layer} says, at the end"
            rows.append(
                Statement(about, network.title, 1.0, alike, None, f">= {SAME}", alike >= SAME)
            )
    if network.kind == "CifarResNet":
        rows += _grid(network)
    if network.kind == "StackedLSTM":
        rows += _lstm_statements(network)
    return rows


def _grid(network: Network) -> list[Statement]:
    """What skip connections carry on: blocks' outputs, and not what lies inside the blocks."""
    end, names = network.found.matrices[-1], network.found.layers

    def within_stages(pattern: str) -> list[float]:
        of = [
            (i, match[1]) for i, name in enumerate(names) if (match := re.fullmatch(pattern, name))
        ]
        return [float(end[i, j]) for (i, x), (j, y) in combinations(of, 2) if x == y]

    outputs, inside = within_stages(r"(layer\d+)\.\d+"), within_stages(r"(layer\d+)\.\d+\.bn1")
    if not outputs or not inside:
        return []
    more = float(np.mean(outputs) - np.mean(inside))
    about = "similarity within a stage: blocks' outputs above what lies inside blocks, at the end"
    return [Statement(about, network.title, None, more, None, "> 0", more > 0)]


def _asked(about: str, network: Network, correlation: float, *, above: bool) -> Statement:
    """A rank correlation that is asked to be above or below 0, unless there is none."""
    holds = None if np.isnan(correlation) else bool(correlation > 0) == above
    bound = "> 0" if above else "< 0"
    return Statement(about, network.title, None, correlation, None, bound, holds)


def _lstm_statements(network: Network) -> list[Statement]:
    """Of recurrent layers: the first is on top throughout, the similarity falls with depth."""
    own, title = network.found.own[:-1], network.title  # at the end all are 1
    on_top = float((own[:, 0] >= own.max(axis=1)).mean())
    in_order = float((np.diff(own, axis=1) <= 0).mean())
    rows = [
        Statement("share of states in which the first layer is nearest to its end", title,
                  1.0, on_top, None, ">= 0.9", on_top >= 0.9),
        Statement("share of neighbours of which the lower one is nearer to its end", title,
                  None, in_order, None, "> 0.5", in_order > 0.5),
    ]  # fmt: skip
    published = LSTM_NUMBERS.get(len(network.found.layers), ())
    for layer, paper, ours in zip(network.found.layers, published, own[0], strict=False):
        about = f"similarity of {layer} before training with its end"
        rows.append(Statement(about, title, paper, float(ours), None, "", None))
    return rows
