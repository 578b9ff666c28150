"""Raghu et al. 2017, App.1: CCA undoes what mixes units; and B.0.1: what its mean does not tell.

The three most active units of a trained network's layer, mixed by a random affine map, are brought
back by CCA, and the layer is compared with itself, its units permuted, rotated, scaled and mixed.
B.0.1 asks whether a similarity with a layer A tells B, which is A and 150 more units of noise, from
C, which is A and 150 more that are useful; its layers are drawn at random.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Generator, Tensor

from mmrep.features import read_features
from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.plots.raghu2017_invariance import Shown, plot_recovery, plot_thought_experiment
from mmrep.runs import load_run
from mmrep.screen import short
from mmrep.stats.cca import cca
from mmrep.stats.covariance import moments_of
from mmrep.stats.similarity import cka, mean_cca, pwcca, svcca, svcca_components
from mmrep.studies.pairs import common_folder, finished
from mmrep.studies.statements import Statement, conclude

UNITS = 3  # that are mixed, and shown
SPREAD = 10.0  # the most by which one unit is scaled, and the inverse of the least
ORTHOGONAL = ("a permutation", "a rotation", "one scale and a shift")  # or as good
OTHER_MAPS = ("a scale for each unit", "a mixture")
EXACT = 1e-12  # from 1, where nothing but rounding differs
CONDITIONED = 1e-10  # the same behind maps that are none of the orthogonal ones
A, ADDED = 50, 150  # units of A, and those that B and C have besides
TELLS = 0.1  # difference of two similarities from which they are said to tell B from C
BLIND = ("CCA", "SVCCA", "PWCCA by A", "PWCCA by the other")  # to what is not in A
SEEING = ("SVCCA over the larger rank", "CKA")


class Layer(NamedTuple):
    """What a layer gave of validation samples, in the order of their classes."""

    units: Float64[Tensor, "samples units"]
    label: Int64[Tensor, "samples"]
    class_names: tuple[str, ...]


class Recovery(NamedTuple):
    """Some units, what a random affine map made of them, and what CCA of both brought back."""

    numbers: list[int]  # in the layer
    units: Float64[Tensor, "samples units"]
    mixed: Float64[Tensor, "samples units"]
    recovered: Float64[Tensor, "samples units"]
    correlations: Float64[Tensor, "units"]
    condition: float  # of the map

    @property
    def error(self) -> float:
        """The largest, of the units' largest distance from their means."""
        distance = (self.units - self.units.mean(dim=0)).abs().max()
        return float((self.recovered - self.units).abs().max() / distance)


class Told(NamedTuple):
    """What similarities say of A and a layer that holds A, and how many directions they take."""

    of: str  # B or C
    noise: float  # deviation of what B adds, 1 of A's and of the useful units
    similarities: dict[str, float]
    kept: tuple[int, int]  # by SVCCA, of A and of the other
    kept_of_variance: tuple[int, int]  # had it taken 99 % of the variance


def report_invariance(
    folders: Sequence[Path],
    *,
    name: str,
    folder: str,
    checkpoint: str,
    layer: str,
    num_samples: int,
    shown: int,
    noises: Sequence[float],
    num_draws: int,
    seed: int,
) -> None:
    """Both, of every run that is given; of none, written into `folder`, B.0.1 alone.

    `layer` is taken of `num_samples` validation samples, of which `shown`, equally many of each
    class, are drawn in the figure; B.0.1 of `num_draws` random samples, B's `noises` being
    deviations.
    """
    if not noises or min(noises) <= 0:
        raise ValueError(f"analysis.noises={[*noises]}: give deviations above 0")
    runs = finished(folders) if folders else []
    study = common_folder(runs) if runs else Path(folder)
    out = study / "analysis" / name
    statements, panels, errors, rows, simulated = [], {}, [], [], False
    for run in runs:
        task, data = load_run(run, checkpoint=checkpoint)
        known: Any = data
        found = read_layer(task, known, layer, num_samples)
        random = Generator().manual_seed(seed)
        recovery, itself = recover(found.units, random), with_itself(found.units, random)
        of = f"{known.title}, {short(run)}"
        statements += statements_of_run(recovery, itself, of)
        least = float(recovery.correlations.min())
        errors.append(
            (short(run), layer, recovery.numbers, recovery.condition, least, recovery.error)
        )
        rows += [(short(run), layer, *key, value) for key, value in itself.items()]
        panels[f"{known.title}, {run.name}, {layer}"] = shown_of(recovery, found, shown)
        simulated |= known.simulated
    if runs:
        header = ("run", "layer", "units", "condition", "least_correlation", "error")
        write_table(out / "recovery.csv", header, errors)
        write_table(out / "maps.csv", ("run", "layer", "map", "measure", "similarity"), rows)
        write_figure(study, name, plot_recovery(panels, simulated=simulated))
    told = thought_experiment(noises, num_draws, seed)
    measures = told[0].similarities
    write_table(
        out / "thought_experiment.csv",
        ("of", "noise", *measures, "kept_of_a", "kept", "kept_of_variance_of_a",
         "kept_of_variance"),
        ((of, noise, *similarities.values(), *kept, *by_variance)
         for of, noise, similarities, kept, by_variance in told),
    )  # fmt: skip
    figure = plot_thought_experiment(
        [*noises],
        {measure: [one.similarities[measure] for one in told] for measure in measures},
        title=f"A: {A} units; B: A and {ADDED} of noise; C: A and {ADDED} useful ones",
    )
    write_figure(study, f"{name}_noise", figure)
    conclude(study, name, [*statements, *statements_of_noise(told)], units="similarities")


