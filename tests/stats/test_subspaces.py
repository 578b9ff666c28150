"""Subspaces against scikit-learn, the authors' projectors, and the algebra of projections."""

import inspect
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float64, Int64
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score, f1_score
from torch import Generator, Tensor
from torch.testing import assert_close

from mmrep.stats.cca import Basis, cca
from mmrep.stats.covariance import moments_of
from mmrep.stats.subspaces import (
    METHODS,
    Heads,
    check_classes,
    project,
    projected_heads,
    projection_scores,
    scores_from_counts,
    subspace,
    subspaces_from_moments,
)

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
CCA_METHODS = ("cca_highest", "cca_lowest", "cca_random")
ORTHOGONAL = ("pca", "max_activation", "random_projection", "random_selection")
RANDOM = ("cca_random", "random_projection", "random_selection")


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def pair(
    x_units: int = 9, y_units: int = 6, samples: int = 300
) -> tuple[Float64[Tensor, "samples x_units"], Float64[Tensor, "samples y_units"]]:
    """Features of two networks that share four directions, off zero and of unequal size."""
    shared = normal(samples, 4, seed=0)
    x = shared @ normal(4, x_units, seed=1) + normal(samples, x_units, seed=2)
    y = shared @ normal(4, y_units, seed=3) + normal(samples, y_units, seed=4)
    return x * torch.linspace(1, 3, x_units, dtype=torch.float64) + 5, y - 1


def basis_of(method: str, x: Tensor, y: Tensor) -> Basis:
    return subspace(method, x, y, generator=seeded())


def head(classes: int, units: int) -> tuple[Tensor, Tensor]:
    return normal(classes, units, seed=10), normal(classes, seed=11)


def labels(samples: int, classes: int) -> Int64[Tensor, "samples"]:
    return torch.randint(classes, (samples,), generator=seeded(12))


@pytest.mark.parametrize("method", METHODS)
def test_projections_are_nested(method: str) -> None:
    x, y = pair()
    basis = basis_of(method, x, y)
    for n in range(basis.rank + 1):
        once = project(x, basis, n)
        assert torch.linalg.matrix_rank(once - basis.mean, rtol=1e-8) == n
        for m in (0, 1, 3, basis.rank):
            assert_close(project(once, basis, m), project(x, basis, min(m, n)))


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_comes_back(method: str) -> None:
    x, y = pair()
    for n in (0, 1, 4):
        assert_close(project(x, basis_of(method, x, y), n).mean(dim=0), x.mean(dim=0))


@pytest.mark.parametrize("method", METHODS)
def test_all_components_leave_full_rank_features_unchanged(method: str) -> None:
    x, y = pair(x_units=6, y_units=6)
    assert_close(project(x, basis_of(method, x, y), 6), x)


@pytest.mark.parametrize("method", ORTHOGONAL)
def test_axes_are_orthonormal(method: str) -> None:
    basis = basis_of(method, *pair())
    assert_close(basis.directions, basis.inverse.T)
    assert_close(basis.inverse @ basis.directions, torch.eye(9, dtype=torch.float64))


@pytest.mark.parametrize("method", CCA_METHODS)
def test_cca_projects_obliquely_what_is_lost_correlates_with_nothing_kept(method: str) -> None:
    x, y = pair()
    basis = basis_of(method, x, y)
    projector = basis.directions[:, :3] @ basis.inverse[:3]
    assert (projector - projector.T).abs().max() > 0.01
    kept = project(x, basis, 3) - basis.mean
    lost = (x - basis.mean) - kept
    assert_close(kept.T @ lost, torch.zeros(9, 9, dtype=torch.float64), atol=1e-9, rtol=0)


def test_lowest_is_what_highest_leaves() -> None:
    x, y = pair()  # 9 components against 6: three that correlate with nothing
    highest, lowest = basis_of("cca_highest", x, y), basis_of("cca_lowest", x, y)
    assert highest.rank == lowest.rank == 9
    for n in range(10):
        parts = project(x, highest, n) + project(x, lowest, 9 - n) - highest.mean
        assert_close(parts, x)
    scores = (x - lowest.mean) @ lowest.directions[:, :3]
    assert_close(scores.T @ (y - y.mean(dim=0)), torch.zeros(3, 6).double(), atol=1e-9, rtol=0)
    variance = lowest.inverse[:3].square().sum(dim=1)
    assert variance.tolist() == sorted(variance.tolist())


def test_cca_random_permutes_the_correlated_components_alone() -> None:
    x, y = pair()
    canonical, drawn = cca(x, y).x, basis_of("cca_random", x, y)
    order = torch.randperm(6, generator=seeded())
    assert drawn.rank == 6
    assert_close(drawn.directions, canonical.directions[:, order])
    assert_close(drawn.inverse, canonical.inverse[order])


