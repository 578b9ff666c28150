"""Retraining the head on every projection at once (Moreau et al. 2021, section 4.1).

Each (basis, n) has a head of its own, trained on the projected training features from the weights
of the trained network. The first n components are nested in n, so that all heads of a basis share
their samples' scores: with a one in front of them, what the head theta = [W b] does to the
projected features is theta @ map, cut after n scores. Heads of few components thus cost little, and
heads of similar n are trained together. theta itself, in the original coordinates, is what the
recipe trains and what weight decay sees.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Generator, Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mmrep.stats.cca import Basis
from mmrep.stats.subspaces import CHUNK, Heads, check_classes, projected_heads

MEMORY = 20  # pairs of steps and gradient changes that L-BFGS remembers
NARROW = 8  # up to as many components, all heads are trained together
REFRESH = 30  # evaluations after which the Hessian that it starts from is taken anew
DECREASE = 1e-4  # share of the promised decrease that a step must bring (Nocedal & Wright 2006)


class Retrained(NamedTuple):
    """Heads for projected features, one for each (basis, n), the n of the first basis first.

    They expect features that `project` has projected. For scores of all of them on features as they
    are: `confusion(x, label, projected_heads(result.heads, bases, components))`, and
    `scores_from_counts`.

    `loss` is the mean cross-entropy of the training samples, weighted by class, without penalty;
    `gradient_norm` is of loss + weight_decay / 2 (|W|^2 + |b|^2). That sum is strongly convex and
    lies at most gradient_norm^2 / (2 weight_decay) above its minimum.
    """

    heads: Heads
    loss: Float64[Tensor, "heads"]
    gradient_norm: Float64[Tensor, "heads"]


class Training(NamedTuple):
    """Samples, each one's share of the loss, the heads' bases and n, and where they start."""

    x: Float64[Tensor, "samples units"]
    label: Int64[Tensor, "samples"]
    share: Float64[Tensor, "samples"]
    bases: Sequence[Basis]
    components: list[int]  # none above the largest rank
    start: Float64[Tensor, "bases components classes columns"]


class Group(NamedTuple):
    """Heads of similar n: where they stand among the n, and what they share.

    `kept` is 1 where a head of that n has a score, for each n and class.
    """

    places: list[int]
    scores: Float64[Tensor, "bases samples scores"]
    maps: Float64[Tensor, "bases columns scores"]
    kept: Float64[Tensor, "rows scores"]


def retrain_heads(
    x: Float[Tensor, "samples units"],
    label: Int64[Tensor, "labels"],
    weight: Float[Tensor, "classes units"],
    bias: Float[Tensor, "classes"],
    bases: Sequence[Basis],
    components: Sequence[int],
    *,
    weight_decay: float,
    class_weight: Float[Tensor, "classes"] | None = None,
    tolerance: float = 1e-6,
    max_evaluations: int = 1000,
) -> Retrained:
    """Heads trained to convergence on x projected on n components, for each (basis, n).

    Minimised is loss + weight_decay / 2 (|W|^2 + |b|^2), as coupled weight decay on a linear layer
    does, biases too; without it separable samples have no minimum and W has a free direction. The
    minimum is one, whatever the start. Each head stops where its gradient norm is at most
    `tolerance`; if `max_evaluations` do not suffice a warning says so, and `gradient_norm` for
    which heads. `class_weight` as in PyTorch: the loss is the weighted mean. An n above a basis'
    rank means the whole basis.

    The heads of one n descend together by L-BFGS, in the n + 1 dimensions in which their minimum
    lies, on top of an approximate Hessian: for each class weight_decay plus the second moments of
    the projected features, at first as where all classes are equally likely, and every 30
    evaluations weighed anew by how unsure the head is of the class in each sample. Memory: twice
    all samples' scores on all bases.
    """
    if not weight_decay > 0:
        raise ValueError(
            f"weight_decay={weight_decay} is not above 0: separable samples have no best head "
            "without it. Take the training recipe's, such as 1e-3"
        )
    training = _training(x, label, weight, bias, class_weight, bases, components)
    theta = training.start.clone()
    for n in set(training.components):
        of_n = [place for place, own in enumerate(training.components) if own == n]
        scores, maps = _scores_and_maps(training, n)
        # Weight decay leaves of theta what lies in the span of the map's columns. On an orthonormal
        # basis of it, the squares that are punished stay what they are.
        axes, triangle = torch.linalg.qr(maps)
        axes *= (maps != 0).any(dim=1, keepdim=True)  # beyond a rank there is nothing
        best = _minimum(
            training, scores @ triangle.mT, theta[:, of_n[0]] @ axes, weight_decay,
            tolerance, max_evaluations,
        )  # fmt: skip
        theta[:, of_n] = (best @ axes.mT)[:, None]
    result = _retrained(training, theta, weight_decay)
    missed = int((result.gradient_norm > tolerance).sum())
    if missed:
        warnings.warn(
            f"{missed} of {len(result.loss)} heads have a gradient norm above "
            f"tolerance={tolerance} after max_evaluations={max_evaluations}: allow more, or take a "
            "larger weight_decay",
            stacklevel=2,
        )
    return result


def retrain_heads_by_recipe(
    x: Float[Tensor, "samples units"],
    label: Int64[Tensor, "labels"],
    weight: Float[Tensor, "classes units"],
    bias: Float[Tensor, "classes"],
    bases: Sequence[Basis],
    components: Sequence[int],
    *,
    optimizer: Callable[[list[Tensor]], Optimizer],
    epochs: int,
    generator: Generator,
    batch_size: int = 64,
    scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    class_weight: Float[Tensor, "classes"] | None = None,
) -> Retrained:
    """Heads after `epochs` of minibatch training on x projected on n components, as published.

    Published: `partial(torch.optim.Adam, lr=1e-3, weight_decay=1e-3)` for 50 epochs on SHL, and for
    CIFAR no weight decay, 80 epochs, and a rate divided by 3 after every 20th. `scheduler` steps
    after each epoch. One shuffling serves all heads, and the last batch may be smaller. The
    optimizer must treat each number by itself, as SGD and Adam do: then one for many heads, as it
    is made here for those of similar n, is the same as one for each.

    The weight decay of `gradient_norm` is the optimizer's, taken as coupled (which AdamW's is not).
    """
    training = _training(x, label, weight, bias, class_weight, bases, components)
    orders = [
        torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
        for _ in range(epochs)
    ]
    result = training.start.clone()
    for group in _groups(training):
        theta = result[:, group.places]
        stepper = optimizer([theta])
        schedule = scheduler(stepper) if scheduler else None
        for order in orders:
            for rows in torch.split(order, batch_size):
                share = training.share[rows]
                batch = group.scores[:, rows], training.label[rows], share / share.sum()
                _, theta.grad = _loss_and_gradient(*batch, theta, group)
                stepper.step()
            if schedule:
                schedule.step()
        result[:, group.places] = theta
    return _retrained(training, result, float(stepper.defaults["weight_decay"]))


def _training(
    x: Tensor,
    label: Tensor,
    weight: Tensor,
    bias: Tensor,
    class_weight: Tensor | None,
    bases: Sequence[Basis],
    components: Sequence[int],
) -> Training:
    check_classes(x, label, len(bias))
    if not len(x):
        raise ValueError("no samples to train heads on")
    x = x.detach().double()
    if not x.isfinite().all():
        raise ValueError("x holds NaN or infinite values")
    share = torch.ones_like(x[:, 0])
    if class_weight is not None:
        share = class_weight.double()[label]
        if not (share > 0).all() or not share.isfinite().all():
            raise ValueError(
                f"class_weight={class_weight.tolist()} must be above 0 and finite for every class "
                "that has samples"
            )
    projected_heads(Heads(weight[None], bias[None]), bases, components)  # refuses a senseless n
    rank = max(basis.rank for basis in bases)
    numbers = [min(n, rank) for n in components]
    start = torch.cat([weight, bias[:, None]], dim=1).detach().double()
    start = start.repeat(len(bases), len(numbers), 1, 1)
    return Training(x, label, share / share.sum(), bases, numbers, start)


def _groups(training: Training) -> Iterator[Group]:
    """The heads by their n, rounded up to a power of two."""
    places: dict[int, list[int]] = {}
    for place, n in enumerate(training.components):
        places.setdefault(max(NARROW, 1 << (n - 1).bit_length()), []).append(place)
    for own in places.values():
        components = torch.tensor([training.components[place] for place in own])
        width = int(components.max())
        kept = (
            torch.arange(width + 1)
            <= components.repeat_interleave(training.start.shape[2])[:, None]
        )
        yield Group(own, *_scores_and_maps(training, width), kept.to(training.x))


def _scores_and_maps(
    training: Training, n: int
) -> tuple[Float64[Tensor, "bases samples scores"], Float64[Tensor, "bases columns scores"]]:
    """Each sample's 1 and n scores, and how they make up its projection and the 1 behind it.

    Both are zero beyond a basis' rank.
    """
    x, bases = training.x, training.bases
    # A sample's scores on all bases lie together, as minibatches read them.
    scores = x.new_zeros(len(x), len(bases), n + 1).transpose(0, 1)
    maps = x.new_zeros(len(bases), x.shape[1] + 1, n + 1)
    scores[:, :, 0] = maps[:, -1, 0] = 1
    for basis, own, back in zip(bases, scores, maps, strict=True):
        end = min(n, basis.rank) + 1
        own[:, 1:end] = (x - basis.mean) @ basis.directions[:, : end - 1]
        back[:-1, 0] = basis.mean
        back[:-1, 1:end] = basis.inverse[: end - 1].T
    return scores, maps


def _loss_and_gradient(
    scores: Float64[Tensor, "bases samples scores"],
    label: Int64[Tensor, "samples"],
    share: Float64[Tensor, "samples"],
    theta: Float64[Tensor, "bases heads classes columns"],
    group: Group,
) -> tuple[Float64[Tensor, "bases heads"], Float64[Tensor, "bases heads classes columns"]]:
    """The cross-entropy of each head of a group and its gradient by theta, without weight decay."""
    effective = (theta.flatten(1, 2) @ group.maps).mul_(group.kept)
    effective = effective.view(*theta.shape[:3], -1)
    loss, gradient = _loss_and_gradient_by_scores(scores, label, share, effective)
    gradient = gradient.flatten(1, 2).mul_(group.kept) @ group.maps.mT
    return loss, gradient.view_as(theta)


def _loss_and_gradient_by_scores(
    scores: Float64[Tensor, "bases samples scores"],
    label: Int64[Tensor, "samples"],
    share: Float64[Tensor, "samples"],
    effective: Float64[Tensor, "bases heads classes scores"],
) -> tuple[Float64[Tensor, "bases heads"], Float64[Tensor, "bases heads classes scores"]]:
    """The same for heads that act on the scores: `effective` is theta @ map."""
    bases, heads, classes, _ = effective.shape
    columns = effective.flatten(1, 2)
    gradient = torch.zeros_like(columns)
    loss = effective.new_zeros(bases, heads)
    rows = max(1, CHUNK // (bases * heads * classes))
    target = share.new_zeros(classes, len(label)).scatter_(0, label[None], share[None])
    parts = (torch.split(part, rows, dim=-1) for part in (scores.mT, share, target))
    for own_scores, own_share, own_target in zip(*parts, strict=True):
        # Samples last: the softmax over a row's neighbours would be three times as slow.
        logits = (columns @ own_scores).view(bases, heads, classes, -1)
        log_p = logits.log_softmax(dim=2)
        loss -= log_p.flatten(2) @ own_target.flatten()
        residual = log_p.exp_().mul_(own_share).sub_(own_target)
        gradient.baddbmm_(residual.flatten(1, 2), own_scores.mT)
    return loss, gradient.view_as(effective)


def _retrained(
    training: Training,
    theta: Float64[Tensor, "bases components classes columns"],
    weight_decay: float,
) -> Retrained:
    loss, norm = theta.new_empty(2, *theta.shape[:2])
    for group in _groups(training):
        own = theta[:, group.places]
        data = group.scores, training.label, training.share
        loss[:, group.places], gradient = _loss_and_gradient(*data, own, group)
        norm[:, group.places] = (gradient + weight_decay * own).flatten(2).norm(dim=2)
    heads = theta.flatten(0, 1)
    return Retrained(Heads(heads[:, :, :-1], heads[:, :, -1]), loss.flatten(), norm.flatten())


def _minimum(
    training: Training,
    features: Float64[Tensor, "heads samples columns"],
    theta: Float64[Tensor, "heads classes columns"],
    weight_decay: float,
    tolerance: float,
    max_evaluations: int,
) -> Float64[Tensor, "heads classes columns"]:
    """L-BFGS on all heads, each with its own step length; heads that are done leave the batch."""
    label, share = training.label, training.share
    likely = (share / theta.shape[1]).expand(*theta.shape[:2], -1)
    factor = _hessian_factor(features, likely, weight_decay)
    result = theta.clone()
    active = torch.arange(len(theta), device=theta.device)
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=MEMORY)

    def objective(features: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        data = features, label, share
        loss, gradient = _loss_and_gradient_by_scores(*data, theta[:, None])
        penalty = weight_decay / 2 * _dot(theta, theta)
        return loss[:, 0] + penalty, gradient[:, 0] + weight_decay * theta

    value, gradient = objective(features, theta)
    scale = torch.ones_like(value)
    direction = _direction(gradient, pairs, factor, scale)
    length = torch.ones_like(value)
    for evaluation in range(max_evaluations):
        left = gradient.flatten(1).norm(dim=1) > tolerance
        if not left.all():
            result[active] = theta
            if not left.any():
                break
            pairs = deque(((s[left], c[left], w[left]) for s, c, w in pairs), maxlen=MEMORY)
            kept = (features, active, theta, value, gradient, direction, length, scale, factor)
            features, active, theta, value, gradient, direction, length, scale, factor = (
                part[left] for part in kept
            )
        if evaluation and evaluation % REFRESH == 0:
            factor = _hessian_factor(features, share * _doubt(features, theta), weight_decay)
        step = length[:, None, None] * direction
        new_value, new_gradient = objective(features, theta + step)
        # A slope that is still downhill proves a decrease where rounding hides it in the values.
        taken = new_value <= value + DECREASE * _dot(gradient, step)
        taken |= _dot(new_gradient, step) <= 0
        change = new_gradient - gradient
        curvature = _dot(step, change)
        useful = taken & (curvature > 0)
        # A pair of weight 0 leaves its head's directions as they are.
        pairs.append((step, change, torch.where(useful, 1 / curvature, 0)))
        metric = _dot(change, _solved(change, factor))
        scale = torch.where(useful, curvature / metric, scale)
        theta = torch.where(taken[:, None, None], theta + step, theta)
        gradient = torch.where(taken[:, None, None], new_gradient, gradient)
        value = torch.where(taken, new_value, value)
        new_direction = _direction(gradient, pairs, factor, scale)
        direction = torch.where(taken[:, None, None], new_direction, direction)
        length = torch.where(taken, 1.0, length / 2)
    result[active] = theta
    return result


def _hessian_factor(
    features: Float64[Tensor, "heads samples columns"],
    weights: Float64[Tensor, "heads classes samples"],
    weight_decay: float,
) -> Float64[Tensor, "heads classes columns columns"]:
    """Cholesky factor of each head's Hessian by one class' weights, without what classes share.

    `weights` are what each sample's square counts.
    """
    hessian = torch.stack(
        [features.mT @ (of_class[:, :, None] * features) for of_class in weights.unbind(1)], dim=1
    )
    hessian.diagonal(dim1=2, dim2=3).add_(weight_decay)
    return torch.linalg.cholesky(hessian)


def _doubt(
    features: Float64[Tensor, "heads samples columns"],
    theta: Float64[Tensor, "heads classes columns"],
) -> Float64[Tensor, "heads classes samples"]:
    """Of each class, p (1 - p): little where a head is sure."""
    p = (theta @ features.mT).softmax(dim=1)
    return p * (1 - p)


def _solved(rows: Tensor, factor: Tensor) -> Float64[Tensor, "heads classes columns"]:
    return torch.cholesky_solve(rows[:, :, :, None], factor)[:, :, :, 0]


def _direction(
    gradient: Tensor, pairs: deque[tuple[Tensor, Tensor, Tensor]], factor: Tensor, scale: Tensor
) -> Float64[Tensor, "heads classes columns"]:
    """The two loops of L-BFGS (Nocedal 1980), head by head."""
    rest = gradient
    shares = []
    for step, change, weight in reversed(pairs):
        shares.append(weight * _dot(step, rest))
        rest = rest - shares[-1][:, None, None] * change
    rest = scale[:, None, None] * _solved(rest, factor)
    for (step, change, weight), share in zip(pairs, reversed(shares), strict=True):
        rest = rest + (share - weight * _dot(change, rest))[:, None, None] * step
    return -rest


def _dot(a: Tensor, b: Tensor) -> Float64[Tensor, "heads"]:
    return (a * b).sum(dim=(1, 2))
