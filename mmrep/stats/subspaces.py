"""Seven ways to choose a subspace of features, and what a linear head still tells of them there.

Moreau et al. 2021, section 4: project the features on n components, n = 1, 2, ..., feed the result
to the head of the trained network, and score it. A projection followed by a linear head is a linear
head on the untouched features, so the curves of all methods and all n are one product.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Generator, Tensor

from mmrep.stats.cca import CCA, Basis, cca_from_moments
from mmrep.stats.covariance import Moments, moments_of
from mmrep.stats.labels import check_labels

METHODS = (
    "cca_highest",
    "cca_lowest",
    "cca_random",
    "pca",
    "max_activation",
    "random_projection",
    "random_selection",
)
CCA_METHODS = METHODS[:3]
AVERAGES = ("accuracy", "macro_f1")
CHUNK = 2**19  # logits at a time: 4 MiB, which a cache may hold


class Heads(NamedTuple):
    """Linear heads on the same features: logits = x @ weight[h].T + bias[h]."""

    weight: Float64[Tensor, "heads classes units"]
    bias: Float64[Tensor, "heads classes"]


def subspace(
    method: str,
    x: Float[Tensor, "samples x_units"],
    y: Float[Tensor, "samples y_units"] | None = None,
    *,
    generator: Generator | None = None,
) -> Basis:
    """The components of x in the order in which `method` keeps them; the first n are nested in n.

    `y` are the partner network's features, which the three CCA methods need. The random methods
    draw from `generator`, on its device, so that ranks whose generators agree have one subspace.
    `method` is one of `METHODS`, which `subspaces_from_moments` describes; it also serves several
    methods of the same features, and moments from a stream.
    """
    moments = moments_of(x) if y is None else moments_of(x, y)
    return subspaces_from_moments((method,), moments, generator=generator)[method]


def subspaces_from_moments(
    methods: Iterable[str], moments: Moments, *, generator: Generator | None = None
) -> dict[str, Basis]:
    """The bases of the first view that the methods choose, from the moments of x or of x and y.

    - cca_highest: canonical directions with y, by decreasing correlation, those of x's own last.
    - cca_lowest: the same, reversed. Where x has p components and y only q < p, the p - q that
      correlate with nothing lead, as published, those of least variance first (where the published
      order is arbitrary): the first n of cca_lowest are the last n of cca_highest for every n.
    - cca_random: a random permutation of the min(p, q) correlated ones; the others are dropped.
    - pca: all principal axes, by decreasing variance, the largest entry of each positive.
    - max_activation: units, by decreasing max |x_j| over the samples, ties by number.
    - random_projection: Q of the QR decomposition of a standard Gaussian matrix.
    - random_selection: units in random order.

    The first three are oblique and keep what `cca` keeps of x, 99.99 % of its variance; the others
    are orthogonal and complete. Random methods draw in the order in which they are named.
    """
    if isinstance(methods, str):
        raise ValueError(f"methods={methods!r} is one name: give several, as in [{methods!r}]")
    width = moments.widths[0] if moments.widths else len(moments.mean) // 2
    if moments.n < 2:
        raise ValueError(f"{moments.n} samples of x tell no subspace: give at least 2")
    if not moments.factor[:width, :width].isfinite().all():
        raise ValueError("x holds NaN or infinite values")
    canonical: CCA | None = None
    bases = {}
    for method in methods:
        if method in CCA_METHODS:
            if len(moments.widths) == 1:
                raise ValueError(
                    f"method={method!r} compares two networks: give y, the features of a partner"
                )
            canonical = canonical or cca_from_moments(moments)
            bases[method] = _canonical_basis(method, canonical, generator)
        else:
            axes = _orthogonal_axes(method, moments, width, generator)
            bases[method] = Basis(axes.T, axes, moments.mean[:width])
    return bases


def project(
    x: Float[Tensor, "samples units"], basis: Basis, n: int
) -> Float64[Tensor, "samples units"]:
    """Features on the first n components, in their own coordinates and with the mean restored.

    (x - mean) B_n B_n^+ + mean, which for CCA is an oblique projection. n = 0 leaves the mean.
    """
    if not 0 <= n <= basis.rank or n % 1:
        raise ValueError(
            f"n={n} is not from 0 to {basis.rank}, the components that the basis keeps of "
            f"{len(basis.mean)} units: project on min(n, basis.rank)"
        )
    scores = (x.double() - basis.mean) @ basis.directions[:, :n]
    return scores @ basis.inverse[:n] + basis.mean


def projection_scores(
    x: Float[Tensor, "samples units"],
    label: Int64[Tensor, "labels"],
    weight: Float[Tensor, "classes units"],
    bias: Float[Tensor, "classes"],
    basis: Basis,
    components: Sequence[int],
    *,
    average: str,
) -> Float64[Tensor, "components"]:
    """The score of a trained head on x projected on the first n components, for each n.

    `average` is "accuracy" or "macro_f1". An n above `basis.rank` means the whole basis: where the
    curve is kept, keep min(n, basis.rank) beside it. `metrics.projection` sums over batches and
    ranks what `scores_from_counts` concludes from here.
    """
    if weight.shape != (len(bias), len(basis.mean)) or x.shape[1] != len(basis.mean):
        raise ValueError(
            f"features of {x.shape[1]} units, a head of weight {tuple(weight.shape)} and bias "
            f"{tuple(bias.shape)}, a basis of {len(basis.mean)} units: the weight must be classes "
            "x units, as a linear layer's is, of the features that the basis was chosen from"
        )
    heads = projected_heads(Heads(weight[None], bias[None]), [basis], components)
    return scores_from_counts(confusion(x, label, heads), average)


def projected_heads(heads: Heads, bases: Sequence[Basis], components: Sequence[int]) -> Heads:
    """Heads that give for x the logits that `heads` give for its projections.

    One for each (basis, n), the n of the first basis first, so that scores are to be viewed as
    (bases, components); an n above a basis' rank means all of it. `heads` are as many, or one for
    all.

        W (P^T (x - mean) + mean) + b = (W P^T) x + (b + (W - W P^T) mean),  P = B_n B_n^+
    """
    if not components or min(components) < 0 or any(n % 1 for n in components):
        raise ValueError(f"components={list(components)}: give some whole numbers, none below 0")
    weight = heads.weight.detach().double()
    weight = weight.expand(len(bases) * len(components), *weight.shape[1:])
    n = torch.tensor(components, device=weight.device)[:, None, None]
    weights, offsets = [], []
    for basis, own in zip(bases, torch.split(weight, len(components)), strict=True):
        kept = torch.arange(basis.rank, device=n.device) < n
        folded = (own @ basis.inverse.T * kept) @ basis.directions.T
        weights.append(folded)
        offsets.append((own - folded) @ basis.mean)
    return Heads(torch.cat(weights), heads.bias.detach().double() + torch.cat(offsets))


def confusion(
    x: Float[Tensor, "samples units"], label: Int64[Tensor, "labels"], heads: Heads
) -> Int64[Tensor, "heads classes classes"]:
    """Counts of (true, predicted) class for each head; those of parts of the data add up."""
    number, classes, _ = heads.weight.shape
    check_classes(x, label, classes)
    # Classes before heads: the largest of a row's neighbours is found much faster that way.
    columns = heads.weight.transpose(0, 1).flatten(0, 1).T
    bias = heads.bias.T.flatten()
    rows = max(1, CHUNK // len(bias))
    head = torch.arange(number, device=x.device) * classes
    counts = torch.zeros(number * classes**2, dtype=torch.int64, device=x.device)
    for part, truth in zip(torch.split(x.detach(), rows), torch.split(label, rows), strict=True):
        logits = torch.addmm(bias, part.double(), columns)
        largest, predicted = logits.view(len(part), classes, number).max(dim=1)
        if not largest.isfinite().all():
            raise ValueError("logits are not finite: x or the heads hold NaN or infinite values")
        cell = predicted.add_((truth[:, None] + head) * classes)
        counts += torch.bincount(cell.flatten(), minlength=len(counts))
    return counts.view(number, classes, classes)


def scores_from_counts(
    counts: Int64[Tensor, "heads classes classes"], average: str
) -> Float64[Tensor, "heads"]:
    """Accuracy or macro F1 of each head from its counts of (true, predicted) class.

    F1 of a class is 2 TP / (2 TP + FP + FN): 0 where it is never predicted. A class with neither
    samples nor predictions has none and is left out of the mean, as in torchmetrics' and (unless it
    is given the labels) scikit-learn's.
    """
    if average not in AVERAGES:
        raise ValueError(f"average={average!r} is not one of {', '.join(AVERAGES)}")
    if not counts.any():
        raise ValueError("no sample was counted, and a score is a share of samples")
    right = counts.diagonal(dim1=1, dim2=2).double()
    if average == "accuracy":
        return right.sum(dim=1) / counts.sum(dim=(1, 2))
    named = counts.sum(dim=1) + counts.sum(dim=2)  # 2 TP + FP + FN
    f1 = torch.where(named > 0, 2 * right / named, 0)
    return f1.sum(dim=1) / (named > 0).sum(dim=1)


def check_classes(x: Tensor, label: Tensor, classes: int) -> None:
    """Refuses labels that are not one class of the head for each sample."""
    check_labels(label, len(x))
    if len(label) and not 0 <= (low := int(label.min())) <= (high := int(label.max())) < classes:
        raise ValueError(f"labels from {low} to {high}, where the classes are 0 to {classes - 1}")


def _canonical_basis(method: str, cca: CCA, generator: Generator | None) -> Basis:
    order = torch.arange(cca.x.rank)
    if method == "cca_lowest":
        order = order.flip(0)
    elif method == "cca_random":
        order = _permutation(len(cca.correlations), _given(generator, method))
    order = order.to(cca.x.mean.device)
    return Basis(cca.x.directions[:, order], cca.x.inverse[order], cca.x.mean)


def _orthogonal_axes(
    method: str, moments: Moments, width: int, generator: Generator | None
) -> Float64[Tensor, "axes units"]:
    device = moments.mean.device
    if method == "pca":
        return _principal_axes(moments, width)
    if method == "random_projection":
        return _rotation(width, _given(generator, method)).to(device)
    units = torch.eye(width, dtype=torch.float64, device=device)
    if method == "max_activation":
        return units[moments.scale[:width].argsort(descending=True, stable=True)]
    if method == "random_selection":
        return units[_permutation(width, _given(generator, method)).to(device)]
    raise ValueError(f"method={method!r} is not one of {', '.join(METHODS)}")


def _principal_axes(moments: Moments, width: int) -> Float64[Tensor, "axes units"]:
    """By the factor of the centred data, not by its covariance, whose axes have half the digits."""
    axes = torch.linalg.svd(moments.factor[:width, :width]).Vh
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    return axes * largest.sign()


def _given(generator: Generator | None, method: str) -> Generator:
    if generator is None:
        raise ValueError(
            f"method={method!r} draws at random: give generator=torch.Generator().manual_seed(0)"
        )
    return generator


def _permutation(size: int, generator: Generator) -> Int64[Tensor, "size"]:
    return torch.randperm(size, generator=generator, device=generator.device)


def _rotation(size: int, generator: Generator) -> Float64[Tensor, "size size"]:
    shape, device = (size, size), generator.device
    gaussian = torch.randn(shape, generator=generator, dtype=torch.float64, device=device)
    return torch.linalg.qr(gaussian).Q.T
