"""Projection curves: what a linear head tells on n components of features, by every method.

Moreau et al. 2021, sections 4.1 and 4.2: the trained head as it is ("original"), retrained on the
projected training features by the recipe of its training ("recipe"), or to convergence
("converged").
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mmrep.stats.cca import Basis
from mmrep.stats.covariance import Moments
from mmrep.stats.heads import retrain_heads, retrain_heads_by_recipe
from mmrep.stats.subspaces import (
    AVERAGES,
    CCA_METHODS,
    METHODS,
    Heads,
    projected_heads,
    scores_from_counts,
    subspaces_from_moments,
)

HEADS = ("original", "recipe", "converged")
SCORES = {"val/f1": "macro_f1", "val/accuracy": "accuracy"}  # as trainings log them
TITLES = {
    "original": "original head",
    "recipe": "head retrained by its recipe",
    "converged": "head retrained to convergence",
}
FALLBACK_DECAY = 1e-4
TOLERANCE = 1e-4  # of converged heads' gradients: at weight decay 1e-3, 5e-6 nats above the least


class Components(NamedTuple):
    """What the methods keep of a network's features: a row for each method and draw."""

    method: list[str]
    draw: list[int]
    bases: list[Basis]
    components: list[int]  # the n that are scored: the grid, and the rank of each row


class Curves(NamedTuple):
    """Scores on n components: a row for each head, method and draw, a column for each n.

    NaN where a method keeps fewer than n components. At n = units stands the untouched network.
    """

    head: list[str]
    method: list[str]
    draw: list[int]
    components: list[int]
    kept: Int64[np.ndarray, "rows n"]  # components that were there to keep
    accuracy: Float[np.ndarray, "rows n"]
    macro_f1: Float[np.ndarray, "rows n"]


def grid(num_classes: int, width: int) -> list[int]:
    """Every n to twice the number of classes, then powers of two, then the width itself."""
    powers = [2**i for i in range(width.bit_length()) if 2 * num_classes < 2**i < width]
    return [*range(1, min(2 * num_classes, width - 1) + 1), *powers, width]


def choose_components(
    moments: Moments,
    *,
    num_classes: int,
    draws: int,
    seed: int,
    methods: Iterable[str] = METHODS,
) -> Components:
    """Components of the first view's features; of a view alone, by the methods that need no other.

    Methods that are random are drawn `draws` times, from `seed`.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}: the random methods need at least 1")
    alone = len(moments.widths) == 1
    methods = [name for name in methods if not (alone and name in CCA_METHODS)]
    generator = torch.Generator().manual_seed(seed)
    rows: list[tuple[str, int, Basis]] = []
    for draw in range(draws):
        chosen = methods if draw == 0 else [name for name in methods if "random" in name]
        bases = subspaces_from_moments(chosen, moments, generator=generator)
        rows += [(name, draw, basis) for name, basis in bases.items()]
    names, numbers, bases_of_rows = (list(column) for column in zip(*rows, strict=True))
    ranks = {basis.rank for basis in bases_of_rows}
    components = sorted({*grid(num_classes, moments.widths[0]), *ranks})
    return Components(names, numbers, bases_of_rows, components)


class Recipe(NamedTuple):
    """How a network was trained, to retrain its head likewise; optimizers lack the parameters."""

    optimizer: Callable[..., Optimizer]
    scheduler: Callable[[Optimizer], LRScheduler] | None
    epochs: int
    batch_size: int
    class_weight: Float[Tensor, "classes"]


def original_heads(chosen: Components, own: Heads) -> Heads:
    """The trained head before each row's n components, row by row, and as it is at the end."""
    return _joined(projected_heads(own, chosen.bases, chosen.components), own)


