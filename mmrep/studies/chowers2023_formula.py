"""Chowers & Weiss 2023, Figures 4, 7, 14 to 16 and Table 3: profiles and the formula."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmrep.files import write_table
from mmrep.first_layer import OF, best_fit, formula, left_grid
from mmrep.screen import print_columns
from mmrep.stats.energy import PUBLISHED_STEPS, PatchAxes
from mmrep.studies.chowers2023 import (
    Network,
    Panels,
    compared,
    initialisations,
    networks,
    on_plain_images,
    require,
    show_profiles,
)
from mmrep.studies.chowers2023_numbers import (
    EXPLAINED,
    FORMULA_OF_INITIALISATION,
    TABLE_3,
    UNLIKE,
)
from mmrep.studies.pairs import common_folder
from mmrep.studies.statements import Statement, conclude

PANELS = 9  # of a figure: the first network of so many data sets and architectures


class Fitted(NamedTuple):
    """One profile beside the formula at its best step."""

    data: str
    network: str
    of: str
    profile: np.ndarray
    axes: PatchAxes
    correlation: float
    step: float

    @property
    def left_grid(self) -> str:
        """Whether the step lies outside those that the published program tries."""
        return left_grid(self.step, self.axes)


def report_formula(folders: Sequence[Path], name: str, epoch: int | None = None) -> None:
    """Table 3: trained and random profiles beside the formula at its best step."""
    found = on_plain_images(networks(folders, epoch=epoch))
    found = require(found, "energy profiles", "experiment=chowers2023_formula")
    study, simulated = (
        common_folder(one.folder for one in found),
        any(network.simulated for network in found),
    )
    fitted = [fitted_of(network, of) for network in found for of in OF]
    groups: dict[tuple[str, str, str], list[Network]] = {}
    for one in found:
        groups.setdefault((one.data, one.architecture, one.labels), []).append(one)
    statements = [row for of_group in groups.values() for row in table_3(of_group)]
    statements += [
        of_initialisations(of_group)
        for (_, _, labels), of_group in groups.items()
        if labels == next(iter(groups))[2]
    ]
    show_profiles(
        study,
        name,
        lambda of: _panels(fitted, of),
        title="Energy profiles and the formula at its best step (ImageNet: chowers2023_filters)",
        simulated=simulated,
    )
    write_table(
        study / "analysis" / name / "fits.csv",
        ("data", "network", "of", "correlation", "step", "outside the published grid"),
        ((f.data, f.network, f.of, f.correlation, f.step, f.left_grid) for f in fitted),
    )
    if outside := [one for one in fitted if one.left_grid]:
        low, high = PUBLISHED_STEPS
        print(f"steps outside the published grid of {low:,} to {high:,}:")
        print_columns([(f.data, f.network, f.of, f"{f.step:,.0f}") for f in outside])
    conclude(study, name, statements, units="correlations with the formula (Table 3)")


def fitted_of(network: Network, of: str) -> Fitted:
    profile = network.profile(of)
    fit = best_fit(profile, network.axes)
    return Fitted(network.data, network.title, of, profile.numpy(), network.axes, *fit)


def table_3(found: Sequence[Network]) -> list[Statement]:
    """Its entry for networks of one kind on one data set."""
    one = found[0]
    published = one.labels == "true" and one.architecture == "VGG11"
    paper = TABLE_3.get(one.data) if published else None
    where = f"{one.data}, {one.architecture}"
    rows = []
    for of in OF:
        values = np.array([best_fit(network.profile(of), network.axes)[0] for network in found])
        about = f"{one.labels} labels and formula"
        rows.append(compared(about, f"{where}, {of}", values, paper, at_least=EXPLAINED))
    return rows


def of_initialisations(found: Sequence[Network]) -> Statement:
    """The same of random filters, as many as the first of these networks has."""
    one = found[0]
    drawn = np.array([best_fit(profile, one.axes)[0] for profile in initialisations(one)])
    return compared(
        "random initialisation and formula",
        f"{one.data}, {one.architecture}",
        drawn,
        FORMULA_OF_INITIALISATION,
        at_most=UNLIKE,
    )


def _panels(fitted: Sequence[Fitted], of: str) -> Panels:
    """One network of each kind beside the formula."""
    panels: Panels = {}
    for one in fitted:
        kind = f"{one.data}, {one.network.rpartition(', ')[0]}"
        if one.of == of and np.isfinite(one.step) and kind not in panels and len(panels) < PANELS:
            panels[kind] = {
                of: one.profile,
                "formula": formula(one.axes, one.step).numpy(),
            }
    return panels
