"""Chowers & Weiss 2023, Figures 8, 17 and 18, appendix D: labels by energy, patches that vary more.

The claims behind the formula, broken on purpose. D.1: where labels go by the energy of one
component of the patches, networks that learn them and networks that learn the same permuted need
not agree. D.2: where the patches' coordinate along a component is multiplied by alpha, the formula
with lambda times alpha there says what becomes of the profile. Components count from 0.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from scipy.stats import spearmanr
from torch import Tensor

from mmrep.files import write_table
from mmrep.first_layer import OF, best_fit, formula
from mmrep.loggers import write_figure
from mmrep.plots.chowers2023_interventions import plot_labels_by_energy
from mmrep.stats.energy import PatchAxes
from mmrep.studies.chowers2023 import (
    OF_TITLES,
    Network,
    Panels,
    Profile,
    compared,
    correlations,
    networks,
    require,
    show_profiles,
)
from mmrep.studies.chowers2023_numbers import EXPLAINED, UNLIKE
from mmrep.studies.group_tests import mean_and_deviation
from mmrep.studies.pairs import common_folder
from mmrep.studies.statements import Statement, conclude

COMMAND = "experiment=chowers2023_interventions"
TRUE, PERMUTED = "energy", "energy_random"  # labels of D.1
SHOWN = (0, 15, 25)  # by the paper
VANISHES = 15  # labels by which leave about no correlation, says the paper
FEWEST = 5  # components that a rank correlation needs to mean something
DIFFERENT = 0.05  # p of a rank correlation that counts
EXACT = 1e-3  # of energies, which float32 images have to more digits

Correlations = dict[int, Float64[np.ndarray, "_"]]  # of pairs of networks, by component


class Study(NamedTuple):
    """Where it is written, and what its figures say."""

    folder: Path
    name: str
    title: str  # data set and architecture
    simulated: bool

    def table(self, name: str) -> Path:
        return self.folder / "analysis" / self.name / f"{name}.csv"


class Fitted(NamedTuple):
    """One profile along the axes of patches before they were scaled, beside the formula's."""

    component: int
    alpha: float
    labels: str
    of: str  # weights, or change
    seed: int
    with_scaled: float  # correlation with the formula of the scaled energies, at its best step
    step: float
    with_unscaled: float  # of the energies as they were
    share: float  # of the component, in the sum of the profile
    share_unscaled: float  # the same of networks of unscaled patches; NaN without any
    formula_ratio: float  # share of scaled over unscaled energies, at the best step

    @property
    def ratio(self) -> float:
        return self.share / self.share_unscaled


def report_interventions(folders: Sequence[Path], name: str, epoch: int | None = None) -> None:
    """Both interventions, as far as there are networks of one architecture and data set."""
    found = [one for one in networks(folders, epoch=epoch) if not one.frozen]
    by_energy = [one for one in found if one.labels in (TRUE, PERMUTED) and _unscaled(one)]
    scaled = [one for one in found if one.labels in ("true", "random") and not _unscaled(one)]
    both = require([*by_energy, *scaled], "labels by energy or scaled patches", COMMAND)
    simulated = any(one.simulated for one in both)
    study = Study(common_folder(one.folder for one in found), name, _one_title(both), simulated)
    statements = [*_on_labels(study, by_energy), *_on_scaled(study, scaled, found)]
    conclude(study.folder, name, statements, units="correlations of energy profiles")


def _on_labels(study: Study, by_energy: Sequence[Network]) -> Iterator[Statement]:
    """D.1: tables, figures and statements."""
    by_of = {of: correlations_by_component(by_energy, of) for of in OF}
    if not by_of[OF[0]]:
        print("left out D.1: no networks of both true and permuted labels by energy")
        return
    permuted = {of: permuted_profile(by_energy, of) for of in OF}
    write_table(
        study.table("labels"),
        ("of", "component", "pairs", "correlation", "deviation", "permuted_profile"),
        (
            (of, component, len(values), *mean_and_deviation(values), permuted[of][component])
            for of, found in by_of.items()
            for component, values in found.items()
        ),
    )
    figure = plot_labels_by_energy(
        {OF_TITLES[of]: found for of, found in by_of.items()},
        {OF_TITLES[of]: profile for of, profile in permuted.items()},
        title=f"{study.title}: labels by the energy of one component",
        simulated=study.simulated,
    )
    write_figure(study.folder, study.name, figure)
    show_profiles(
        study.folder,
        f"{study.name}_labels",
        lambda of: _label_panels(by_of[of], by_energy, of),
        title=f"{study.title}",
        simulated=study.simulated,
    )
    for of, found in by_of.items():
        yield from label_statements(found, permuted[of], f"{study.title}, {of}")


