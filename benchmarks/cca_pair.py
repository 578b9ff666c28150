"""CCA of one pair of views, beside what users have: `python -m benchmarks.cca_pair`.

Two shapes, of float32 features as networks give them; every contender has to give all correlations
in float64. Streams take batches of 1,000 samples. The first row is the fast path: products, then
`cca_from_moments`. `cca` is what users call: it takes the fast path where that can be trusted.
Takes 6 minutes, most of them cca-zoo's and SciPy's.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from cca_zoo.linear import CCA as ZooCCA  # noqa: N811
from numpy.typing import NDArray
from scipy.linalg import subspace_angles
from sklearn import cross_decomposition
from torch import Tensor

from benchmarks.side_by_side import Contender, Target, compare, one_thread, product_speed
from mmrep.metrics.moments import RunningMoments
from mmrep.stats.cca import cca, cca_from_moments

SHAPES = ((13_000, 128), (50_000, 512))
BATCH = 1000
FAST, ROBUST, SKLEARN = "products, streamed", "factor, streamed", "scikit-learn"


def views(samples: int, units: int) -> tuple[Tensor, Tensor]:
    """Two layers of rectified units that share part of what they see."""
    generator = torch.Generator().manual_seed(0)
    shared, first, second = torch.randn(3, samples, units, generator=generator)
    strength = torch.linspace(0, 3, units)
    mix = torch.randn(units, units, generator=generator) / units**0.5
    x, y = (shared * strength + first) @ mix, (shared * strength + second) @ mix.T
    return x.relu(), y.relu()


def accumulated(x: Tensor, y: Tensor, by: str) -> RunningMoments:
    moments = RunningMoments(x.shape[1], y.shape[1], by=by)
    for batch, other in zip(x.split(BATCH), y.split(BATCH), strict=True):  # type: ignore[no-untyped-call]
        moments.update(batch, other)
    return moments


def streamed(x: Tensor, y: Tensor, by: str) -> Tensor:
    return cca_from_moments(accumulated(x, y, by).compute(), variance_kept=1.0).correlations


def published(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    """The SVCCA program's formula: covariance of both, its ridge, inverse roots, one SVD."""
    units = x.shape[1]
    covariance = np.cov(x, y, rowvar=False)
    roots = []
    for part in (covariance[:units, :units], covariance[units:, units:]):
        part = part / np.abs(part).max() + 1e-10 * np.eye(units)
        values, vectors = np.linalg.eigh(np.linalg.pinv(part))
        roots.append(vectors * np.sqrt(values) @ vectors.T)
    scales = [np.abs(covariance[:units, :units]).max(), np.abs(covariance[units:, units:]).max()]
    crossed = covariance[:units, units:] / np.sqrt(scales[0] * scales[1])
    return np.linalg.svd(roots[0] @ crossed @ roots[1])[1]


def by_cca_zoo(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    x, y = x.astype(np.float64), y.astype(np.float64)
    model = ZooCCA(n_components=x.shape[1])
    first, second = model.fit_transform([x, y])
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    sizes = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0)
    return np.sort((first * second).sum(axis=0) / sizes)[::-1]


def by_sklearn(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Its first 8 components; it finds one after the other."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    first, second = cross_decomposition.CCA(n_components=8, scale=False).fit(x, y).transform(x, y)
    return np.array([np.corrcoef(first[:, i], second[:, i])[0, 1] for i in range(8)])


def by_scipy(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    centred = (v.astype(np.float64) - v.mean(axis=0, dtype=np.float64) for v in (x, y))
    return np.cos(subspace_angles(*centred))[::-1]


def exact(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    """QR of the centred data and one SVD (Bjoerck & Golub 1973), all in memory."""
    bases = [
        np.linalg.qr(v.astype(np.float64) - v.mean(axis=0, dtype=np.float64))[0] for v in (x, y)
    ]
    return np.linalg.svd(bases[0].T @ bases[1])[1]


def compare_shape(samples: int, units: int, speed: float) -> None:
    x, y = views(samples, units)
    arrays = x.numpy(), y.numpy()
    expected = exact(*arrays)
    slow = samples > 20_000

    def ours() -> Tensor:
        return cca(x, y, variance_kept=1.0).correlations

    contenders = [
        Contender(FAST, partial(streamed, x, y, "products")),
        Contender("cca(x, y)", ours),
        Contender(ROBUST, partial(streamed, x, y, "factor")),
        Contender("published (svcca)", partial(published, *arrays)),
        Contender("cca-zoo", partial(by_cca_zoo, *arrays), rounds=1 if slow else None),
        *(
            []
            if slow
            else [Contender(SKLEARN, partial(by_sklearn, *arrays), share=8 / units, rounds=1)]
        ),
        Contender("SciPy subspace_angles", partial(by_scipy, *arrays), rounds=1 if slow else None),
    ]

    def error(found: Any) -> float:
        return float(np.abs(np.asarray(found) - expected[: len(found)]).max())

    compare(
        f"CCA of {samples} x {units}",
        contenders,
        floor=samples * (2 * units) ** 2 / speed,
        floor_is="the symmetric products of both views in float64",
        error=error,
        error_is="error of correlations",
        targets=targets,
        alone={f"{by} only": partial(accumulated, x, y, by) for by in ("products", "factor")},
        rounds=3 if slow else 7,
    )


def targets(
    seconds: dict[str, float], memory: dict[str, float], floor: float
) -> list[tuple[Target, float]]:
    zoo = seconds["cca-zoo"]
    return [
        (Target("fast path", "<=", 2.2, "x floor"), seconds[FAST] / floor),
        (Target("robust path", "<=", 7, "x floor"), seconds[ROBUST] / floor),
        (Target("cca-zoo over the fast path", ">=", 15, "x"), zoo / seconds[FAST]),
        (Target("cca-zoo over cca(x, y)", ">=", 15, "x"), zoo / seconds["cca(x, y)"]),
        (Target("memory of the stream, fast", "<=", 16, "MiB"), memory["products only"]),
        (Target("memory of the stream, robust", "<=", 64, "MiB"), memory["factor only"]),
        (Target("memory with the CCA, fast", "<=", 16, "MiB"), memory[FAST]),
        (Target("memory with the CCA, robust", "<=", 64, "MiB"), memory[ROBUST]),
    ]


def main() -> None:
    one_thread()
    speed = product_speed()
    for samples, units in SHAPES:
        compare_shape(samples, units, speed)


if __name__ == "__main__":
    main()
