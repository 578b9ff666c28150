"""The standard classifiers of works on CCA fusion, fitted on the first n columns for several n.

None of them has anything to choose but its penalty, which is 1 in all: with every column at unit
deviation, what differs between two curves is what the columns tell.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor

from mmrep.stats.labels import check_labels

CLASSIFIERS = ("logistic_regression", "linear_svm", "kernel_ridge")
ITERATIONS = 10_000  # never needed where columns have unit deviation

Array = NDArray[np.float64]


def predictions(
    classifier: str,
    train: Float[Tensor, "train_samples train_columns"],
    label: Int64[Tensor, "labels"],
    validation: Float[Tensor, "samples columns"],
    *,
    components: Sequence[int],
    landmarks: int,
    seed: int,
) -> Int64[Tensor, "components samples"]:
    """The class predicted for each validation sample from its first n columns, for each n.

    Columns are first centred and brought to unit deviation, as they have it on `train`; one that
    does not vary there counts for nothing. A class without training samples is never predicted.

    - logistic_regression: multinomial (of two classes, binomial), L2 penalty, C = 1, by
      scikit-learn.
    - linear_svm: one versus rest, squared hinge, L2 penalty that includes the bias, C = 1, by
      scikit-learn's LinearSVC.
    - kernel_ridge: one versus rest, targets 1 and -1, ridge 1, no bias, by scikit-learn. The kernel
      exp(-|a - b|^2 / n) has its width from what columns of unit deviation make of the mean
      |a - b|^2 of two samples: 2 n, so that no median need be drawn. It is exact up to `landmarks`
      samples; above, the kernel is Nystroem's approximation (Williams & Seeger 2001) by that many
      landmarks, training samples drawn with `seed`, the same ones for every n.
    """
    if classifier not in CLASSIFIERS:
        raise ValueError(f"classifier={classifier!r} is not one of {', '.join(CLASSIFIERS)}")
    _check(train, label, validation, components, landmarks)
    scaler = StandardScaler().fit(train.detach().double().cpu().numpy())
    x, others = (scaler.transform(v.detach().double().cpu().numpy()) for v in (train, validation))
    varies = x.std(axis=0) > 0.5  # it is 1, or 0 of a constant
    x, others = x * varies, others * varies
    classes, number = np.unique(label.cpu().numpy(), return_inverse=True)
    found = np.zeros((len(components), len(others)), dtype=np.int64)
    if len(classes) > 1:  # else scikit-learn refuses
        for row, n in zip(found, components, strict=True):
            few, rest = np.ascontiguousarray(x[:, :n]), np.ascontiguousarray(others[:, :n])
            if classifier == "logistic_regression":
                model = LogisticRegression(C=1.0, max_iter=ITERATIONS).fit(few, number)
                row[:] = model.predict(rest)
            elif classifier == "linear_svm":
                machine = LinearSVC(C=1.0, dual=False, max_iter=ITERATIONS).fit(few, number)
                row[:] = machine.predict(rest)
            else:
                row[:] = _kernel_ridge(few, number, rest, landmarks, seed).argmax(axis=1)
    return torch.from_numpy(classes[found]).to(validation.device)


def _check(
    train: Tensor, label: Tensor, validation: Tensor, components: Sequence[int], landmarks: int
) -> None:
    check_labels(label, len(train))
    if train.shape[1] != validation.shape[1]:
        raise ValueError(
            f"train has {train.shape[1]} columns and validation {validation.shape[1]}: project "
            "both on the same components"
        )
    for name, samples in (("train", train), ("validation", validation)):
        if not len(samples):
            raise ValueError(f"{name} has 0 samples: give at least 1")
        if not samples.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values: leave these samples out")
    columns = train.shape[1]
    if not components or not all(1 <= n <= columns and n % 1 == 0 for n in components):
        raise ValueError(
            f"components={list(components)}: give whole numbers from 1 to {columns}, the columns "
            f"of train; for larger ones, min(n, {columns})"
        )
    if landmarks < 1:
        raise ValueError(f"landmarks={landmarks}: give at least 1, such as 500")


def _targets(number: NDArray[np.int64]) -> Array:
    """1 for a sample's own class, -1 for the others."""
    return np.where(number[:, None] == np.arange(number.max() + 1), 1.0, -1.0)


def _kernel_ridge(
    x: Array, number: NDArray[np.int64], others: Array, landmarks: int, seed: int
) -> Array:
    """Each class' score for the other samples."""
    width = 1 / x.shape[1]
    if len(x) <= landmarks:
        model = KernelRidge(alpha=1, kernel="rbf", gamma=width)
    else:
        kernel = Nystroem(gamma=width, n_components=landmarks, random_state=seed)
        model = make_pipeline(kernel, Ridge(alpha=1, fit_intercept=False))
    return model.fit(x, _targets(number)).predict(others)