@pytest.mark.parametrize("rank", [1, 3])
def test_logits_shared_by_two_networks_survive_on_as_many_components(rank: int) -> None:
    """The simplistic example of Moreau et al. 2021, section 2.3, with logits of rank `rank`."""
    x, noise = pair()
    weight = normal(5, rank, seed=20) @ normal(rank, 9, seed=21)
    logits = x @ weight.T
    partner = normal(5, 6, seed=22)  # reads the same logits off features of its own
    seen = torch.linalg.pinv(partner)
    y = logits @ seen.T + noise @ (torch.eye(6, dtype=torch.float64) - seen @ partner).T
    assert_close(y @ partner.T, logits)
    correlations = cca(x, y).correlations
    assert_close(correlations[:rank], torch.ones(rank, dtype=torch.float64))
    assert correlations[rank] < 0.999
    highest = subspace("cca_highest", x, y)
    assert_close(project(x, highest, rank) @ weight.T, logits)
    assert (project(x, highest, rank) - x).abs().max() > 1
    if rank > 1:
        assert (project(x, highest, rank - 1) @ weight.T - logits).abs().max() > 1


def test_pca_is_that_of_scikit_learn() -> None:
    x, y = pair()
    expected = torch.from_numpy(PCA(svd_solver="full").fit(x.numpy()).components_)
    axes = subspace("pca", x).inverse
    assert_close(axes, axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign() * axes)
    assert_close((axes * expected).sum(dim=1).abs(), torch.ones(9, dtype=torch.float64))
    assert_close(subspace("pca", x, y).inverse, axes)


def test_pca_finds_axes_whose_variance_is_lost_in_a_covariance() -> None:
    turn = torch.linalg.qr(normal(4, 4, seed=30)).Q
    spread = torch.tensor([1.0, 1e-5, 1e-9, 1e-10], dtype=torch.float64)
    scores = torch.linalg.qr(normal(200, 4, seed=31) - normal(200, 4, seed=31).mean(dim=0)).Q
    axes = subspace("pca", scores * spread @ turn.T).inverse
    assert_close((axes @ turn).abs(), torch.eye(4, dtype=torch.float64), atol=1e-4, rtol=0)


def test_units_rank_by_their_largest_activation_either_way_and_ties_by_number() -> None:
    x = torch.tensor([[0.0, 2.0, -7.0, 5.0, 0.0, 2.0], [0.0, 1.0, 3.0, 5.0, 0.0, -2.0]])
    order = subspace("max_activation", x).inverse.argmax(dim=1)
    assert order.tolist() == [2, 3, 1, 5, 0, 4]


@pytest.mark.parametrize("method", RANDOM)
def test_a_generator_decides_and_the_features_precision_does_not(method: str) -> None:
    x, y = pair()
    first, again = (subspace(method, x, y, generator=seeded(1)) for _ in range(2))
    assert torch.equal(first.inverse, again.inverse)
    coarse = subspace(method, x.float(), y.float(), generator=seeded(1))
    assert_close(coarse.inverse, first.inverse, atol=1e-5, rtol=1e-5)
    other = subspace(method, x, y, generator=seeded(2))
    assert (other.inverse - first.inverse).abs().max() > 0.1


def test_random_selection_keeps_every_unit_once() -> None:
    basis = subspace("random_selection", pair()[0], generator=seeded())
    assert sorted(basis.inverse.argmax(dim=1).tolist()) == list(range(9))
    assert basis.inverse.sum() == basis.inverse.square().sum() == 9


def test_all_methods_come_from_one_set_of_moments() -> None:
    x, y = pair()
    generator = seeded()
    bases = subspaces_from_moments(METHODS, moments_of(x, y), generator=generator)
    assert tuple(bases) == METHODS
    generator = seeded()
    for method, basis in bases.items():  # drawn in the same order
        alone = subspace(method, x, y, generator=generator)
        assert torch.equal(basis.inverse, alone.inverse), method


@pytest.mark.parametrize("method", METHODS)
def test_dead_constant_and_duplicated_units_and_scales(method: str) -> None:
    x, y = pair(x_units=5, y_units=5)
    x = torch.cat([x, torch.zeros(300, 1), torch.full((300, 1), 1e6), x[:, :1] * 1e-6], dim=1)
    basis = basis_of(method, x, y)
    assert basis.rank == (5 if method in CCA_METHODS else 8)
    projected = project(x, basis, basis.rank)
    assert_close(projected, x.double(), atol=1e-8, rtol=1e-8)


