"""Retraining the head on every projection at once (Moreau et al. 2021, section 4.1).

Each (basis, n) has a head of its own, trained on the projected training features from the weights
of the trained network. All see the same samples, so that a step of all heads is two products: what
head h does to the projected features is to the untouched ones, with a column of ones appended, the
linear head theta_h @ map_h (`projected_heads`). theta_h = [W_h b_h] itself, in the original
coordinates, is what is trained and what weight decay sees.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Generator, Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mmrep.stats.cca import Basis
from mmrep.stats.subspaces import CHUNK, Heads, check_classes, projected_heads

MEMORY = 20  # pairs of steps and gradient changes that L-BFGS remembers
REFRESH = 30  # evaluations after which the Hessian that it starts from is taken anew
STAYING = 0.9  # heads are taken out of the batch where fewer than this share are left
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
    """Samples with a column of ones, each one's share of the loss, and the heads' maps."""

    samples: Float64[Tensor, "samples columns"]
    label: Int64[Tensor, "samples"]
    share: Float64[Tensor, "samples"]
    maps: Float64[Tensor, "heads columns columns"]


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

    All heads descend together by L-BFGS, on top of an approximate Hessian: weight_decay plus the
    second moments of the projected features, at first as where all classes are equally likely, and
    every 30 evaluations weighed anew by how unsure the head is of each sample. Memory: four
    matrices of units x units for each head.
    """
    if not weight_decay > 0:
        raise ValueError(
            f"weight_decay={weight_decay} is not above 0: separable samples have no best head "
            "without it. Take the training recipe's, such as 1e-3"
        )
    training = _training(x, label, class_weight, bases, components, len(bias))
    start = torch.cat([weight, bias[:, None]], dim=1).detach().double()
    theta = _minimum(
        training, start.repeat(len(training.maps), 1, 1), weight_decay, tolerance, max_evaluations
    )
    result = _retrained(training, theta, weight_decay)
    missed = int((result.gradient_norm > tolerance).sum())
    if missed:
        warnings.warn(
            f"{missed} of {len(theta)} heads have a gradient norm above tolerance={tolerance} "
            f"after max_evaluations={max_evaluations}: allow more, or take a larger weight_decay",
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
    optimizer must treat each number by itself, as SGD and Adam do: then one for all heads is the
    same as one for each.

    The weight decay of `gradient_norm` is the optimizer's, taken as coupled (which AdamW's is not).
    """
    training = _training(x, label, class_weight, bases, components, len(bias))
    start = torch.cat([weight, bias[:, None]], dim=1).detach().double()
    theta = start.repeat(len(training.maps), 1, 1)
    stepper = optimizer([theta])
    schedule = scheduler(stepper) if scheduler else None
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator, device=generator.device)
        for rows in torch.split(order.to(x.device), batch_size):
            share = training.share[rows]
            batch = training._replace(
                samples=training.samples[rows],
                label=training.label[rows],
                share=share / share.sum(),
            )
            _, theta.grad = _loss_and_gradient(batch, theta)
            stepper.step()
        if schedule:
            schedule.step()
    return _retrained(training, theta, float(stepper.defaults["weight_decay"]))


def _training(
    x: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    bases: Sequence[Basis],
    components: Sequence[int],
    classes: int,
) -> Training:
    check_classes(x, label, classes)
    if not len(x):
        raise ValueError("no samples to train heads on")
    samples = torch.cat([x.detach().double(), x.new_ones(len(x), 1).double()], dim=1)
    if not samples.isfinite().all():
        raise ValueError("x holds NaN or infinite values")
    share = torch.ones_like(samples[:, 0])
    if class_weight is not None:
        share = class_weight.double()[label]
        if not (share > 0).all() or not share.isfinite().all():
            raise ValueError(
                f"class_weight={class_weight.tolist()} must be above 0 and finite for every class "
                "that has samples"
            )
    units = x.shape[1]
    number = len(bases) * len(components)
    identity = torch.eye(units + 1, dtype=torch.float64, device=x.device).expand(number, -1, -1)
    # A head's map is what becomes of the rows of the identity, taken for heads.
    rows = projected_heads(Heads(identity[:, :, :units], identity[:, :, units]), bases, components)
    maps = torch.cat([rows.weight, rows.bias[:, :, None]], dim=2)
    return Training(samples, label, share / share.sum(), maps)


def _loss_and_gradient(
    training: Training, theta: Float64[Tensor, "heads classes columns"]
) -> tuple[Float64[Tensor, "heads"], Float64[Tensor, "heads classes columns"]]:
    """The cross-entropy of each head and its gradient by theta, without weight decay."""
    heads, classes, columns = theta.shape
    # Classes before heads: the softmax over a row's neighbours would be three times as slow.
    effective = (theta @ training.maps).permute(2, 1, 0).reshape(columns, -1)
    gradient = torch.zeros_like(effective)
    loss = theta.new_zeros(heads)
    rows = max(1, CHUNK // (heads * classes))
    parts = (torch.split(part, rows) for part in training[:3])
    for samples, label, share in zip(*parts, strict=True):
        log_p = (samples @ effective).view(-1, classes, heads).log_softmax(dim=1)
        own = torch.arange(len(samples), device=label.device), label
        loss -= share @ log_p[own]
        residual = log_p.exp_()
        residual[own] -= 1
        residual *= share[:, None, None]
        gradient.addmm_(samples.T, residual.flatten(1))
    gradient = gradient.view(columns, classes, heads).permute(2, 1, 0)
    return loss, gradient @ training.maps.mT


def _objective(
    training: Training, theta: Float64[Tensor, "heads classes columns"], weight_decay: float
) -> tuple[Float64[Tensor, "heads"], Float64[Tensor, "heads classes columns"]]:
    loss, gradient = _loss_and_gradient(training, theta)
    return loss + weight_decay / 2 * _dot(theta, theta), gradient + weight_decay * theta


def _retrained(training: Training, theta: Tensor, weight_decay: float) -> Retrained:
    loss, gradient = _loss_and_gradient(training, theta)
    norm = (gradient + weight_decay * theta).flatten(1).norm(dim=1)
    return Retrained(Heads(theta[:, :, :-1], theta[:, :, -1]), loss, norm)


def _minimum(
    training: Training,
    theta: Float64[Tensor, "heads classes columns"],
    weight_decay: float,
    tolerance: float,
    max_evaluations: int,
) -> Float64[Tensor, "heads classes columns"]:
    """L-BFGS on all heads, each with its own step length; heads that are done leave the batch."""
    likely = training.share / theta.shape[1]
    factor = _hessian_factor(training, [likely], weight_decay)
    result = theta.clone()
    active = torch.arange(len(theta), device=theta.device)
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=MEMORY)
    value, gradient = _objective(training, theta, weight_decay)
    scale = torch.ones_like(value)
    direction = _direction(gradient, pairs, factor, scale)
    length = torch.ones_like(value)
    for evaluation in range(max_evaluations):
        left = gradient.flatten(1).norm(dim=1) > tolerance
        if left.sum() < STAYING * len(left):
            result[active] = theta
            if not left.any():
                break
            training = training._replace(maps=training.maps[left])
            pairs = deque(((s[left], c[left], w[left]) for s, c, w in pairs), maxlen=MEMORY)
            kept = (active, theta, value, gradient, direction, length, scale, factor)
            active, theta, value, gradient, direction, length, scale, factor = (
                part[left] for part in kept
            )
        if evaluation and evaluation % REFRESH == 0:
            factor = _hessian_factor(training, _doubt(training, theta), weight_decay)
        step = length[:, None, None] * direction
        new_value, new_gradient = _objective(training, theta + step, weight_decay)
        # A slope that is still downhill proves a decrease where rounding hides it in the values.
        taken = new_value <= value + DECREASE * _dot(gradient, step)
        taken |= _dot(new_gradient, step) <= 0
        change = new_gradient - gradient
        curvature = _dot(step, change)
        useful = taken & (curvature > 0)
        # A pair of weight 0 leaves its head's directions as they are.
        pairs.append((step, change, torch.where(useful, 1 / curvature, 0)))
        metric = _dot(change, torch.cholesky_solve(change.mT, factor).mT)
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
    training: Training, weights: Iterable[Float64[Tensor, "samples"]], weight_decay: float
) -> Float64[Tensor, "heads columns columns"]:
    """Cholesky factor of each head's Hessian, were all its classes alike.

    `weights` are what each sample's square counts, head by head or once for all.
    """
    samples, maps = training.samples, training.maps
    moments = torch.stack([samples.T @ (weight[:, None] * samples) for weight in weights])
    hessian = maps @ moments @ maps.mT
    hessian.diagonal(dim1=1, dim2=2).add_(weight_decay)
    return torch.linalg.cholesky(hessian)


def _doubt(
    training: Training, theta: Float64[Tensor, "heads classes columns"]
) -> Iterator[Float64[Tensor, "samples"]]:
    """The mean over classes of p (1 - p), sample by sample: little where a head is sure."""
    for effective in theta @ training.maps:
        p = (training.samples @ effective.T).softmax(dim=1)
        yield training.share * (p * (1 - p)).mean(dim=1)


def _direction(
    gradient: Tensor, pairs: deque[tuple[Tensor, Tensor, Tensor]], factor: Tensor, scale: Tensor
) -> Float64[Tensor, "heads classes columns"]:
    """The two loops of L-BFGS (Nocedal 1980), head by head."""
    rest = gradient
    shares = []
    for step, change, weight in reversed(pairs):
        shares.append(weight * _dot(step, rest))
        rest = rest - shares[-1][:, None, None] * change
    rest = scale[:, None, None] * torch.cholesky_solve(rest.mT, factor).mT
    for (step, change, weight), share in zip(pairs, reversed(shares), strict=True):
        rest = rest + (share - weight * _dot(change, rest))[:, None, None] * step
    return -rest


def _dot(a: Tensor, b: Tensor) -> Float64[Tensor, "heads"]:
    return (a * b).sum(dim=(1, 2))
