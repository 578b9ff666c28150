"""Chowers & Weiss 2023, Figure 19: first-layer filters of trained networks, from their weights.

Along the axes of a data set's patches too, where one is given: of ImageNet's, networks that were
published are the panels of Table 3.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mmrep.files import write_table
from mmrep.first_layer import best_fit, formula, left_grid
from mmrep.loggers import write_figure
from mmrep.plots.energy_profile import plot_energy_profiles, plot_filters
from mmrep.screen import short
from mmrep.stats.energy import PatchAxes, energy_profile
from mmrep.studies.chowers2023 import Profile
from mmrep.studies.chowers2023_numbers import EXPLAINED, TABLE_3
from mmrep.studies.energy_profile import axes_beside, check_filters, name_of, set_up
from mmrep.studies.statements import Statement, conclude
from mmrep.weights import PUBLISHED, filters_of, read_weights


class FirstLayer(NamedTuple):
    """What a source of `mmrep.weights.read_weights` is called, and a convolution of it."""

    source: str
    title: str
    layer: str
    filters: Tensor

    @property
    def size(self) -> int:
        """Pixels, height and width of a filter."""
        return int(self.filters.shape[-1])


def report_filters(
    data: Any,
    *,
    name: str,
    weights: Sequence[str] | str,
    layer: str | None,
    folder: str,
    data_dir: str | None,
) -> None:
    """Images of the filters, written into `folder`; with `data`, profiles and what explains them.

    Weights that are not there, and not to be had, are left out.
    """
    found, missing = first_layers(
        [weights] if isinstance(weights, str) else weights, layer, data_dir
    )
    left_out = f"; left out: {', '.join(missing)}" if missing else ""
    study, tables = Path(folder), Path(folder, "analysis", name)
    figure = plot_filters(
        {f"{one.title}, {one.layer}": one.filters.numpy() for one in found},
        title=f"First-layer filters{left_out}",
        simulated=False,
    )
    print(f"figure   {short(write_figure(study, name, figure))}")
    if data is None:
        return
    set_up(data)
    for one in found:
        check_filters(one.filters, data, f"weights={one.source}: layer={one.layer!r}")
    statements: list[Statement] = []
    for size in sorted({one.size for one in found}):
        alike = [one for one in found if one.size == size]
        axes = axes_beside(tables / f"{size}x{size}", data, size)
        lines, fits = profiles_of(alike, axes)
        figure = plot_energy_profiles(
            {f"{one.title} (formula: r = {r:.2f})": of
             for one, (r, _), of in zip(alike, fits, lines, strict=True)},
            title=f"{data.title}: energy profiles of filters of {size} x {size}{left_out}",
            simulated=data.simulated,
        )  # fmt: skip
        write_figure(study, f"{name}_profiles_{size}x{size}", figure)
        write_table(
            tables / f"profiles_{size}x{size}.csv",
            ("weights", "layer", "component", "energy", "profile", "formula"),
            (
                (one.title, one.layer, i, *values)
                for one, of in zip(alike, lines, strict=True)
                for i, values in enumerate(zip(axes.energy.tolist(), *of.values(), strict=True))
            ),
        )
        statements += [
            _explained(one, fit, data, axes) for one, fit in zip(alike, fits, strict=True)
        ]
    conclude(study, name, statements, units="correlation with the formula at its best step")


def first_layers(
    sources: Sequence[str], layer: str | None, data_dir: str | None
) -> tuple[list[FirstLayer], list[str]]:
    """Those that are there, or come when they are asked for, and the names of those that are not.

    FileNotFoundError: there is none.
    """
    found: list[FirstLayer] = []
    missing: list[str] = []
    for source in sources:
        try:
            state = read_weights(source, data_dir=data_dir)
        except OSError as error:
            print(f"left out {source}: {error}")
            missing.append(name_of(source))
            continue
        name, filters = filters_of(state, layer)
        found.append(FirstLayer(source, name_of(source), name, filters.float()))
    titles = [one.title for one in found]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise ValueError(f"weights={[*sources]}: two are called {twice}; rename one of the files")
    if not found:
        raise FileNotFoundError(
            f"none of {len(sources)} weights is there ({', '.join(sources)}): give files with "
            "'weights=[FILE,FILE]', or published names where there is a network"
        )
    return found, missing


def profiles_of(
    alike: Sequence[FirstLayer], axes: PatchAxes
) -> tuple[list[dict[str, Profile]], list[tuple[float, float]]]:
    """Each one's profile beside the formula at its best step, scaled to the same maximum.

    And the correlations of both, with that step.
    """
    lines: list[dict[str, Profile]] = []
    fits: list[tuple[float, float]] = []
    for one in alike:
        profile = energy_profile(one.filters, axes.axes)
        correlation, step = best_fit(profile, axes)
        theory = formula(axes, step)
        scaled = theory * (profile.max() / theory.max())
        lines.append({"weights": profile.numpy(), "formula": scaled.numpy()})
        fits.append((correlation, step))
    return lines, fits


def _explained(one: FirstLayer, fit: tuple[float, float], data: Any, axes: PatchAxes) -> Statement:
    """Beside Table 3's mean of five networks, where this one may have been among them."""
    published = one.source in PUBLISHED and data.name == "images" and len(data.class_names) == 1000
    correlation, step = fit
    where = f", {outside} the published grid" if (outside := left_grid(step, axes)) else ""
    return Statement(
        f"correlation with the formula at step {step:,.0f}{where}",
        f"{one.title}, {data.title}",
        TABLE_3["ImageNet"].mean if published else None,
        correlation,
        None,
        f"at least {EXPLAINED:g}",
        correlation >= EXPLAINED,
    )
