"""Projection curves and retrained heads, beside loops: `python -m benchmarks.projection_curves`.

Takes three minutes and 1 GB. The loops run at some n, or train some heads for some epochs, and
their time is scaled to the whole.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.optim import Adam

from benchmarks.side_by_side import Contender, Target, compare, one_thread, product_speed
from mmrep.stats.covariance import moments_of
from mmrep.stats.heads import Retrained, retrain_heads, retrain_heads_by_recipe
from mmrep.stats.subspaces import (
    METHODS,
    Heads,
    confusion,
    project,
    projected_heads,
    scores_from_counts,
    subspaces_from_moments,
)

SAMPLES, UNITS, CLASSES = 10_000, 128, 8
COMPONENTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 32, 64, 128)
LOOPED = (2, 16, 128)  # the n that the published loop does
RANDOM = ("cca_random", "random_projection", "random_selection")
WEIGHT_DECAY, EPOCHS = 1e-3, 50


class Data(NamedTuple):
    """Features of two networks on training and validation samples, and the first one's head."""

    x: Tensor
    y: Tensor
    label: Tensor
    val_x: Tensor
    val_label: Tensor
    weight: Tensor
    bias: Tensor


def simulated() -> Data:
    """Two random ReLU networks that see the same 24 latent numbers, and a head fitted to one."""
    generator = torch.Generator().manual_seed(0)
    normal = partial(torch.randn, generator=generator)
    label = torch.randint(CLASSES, (2 * SAMPLES,), generator=generator)
    latent = 1.2 * normal(CLASSES, 24)[label] + normal(2 * SAMPLES, 24)
    views = []
    for _ in range(2):
        hidden = (latent @ normal(24, 64) / 24**0.5 + 0.5 * normal(2 * SAMPLES, 64)).relu()
        view = (hidden @ normal(64, UNITS) / 8 + 0.2 * normal(2 * SAMPLES, UNITS) - 0.2).relu()
        view[:, 5] = 0
        views.append(view)
    model = LogisticRegression(C=1 / (WEIGHT_DECAY * SAMPLES), max_iter=1000)
    model.fit(views[0][:SAMPLES].numpy(), label[:SAMPLES].numpy())
    weight, bias = torch.from_numpy(model.coef_).float(), torch.from_numpy(model.intercept_).float()
    (x, val_x), (y, _), (label, val_label) = (
        torch.split(part, SAMPLES) for part in (*views, label)
    )
    return Data(x, y, label, val_x, val_label, weight, bias)


