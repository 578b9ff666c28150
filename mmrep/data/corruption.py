"""Images that are bad on purpose: noise, holes, or nothing at all, as much as is asked for."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

KINDS = ("depth_noise", "depth_holes", "depth_missing", "rgb_noise", "rgb_missing")
COARSE = 6  # pixels a side of the field whose lowest parts become holes
CHANNELS = 4  # of the draws: three for noise, one for holes

Images = dict[str, Float[Tensor, "_ _ _ _"]]  # from 0 to 1, by modality


def corrupted(
    images: Mapping[str, Tensor],
    kind: str,
    level: Float[Tensor, "batch"],
    draws: Float[Tensor, "batch channels height width"],
) -> Images:
    """Images with one kind of corruption, each at its own level from 0 (as it is) to 1.

    noise: the level is the share of each pixel that uniform noise takes. holes: the share of the
    pixels that become 0, in blobs. missing: the probability that all of a sample's become 0. What
    is drawn comes from `draws`, uniform from 0 to 1, so that higher levels add to lower ones.
    """
    modality, how = kind.split("_")
    image, level = images[modality], level[:, None, None, None]
    if how == "noise":
        bad = (1 - level) * image + level * draws[:, : image.shape[1]]
    elif how == "holes":
        bad = image * (_ranks(draws[:, -1:]) >= level)
    else:
        bad = image * (draws[:, :1, :1, :1] >= level)
    return {**images, modality: bad}


def corrupted_at_random(images: Mapping[str, Tensor], rate: float, kinds: Sequence[str]) -> Images:
    """A share `rate` of the samples with a kind and a level of its own, for training.

    Draws from torch's global generator of the images' device.
    """
    one = next(iter(images.values()))
    draws = torch.rand(len(one), CHANNELS, *one.shape[2:], device=one.device)
    level, chance = torch.rand(2, len(one), device=one.device)
    chosen = torch.randint(len(kinds), (len(one),), device=one.device)
    level = torch.where(chance < rate, level, 0)
    found = dict(images)
    for number, kind in enumerate(kinds):
        found = corrupted(found, kind, level * (chosen == number), draws)
    return found


def draws_of(
    index: Int64[Tensor, "batch"], height: int, width: int
) -> Float[Tensor, "batch channels height width"]:
    """Draws that depend on a sample's number alone, whatever its batch, rank or device."""
    drawn = [
        np.random.default_rng((number, CHANNELS)).random((CHANNELS, height, width), np.float32)
        for number in index.tolist()
    ]
    return torch.from_numpy(np.stack(drawn)).to(index.device)


def _ranks(draws: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
    """The share of an image's pixels that lie lower on a smooth random field."""
    field = F.interpolate(
        draws[:, :, :COARSE, :COARSE], draws.shape[2:], mode="bilinear", align_corners=True
    )
    order = field.flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
    return (order.to(field) / order.shape[1]).view_as(field)
