"""Retrained heads against scikit-learn, autograd, and one plain training for each head."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Generator, Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.testing import assert_close

from mmrep.stats.cca import Basis
from mmrep.stats.heads import Retrained, retrain_heads, retrain_heads_by_recipe
from mmrep.stats.subspaces import confusion, project, projected_heads, subspace

SAMPLES, UNITS, CLASSES = 150, 6, 3
COMPONENTS = (1, 2, 4, 9)  # the last above every rank
METHODS = ("cca_highest", "pca", "random_selection")


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def features() -> tuple[Tensor, Tensor]:
    """Classes that overlap, of unequal size, off zero, with a dead unit."""
    label = torch.randint(5, (SAMPLES,), generator=seeded(1)).clamp(max=CLASSES - 1)
    x = normal(CLASSES, UNITS, seed=2)[label] + normal(SAMPLES, UNITS, seed=3) + 2
    x[:, 4] = 0
    return x, label


def bases(x: Tensor) -> list[Basis]:
    y = x @ normal(UNITS, 5, seed=4) + normal(SAMPLES, 5, seed=5)
    return [subspace(method, x, y, generator=seeded(6)) for method in METHODS]


def trained_head() -> tuple[Tensor, Tensor]:
    return normal(CLASSES, UNITS, seed=7), normal(CLASSES, seed=8)


def class_weight(weighted: bool) -> Tensor | None:
    return torch.tensor([3.0, 1.0, 0.5], dtype=torch.float64) if weighted else None


def projections(x: Tensor) -> list[Tensor]:
    return [project(x, basis, min(n, basis.rank)) for basis in bases(x) for n in COMPONENTS]


def converged(
    weighted: bool = False, weight_decay: float = 1e-2, tolerance: float = 1e-9
) -> tuple[Tensor, Tensor, Retrained]:
    x, label = features()
    return x, label, retrain_heads(
        x, label, *trained_head(), bases(x), COMPONENTS,
        weight_decay=weight_decay, class_weight=class_weight(weighted), tolerance=tolerance,
    )  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
def test_the_optimum_is_scikit_learns(weighted: bool) -> None:
    x, label, result = converged(weighted)
    weight = class_weight(weighted)
    share = torch.ones(SAMPLES).double() if weight is None else weight[label]
    share = share * (SAMPLES / share.sum())  # theirs is a sum over samples, ours a weighted mean
    for head, inputs in enumerate(projections(x)):
        with_ones = torch.cat([inputs, torch.ones(SAMPLES, 1)], dim=1)  # else b has no penalty
        model = LogisticRegression(
            C=1 / (1e-2 * SAMPLES), fit_intercept=False, tol=1e-10, max_iter=10_000
        ).fit(with_ones.numpy(), label.numpy(), sample_weight=share.numpy())
        expected = torch.from_numpy(model.coef_)
        assert_close(result.heads.weight[head], expected[:, :-1], atol=1e-5, rtol=0)
        assert_close(result.heads.bias[head], expected[:, -1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("weight_decay", [1e-4, 1e-2, 1.0])
def test_the_gradient_is_zero_and_loss_and_norm_are_autograds(
    weighted: bool, weight_decay: float
) -> None:
    x, label, result = converged(weighted, weight_decay, tolerance=1e-7)
    assert result.gradient_norm.max() <= 1e-7
    for head, inputs in enumerate(projections(x)):
        weight = result.heads.weight[head].clone().requires_grad_()
        bias = result.heads.bias[head].clone().requires_grad_()
        loss = F.cross_entropy(inputs @ weight.T + bias, label, class_weight(weighted))
        penalty = weight_decay / 2 * (weight.square().sum() + bias.square().sum())
        gradients = torch.autograd.grad(loss + penalty, (weight, bias))
        norm = torch.cat([part.flatten() for part in gradients]).norm()
        assert_close(result.loss[head], loss.detach())
        assert_close(result.gradient_norm[head], norm, atol=1e-13, rtol=1e-4)


def test_the_optimum_does_not_depend_on_the_start_or_on_the_other_heads() -> None:
    x, label, result = converged()
    weight, bias = (10 * part for part in trained_head())
    other = retrain_heads(
        x, label, weight, bias, bases(x), COMPONENTS, weight_decay=1e-2, tolerance=1e-9
    )
    assert_close(other.heads.weight, result.heads.weight, atol=1e-6, rtol=0)
    alone = retrain_heads(
        x, label, *trained_head(), [bases(x)[1]], [2], weight_decay=1e-2, tolerance=1e-9
    )
    head = METHODS.index("pca") * len(COMPONENTS) + COMPONENTS.index(2)
    assert_close(alone.heads.weight[0], result.heads.weight[head], atol=1e-6, rtol=0)


def test_a_head_that_is_already_best_stays() -> None:
    x, label, result = converged(tolerance=1e-7)
    best = result.heads.weight[3], result.heads.bias[3]  # cca_highest, all components
    again = retrain_heads(
        x, label, *best, bases(x)[:1], COMPONENTS[-1:], weight_decay=1e-2, tolerance=1e-6
    )
    assert_close(again.heads.weight[0], best[0], atol=1e-12, rtol=0)


def test_more_components_fit_the_training_samples_better() -> None:
    _, _, result = converged(weight_decay=1e-6, tolerance=1e-5)
    by_basis = result.loss.view(len(METHODS), len(COMPONENTS))
    assert (by_basis.diff(dim=1) < 0).all()


def test_separable_classes_converge() -> None:
    label = torch.arange(SAMPLES) % CLASSES
    x = 100 * F.one_hot(label, UNITS).double() + normal(SAMPLES, UNITS, seed=3)
    basis = subspace("pca", x)
    result = retrain_heads(x, label, *trained_head(), [basis], [1, 2, 6], weight_decay=1e-3)
    assert result.gradient_norm.max() <= 1e-6
    counts = confusion(x, label, projected_heads(result.heads, [basis], [1, 2, 6]))
    assert counts[1:].diagonal(dim1=1, dim2=2).sum(dim=1).tolist() == [SAMPLES, SAMPLES]


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scaled_features_converge(scale: float) -> None:
    x, label = features()
    x = x * torch.tensor([scale, 1, 1, 1, 1, 1], dtype=torch.float64)
    result = retrain_heads(
        x, label, *trained_head(), [subspace("pca", x)], COMPONENTS, weight_decay=1e-3
    )
    assert result.gradient_norm.max() <= 1e-6


def by_hand(
    inputs: Tensor, label: Tensor, optimizer: Callable[..., Optimizer], *, decay: bool
) -> nn.Linear:
    """One head, trained as published: its own layer, its own optimizer, 3 epochs, batches of 64."""
    layer = nn.Linear(UNITS, CLASSES).double()
    weight, bias = trained_head()
    layer.load_state_dict({"weight": weight, "bias": bias})
    stepper = optimizer(layer.parameters())
    schedule = StepLR(stepper, step_size=1, gamma=1 / 3) if decay else None
    generator = seeded(9)
    for _ in range(3):
        for rows in torch.randperm(SAMPLES, generator=generator).split(64):
            stepper.zero_grad()
            F.cross_entropy(layer(inputs[rows]), label[rows], class_weight(True)).backward()
            stepper.step()
        if schedule:
            schedule.step()
    return layer


@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize(
    "optimizer",
    [
        partial(Adam, lr=1e-2, weight_decay=1e-3),
        partial(SGD, lr=0.1, momentum=0.9, weight_decay=1e-4),
    ],
)
def test_the_recipe_trains_each_head_as_if_it_were_alone(
    optimizer: Callable[..., Optimizer], decay: bool
) -> None:
    x, label = features()
    result = retrain_heads_by_recipe(
        x, label, *trained_head(), bases(x), COMPONENTS,
        optimizer=optimizer, epochs=3, generator=seeded(9), class_weight=class_weight(True),
        scheduler=partial(StepLR, step_size=1, gamma=1 / 3) if decay else None,
    )  # fmt: skip
    for head, inputs in enumerate(projections(x)):
        layer = by_hand(inputs, label, optimizer, decay=decay)
        assert_close(result.heads.weight[head], layer.weight.detach(), atol=1e-9, rtol=0)
        assert_close(result.heads.bias[head], layer.bias.detach(), atol=1e-9, rtol=0)
        loss = F.cross_entropy(layer(inputs), label, class_weight(True)).detach()
        assert_close(result.loss[head], loss)


def test_a_long_recipe_reaches_the_optimum() -> None:
    x, label, best = converged(weighted=True)
    result = retrain_heads_by_recipe(
        x, label, *trained_head(), bases(x), COMPONENTS, class_weight=class_weight(True),
        optimizer=partial(SGD, lr=0.1, momentum=0.9, weight_decay=1e-2),
        epochs=1500, generator=seeded(), batch_size=SAMPLES,
    )  # fmt: skip
    assert result.gradient_norm.max() < 1e-6
    assert_close(result.loss, best.loss, atol=1e-5, rtol=0)


def test_bases_of_different_rank_and_any_n_at_once() -> None:
    x, label = features()
    mixed = bases(x)
    mixed[1] = Basis(mixed[1].directions[:, :3], mixed[1].inverse[:3], mixed[1].mean + 1)
    numbers = (40, 0, 4, 1, 4, 10)  # beyond every rank, none, one twice, in no order

    def both(bases: list[Basis], numbers: tuple[int, ...]) -> list[Retrained]:
        given = (x, label, *trained_head(), bases, numbers)
        recipe = partial(SGD, lr=0.05, momentum=0.9, weight_decay=1e-2)
        return [
            retrain_heads(*given, weight_decay=1e-2, tolerance=1e-9),
            retrain_heads_by_recipe(
                *given, optimizer=recipe, epochs=2, generator=seeded(), batch_size=40
            ),
        ]

    together = both(mixed, numbers)
    for head, (basis, n) in enumerate((basis, n) for basis in mixed for n in numbers):
        for result, alone in zip(together, both([basis], (min(n, basis.rank),)), strict=True):
            assert_close(result.heads.weight[head], alone.heads.weight[0], atol=1e-6, rtol=0)
            assert_close(result.heads.bias[head], alone.heads.bias[0], atol=1e-6, rtol=0)
            inputs = project(x, basis, min(n, basis.rank))
            logits = inputs @ alone.heads.weight[0].T + alone.heads.bias[0]
            assert_close(result.loss[head], F.cross_entropy(logits, label), atol=1e-6, rtol=0)


def test_both_run_where_gradients_are_off_and_leave_their_inputs_alone() -> None:
    x, label = features()
    weight, bias = (part.requires_grad_() for part in trained_head())
    before = x.clone(), weight.detach().clone()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            arguments = (x.float(), label, weight, bias, bases(x), COMPONENTS)
            retrain_heads(*arguments, weight_decay=1e-2)
            retrain_heads_by_recipe(*arguments, optimizer=Adam, epochs=1, generator=seeded())
    assert torch.equal(x, before[0])
    assert torch.equal(weight, before[1])


def test_heads_that_did_not_converge_are_reported() -> None:
    x, label = features()
    with pytest.warns(
        UserWarning, match=r"12 of 12 heads .* tolerance=1e-06 after max_evaluations=2"
    ):
        result = retrain_heads(
            x, label, *trained_head(), bases(x), COMPONENTS, weight_decay=1e-3, max_evaluations=2
        )
    assert result.gradient_norm.min() > 1e-6


def test_what_cannot_be_trained_is_refused() -> None:
    x, label = features()

    def train(
        x: Tensor, label: Tensor, weight_decay: float = 1e-3, shares: list[float] | None = None
    ) -> None:
        retrain_heads(
            x, label, *trained_head(), bases(features()[0]), COMPONENTS,
            weight_decay=weight_decay, class_weight=torch.tensor(shares) if shares else None,
        )  # fmt: skip

    for value in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=f"weight_decay={value} is not above 0: separable"):
            train(x, label, value)
    for value in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"class_weight=\[1.0, .* must be above 0 and finite"):
            train(x, label, shares=[1.0, value, 1.0])
    with pytest.raises(ValueError, match="149 labels for 150 samples"):
        train(x, label[1:])
    with pytest.raises(ValueError, match="labels from 0 to 3, where the classes are 0 to 2"):
        train(x, label + (torch.arange(SAMPLES) == label.argmax()))
    with pytest.raises(ValueError, match="no samples to train heads on"):
        train(x[:0], label[:0])
    x[1, 1] = torch.nan
    with pytest.raises(ValueError, match="x holds NaN or infinite values"):
        train(x, label)