@pytest.mark.reference
@pytest.mark.parametrize("method", ["CCA_highest", "CCA_lowest", "PCA", "max_activation"])
def test_equals_the_authors_projectors(method: str) -> None:
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE} is absent: the authors' numbers come beside the project")
    inputs = np.load(REFERENCE / "feature_reduction_inputs.npz")
    projectors = np.load(REFERENCE / "feature_reduction_projectors.npz")
    outputs = np.load(REFERENCE / "feature_reduction_val_outputs.npz")
    x, y, val = (torch.from_numpy(inputs[key]) for key in ("X_train", "Y_train", "X_val"))
    basis = subspace(method.lower(), x, y)
    of_cca = method.startswith("CCA")  # theirs has a ridge of 1e-10
    assert basis.rank == (95 if of_cca else 120)
    for n in (1, 4, 8, 16, 32, basis.rank):
        key = f"XY/{method}/n{'full' if n == basis.rank else n}"
        expected = torch.from_numpy(projectors[f"{key}/P"])
        projector = basis.directions[:, :n] @ basis.inverse[:n]
        assert_close(projector, expected, atol=5e-6 if of_cca else 1e-10, rtol=0)
        expected = torch.from_numpy(outputs[f"{key}/val_out"])
        assert_close(project(val, basis, n), expected, atol=1e-4 if of_cca else 1e-9, rtol=0)


