"""Two networks on the same samples: curves, canonical correlations, logits, predictions."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mmrep import stats
from mmrep.files import whole_file
from mmrep.stats.cca import CCA, cca_from_moments, correlations_on
from mmrep.stats.covariance import moments_of
from mmrep.stats.curves import (
    Curves,
    choose_components,
    curves_from_counts,
    original_heads,
    retrained_heads,
)
from mmrep.stats.subspaces import METHODS, confusion
from mmrep.studies.recorded import Recorded, require_same

ROUNDING = 1e-10  # of the largest variate: a part that is no larger is not new


class Comparison(NamedTuple):
    """What the first network's features share with the second's.

    Canonical correlations are of the training samples and, held out, of the validation samples;
    their floors are the means over permutations of the second network's samples, fitted anew.
    """

    curves: Curves
    correlations: Float[np.ndarray, "pairs"]
    held_out: Float[np.ndarray, "pairs"]
    floor: Float[np.ndarray, "pairs"]
    floor_held_out: Float[np.ndarray, "pairs"]
    ranks: tuple[int, int]
    explained: Float[np.ndarray, "n"]  # share of the validation logits' variance by n variates
    explained_differences: Float[np.ndarray, "n"]  # the same without the shift common to a row
    logit_correlations: Float[np.ndarray, "classes"]  # of each class, on the validation samples
    agreement: float  # share of equal predictions
    implied_agreement: float  # what the two accuracies imply, were errors independent


def compare(
    x: Recorded,
    y: Recorded,
    *,
    methods: Sequence[str] = METHODS,
    draws: int,
    retrain: Sequence[str] = (),
    permutations: int,
    seed: int,
) -> Comparison:
    """Compares two networks; curves are those of x, with its own head and the ones of `retrain`.

    Each pair draws for itself: `seed` is mixed with both networks' sensors and seeds.
    """
    require_same(x, y)
    seed = own_seed(seed, x, y)
    views = (x.train.features, y.train.features)
    moments = moments_of(*views)
    chosen = choose_components(
        moments, num_classes=x.num_classes, draws=draws, seed=seed, methods=methods
    )
    heads = {"original": original_heads(chosen, x.own)}
    for how in retrain:
        train = (x.train.features, x.train.label)
        heads[how] = retrained_heads(how, chosen, *train, x.own, x.recipe, seed=seed)
    counts = {
        how: confusion(x.validation.features, x.validation.label, of_how)
        for how, of_how in heads.items()
    }
    fit = cca_from_moments(moments)
    held_out = moments_of(x.validation.features, y.validation.features)
    generator = torch.Generator().manual_seed(seed)
    pairs = len(fit.correlations)
    floors = [_floor(x, y, generator, pairs) for _ in range(permutations)]
    none = fit.correlations.new_full((2, pairs), torch.nan)
    floor, floor_held_out = torch.stack(floors).mean(dim=0) if floors else none
    logits, others = x.logits(x.validation), y.logits(y.validation)
    differences = logits - logits.mean(dim=1, keepdim=True)
    return Comparison(
        curves_from_counts(chosen, counts),
        fit.correlations.numpy(),
        correlations_on(fit, held_out).numpy(),
        floor.numpy(),
        floor_held_out.numpy(),
        (fit.x.rank, fit.y.rank),
        explained_variance(fit, x.validation.features, logits).numpy(),
        explained_variance(fit, x.validation.features, differences).numpy(),
        column_correlations(logits, others).numpy(),
        float((logits.argmax(dim=1) == others.argmax(dim=1)).double().mean()),
        implied_agreement(logits, others, x.validation.label),
    )


def explained_variance(
    fit: CCA, features: Float[Tensor, "samples units"], logits: Float[Tensor, "samples classes"]
) -> Float64[Tensor, "pairs"]:
    """The share of the logits' variance that the first n canonical variates of x account for.

    By regression on these samples, whose variates may correlate where the fit was on others.
    """
    pairs = len(fit.correlations)
    scores = (features.double() - fit.x.mean) @ fit.x.directions[:, :pairs]
    scores, logits = scores - scores.mean(dim=0), logits - logits.mean(dim=0)
    orthonormal, triangle = torch.linalg.qr(scores)
    new = triangle.diagonal().abs() > ROUNDING * scores.norm(dim=0)[: len(triangle)].max()
    share = (orthonormal.T @ logits).square().sum(dim=1) * new / logits.square().sum()
    padded = torch.cat([share, share.new_zeros(pairs - len(share))])  # fewer samples than variates
    return padded.cumsum(dim=0)


def column_correlations(
    a: Float[Tensor, "samples columns"], b: Float[Tensor, "samples columns"]
) -> Float64[Tensor, "columns"]:
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    return (a * b).sum(dim=0) / (a.norm(dim=0) * b.norm(dim=0))


def implied_agreement(
    a: Float[Tensor, "samples classes"], b: Float[Tensor, "samples classes"], label: Tensor
) -> float:
    """Equal predictions of two networks whose errors are independent and spread evenly."""
    right, right_too = ((logits.argmax(dim=1) == label).double().mean() for logits in (a, b))
    wrong = (1 - right) * (1 - right_too) / (a.shape[1] - 1)
    return float(right * right_too + wrong)


def _floor(
    x: Recorded, y: Recorded, generator: torch.Generator, pairs: int
) -> Float64[Tensor, "2 pairs"]:
    """Canonical correlations, and held out, where the samples do not belong together."""
    train, validation = (
        moments_of(
            ours.features,
            theirs.features[torch.randperm(len(theirs.features), generator=generator)],
        )
        for ours, theirs in ((x.train, y.train), (x.validation, y.validation))
    )
    fit = cca_from_moments(train)
    return torch.stack([fit.correlations[:pairs], correlations_on(fit, validation)[:pairs]])


def own_seed(seed: int, *networks: Recorded) -> int:
    """A seed of these networks' own, the same wherever they were trained."""
    named = [(network.facts["sensor"], network.facts["seed"]) for network in networks]
    return int(hashlib.sha256(repr((seed, named)).encode()).hexdigest()[:8], 16)


def kept_comparison(folder: Path, x: Recorded, y: Recorded, **options: Any) -> Comparison:
    """`compare`, from `folder` where it has been done: retraining heads takes minutes."""
    package = Path(stats.__file__).parent
    sources = [*sorted(package.glob("*.py")), Path(__file__)]
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    weights = [network.weights for network in (x, y)]
    key = json.dumps(
        [*weights, x.recipe.epochs, x.recipe.batch_size, options, code],
        sort_keys=True,
        default=list,
    )
    path = folder / f"{'_'.join(digest[:12] for digest in weights)}.npz"
    if path.exists() and str((stored := np.load(path))["key"]) == key:
        return _loaded(stored)
    found = compare(x, y, **options)
    arrays: dict[str, Any] = {**found.curves._asdict(), **found._asdict(), "key": key}
    del arrays["curves"]
    with whole_file(path) as part:
        np.savez(part, **arrays)
    return found


def _loaded(stored: Any) -> Comparison:
    curves = Curves(
        *(
            stored[name].tolist()
            if name in ("head", "method", "draw", "components")
            else stored[name]
            for name in Curves._fields
        )
    )
    rest = {name: stored[name] for name in Comparison._fields[1:]}
    rest |= {name: rest[name].item() for name in ("agreement", "implied_agreement")}
    return Comparison(curves, **rest | {"ranks": tuple(rest["ranks"].tolist())})