def retrained_heads(
    how: str,
    chosen: Components,
    x: Float[Tensor, "samples units"],
    label: Int64[Tensor, "samples"],
    own: Heads,
    recipe: Recipe,
    *,
    seed: int,
) -> Heads:
    """Heads retrained on x projected on each row's n components; at the end, on all of x.

    `how` is "recipe" (warm start, shuffles from `seed`) or "converged", with the weight decay of
    the recipe, or of 1e-4 where it has none and separable samples would have no best head. All are
    heads on untouched features, as `original_heads` are.
    """
    weight, bias = own.weight[0], own.bias[0]
    if how == "recipe":
        retrained = retrain_heads_by_recipe(
            x,
            label,
            weight,
            bias,
            chosen.bases,
            chosen.components,
            optimizer=recipe.optimizer,
            scheduler=recipe.scheduler,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            class_weight=recipe.class_weight,
            generator=torch.Generator().manual_seed(seed),
        )
    elif how == "converged":
        decay = recipe.optimizer([bias.clone()]).defaults.get("weight_decay", 0)
        retrained = retrain_heads(
            x,
            label,
            weight,
            bias,
            chosen.bases,
            chosen.components,
            weight_decay=decay or FALLBACK_DECAY,
            class_weight=recipe.class_weight,
            tolerance=TOLERANCE,
        )
    else:
        raise ValueError(f"retrain={how!r} is not one of {', '.join(HEADS[1:])}")
    folded = projected_heads(retrained.heads, chosen.bases, chosen.components)
    complete = next(row for row, basis in enumerate(chosen.bases) if basis.rank == len(basis.mean))
    last = (complete + 1) * len(chosen.components) - 1  # all of its components: nothing is lost
    return _joined(folded, Heads(folded.weight[last, None], folded.bias[last, None]))


def curves_from_counts(
    chosen: Components, counts: Mapping[str, Int64[Tensor, "heads classes classes"]]
) -> Curves:
    """Curves of each kind of head, by its name, from counts of (true, predicted) class."""
    width, components = len(chosen.bases[0].mean), np.array(chosen.components)
    ranks = np.array([basis.rank for basis in chosen.bases])[:, None]
    whole = components == width
    kept = np.where(whole, width, np.minimum(components, ranks))
    scores: dict[str, list[np.ndarray]] = {average: [] for average in AVERAGES}
    for of_head in counts.values():
        for average in AVERAGES:
            found = scores_from_counts(of_head, average).cpu().numpy()
            table = found[:-1].reshape(kept.shape)
            # With all components the data are as they were, which a reduced CCA alone is not.
            table[:, whole] = found[-1]
            scores[average].append(np.where(whole | (components <= ranks), table, np.nan))
    rows = len(chosen.method)
    return Curves(
        [head for head in counts for _ in range(rows)],
        chosen.method * len(counts),
        chosen.draw * len(counts),
        chosen.components,
        np.tile(kept, (len(counts), 1)),
        np.concatenate(scores["accuracy"]),
        np.concatenate(scores["macro_f1"]),
    )


def by_method(curves: Curves, score: str, head: str) -> dict[str, tuple[list[int], np.ndarray]]:
    """For each method the n that it has, and the scores of (draws, n)."""
    scores = curves.accuracy if score == "accuracy" else curves.macro_f1
    lines = {}
    for method in dict.fromkeys(curves.method):
        rows = zip(curves.head, curves.method, strict=True)
        of_method = scores[[row == (head, method) for row in rows]]
        there = ~np.isnan(of_method).any(axis=0)
        lines[method] = [int(n) for n in np.array(curves.components)[there]], of_method[:, there]
    return lines


def table(curves: Curves) -> list[tuple[Any, ...]]:
    """A row for each head, method, draw and n, under a header."""
    rows: list[tuple[Any, ...]] = [
        ("head", "method", "draw", "n", "kept", "accuracy", "macro_f1"),
    ]
    named = zip(curves.head, curves.method, curves.draw, strict=True)
    for row, name in enumerate(named):
        rows += [
            (*name, n, curves.kept[row, i], curves.accuracy[row, i], curves.macro_f1[row, i])
            for i, n in enumerate(curves.components)
            if not np.isnan(curves.accuracy[row, i])
        ]
    return rows


def _joined(first: Heads, last: Heads) -> Heads:
    return Heads(*(torch.cat(pair) for pair in zip(first, last, strict=True)))