def _on_scaled(
    study: Study, scaled: Sequence[Network], found: Sequence[Network]
) -> Iterator[Statement]:
    """D.2: tables, figures and statements."""
    if not scaled:
        print("left out D.2: no networks of scaled patches")
        return
    axes = unscaled_axes(found, scaled[0])
    if axes is None:
        print(
            "left out D.2: no run on unscaled patches, or scaled along component 0, to take the "
            "axes from"
        )
        return
    fitted = [fit(one, axes, found, of) for of in OF for one in scaled]
    rows = ((*one, one.ratio) for one in fitted)
    write_table(study.table("alpha"), (*Fitted._fields, "ratio"), rows)
    show_profiles(
        study.folder,
        f"{study.name}_alpha",
        lambda of: _alpha_panels(scaled, axes, of),
        title=f"{study.title}, patches scaled",
        simulated=study.simulated,
    )
    yield energies_statement(scaled, axes, study.title)
    yield from alpha_statements(fitted, study.title)


def correlations_by_component(by_energy: Sequence[Network], of: str) -> Correlations:
    """Of all networks of true labels with all of permuted ones, by the component of the labels.

    Two of one seed have started from the same weights, which raises what their weights, not their
    changes, have in common.
    """
    found = {}
    for component in sorted({one.component for one in by_energy if one.component is not None}):
        true, permuted = (_of(by_energy, component, labels) for labels in (TRUE, PERMUTED))
        if true and permuted:
            found[component] = correlations([(x, y) for x in true for y in permuted], of)
    return found


def permuted_profile(by_energy: Sequence[Network], of: str) -> Profile:
    """What networks of random labels learn: which images bear which label is the same to them."""
    return mean_profile([one for one in by_energy if one.labels == PERMUTED], of)


def label_statements(found: Correlations, permuted: Profile, where: str) -> list[Statement]:
    """Agreement vanishes, above all for components of which random labels teach little."""
    statements = [
        compared(
            f"true and permuted labels by component {component}",
            where,
            values,
            None,
            at_most=UNLIKE if component == VANISHES else None,
        )
        for component, values in found.items()
        if component in SHOWN
    ]
    if len(found) < FEWEST:
        print(f"{where}: {len(found)} components, fewer than {FEWEST}, so no rank correlation")
        return statements
    drop = [1 - values.mean() for values in found.values()]
    rank, p = spearmanr(drop, permuted[[*found]])
    about = f"drop of correlation, and profile of permuted labels: rank correlation, p = {p:.2g}"
    bound = f"< 0, p < {DIFFERENT:g}"
    holds = bool(rank < 0 and p < DIFFERENT)
    return [*statements, Statement(about, where, None, float(rank), None, bound, holds)]


def unscaled_axes(found: Sequence[Network], scaled: Network) -> PatchAxes | None:
    """Axes of the patches of a network as they came, in their own order, if they are on record.

    Of a network that sees them so; or scaled up along the first axis, which stays the first. Any
    other scaled axis may move, to where it can be told from its neighbours by no energy, and mixes
    with one of the same energy.
    """
    shape = scaled.axes.axes.shape
    of_data = [one for one in found if one.data == scaled.data and one.axes.axes.shape == shape]
    for network in filter(_unscaled, of_data):
        return network.axes
    for network in of_data:
        if network.component == 0 and network.alpha is not None and network.alpha > 1:
            return _scaled(network.axes, 0, 1 / network.alpha)
    return None


def fit(network: Network, axes: PatchAxes, found: Sequence[Network], of: str) -> Fitted:
    """A network of scaled patches beside the formula, and beside others of unscaled ones."""
    component, alpha = network.component, network.alpha
    assert component is not None
    assert alpha is not None  # a network of scaled patches has both
    scaled = _scaled(axes, component, alpha)
    profile = network._replace(axes=axes).profile(of)
    correlation, step = best_fit(profile, scaled)
    before, after = (_share(formula(one, step), component) for one in (axes, scaled))
    others = [
        _share(one._replace(axes=axes).profile(of), component)
        for one in found
        if _unscaled(one) and (_what(one), one.labels) == (_what(network), network.labels)
    ]
    return Fitted(
        component,
        alpha,
        network.labels,
        of,
        network.seed,
        correlation,
        step,
        best_fit(profile, axes)[0],
        _share(profile, component),
        float(np.mean(others)) if others else np.nan,
        after / before,
    )