@pytest.mark.reference
def test_equals_the_authors_projectors_of_the_other_side() -> None:
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE} is absent: the authors' numbers come beside the project")
    inputs = np.load(REFERENCE / "feature_reduction_inputs.npz")
    projectors = np.load(REFERENCE / "feature_reduction_projectors.npz")
    x, y = (torch.from_numpy(inputs[key]) for key in ("Y_train", "X_train"))
    basis = subspace("cca_highest", x, y)  # 101 components, of which 6 correlate with nothing
    assert basis.rank == 101
    for n, name in ((8, "n8"), (101, "nfull")):
        expected = torch.from_numpy(projectors[f"YX/CCA_highest/{name}/P"])
        assert_close(basis.directions[:, :n] @ basis.inverse[:n], expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("average", ["accuracy", "macro_f1"])
def test_scores_are_those_of_the_loop_over_n(method: str, average: str) -> None:
    x, y = pair()
    weight, bias = head(4, 9)
    label = (x @ weight.T + bias).argmax(dim=1)
    label[::5] = labels(300, 4)[::5]
    basis = basis_of(method, x, y)
    components = [0, 5, 1, 2, 3, 9, 100]  # in any order, and above the rank
    scores = projection_scores(x, label, weight, bias, basis, components, average=average)
    for n, score in zip(components, scores.tolist(), strict=True):
        predicted = (project(x, basis, min(n, basis.rank)) @ weight.T + bias).argmax(dim=1)
        if average == "accuracy":
            assert score == pytest.approx(accuracy_score(label, predicted))
        else:
            expected = f1_score(label, predicted, average="macro", zero_division=0)
            assert score == pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_full_basis_scores_as_the_untouched_network(method: str) -> None:
    x, y = pair(x_units=6, y_units=6)
    weight, bias = head(3, 6)
    label = labels(300, 3)
    untouched = ((x @ weight.T + bias).argmax(dim=1) == label).double().mean()
    basis = basis_of(method, x, y)
    (score,) = projection_scores(x, label, weight, bias, basis, [6], average="accuracy")
    assert score == untouched


def test_scores_of_the_validation_set_use_the_training_mean() -> None:
    x, _ = pair()
    basis = subspace("pca", x[:200])
    weight, bias = head(4, 9)
    label = (x[200:] @ weight.T + bias).argmax(dim=1)
    scores = projection_scores(
        x[200:].float(), label, weight.float(), bias.float(), basis, [4], average="accuracy"
    )
    predicted = (project(x[200:], basis, 4) @ weight.T + bias).argmax(dim=1)
    assert scores.item() == pytest.approx((predicted == label).double().mean().item())


@pytest.mark.parametrize(
    "counts",
    [
        [[3, 1, 0], [0, 2, 2], [1, 0, 1]],
        [[3, 0, 0], [2, 0, 0], [1, 0, 0]],  # two classes never predicted score 0
        [[3, 1, 0], [1, 2, 0], [0, 0, 0]],  # a class with neither samples nor predictions
        [[0, 1, 0], [0, 2, 0], [0, 0, 0]],
    ],
)
def test_scores_of_counts_are_those_of_scikit_learn(counts: list[list[int]]) -> None:
    table = torch.tensor([counts])
    cells = [(i, j) for i in range(3) for j in range(3) for _ in range(counts[i][j])]
    truth, predicted = zip(*cells, strict=True)
    expected = f1_score(truth, predicted, average="macro", zero_division=0)
    assert scores_from_counts(table, "macro_f1").item() == pytest.approx(expected)
    expected = accuracy_score(truth, predicted)
    assert scores_from_counts(table, "accuracy").item() == pytest.approx(expected)


def test_inputs_are_left_alone_and_weights_may_be_trainable() -> None:
    x, y = pair()
    weight, bias = (part.requires_grad_() for part in head(4, 9))
    before = x.clone(), y.clone()
    scores = projection_scores(
        x.clone().requires_grad_(), labels(300, 4), weight, bias, basis_of("pca", x, y), [1, 9],
        average="accuracy",
    )  # fmt: skip
    assert not scores.requires_grad
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


def test_an_unknown_method_is_refused() -> None:
    message = r"method='cca_best' is not one of cca_highest, .* random_selection"
    with pytest.raises(ValueError, match=message):
        subspace("cca_best", *pair())


@pytest.mark.parametrize("method", CCA_METHODS)
def test_cca_needs_a_partner(method: str) -> None:
    with pytest.raises(ValueError, match=rf"method='{method}' compares two networks: give y"):
        subspace(method, pair()[0], generator=seeded())


@pytest.mark.parametrize("method", RANDOM)
def test_random_methods_need_a_generator(method: str) -> None:
    message = rf"method='{method}' draws at random: give generator=torch.Generator\(\)"
    with pytest.raises(ValueError, match=message):
        subspace(method, *pair())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_features_that_are_no_numbers_are_refused(method: str, value: float) -> None:
    x, y = pair()
    x[3, 2] = value
    with pytest.raises(ValueError, match="x holds NaN or infinite values"):
        basis_of(method, x, y)


@pytest.mark.parametrize("samples", [0, 1])
def test_too_few_samples_are_refused(samples: int) -> None:
    with pytest.raises(
        ValueError, match=rf"{samples} samples of x tell no subspace: give at least"
    ):
        subspace("pca", pair()[0][:samples])


@pytest.mark.parametrize("n", [-1, 7])
def test_an_n_that_the_basis_does_not_keep_is_refused(n: int) -> None:
    x, y = pair()
    basis = basis_of("cca_random", x, y)
    with pytest.raises(ValueError, match=rf"n={n} is not from 0 to 6, .* 9 units: project on min"):
        project(x, basis, n)


def test_what_cannot_be_scored_is_refused() -> None:
    x, y = pair()
    basis, (weight, bias), label = basis_of("pca", x, y), head(4, 9), labels(300, 4)

    def score(x: Tensor, label: Tensor, n: int = 3, average: str = "accuracy") -> Tensor:
        return projection_scores(x, label, weight, bias, basis, [1, n], average=average)

    with pytest.raises(
        ValueError, match=r"components=\[1, -2\]: give some whole numbers, none below 0"
    ):
        score(x, label, n=-2)
    with pytest.raises(ValueError, match="average='f1' is not one of accuracy, macro_f1"):
        score(x, label, average="f1")
    with pytest.raises(ValueError, match="299 labels for 300 samples: give one for each"):
        score(x, label[1:])
    with pytest.raises(ValueError, match="1 labels for 300 samples: give one for each"):
        score(x, label[:1])
    with pytest.raises(ValueError, match="labels from 1 to 4, where the classes are 0 to 3"):
        score(x[label > 0], label[label > 0] + (label[label > 0] == 3))
    with pytest.raises(ValueError, match="no sample was counted"):
        score(x[:0], label[:0])
    x[7, 1] = torch.nan
    with pytest.raises(ValueError, match="logits are not finite: x or the heads hold NaN"):
        score(x, label)


def test_labels_heads_and_components_that_do_not_fit_are_refused() -> None:
    x, label = torch.randn(20, 4), torch.arange(20) % 3
    basis = subspace("pca", x)
    score = partial(inspect.unwrap(projection_scores), average="accuracy")
    head = torch.randn(3, 4), torch.zeros(3)
    with pytest.raises(ValueError, match=r"type torch.float32: give one whole number"):
        check_classes(x, label.float(), 3)
    with pytest.raises(ValueError, match=r"a head of weight \(4, 3\) .* must be classes x units"):
        score(x, label, head[0].T, head[1], basis, [1])
    with pytest.raises(ValueError, match=r"components=\[2.5\]: give some whole numbers"):
        inspect.unwrap(projected_heads)(Heads(head[0][None], head[1][None]), [basis], [2.5])
    with pytest.raises(ValueError, match=r"n=2.5 is not from 0 to 4"):
        inspect.unwrap(project)(x, basis, 2.5)
    with pytest.raises(ValueError, match=r"methods='pca' is one name"):
        inspect.unwrap(subspaces_from_moments)("pca", moments_of(x))
