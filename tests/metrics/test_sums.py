"""`Sums`: what the rows' responses add up to, however samples are split."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.testing import assert_close

from mmrep.metrics.sums import Sums
from tests.ddp import on_ranks

NUM_ROWS = 4
X = torch.randn(11, 5, generator=torch.Generator().manual_seed(0))
ROW = torch.tensor([2, 0, 2, 2, 1, 0, 2, 1, 1, 0, 2])  # rows come again within a batch; 3 never


def sums_of(*batches: tuple[Tensor, Tensor]) -> Sums:
    sums = Sums(NUM_ROWS, X.shape[1])
    for response, row in batches:
        sums.update(response, row)
    return sums


def assert_those_of_all(sums: Tensor) -> None:
    assert sums.dtype == torch.float64
    assert_close(sums, one_hot(ROW, NUM_ROWS).double().T @ X.double(), atol=1e-14, rtol=0)
    assert (sums[3] == 0).all()


@pytest.mark.parametrize("batch_size", [1, 4, 11])
def test_any_batch_size(batch_size: int) -> None:
    batches = zip(X.split(batch_size), ROW.split(batch_size), strict=True)
    assert_those_of_all(sums_of(*batches).compute())


def test_a_batch_without_samples_changes_nothing() -> None:
    nothing = (X[:0], ROW[:0])
    assert_those_of_all(sums_of(nothing, (X, ROW), nothing).compute())


def test_a_row_of_its_own_keeps_each_response_as_it_is() -> None:
    order = torch.randperm(11, generator=torch.Generator().manual_seed(1))
    sums = Sums(11, 5)
    for chosen in order.split(3):
        sums.update(X[chosen], chosen)
    assert torch.equal(sums.compute(), X.double())


def test_little_is_lost_beside_much() -> None:
    sums = Sums(1, 1)
    row = torch.zeros(1, dtype=torch.int64)
    for value in (1e8, 1.0, -1e8):  # in float32 1e8 + 1 = 1e8
        sums.update(torch.tensor([[value]]), row)
    assert sums.compute().item() == 1


def test_forward_gives_the_batch_and_keeps_the_whole() -> None:
    sums = Sums(NUM_ROWS, 5)
    for response, row in zip(X.split(4), ROW.split(4), strict=True):
        assert_close(sums(response, row), one_hot(row, NUM_ROWS).double().T @ response.double())
    assert_those_of_all(sums.compute())


def test_merging_and_reset() -> None:
    sums = sums_of((X[:3], ROW[:3]))
    sums.merge_state(sums_of((X[3:], ROW[3:])))
    assert_those_of_all(sums.compute())
    sums.reset()
    sums.update(X[:1], ROW[:1])
    assert torch.equal(sums.compute()[2], X[0].double())


@pytest.mark.ddp
def test_two_ranks_equal_one_even_if_one_has_no_samples(tmp_path: Path) -> None:
    for uneven, alone in on_ranks(of_shards, world_size=2, folder=tmp_path):
        assert_those_of_all(uneven)
        assert_those_of_all(alone)


def of_shards(rank: int) -> list[Tensor]:
    uneven = sums_of((X[rank::2], ROW[rank::2]))  # 6 samples on rank 0, 5 on rank 1
    alone = sums_of((X[: 11 * rank], ROW[: 11 * rank]))
    return [sums.compute() for sums in (uneven, alone)]
