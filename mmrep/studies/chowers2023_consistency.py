"""Chowers & Weiss 2023, Figure 1, Table 1 and Figures 9 to 13: what all first layers share."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mmrep.first_layer import OF
from mmrep.stats.energy import profile_correlation
from mmrep.studies.chowers2023 import (
    Line,
    Network,
    Panels,
    compared,
    correlations,
    initialisations,
    networks,
    on_plain_images,
    pairs,
    require,
    show_epochs,
    show_profiles,
    with_initialisations,
)
from mmrep.studies.chowers2023_numbers import (
    ALIKE,
    ARCHITECTURES,
    INITIALISATION,
    SEEDS,
    TABLE_1,
    UNLIKE,
    WIDTHS,
)
from mmrep.studies.pairs import common_folder
from mmrep.studies.statements import Statement, conclude

# Which two networks on the same data are compared.
COMPARISONS: dict[str, Callable[[Network, Network], bool]] = {
    SEEDS: lambda x, y: (x.architecture, x.width) == (y.architecture, y.width) and x.seed != y.seed,
    WIDTHS: lambda x, y: x.architecture == y.architecture and x.width != y.width,
    ARCHITECTURES: lambda x, y: x.family != y.family,
}


def report_consistency(folders: Sequence[Path], name: str, epoch: int | None = None) -> None:
    """Table 1 for each data set of networks with true labels, profiles, and how they converge."""
    found = [network for network in networks(folders, epoch=epoch) if network.labels == "true"]
    found = require(on_plain_images(found), "true labels", "experiment=chowers2023_consistency")
    study = common_folder(one.folder for one in found)
    simulated = any(network.simulated for network in found)
    statements = [
        statement
        for data in dict.fromkeys(network.data for network in found)
        for of in OF
        for statement in table_1([one for one in found if one.data == data], of)
    ]
    show_profiles(
        study,
        name,
        lambda of: _panels(found, of),
        title="Energy profiles, true labels",
        simulated=simulated,
    )
    show_epochs(
        study,
        name,
        {of: {f"{one.data}, {one.title}": _converging(one, of) for one in found} for of in OF},
        title="Each network's profile beside its own last one",
        simulated=simulated,
    )
    conclude(study, name, statements, units="correlations of energy profiles (Table 1)")


def table_1(found: Sequence[Network], of: str) -> list[Statement]:
    """Its row of one data set, of what there is to compare."""
    data = found[0].data
    published = TABLE_1.get(data, {})
    rows = []
    for about, alike in COMPARISONS.items():
        if both := pairs(found, alike):
            paper, values = published.get(about), correlations(both, of)
            rows.append(compared(about, f"{data}, {of}", values, paper, at_least=ALIKE[about]))
    values = with_initialisations(found, of)
    paper = published.get(INITIALISATION)
    rows.append(compared(INITIALISATION, f"{data}, {of}", values, paper, at_most=UNLIKE))
    return rows


def _panels(found: Sequence[Network], of: str) -> Panels:
    """For each data set: seeds, widths and architectures, beside one random initialisation."""
    panels: Panels = {}
    for data in dict.fromkeys(network.data for network in found):
        of_data = [network for network in found if network.data == data]
        for about, alike in COMPARISONS.items():
            both = [one for pair in pairs(of_data, alike) for one in pair]
            if both:
                shown = {one.title: one.profile(of).numpy() for one in both}
                initial = initialisations(both[0])[0].numpy()
                panels[f"{data}, {about}"] = {"random initialisation": initial, **shown}
    if not panels:  # one network alone
        panels = {
            one.data: {
                "random initialisation": initialisations(one)[0].numpy(),
                one.title: one.profile(of).numpy(),
            }
            for one in found
        }
    return panels


def _converging(network: Network, of: str) -> Line:
    """Epochs, and the correlation of each one's profile with the last; no epoch is no change."""
    profiles = network.profiles(of)
    first = 1 if of == "change" else 0
    values = [profile_correlation(profile, profiles[-1]) for profile in profiles[first:]]
    return list(network.history.epochs[first:]), values
