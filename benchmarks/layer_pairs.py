"""All pairs of 10 x 10 layers by four measures at once: `python -m benchmarks.layer_pairs`.

Layers of 64 rectified units, 10,000 samples, batches of 1,000. The joint pass accumulates the
moments of all 20 layers and concludes mean CCA, SVCCA, PWCCA and unbiased CKA from them. Beside it:
100 calls of each of our functions, and 100 calls of the published program's formula, CCA alone.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.cca_pair import published
from benchmarks.side_by_side import Contender, Target, compare, one_thread, product_speed
from mmrep.metrics.moments import RunningMoments
from mmrep.stats.similarity import (
    Similarities,
    cka,
    mean_cca,
    pwcca,
    similarities,
    svcca,
    with_norms,
)

SAMPLES, UNITS, LAYERS, BATCH = 10_000, 64, 10, 1000
JOINT, SEPARATE, PUBLISHED = "one joint pass", "4 x 100 calls", "published, CCA only, 100 calls"


def network(seed: int, images: Tensor) -> list[Tensor]:
    """Layer after layer of a random rectified network on the images that both networks see."""
    generator = torch.Generator().manual_seed(seed)
    layers, x = [], images
    for _ in range(LAYERS):
        weight = torch.randn(x.shape[1], UNITS, generator=generator) * (2 / x.shape[1]) ** 0.5
        noise = 0.1 * torch.randn(SAMPLES, UNITS, generator=generator)
        x = (x @ weight + noise).relu()
        layers.append(x)
    return layers


def jointly(first: list[Tensor], second: list[Tensor]) -> Similarities:
    moments = RunningMoments(*[UNITS] * 20, *[1] * 20, by="products")
    for start in range(0, SAMPLES, BATCH):
        batch = [layer[start : start + BATCH] for layer in (*first, *second)]
        moments.update(*with_norms(*batch))
    return similarities(moments.compute(), range(LAYERS), range(LAYERS, 2 * LAYERS))


def separately(first: list[Tensor], second: list[Tensor]) -> Tensor:
    measures = (mean_cca, svcca, pwcca, cka)
    pairs = [[[measure(x, y) for y in second] for x in first] for measure in measures]
    return torch.tensor(pairs, dtype=torch.float64)


def published_pairs(first: list[Tensor], second: list[Tensor]) -> Tensor:
    pairs = [[published(x.numpy(), y.numpy()).mean() for y in second] for x in first]
    return torch.tensor(np.array(pairs))


def targets(
    seconds: dict[str, float], memory: dict[str, float], floor: float
) -> list[tuple[Target, float]]:
    ours = seconds[JOINT]
    return [
        (Target("joint pass", "<=", 2.5, "x floor"), ours / floor),
        (Target("separate calls over the joint pass", ">=", 3, "x"), seconds[SEPARATE] / ours),
        (Target("published CCA alone over all four", ">=", 3, "x"), seconds[PUBLISHED] / ours),
    ]


def main() -> None:
    one_thread()
    images = torch.randn(SAMPLES, 48, generator=torch.Generator().manual_seed(0))
    networks = network(1, images), network(2, images)
    expected = separately(*networks)

    def error(found: Any) -> float:
        table = torch.stack(found[:4]) if isinstance(found, Similarities) else found
        return float(
            (table - expected[: len(table)] if table.ndim == 3 else table - expected[0]).abs().max()
        )

    compare(
        "all pairs of 10 x 10 layers",
        [
            Contender(JOINT, partial(jointly, *networks)),
            Contender(SEPARATE, partial(separately, *networks), rounds=2),
            Contender(PUBLISHED, partial(published_pairs, *networks), rounds=3),
        ],
        floor=SAMPLES * (2 * LAYERS * UNITS) ** 2 / product_speed(),
        floor_is="the joint symmetric product of 1,280 columns in float64",
        error=error,
        error_is="from separate calls",
        targets=targets,
        rounds=5,
    )


if __name__ == "__main__":
    main()