def published_components(
    method: str, x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions and inverse of one method, fitted from scratch."""
    units = x.shape[1]
    if method == "pca":
        axes = principal_axes(x)[0]
        return axes.T, axes
    if method == "max_activation":
        order = np.argsort(-np.abs(x).max(axis=0), kind="stable")
    elif method == "random_selection":
        order = rng.permutation(units)
    elif method == "random_projection":
        turn, _ = np.linalg.qr(rng.standard_normal((units, units)))
        return turn, turn.T
    else:
        directions, inverse, pairs = canonical_directions(x, y)
        number = directions.shape[1]
        order = np.arange(number)
        if method == "cca_lowest":
            order = order[::-1]
        elif method == "cca_random":
            order = rng.permutation(min(number, pairs))
        return directions[:, order], inverse[order]
    return np.eye(units)[:, order], np.eye(units)[order]


def principal_axes(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Axes, and how many hold more than 99.99 % of the variance."""
    _, values, axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    share = np.cumsum(values**2) / np.sum(values**2)
    return axes, int((share <= 0.9999).sum()) + 1


def canonical_directions(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """By covariances of the principal components, with the published ridge of 1e-10."""
    (x_axes, p), (y_axes, q) = principal_axes(x), principal_axes(y)
    x_scores, y_scores = (x - x.mean(axis=0)) @ x_axes[:p].T, (y - y.mean(axis=0)) @ y_axes[:q].T
    covariance = np.cov(x_scores.T, y_scores.T)
    roots = []
    for own in (covariance[:p, :p], covariance[p:, p:]):
        rescaled = own / np.abs(own).max() + 1e-10 * np.eye(len(own))
        roots.append((square_root(rescaled), square_root(np.linalg.pinv(rescaled))))
    size = np.sqrt(np.abs(covariance[:p, :p]).max() * np.abs(covariance[p:, p:]).max())
    turn, _, back = np.linalg.svd(roots[0][1] @ covariance[:p, p:] / size @ roots[1][1])
    _ = x_scores @ roots[0][1] @ turn, y_scores @ roots[1][1] @ back.T  # made there, and not used
    return x_axes[:p].T @ roots[0][1] @ turn, turn.T @ roots[0][0] @ x_axes[:p], min(p, q)


def square_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


def published_curves(data: Data, components: tuple[int, ...]) -> dict[str, list[float]]:
    """For each method and each n: fit, project, head, score."""
    x, y, val = (part.double().numpy() for part in (data.x, data.y, data.val_x))
    rng = np.random.default_rng(0)
    curves: dict[str, list[float]] = {method: [] for method in METHODS}
    for method in METHODS:
        for n in components:
            directions, inverse = published_components(method, x, y, rng)
            mean = x.mean(axis=0)
            projected = (val - mean) @ directions[:, :n] @ inverse[:n] + mean
            with torch.no_grad():
                logits = F.linear(torch.from_numpy(projected).float(), data.weight, data.bias)
            right = logits.argmax(dim=1) == data.val_label
            curves[method].append(float(right.double().mean()))
    return curves


def our_curves(data: Data) -> dict[str, list[float]]:
    generator = torch.Generator().manual_seed(0)
    bases = subspaces_from_moments(METHODS, moments_of(data.x, data.y), generator=generator)
    head = Heads(data.weight[None].double(), data.bias[None].double())
    heads = projected_heads(head, list(bases.values()), COMPONENTS)
    scores = scores_from_counts(confusion(data.val_x, data.val_label, heads), "accuracy")
    return dict(zip(METHODS, scores.view(len(METHODS), -1).tolist(), strict=True))


def curves(data: Data) -> None:
    expected = published_curves(data, LOOPED)

    def error(found: dict[str, list[float]]) -> float:
        at = (
            range(len(LOOPED))
            if len(found["pca"]) == len(LOOPED)
            else map(COMPONENTS.index, LOOPED)
        )
        differences = [
            abs(found[method][i] - expected[method][j])
            for j, i in enumerate(at)
            for method in METHODS
            if method not in RANDOM
        ]
        return max(differences)

    grams = SAMPLES * (2 * UNITS) ** 2 + 2 * SAMPLES * UNITS**2
    compare(
        "seven curves of 15 dimensions, 10000 samples of 128 units",
        [
            Contender("mmrep", partial(our_curves, data)),
            Contender(
                "published loop",
                partial(published_curves, data, LOOPED),
                share=len(LOOPED) / len(COMPONENTS),
                rounds=3,
            ),
        ],
        floor=grams / product_speed(),
        floor_is="the covariance of both views and one projection, in float64",
        error=error,
        error_is="error, accuracy",
        targets=lambda seconds, memory, floor: [
            (
                Target("published loop", ">=", 150, "x ours"),
                seconds["published loop"] / seconds["mmrep"],
            )
        ],
    )


def train_alone(data: Data, inputs: list[Tensor]) -> list[float]:
    """One head after another for an epoch, as published: own layer, optimizer, batches of 64."""
    reached = []
    for projected in inputs:
        layer = nn.Linear(UNITS, CLASSES)
        layer.load_state_dict({"weight": data.weight, "bias": data.bias})
        optimizer = Adam(layer.parameters(), lr=1e-3, weight_decay=WEIGHT_DECAY)
        order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(0))
        for rows in torch.split(order, 64):
            optimizer.zero_grad()
            loss = F.cross_entropy(layer(projected[rows]), data.label[rows])
            torch.autograd.backward(loss)
            optimizer.step()
        reached.append(objective(layer.weight, layer.bias, projected.double(), data.label))
    return reached


def solve_alone(data: Data, inputs: list[Tensor]) -> list[float]:
    """Scikit-learn on each."""
    reached = []
    for projected in inputs:
        with_ones = torch.cat([projected, torch.ones(SAMPLES, 1)], dim=1)
        model = LogisticRegression(
            C=1 / (WEIGHT_DECAY * SAMPLES), fit_intercept=False, tol=1e-6, max_iter=2000
        ).fit(with_ones.numpy(), data.label.numpy())
        theta = torch.from_numpy(model.coef_)
        reached.append(objective(theta[:, :-1], theta[:, -1], projected, data.label))
    return reached


def objective(weight: Tensor, bias: Tensor, x: Tensor, label: Tensor) -> float:
    weight, bias = weight.detach().double(), bias.detach().double()
    squares = weight.square().sum() + bias.square().sum()
    return float(F.cross_entropy(x @ weight.T + bias, label) + WEIGHT_DECAY / 2 * squares)


def objectives(result: Retrained) -> list[float]:
    squares = result.heads.weight.square().sum(dim=(1, 2)) + result.heads.bias.square().sum(dim=1)
    return (result.loss + WEIGHT_DECAY / 2 * squares).tolist()


def heads(data: Data) -> None:
    generator = torch.Generator().manual_seed(0)
    moments = moments_of(data.x, data.y)
    bases = list(subspaces_from_moments(METHODS, moments, generator=generator).values())
    number = len(bases) * len(COMPONENTS)
    some = list(range(7, number, 15))  # n = 8 of every method
    inputs = [project(data.x, basis, 8) for basis in bases]
    given = (data.x, data.label, data.weight, data.bias, bases, COMPONENTS)
    best = objectives(retrain_heads(*given, weight_decay=WEIGHT_DECAY, tolerance=1e-8))

    def by_recipe() -> list[float]:
        adam = partial(Adam, lr=1e-3, weight_decay=WEIGHT_DECAY)
        order = torch.Generator().manual_seed(0)
        return objectives(
            retrain_heads_by_recipe(*given, optimizer=adam, epochs=1, generator=order)
        )

    def error(reached: list[float]) -> float:
        found = [reached[i] for i in some] if len(reached) == number else reached
        return max(value - best[i] for i, value in zip(some, found, strict=True))

    compare(
        "105 heads retrained on 10000 samples of 128 units",
        [
            Contender(
                "mmrep, converged",
                lambda: objectives(retrain_heads(*given, weight_decay=WEIGHT_DECAY)),
                rounds=3,
            ),
            Contender("mmrep, recipe", by_recipe, share=1 / EPOCHS, rounds=3),
            Contender(
                "published loop, recipe",
                partial(train_alone, data, [one.float() for one in inputs]),
                share=len(inputs) / number / EPOCHS,
                rounds=3,
            ),
            Contender(
                "scikit-learn, converged",
                partial(solve_alone, data, inputs),
                share=len(inputs) / number,
                rounds=3,
            ),
        ],
        floor=4 * SAMPLES * CLASSES * sum(COMPONENTS) * len(METHODS) / product_speed(),
        floor_is="the products of one gradient of all heads, on their components alone",
        error=error,
        error_is="n = 8, above the best",
        targets=lambda seconds, memory, floor: [
            (Target("all heads to convergence", "<=", 10, "s"), seconds["mmrep, converged"]),
            (
                Target("published loop, recipe", ">=", 1, "x ours"),
                seconds["published loop, recipe"] / seconds["mmrep, recipe"],
            ),
        ],
    )


def main() -> None:
    one_thread()
    data = simulated()
    curves(data)
    heads(data)


if __name__ == "__main__":
    main()
