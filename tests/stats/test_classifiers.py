"""The classifiers against scikit-learn's and their formulas written out."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor
from torch.testing import assert_close

from mmrep.stats.classifiers import CLASSIFIERS, predictions

TRAIN, VALIDATION, COLUMNS, CLASSES = 300, 200, 6, 4


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def samples(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Classes that overlap, off zero, in correlated columns of unequal size."""
    label = torch.randint(CLASSES, (number,), generator=torch.Generator().manual_seed(seed))
    x = 1.5 * normal(CLASSES, COLUMNS, seed=0)[label] + normal(number, COLUMNS, seed=seed)
    mixed = x @ normal(COLUMNS, COLUMNS, seed=1)
    return mixed * torch.logspace(-2, 2, COLUMNS).double() + 7, label


X, LABEL = samples(TRAIN, 2)
Y, TRUTH = samples(VALIDATION, 3)


def predicted(
    classifier: str,
    train: Tensor = X,
    label: Tensor = LABEL,
    validation: Tensor = Y,
    *,
    components: Sequence[int] = (1, 3, COLUMNS),
    landmarks: int = TRAIN,
    seed: int = 0,
) -> Tensor:
    return predictions(
        classifier, train, label, validation,
        components=components, landmarks=landmarks, seed=seed,
    )  # fmt: skip


def at_unit_deviation(v: Tensor) -> Tensor:
    return (v - X.mean(dim=0)) / X.std(dim=0, correction=0)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    return (-torch.cdist(a, b).square() / a.shape[1]).exp()


def share_equal(a: Tensor, b: Tensor) -> float:
    return float((a == b).double().mean())


@pytest.mark.parametrize(
    ("classifier", "model"),
    [
        ("logistic_regression", LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000)),
        ("linear_svm", LinearSVC(C=1.0, dual=False, tol=1e-10, max_iter=10_000)),
    ],
)
def test_linear_ones_predict_as_scikit_learns_at_their_optimum(classifier: str, model: Any) -> None:
    found = predicted(classifier)
    x, y = at_unit_deviation(X), at_unit_deviation(Y)
    for row, n in zip(found, (1, 3, COLUMNS), strict=True):
        expected = model.fit(x[:, :n].numpy(), LABEL.numpy()).predict(y[:, :n].numpy())
        assert share_equal(row, torch.from_numpy(expected)) >= 0.99  # but for ties, nearly


def test_kernel_ridge_solves_its_equations() -> None:
    x, y = at_unit_deviation(X), at_unit_deviation(Y)
    targets = 2 * torch.nn.functional.one_hot(LABEL, CLASSES).double() - 1
    for row, n in zip(predicted("kernel_ridge"), (1, 3, COLUMNS), strict=True):
        k = kernel(x[:, :n], x[:, :n])
        a = torch.linalg.solve(k + torch.eye(TRAIN).double(), targets)
        assert torch.equal(row, (kernel(y[:, :n], x[:, :n]) @ a).argmax(dim=1))


