"""Chowers & Weiss 2023, Figure 3 and Table 2: what first layers learn from random labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmrep.first_layer import OF
from mmrep.stats.energy import profile_correlation
from mmrep.studies.chowers2023 import (
    Line,
    Network,
    compared,
    correlations,
    initialisations,
    networks,
    on_plain_images,
    require,
    show_epochs,
    show_profiles,
    with_initialisations,
)
from mmrep.studies.chowers2023_numbers import (
    ALIKE,
    RANDOM_INITIALISATION,
    TABLE_2,
    TRUE_AND_RANDOM,
    UNLIKE,
)
from mmrep.studies.pairs import common_folder
from mmrep.studies.statements import Statement, conclude

Group = tuple[str, str, int]  # data, architecture, filters


def report_random_labels(folders: Sequence[Path], name: str, epoch: int | None = None) -> None:
    """Table 2 for each data set and architecture that was trained with true and random labels."""
    found = on_plain_images(networks(folders, epoch=epoch))
    groups: dict[Group, tuple[list[Network], list[Network]]] = {}
    for group in dict.fromkeys(map(_group, found)):
        true, random = (_of(found, group, labels) for labels in ("true", "random"))
        if true and random:
            groups[group] = true, random
    if not groups:
        require([], "true and random labels", "experiment=chowers2023_random_labels")
    study, simulated = (
        common_folder(one.folder for one in found),
        any(one.simulated for one in found),
    )
    statements = [
        statement
        for group, (true, random) in groups.items()
        for of in OF
        for statement in table_2(group, true, random, of)
    ]
    show_profiles(
        study,
        name,
        lambda of: {_title(group): _lines(*both, of) for group, both in groups.items()},
        title="Energy profiles",
        simulated=simulated,
    )
    show_epochs(
        study,
        name,
        {of: {_title(group): along(*both, of) for group, both in groups.items()} for of in OF},
        title="Learnt from random labels, beside the last profile from true labels",
        simulated=simulated,
    )
    conclude(study, name, statements, units="correlations of energy profiles (Table 2)")


def table_2(
    group: Group, true: Sequence[Network], random: Sequence[Network], of: str
) -> list[Statement]:
    """Its row of one data set and architecture; all networks of the one with all of the other."""
    data, architecture, _ = group
    published = TABLE_2.get(data, {}) if architecture == "VGG11" else {}
    where = f"{_title(group)}, {of}"
    both = correlations([(x, y) for x in true for y in random], of)
    initial = with_initialisations(random, of)
    return [
        compared(
            TRUE_AND_RANDOM,
            where,
            both,
            published.get(TRUE_AND_RANDOM),
            at_least=ALIKE[TRUE_AND_RANDOM],
        ),
        compared(
            RANDOM_INITIALISATION,
            where,
            initial,
            published.get(RANDOM_INITIALISATION),
            at_most=UNLIKE,
        ),
    ]


def along(true: Sequence[Network], random: Sequence[Network], of: str) -> Line:
    """The mean correlation of all pairs, after each epoch that all with random labels have seen.

    With what networks with true labels had learnt at their end.
    """
    common = set.intersection(*(set(one.history.epochs) for one in random))
    epochs = sorted(common - {0})  # where the change is none, and weights are only drawn
    values = [
        float(
            np.mean(
                [
                    profile_correlation(
                        x.profile(of), y.profiles(of)[y.history.epochs.index(epoch)]
                    )
                    for x in true
                    for y in random
                ]
            )
        )
        for epoch in epochs
    ]
    return epochs, values


def _lines(true: Sequence[Network], random: Sequence[Network], of: str) -> dict[str, np.ndarray]:
    return {
        "random initialisation": initialisations(true[0])[0].numpy(),
        **{_named(one): one.profile(of).numpy() for one in (*true, *random)},
    }


def _named(network: Network) -> str:
    """What tells it from others of its group."""
    rest = network.title.partition(" filters, ")[2].removeprefix(f"{network.labels} labels, ")
    return f"{network.labels} labels, {rest}"


def _group(network: Network) -> Group:
    return network.data, network.architecture, network.width


def _of(found: Sequence[Network], group: Group, labels: str) -> list[Network]:
    return [one for one in found if _group(one) == group and one.labels == labels]


def _title(group: Group) -> str:
    data, architecture, width = group
    return f"{data}, {architecture}, {width} filters"
