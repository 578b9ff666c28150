"""`PatchMoments`: any batches, one rank or two, then the axes of all images at once."""

from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import Tensor
from torch.testing import assert_close

from mmrep.metrics.patches import PatchMoments
from mmrep.stats.energy import PatchSums, axes_from_sums, patch_axes, patch_sums
from tests.ddp import on_ranks

IMAGES = torch.randn(11, 2, 6, 7, generator=torch.Generator().manual_seed(0)).cumsum(dim=3) + 5


def sums(images: Float[Tensor, "images 2 height width"], batch_size: int) -> PatchSums:
    moments = PatchMoments(2, 3, stride=2)
    for batch in images.split(batch_size):
        moments.update(batch)
    return moments.compute()


@pytest.mark.parametrize("batch_size", [1, 4, 11])
def test_axes_are_those_of_all_images_at_once(batch_size: int) -> None:
    for centred in (True, False):
        axes = axes_from_sums(*sums(IMAGES, batch_size), centred=centred)
        assert_close(axes, patch_axes(IMAGES, 3, stride=2, centred=centred))


def test_images_of_several_sizes_add_their_patches() -> None:
    moments = PatchMoments(2, 3)
    moments.update(IMAGES)
    moments.update(IMAGES[..., :4, :5])
    both = zip(patch_sums(IMAGES, 3), patch_sums(IMAGES[..., :4, :5], 3), strict=True)
    assert_close(moments.compute(), PatchSums(*(a + b for a, b in both)))


def test_an_empty_batch_adds_nothing() -> None:
    moments = PatchMoments(2, 3, stride=2)
    moments.update(IMAGES[:0])
    assert moments.compute().n == 0
    moments.update(IMAGES)
    assert_close(moments.compute(), sums(IMAGES, 11))


def test_half_precision_is_summed_in_double() -> None:
    assert_close(sums(IMAGES.half(), 4), sums(IMAGES.half().double(), 4))


def test_merging_is_adding() -> None:
    first, second = PatchMoments(2, 3, stride=2), PatchMoments(2, 3, stride=2)
    first.update(IMAGES[:4])
    second.update(IMAGES[4:])
    first.merge_state(second)
    assert_close(first.compute(), sums(IMAGES, 11))


def test_a_checkpoint_carries_on() -> None:
    moments, resumed = PatchMoments(2, 3, stride=2), PatchMoments(2, 3, stride=2)
    moments.persistent(True)
    resumed.persistent(True)
    moments.update(IMAGES[:4])
    resumed.load_state_dict(moments.state_dict())
    resumed.update(IMAGES[4:])
    assert_close(resumed.compute(), sums(IMAGES, 11))


def test_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="images have 2 channels, not channels=3: give the metric"):
        PatchMoments(3, 3).update(IMAGES)


@pytest.mark.ddp
def test_two_ranks_equal_one(tmp_path: Path) -> None:
    for found in on_ranks(sums_of_shards, IMAGES, world_size=2, folder=tmp_path):
        for uneven_or_empty in found:
            assert_close(PatchSums(*uneven_or_empty), sums(IMAGES, 11))


def sums_of_shards(rank: int, images: Tensor) -> list[tuple[Tensor, ...]]:
    found = []
    for first in (7, 0):  # images on rank 0; rank 1 has the rest
        moments = PatchMoments(2, 3, stride=2)
        shard = (images[:first], images[first:])[rank]
        if len(shard):  # else the rank never updates
            for batch in shard.split(3):
                moments.update(batch)
        found.append(tuple(moments.compute()))
    return found