def test_with_fewer_landmarks_kernel_ridge_is_nystroems() -> None:
    x, y = at_unit_deviation(X), at_unit_deviation(Y)
    landmarks, seed = 40, 5
    marks = torch.from_numpy(
        Nystroem(gamma=1, n_components=landmarks, random_state=seed).fit(x).component_indices_
    )
    targets = 2 * torch.nn.functional.one_hot(LABEL, CLASSES).double() - 1
    # Subset of regressors: |k a - t|^2 + a^T k_mm a is least (Williams & Seeger 2001).
    k, k_marks = kernel(x, x[marks]), kernel(x[marks], x[marks])
    a = torch.linalg.solve(k.T @ k + k_marks, k.T @ targets)
    expected = (kernel(y, x[marks]) @ a).argmax(dim=1)
    found = predicted("kernel_ridge", components=(COLUMNS,), landmarks=landmarks, seed=seed)
    assert share_equal(found[0], expected) >= 0.99
    again = predicted("kernel_ridge", components=(COLUMNS,), landmarks=landmarks, seed=seed)
    assert torch.equal(found, again)
    other = predicted("kernel_ridge", components=(COLUMNS,), landmarks=landmarks, seed=seed + 1)
    assert not torch.equal(found, other)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_the_first_columns_alone_decide(classifier: str) -> None:
    found = predicted(classifier)
    assert found.shape == (3, VALIDATION)
    for row, n in zip(found, (1, 3, COLUMNS), strict=True):
        assert torch.equal(row, predicted(classifier, X[:, :n], LABEL, Y[:, :n], components=[n])[0])
    backwards = predicted(classifier, components=(COLUMNS, 3, 1))
    assert torch.equal(backwards.flip(0), found)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_more_columns_tell_more_and_all_tell_most(classifier: str) -> None:
    shares = [share_equal(row, TRUTH) for row in predicted(classifier)]
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.8


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_scales_and_means_of_columns_do_not_matter(classifier: str) -> None:
    scale = torch.logspace(3, -3, COLUMNS).double()
    moved = predicted(classifier, X * scale - 4, LABEL, Y * scale - 4)
    assert share_equal(moved, predicted(classifier)) >= 0.99


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_dead_and_doubled_columns_do_no_harm(classifier: str) -> None:
    def spoilt(v: Tensor, dead: Tensor) -> Tensor:
        return torch.cat([dead, v, v[:, :2]], dim=1).float()

    x = spoilt(X, torch.full((TRAIN, 1), 0.37))
    y = spoilt(Y, 100 * normal(VALIDATION, 1, seed=4))
    found = predicted(classifier, x, LABEL, y, components=(1, COLUMNS + 3))
    assert len(found[0].unique()) == 1  # a constant tells nothing
    assert share_equal(found[1], TRUTH) > 0.8


@pytest.mark.parametrize("landmarks", [20, TRAIN])
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_classes_are_named_as_in_the_labels(classifier: str, landmarks: int) -> None:
    renamed = torch.tensor([1, 4, 5, 9])  # and of 0, 2, 3, ... there are no samples
    found = predicted(classifier, X, renamed[LABEL], landmarks=landmarks)
    assert torch.equal(found, renamed[predicted(classifier, landmarks=landmarks)])


@pytest.mark.parametrize("present", [1, 2])
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_one_or_two_classes_are_enough(classifier: str, present: int) -> None:
    some = present > LABEL
    found = predicted(classifier, X[some], LABEL[some] + 3)
    assert found.unique().tolist() == [3, 4][:present]
    right = found[2] == TRUTH + 3
    assert right[present > TRUTH].double().mean() > 0.8


def test_many_separable_samples_converge_without_a_warning() -> None:
    label = torch.arange(400) % CLASSES
    x = normal(400, 40, seed=6)
    x[:, :CLASSES] += 20 * torch.nn.functional.one_hot(label, CLASSES)
    for classifier in CLASSIFIERS:
        found = predicted(classifier, x[:300], label[:300], x[300:], components=(40,))
        assert_close(found[0], label[300:])


def test_wrong_input_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"classifier='svm' is not one of .*, linear_svm, kernel_"):
        predicted("svm")
    for components in ([], [0], [1, 7]):
        with pytest.raises(ValueError, match=r"components=\[.*\]: give whole numbers from 1 to 6"):
            predicted("linear_svm", components=components)
    with pytest.raises(ValueError, match="landmarks=0: give at least 1"):
        predicted("kernel_ridge", landmarks=0)
    with pytest.raises(ValueError, match="train has 6 columns and validation 5: project both"):
        predicted("linear_svm", validation=Y[:, :5])
    with pytest.raises(ValueError, match="299 labels for 300 samples"):
        predicted("linear_svm", label=LABEL[1:])
    with pytest.raises(ValueError, match="validation holds NaN or infinite values"):
        predicted("linear_svm", validation=torch.where(Y > 7, torch.nan, Y))
    with pytest.raises(ValueError, match="train has 0 samples"):
        predicted("linear_svm", X[:0], LABEL[:0])