def read_layer(task: Any, data: Any, layer: str, num_samples: int) -> Layer:
    """In float64 what the network gave in float32, which is what is mixed here."""
    outputs: list[Tensor] = []
    labels: list[Tensor] = []
    with read_features(task, data.probe_dataloader(num_samples), [layer]) as readings:
        for batch, layers in readings:
            if len(layers) > 1:
                raise ValueError(f"analysis.layer={layer!r} is several, {', '.join(layers)}")
            outputs += layers.values()
            labels.append(batch.label)
    if outputs[0].ndim != 2:
        raise ValueError(
            f"analysis.layer={layer!r} gives {tuple(outputs[0].shape[1:])} for a sample: choose a "
            "layer of units, such as features"
        )
    units, label = torch.cat(outputs).double(), torch.cat(labels)
    order = label.argsort(stable=True)
    return Layer(units[order], label[order], data.class_names)


def recover(units: Float64[Tensor, "samples units"], generator: Generator) -> Recovery:
    """The most active units, by their mean size |activation|, of those that vary, recovered.

    All their canonical correlations are 1, so that single directions are arbitrary; but the scores
    of both sides are the same, and lead back to the units by the inverse of their own directions.
    """
    varies = units.amax(dim=0) > units.amin(dim=0)
    if int(varies.sum()) < UNITS:
        raise ValueError(f"{int(varies.sum())} units of the layer vary, and {UNITS} are mixed")
    size = torch.where(varies, units.abs().mean(dim=0), -1)
    numbers = size.argsort(descending=True, stable=True)[:UNITS]
    chosen = units[:, numbers]
    matrix, shift = _gaussian((UNITS, UNITS), generator), _gaussian((1, UNITS), generator)
    mixed = chosen @ matrix + shift * chosen.std(dim=0).mean()
    fit = cca(chosen, mixed, variance_kept=1.0)
    recovered = (mixed - fit.y.mean) @ fit.y.directions @ fit.x.inverse + fit.x.mean
    condition = float(torch.linalg.cond(matrix))
    return Recovery(numbers.tolist(), chosen, mixed, recovered, fit.correlations, condition)


def with_itself(
    units: Float64[Tensor, "samples units"], generator: Generator
) -> dict[tuple[str, str], float]:
    """The similarity of all units with what maps make of them, by map and measure."""
    width = units.shape[1]
    rotation = torch.linalg.qr(_gaussian((width, width), generator)).Q
    scales = SPREAD ** (2 * torch.rand(width, generator=generator, dtype=torch.float64) - 1)
    maps = dict(
        zip(
            (*ORTHOGONAL, *OTHER_MAPS),
            (
                units[:, torch.randperm(width, generator=generator)],
                units @ rotation,
                SPREAD * units + _gaussian((1, width), generator),
                units * scales,
                units @ _gaussian((width, width), generator),
            ),
            strict=True,
        )
    )
    return {
        (of, measure): value
        for of, mapped in maps.items()
        for measure, value in {
            "CCA": mean_cca(units, mapped, variance_kept=1.0),
            "SVCCA": svcca(units, mapped),
            "PWCCA": pwcca(units, mapped),
            "CKA": cka(units, mapped),
        }.items()
    }


