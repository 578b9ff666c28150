"""Moreau et al. 2021, section 4.3: is it dropout that spreads what a network knows over its units?

After retraining, the paper's random projections beat random selections of units on SHL, whose
network has dropout, and not on CIFAR-10, whose network has none. Here networks with and without.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.plots.cca_projection import plot_cca_projection
from mmrep.stats.covariance import moments_of
from mmrep.stats.curves import (
    TITLES,
    Curves,
    choose_components,
    curves_from_counts,
    original_heads,
    retrained_heads,
    table,
)
from mmrep.stats.subspaces import confusion
from mmrep.studies.comparison import own_seed
from mmrep.studies.lines import at, over_repetitions
from mmrep.studies.moreau2021 import (
    UNITS,
    is_simulated,
    print_table_1,
    title_of,
    write_summary,
)
from mmrep.studies.moreau2021_statements import redundancy_statement
from mmrep.studies.pairs import common_folder, folders_of, networks_of
from mmrep.studies.recorded import Recorded, record
from mmrep.studies.statements import conclude

METHODS = ("random_projection", "random_selection")


def report_dropout(
    folders: Sequence[Path], *, name: str, checkpoint: str, draws: int, retrain: Sequence[str],
    seed: int,
) -> None:  # fmt: skip
    """Random projection against random selection, for each configuration among the runs."""
    networks = networks_of(folders)
    study = common_folder(folders_of(networks))
    jobs = [(group, folder) for group, by_seed in networks.items() for folder in by_seed.values()]
    found: dict[str, list[Curves]] = {group: [] for group in networks}
    with_dropout: dict[str, bool] = {}
    first: Recorded | None = None
    for group, folder in track(jobs, description="networks"):
        network = record(folder, checkpoint=checkpoint)
        first = first or network
        with_dropout[group] = network.dropout
        found[group].append(random_curves(network, draws=draws, retrain=retrain, seed=seed))
    assert first is not None  # networks_of gives at least one
    print_table_1(first)
    heads = ("original", *retrain)
    lines = {
        head: {group: over_repetitions(of, first.score, head) for group, of in found.items()}
        for head in heads
    }
    figure = plot_cca_projection(
        {
            TITLES[head]: {g.replace(", ", "\n"): of for g, of in lines[head].items()}
            for head in heads
        },
        num_classes=first.num_classes,
        score=first.score.replace("_f1", " F1"),
        title=title_of(first, "random projection and random selection of units", found),
        simulated=is_simulated(first),
    )
    write_figure(study, name, figure)
    every = [(group, i, one) for group, of in found.items() for i, one in enumerate(of)]
    source = first.facts["data"]["source"]
    header = ("source", "of", "network", *table(every[0][2])[0])
    rows = ((source, group, i, *row) for group, i, one in every for row in table(one)[1:])
    write_table(study / "analysis" / name / f"{name}.csv", header, rows)
    write_summary(study, name, lines, first)
    statements = []
    for group, of in lines["recipe" if "recipe" in heads else heads[-1]].items():
        apart = at(of, METHODS[0], first.num_classes) - at(of, METHODS[1], first.num_classes)
        statements.append(redundancy_statement(group, apart, dropout=with_dropout[group]))
    conclude(study, name, statements, units=UNITS)


def random_curves(network: Recorded, *, draws: int, retrain: Sequence[str], seed: int) -> Curves:
    """Curves of the two random methods, with the original head and retrained ones."""
    x, label = network.train.features, network.train.label
    seed = own_seed(seed, network)
    chosen = choose_components(
        moments_of(x), num_classes=network.num_classes, draws=draws, seed=seed, methods=METHODS
    )
    heads = {"original": original_heads(chosen, network.own)}
    for how in retrain:
        heads[how] = retrained_heads(how, chosen, x, label, network.own, network.recipe, seed=seed)
    split = network.validation
    counts = {how: confusion(split.features, split.label, of) for how, of in heads.items()}
    return curves_from_counts(chosen, counts)
