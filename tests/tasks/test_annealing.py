"""Learning rates over the epochs, against their formulas."""

import pytest
import torch
from numpy.testing import assert_allclose

from mmrep.tasks.annealing import annealed


def rates(shape: str, epochs: int, more: int = 0) -> list[float]:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    scheduler = annealed(optimizer, shape=shape, final=1e-5, epochs=epochs)
    found = []
    for _ in range(epochs + more):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("shape", ["exponential", "cosine", "step"])
def test_from_the_start_to_the_end_and_no_further(shape: str) -> None:
    found = rates(shape, 40, more=2)
    assert_allclose([found[0], found[39], *found[40:]], [1e-3, 1e-5, 1e-5, 1e-5])
    assert found == sorted(found, reverse=True)


def test_shapes() -> None:
    exponential = rates("exponential", 21)
    assert_allclose(exponential, [1e-3 * 0.01 ** (e / 20) for e in range(21)])
    assert_allclose(rates("cosine", 21)[10], (1e-3 + 1e-5) / 2)
    assert_allclose(rates("step", 8), [1e-3] * 4 + [1e-4] * 2 + [1e-5] * 2)


def test_one_epoch_has_the_start() -> None:
    assert_allclose(rates("exponential", 1), [1e-3])


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="shape='line' is not one of exponential, cosine, step"):
        rates("line", 3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match=r"final=0\.0 must be positive"):
        annealed(optimizer, shape="step", final=0.0, epochs=3)