def energies_statement(scaled: Sequence[Network], axes: PatchAxes, title: str) -> Statement:
    """Scaled patches have the unscaled axes, and lambda times alpha along one of them."""
    differences = []
    for one in scaled:
        assert one.component is not None
        assert one.alpha is not None
        said = _scaled(axes, one.component, one.alpha).energy.sort(descending=True).values
        differences.append(((one.axes.energy - said).abs() / said).max().item())
    worst = max(differences)
    about = "scaled patches' energies, from lambda times alpha: largest relative difference"
    return Statement(about, title, None, worst, None, f"at most {EXACT:g}", worst <= EXACT)


def alpha_statements(fitted: Sequence[Fitted], title: str) -> Iterator[Statement]:
    """The profile is the formula's; not that of the energies as they were; and where it moves."""
    for kind in dict.fromkeys(one[:4] for one in fitted):
        of_kind = [one for one in fitted if one[:4] == kind]
        component, alpha, labels, of = kind
        where = f"{title}, {of}"
        what = f"component {component} times {alpha:g}, {labels} labels"
        fits = np.array([one.with_scaled for one in of_kind])
        better = np.array([one.with_scaled - one.with_unscaled for one in of_kind])
        yield compared(f"{what}: with the formula", where, fits, None, at_least=EXPLAINED)
        mean, deviation = mean_and_deviation(better)
        about = f"{what}: with the formula, more than without alpha"
        yield Statement(about, where, None, mean, deviation, "> 0", mean > 0)
        ratios = np.array([one.ratio for one in of_kind])
        if np.isfinite(ratios).all():
            says = float(np.mean([one.formula_ratio for one in of_kind]))
            mean, deviation = mean_and_deviation(ratios)
            bound = f"{'below' if says < 1 else 'above'} 1, formula {says:.2f}"
            about = f"{what}: its share, over that without alpha"
            holds = (mean < 1) == (says < 1)
            yield Statement(about, where, None, mean, deviation, bound, holds)


def mean_profile(found: Sequence[Network], of: str) -> Profile:
    """Over networks, each profile by its largest value."""
    profiles = [one.profile(of).numpy() for one in found]
    mean: Profile = np.mean([profile / profile.max() for profile in profiles], axis=0)
    return mean


def _scaled(axes: PatchAxes, component: int, alpha: float) -> PatchAxes:
    """The same axes in the same order; lambda is multiplied, its square by alpha squared."""
    factor = torch.ones_like(axes.energy)
    factor[component] = alpha
    return axes._replace(energy=axes.energy * factor)


def _share(profile: Float64[Tensor, "dimensions"], component: int) -> float:
    return (profile[component] / profile.sum()).item()


def _label_panels(found: Correlations, by_energy: Sequence[Network], of: str) -> Panels:
    shown = [component for component in SHOWN if component in found] or [*found][:3]
    return {
        f"labels by component {component} (r = {found[component].mean():.2f})": {
            "true labels": mean_profile(_of(by_energy, component, TRUE), of),
            "permuted labels": mean_profile(_of(by_energy, component, PERMUTED), of),
        }
        for component in shown
    }


def _alpha_panels(scaled: Sequence[Network], axes: PatchAxes, of: str) -> Panels:
    panels: Panels = {}
    kinds = {(one.labels, one.component or 0, one.alpha or 1) for one in scaled}
    for labels, component, alpha in sorted(kinds, key=lambda kind: (kind[0] != "true", *kind)):
        alike = [one for one in _of(scaled, component, labels) if one.alpha == alpha]
        profile = mean_profile([one._replace(axes=axes) for one in alike], of)
        lines = {"network": profile}
        for name, said in (
            ("formula", _scaled(axes, component, alpha)),
            ("formula without alpha", axes),
        ):
            correlation, step = best_fit(torch.from_numpy(profile), said)
            lines[name] = formula(said, step).numpy()
            if name == "formula":
                r = correlation
        panels[f"component {component} times {alpha:g}, {labels} labels (r = {r:.2f})"] = lines
    return panels


def _of(found: Sequence[Network], component: int, labels: str) -> list[Network]:
    return [one for one in found if (one.component, one.labels) == (component, labels)]


def _unscaled(network: Network) -> bool:
    return network.alpha in (None, 1)


def _one_title(found: Sequence[Network]) -> str:
    titles = {_what(one) for one in found}
    if len(titles) > 1:
        raise ValueError(
            f"the runs are of {len(titles)} networks and data sets, {'; '.join(sorted(titles))}: "
            "give those of one"
        )
    return titles.pop()


def _what(network: Network) -> str:
    return f"{network.data}, {network.architecture}, {network.width} filters"
