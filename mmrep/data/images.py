"""Colour images with labels: what CIFAR, CelebA and any folder of images share."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from mmrep.batch import Batch
from mmrep.data.in_memory import InMemory, InMemoryDataModule
from mmrep.data.relabelling import (
    DIMENSIONS,
    GROUPS,
    LABELS,
    deciles,
    energies,
    independent,
    labels_named,
    patch_axis,
    permuted,
    scaled_apart,
)

PADDING = 4  # black pixels round an image before the crop (He et al. 2016)
NAMED = 4  # classes that a title names; of more it says how many there are


class Scaling(NamedTuple):
    """Patches' coordinate along `axis` is multiplied by `alpha`, and patches lie side by side."""

    axis: Float64[Tensor, "dimensions"]
    alpha: float | int


class Images(InMemory):
    """Images as bytes; on the device a batch is augmented, if asked for, and normalised."""

    def __init__(
        self,
        inputs: UInt8[Tensor, "samples 3 height width"],
        label: Tensor,
        index: Tensor,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        augment: bool,
        scaling: Scaling | None = None,
    ) -> None:
        super().__init__(inputs, label, index)
        self.mean, self.std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
        self.augment, self.scaling = augment, scaling

    def normalise(
        self, images: UInt8[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        return images.float().div_(255).sub_(mean).div_(std)

    def prepare(self, batch: Batch) -> Batch:
        assert isinstance(batch.inputs, Tensor)
        images = self.normalise(flip_and_crop(batch.inputs) if self.augment else batch.inputs)
        if self.scaling is not None:
            images = scaled_apart(images, self.scaling.axis, self.scaling.alpha)
        return batch._replace(inputs=images)


class ImageDataModule(InMemoryDataModule):
    """Labels and normalisation of images; a source's `setup` ends with `use_images`.

    `classes` keeps the images of some classes alone, numbered in the order in which they are named.
    `labels` are "true"; or, of the training images, "random", the true ones permuted, or "iid",
    drawn one by one, both by `seed`; or "energy", by deciles of patches' energy along `component`,
    and "energy_random", those permuted. Validation keeps the labels that tell something. `alpha`
    scales patches along `component` and lays them side by side, for a first layer of stride 3.

    `mean` and `std` normalise the colours of pixels between 0 and 1; `augment` is for training
    alone.
    """

    set_title: str  # what titles call the set
    scaling: Scaling | None = None  # known once there are training images
    train_set: Images
    val_set: Images

    def __init__(
        self,
        *,
        num_classes: int,
        augment: bool,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        seed: int,
        classes: Sequence[str] | None = None,
        labels: str | bool = "true",
        component: int | None = None,
        alpha: float | int | None = None,
    ) -> None:
        super().__init__(batch_size, seed)
        for key, value in (("mean", mean), ("std", std)):
            if len(value) != 3:
                raise ValueError(f"data.{key}={[*value]} is not one number for each of R, G and B")
        if min(std) <= 0:
            raise ValueError(f"data.std={[*std]} must be positive: pixels are divided by it")
        self.labels = labels_named(labels)
        self.by_energy = self.labels.startswith("energy")
        what = f"labels={self.labels}" if self.by_energy else f"alpha={alpha}"
        needed, axes = self.by_energy or alpha is not None, f"0 to {DIMENSIONS - 1}"
        if component is None and needed:
            raise ValueError(f"data.{what} needs data.component, one of the patches' axes, {axes}")
        if component is not None and not 0 <= component < DIMENSIONS:
            raise ValueError(f"data.component={component} is not one of the patches' axes, {axes}")
        if component is not None and not needed:
            raise ValueError(
                f"data.component={component} says of which axis data.labels=energy or "
                "energy_random or data.alpha is meant: choose one of them, or leave it out"
            )
        if alpha is not None and not 0 < alpha < math.inf:
            raise ValueError(f"data.alpha={alpha} must be positive: patches are scaled by it")
        if alpha is not None and augment:
            raise ValueError("data.alpha lays patches side by side: set data.augment=false")
        if classes is not None and not 2 <= len({*classes}) == len(classes):
            raise ValueError(f"data.classes={[*classes]} must name two classes or more, each once")
        self.num_classes, self.classes = num_classes, None if classes is None else [*classes]
        self.component, self.alpha = component, alpha
        self.mean, self.std, self.augment = [*map(float, mean)], [*map(float, std)], augment

    @property
    def title(self) -> str:
        title = self.set_title
        if self.classes:
            many = len(self.classes) > NAMED
            title += f" {len(self.classes)} classes" if many else f" {', '.join(self.classes)}"
        if self.labels != "true":
            title += f", {LABELS[self.labels]}"
        if self.by_energy:
            title += f" along axis {self.component}"
        if self.alpha is not None:
            title += f", axis {self.component} times {self.alpha:g}"
        return title

    @property
    def plain_train_set(self) -> Images:
        data = self.train_set
        return self._images(data.inputs, data.label, data.index)

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names in `classes`, or all."""
        if unknown := [name for name in self.classes or () if name not in names]:
            raise ValueError(
                f"data.classes={self.classes}: {self.set_title} has no {', '.join(unknown)}, but "
                f"{', '.join(names[:100])}"
            )
        return tuple(self.classes or names)

    def use_images(self, train: InMemory, val: InMemory, class_names: tuple[str, ...]) -> None:
        """Sets `train_set` and `val_set` from bytes (images, 3, height, width) and true classes."""
        label, val_label = train.label, val.label
        if self.component is not None:
            normalise = self._images(train.inputs, label, train.index).normalise
            axis = patch_axis(train.inputs, self.component, normalise)
            if self.alpha is not None:
                self.scaling = Scaling(axis, self.alpha)
            if self.by_energy:
                of_train, of_val = (energies(x.inputs, axis, normalise) for x in (train, val))
                label, val_label = deciles(of_train, of_val)
                class_names = tuple(f"tenth {i + 1}" for i in range(GROUPS))
        if self.num_classes != len(class_names):
            raise ValueError(
                f"data.num_classes={self.num_classes}: there are {len(class_names)}, "
                f"{', '.join(class_names[:10])}; set data.num_classes={len(class_names)}"
            )
        if self.labels in ("random", "energy_random"):
            label = permuted(label, self.seed)
        elif self.labels == "iid":
            label = independent(len(label), len(class_names), self.seed)
        self.class_names = class_names
        self.train_set = self._images(train.inputs, label, train.index, augment=self.augment)
        self.val_set = self._images(val.inputs, val_label, val.index)

    def facts(self) -> dict[str, Any]:
        """Besides what all sets say: what the labels are, and how images became inputs."""
        return super().facts() | {
            "labels": self.labels,
            "component": self.component,
            "alpha": self.alpha,
            "augment": self.augment,
            "mean": self.mean,
            "std": self.std,
            "image_size": [*self.train_set.inputs.shape[2:]],  # pixels, height and width
        }

    def _images(
        self, inputs: Tensor, label: Tensor, index: Tensor, *, augment: bool = False
    ) -> Images:
        return Images(
            inputs,
            label,
            index,
            mean=self.mean,
            std=self.std,
            augment=augment,
            scaling=self.scaling,
        )


def flip_and_crop(
    images: UInt8[Tensor, "batch channels height width"],
) -> UInt8[Tensor, "batch channels height width"]:
    """Each image mirrored or not, then moved by up to 4 pixels each way, black where it was not.

    Draws from torch's global generator of the images' device: the flips of the whole batch, then
    all rows and all columns of the crops.
    """
    batch, _, height, width = images.shape
    flip = torch.rand(batch, device=images.device) < 0.5
    top, left = torch.randint(0, 2 * PADDING + 1, (2, batch), device=images.device)
    flipped = torch.where(flip[:, None, None, None], images.flip(3), images)
    padded = F.pad(flipped, [PADDING] * 4)
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view of every crop there is
    return crops[torch.arange(batch, device=images.device), :, top, left]
