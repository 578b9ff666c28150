"""Corruptions: nothing at level 0, all at level 1, as much as asked in between, of one modality."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mmrep.data.corruption import KINDS, corrupted, corrupted_at_random, draws_of

SIZE, BATCH = 16, 40


def images() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.2 + 0.8 * torch.rand(BATCH, channels, SIZE, SIZE, generator=generator)
        for name, channels in (("rgb", 3), ("depth", 1))
    }


def at(kind: str, level: float) -> dict[str, Tensor]:
    draws = draws_of(torch.arange(BATCH), SIZE, SIZE)
    return corrupted(images(), kind, torch.full((BATCH,), level), draws)


@pytest.mark.parametrize("kind", KINDS)
def test_ends_of_the_scale_and_the_other_modality(kind: str) -> None:
    modality = kind.split("_")[0]
    other = {"rgb": "depth", "depth": "rgb"}[modality]
    for level in (0.0, 0.5, 1.0):
        assert torch.equal(at(kind, level)[other], images()[other])
    assert torch.equal(at(kind, 0.0)[modality], images()[modality])
    whole = at(kind, 1.0)[modality]
    if kind.endswith("noise"):
        channels = whole.shape[1]
        assert torch.equal(whole, draws_of(torch.arange(BATCH), SIZE, SIZE)[:, :channels])
    else:
        assert (whole == 0).all()


def test_noise_is_a_mixture() -> None:
    assert_close(2 * at("rgb_noise", 0.5)["rgb"], images()["rgb"] + at("rgb_noise", 1.0)["rgb"])


@pytest.mark.parametrize("level", [0.25, 0.5, 0.75])
def test_holes_are_exactly_the_share_and_grow(level: float) -> None:
    depth, less = at("depth_holes", level)["depth"], at("depth_holes", level - 0.2)["depth"]
    assert ((depth == 0).flatten(1).double().mean(dim=1) - level).abs().max() < 1 / SIZE**2
    assert (depth[less == 0] == 0).all()
    here, right = depth[..., :-1] == 0, depth[..., 1:] == 0
    apart = (here != right).double().mean()  # of neighbours, were holes single pixels: 2 p (1 - p)
    assert apart < level * (1 - level)


def test_missing_is_the_share_of_samples() -> None:
    gone = (at("depth_missing", 0.5)["depth"] == 0).flatten(1).all(dim=1)
    assert 8 <= gone.sum() <= 32  # 5 deviations of a binomial either way
    assert torch.equal(at("depth_missing", 0.5)["depth"][~gone], images()["depth"][~gone])


def test_draws_are_the_sample_s_own() -> None:
    order = torch.tensor([7, 3, 11])
    assert torch.equal(draws_of(order, SIZE, SIZE), draws_of(torch.arange(12), SIZE, SIZE)[order])


def test_training_corrupts_the_share_that_is_asked_for() -> None:
    torch.manual_seed(0)
    clean = images()
    for rate, low, high in ((0.0, 0, 0), (0.5, 6, 34), (1.0, 20, 40)):  # missing spares some
        bad = corrupted_at_random(clean, rate, KINDS)
        changed = torch.stack([(bad[name] != clean[name]).flatten(1).any(dim=1) for name in clean])
        assert low <= changed.any(dim=0).sum() <= high
        assert not changed.all(dim=0).any()  # one modality at a time