def thought_experiment(noises: Sequence[float], num_draws: int, seed: int) -> list[Told]:
    """A with B at each level of noise, and with C."""
    draws = _gaussian((num_draws, A + ADDED), Generator().manual_seed(seed))
    a, added = draws[:, :A], draws[:, A:]
    of_b = [_told("B", noise, a, torch.cat([a, noise * added], dim=1)) for noise in noises]
    return [*of_b, _told("C", 1.0, a, draws)]


def _told(of: str, noise: float, a: Tensor, other: Tensor) -> Told:
    moments = moments_of(a, other)
    kept, by_variance = (
        svcca_components(moments, of=what) for what in ("singular_values", "variance")
    )
    ranks, ranks_by_variance = ((fit.x.rank, fit.y.rank) for fit in (kept, by_variance))
    values = (
        mean_cca(a, other, variance_kept=1.0),
        float(kept.correlations.mean()),
        pwcca(a, other, weights="x"),
        pwcca(a, other, weights="y"),
        float(kept.correlations.sum()) / max(ranks),
        cka(a, other),
    )
    similarities = dict(zip((*BLIND, *SEEING), values, strict=True))
    return Told(of, noise, similarities, ranks, ranks_by_variance)


def statements_of_run(
    recovery: Recovery, itself: dict[tuple[str, str], float], of: str
) -> list[Statement]:
    """What is to be exact, as distances from what it should be."""
    least = 1 - float(recovery.correlations.min())
    statements = [
        _at_most(f"error of {UNITS} units recovered, of their size", of, recovery.error,
                 CONDITIONED),
        _at_most(f"1 minus the least of {UNITS} correlations", of, least, CONDITIONED),
    ]  # fmt: skip
    for (how, measure), value in itself.items():
        about = f"1 minus {measure} of all units before and after {how}"
        if how in ORTHOGONAL:
            statements.append(_at_most(about, of, abs(1 - value), EXACT))
        elif measure in ("CCA", "PWCCA"):
            statements.append(_at_most(about, of, abs(1 - value), CONDITIONED))
        else:  # invariant to orthogonal maps alone
            statements.append(Statement(about, of, None, 1 - value, None, "", None))
    return statements


def statements_of_noise(told: Sequence[Told]) -> list[Statement]:
    """What tells B from C at each level of noise; where B's is C's size, nothing can."""
    *of_b, c = told
    statements = []
    for b in of_b:
        of = f"B.0.1, noise {b.noise:g}"
        for measure, value in b.similarities.items():
            apart = abs(value - c.similarities[measure])
            bound, holds = "", None
            if b.noise < c.noise and measure in BLIND:
                bound, holds = f"< {TELLS:g}", apart < TELLS
            elif b.noise < c.noise:
                bound, holds = f">= {TELLS:g}", apart >= TELLS
            about = f"{measure}: difference of (A, B) and (A, C)"
            statements.append(Statement(about, of, None, apart, None, bound, holds))
        about, kept = "directions of B that SVCCA keeps", float(b.kept[1])
        if b.noise < c.noise:
            statements.append(Statement(about, of, float(A), kept, None, f"{A}", kept == A))
        else:
            statements.append(Statement(about, of, None, kept, None, "", None))
    return statements


def shown_of(recovery: Recovery, layer: Layer, shown: int) -> Shown:
    """The first samples of each class, as many as make about `shown`."""
    each = max(1, shown // len(layer.class_names))
    chosen = [torch.nonzero(layer.label == i)[:each, 0] for i in range(len(layer.class_names))]
    rows = torch.cat(chosen)
    units, mixed, recovered = (
        part[rows].numpy() for part in (recovery.units, recovery.mixed, recovery.recovered)
    )
    ends = torch.tensor([len(part) for part in chosen]).cumsum(0).tolist()
    return Shown(
        recovery.numbers, units, mixed, recovered, ends, [*layer.class_names], recovery.error
    )


def _at_most(about: str, of: str, ours: float, bound: float) -> Statement:
    return Statement(about, of, None, ours, None, f"<= {bound:g}", ours <= bound)


def _gaussian(shape: tuple[int, int], generator: Generator) -> Float64[Tensor, "rows columns"]:
    return torch.randn(shape, generator=generator, dtype=torch.float64)
