"""`Extrema`: the minimum and maximum of all samples, however they are split."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmrep.metrics.extrema import Extrema
from tests.ddp import on_ranks

X = torch.randn(11, 5, generator=torch.Generator().manual_seed(0))


def extrema_of(*batches: Tensor) -> Extrema:
    extrema = Extrema(X.shape[1])
    for batch in batches:
        extrema.update(batch)
    return extrema


def assert_those_of_all(extrema: Extrema) -> None:
    lowest, highest = extrema.compute()
    assert torch.equal(lowest, X.double().sort(dim=0).values[0])
    assert torch.equal(highest, X.double().sort(dim=0).values[-1])


@pytest.mark.parametrize("batch_size", [1, 4, 11])
def test_any_batch_size(batch_size: int) -> None:
    assert_those_of_all(extrema_of(*X.split(batch_size)))


def test_a_batch_without_samples_changes_nothing() -> None:
    assert_those_of_all(extrema_of(X[:0], X, X[:0]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_precision_is_kept_exactly(dtype: torch.dtype) -> None:
    lowest, highest = extrema_of(X.to(dtype)).compute()
    assert lowest.dtype == highest.dtype == torch.float64
    assert torch.equal(lowest, X.to(dtype).double().amin(0))


def test_gradients_are_not_kept() -> None:
    extrema = Extrema(5)
    _ = extrema(X.clone().requires_grad_())  # forward, which torchmetrics runs with gradients
    assert not extrema.compute().lowest.requires_grad


def test_nan_and_no_samples_show() -> None:
    with_nan = X.clone()
    with_nan[3, 2] = torch.nan
    lowest, highest = extrema_of(X, with_nan, X).compute()
    assert lowest.isnan().tolist() == highest.isnan().tolist() == [False, False, True, False, False]
    lowest, highest = extrema_of(X[:0]).compute()
    assert (lowest == torch.inf).all()
    assert (highest == -torch.inf).all()


def test_forward_gives_the_batch_and_keeps_the_whole() -> None:
    extrema = Extrema(5)
    for batch in X.split(4):
        assert torch.equal(extrema(batch).highest, batch.double().amax(0))
    assert_those_of_all(extrema)


def test_merging_and_reset() -> None:
    extrema = extrema_of(X[:3])
    extrema.merge_state(extrema_of(X[3:]))
    assert_those_of_all(extrema)
    extrema.reset()
    extrema.update(X[:1])
    assert torch.equal(extrema.compute().lowest, X[0].double())


def test_state_dict_round_trip() -> None:
    saved, loaded = extrema_of(X[:6]), Extrema(5)
    saved.persistent(True)
    loaded.persistent(True)
    loaded.load_state_dict(saved.state_dict())
    loaded.update(X[6:])
    assert_those_of_all(loaded)


@pytest.mark.ddp
def test_two_ranks_equal_one_even_if_one_has_no_samples(tmp_path: Path) -> None:
    for uneven, alone in on_ranks(of_shards, world_size=2, folder=tmp_path):
        assert torch.equal(uneven, torch.stack([X.amin(0), X.amax(0)]).double())
        assert torch.equal(alone, uneven)


def of_shards(rank: int) -> list[Tensor]:
    uneven = extrema_of(X[rank::2])  # 6 rows on rank 0, 5 on rank 1
    alone = extrema_of(X[: 11 * rank])
    return [torch.stack(tuple(extrema.compute())) for extrema in (uneven, alone)]
