"""Labels other than an image's class, and images whose patches vary more (Chowers & Weiss 2023)."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from mmrep.stats.energy import PatchSums, axes_from_sums, patch_sums

LABELS = {  # and what titles say of them
    "true": "",
    "random": "random labels",
    "iid": "labels drawn one by one",
    "energy": "labels by energy",
    "energy_random": "random labels by energy",
}
PATCH = 3  # pixels, height and width of what is labelled by its energy, or scaled
DIMENSIONS = 3 * PATCH**2
GROUPS = 10  # of images by energy: deciles
CHUNK_PIXELS = 2**20  # of images at a time: 1,024 of 32 x 32, 25 MB as doubles

Normalise = Callable[
    [UInt8[Tensor, "images 3 height width"]], Float[Tensor, "images 3 height width"]
]


def labels_named(labels: str | bool) -> str:
    """One of `LABELS`; `data.labels=true` at the command line is a truth value."""
    name = "true" if labels is True else labels
    if name not in LABELS:
        raise ValueError(f"data.labels={labels!r} is not one of {', '.join(LABELS)}")
    return str(name)


def permuted(label: Int64[Tensor, "images"], seed: int) -> Int64[Tensor, "images"]:
    """The same labels on other images: classes stay as frequent as they are."""
    return label[torch.from_numpy(_generator(seed).permutation(len(label)))]


def independent(num_images: int, num_classes: int, seed: int) -> Int64[Tensor, "images"]:
    """Labels drawn one by one, each class as likely as any other."""
    return torch.from_numpy(_generator(seed).integers(0, num_classes, num_images))


def patch_axis(
    images: UInt8[Tensor, "images 3 height width"], component: int, normalise: Normalise
) -> Float64[Tensor, "dimensions"]:
    """One axis of all 3 x 3 patches of the images, counted from 0 by decreasing energy."""
    parts = [patch_sums(normalise(part), PATCH) for part in _parts(images)]
    sums = PatchSums(*(torch.stack(one).sum(dim=0) for one in zip(*parts, strict=True)))
    return axes_from_sums(*sums).axes[:, component]


def energies(
    images: UInt8[Tensor, "images 3 height width"],
    axis: Float64[Tensor, "dimensions"],
    normalise: Normalise,
) -> Float64[Tensor, "images"]:
    """The sum over an image's patches of their squared coordinate along `axis`."""
    kernel = axis.view(1, 3, PATCH, PATCH)
    coordinates = (F.conv2d(normalise(part).double(), kernel) for part in _parts(images))
    return torch.cat([one.square().sum(dim=(1, 2, 3)) for one in coordinates])


def deciles(
    train: Float64[Tensor, "train"], test: Float64[Tensor, "test"]
) -> tuple[Int64[Tensor, "train"], Int64[Tensor, "test"]]:
    """Labels by images' energies along one axis (D.1).

    The tenth of the training images of most energy is class 0, that of least class 9. Test images
    get the class in whose range of energies they fall, so that the rule is the same for both.
    """
    if len(train) < GROUPS:
        raise ValueError(
            f"data.labels=energy puts training images into {GROUPS} classes, and there are "
            f"{len(train)}: take more images"
        )
    order = train.argsort(descending=True, stable=True)
    label = torch.empty(len(train), dtype=torch.int64)
    label[order] = torch.arange(len(train)) * GROUPS // len(train)
    lowest = torch.stack([train[label == group].min() for group in range(GROUPS - 1)])
    return label, (test[:, None] < lowest).sum(dim=1)


def scaled_apart(
    images: Float[Tensor, "images 3 height width"],
    axis: Float64[Tensor, "dimensions"],
    alpha: float | int,
) -> Float[Tensor, "images 3 three_times_rows three_times_columns"]:
    """Every patch p as p + (alpha - 1) (p.u) u for the axis u, laid side by side (D.2).

    Patches' variance along u is multiplied by alpha^2 and their axes stay. Patches overlap, and
    once changed they share no pixels any more: images of 32 x 32 become images of 90 x 90, to be
    read with a stride of 3.
    """
    rows, columns = (size - PATCH + 1 for size in images.shape[2:])
    direction = axis.to(images)
    patches = F.unfold(images, PATCH)  # images, dimensions, windows
    along = torch.einsum("ndw,d->nw", patches, direction)
    patches += (alpha - 1) * direction[:, None] * along[:, None]
    return F.pixel_shuffle(patches.view(*patches.shape[:2], rows, columns), PATCH)


def _parts(
    images: UInt8[Tensor, "images 3 height width"],
) -> tuple[UInt8[Tensor, "_ 3 height width"], ...]:
    _, _, height, width = images.shape
    return torch.split(images, max(1, CHUNK_PIXELS // (height * width)))


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng((seed, *b"labels"))  # a stream of its own
