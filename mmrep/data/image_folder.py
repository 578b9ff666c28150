"""Any folder of images with a sub-folder for each class, such as ImageNet's.

Above all for the patches and labels of images: nothing is augmented as networks of ImageNet are
trained, although a network can be trained on it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from mmrep.data.cache import code_digest
from mmrep.data.image_files import centre_crop, decoded_images, shorter_side
from mmrep.data.images import ImageDataModule
from mmrep.data.in_memory import InMemory, data_folder

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
PARTS = ("train", "val")


class Listing(NamedTuple):
    """Images' names in order, the numbers of their classes, and how many files are no images."""

    names: list[str]
    label: list[int]
    ignored: int


class ImageFolder(ImageDataModule):
    """Images CLASS/IMAGE below `folder`, which is seen from `data_dir` unless it is absolute.

    Where there are both train/CLASS/IMAGE and val/CLASS/IMAGE, these are training and validation;
    else `val_fraction` of all images, drawn by `split_seed` whatever the run's seed, are
    validation. Classes are numbered by their names in alphabetical order. The shorter side is
    resized to `resize` pixels (bilinear, antialiased) and the middle `crop` x `crop` are kept.
    Files of other formats are left out, and counted. Everything else is as in `ImageDataModule`.
    `index` counts all images by class and name, those of train/ before those of val/.
    """

    name = "images"

    def __init__(
        self,
        *,
        data_dir: str | None,
        folder: str,
        resize: int,
        crop: int,
        val_fraction: float,
        split_seed: int,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if not 3 <= crop <= resize:
            raise ValueError(f"data.crop={crop} is not between 3 and data.resize={resize} pixels")
        if not 0 < val_fraction < 1:
            raise ValueError(f"data.val_fraction={val_fraction} is not between 0 and 1")
        self.root = data_folder(data_dir)
        self.folder = self.root / folder
        self.resize, self.crop = resize, crop
        self.val_fraction, self.split_seed = val_fraction, split_seed
        self.set_title, self.announced = self.folder.name, False

    def prepare_data(self) -> None:
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"there is no folder {self.folder}: give one that holds CLASS/IMAGE, or "
                "train/CLASS/IMAGE and val/CLASS/IMAGE, with data.folder=PATH"
            )
        self._read()
        if self.ignored and not self.announced:
            self.announced = True
            print(
                f"{self.folder}: {self.ignored} files are left out, not being "
                f"images ({', '.join(SUFFIXES)})"
            )

    def setup(self, stage: str) -> None:
        self.use_images(*self._read())

    def facts(self) -> dict[str, Any]:
        return super().facts() | {
            "folder": str(self.folder),
            "resize": self.resize,
            "split": [*PARTS] if self._has_parts else [self.val_fraction, self.split_seed],
            "ignored_files": self.ignored,
        }

    @property
    def _has_parts(self) -> bool:
        return all((self.folder / part).is_dir() for part in PARTS)

    def _read(self) -> tuple[InMemory, InMemory, tuple[str, ...]]:
        """Training, validation and classes; decoded in the first call, and then kept."""
        tops = [self.folder / part for part in PARTS] if self._has_parts else [self.folder]
        there = [class_folders(top) for top in tops]
        if len(there) == 2 and (alone := {*there[0]} ^ {*there[1]}):
            raise ValueError(
                f"{self.folder} has {', '.join(sorted(alone)[:10])} in only one of train/ and "
                "val/: give both the same sub-folders"
            )
        class_names = self.chosen(there[0])
        listings = [list_images(self.folder, top, class_names) for top in tops]
        self.ignored = sum(listing.ignored for listing in listings)
        names = [name for listing in listings for name in listing.names]
        label = torch.tensor([label for listing in listings for label in listing.label])
        if self._has_parts:
            val = np.arange(len(listings[0].names), len(names))
        else:
            val = self._drawn(len(names))
        train = np.setdiff1d(np.arange(len(names)), val)
        train_set = self._decoded("train", train, names, label)
        return train_set, self._decoded("val", val, names, label), class_names

    def _drawn(self, count: int) -> Int64[np.ndarray, "val"]:
        """The places of the images that are validation, in order."""
        size = round(self.val_fraction * count)
        if not 0 < size < count:
            raise ValueError(
                f"data.val_fraction={self.val_fraction} of {count} images are {size}, and training "
                "and validation need one at least: choose another, or add images"
            )
        return np.sort(np.random.default_rng(self.split_seed).permutation(count)[:size])

    def _decoded(
        self,
        part: str,
        places: Int64[np.ndarray, "images"],
        names: list[str],
        label: Int64[Tensor, "all"],
    ) -> InMemory:
        inputs = decoded_images(
            self.folder,
            [names[place] for place in places],
            lambda image: centre_crop(shorter_side(image, self.resize), self.crop),
            self.crop,
            cache=self.root / "converted",
            title=f"{self.folder.name}_{part}",
            key={"resize": self.resize, "crop": self.crop, "code": code_digest(__file__)},
        )
        index = torch.from_numpy(places)
        return InMemory(inputs, label[index], index)


def class_folders(folder: Path) -> list[str]:
    """The names of the sub-folders in alphabetical order, hidden ones left out."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not (shown := [name for name in names if name[0] != "."]):
        raise FileNotFoundError(f"{folder} has no sub-folders: give each class of images its own")
    return shown


def list_images(folder: Path, top: Path, class_names: Sequence[str]) -> Listing:
    """The images in the sub-folders `class_names` of `top`, called as they are seen from `folder`.

    ValueError: a class has none.
    """
    names, label, ignored = [], [], 0
    for number, class_name in enumerate(class_names):
        inside = sorted((top / class_name).iterdir())
        images = [p for p in inside if p.suffix.lower() in SUFFIXES and p.name[0] != "."]
        if not images:
            raise ValueError(
                f"{top / class_name} holds no image ({', '.join(SUFFIXES)}): put the images of "
                "each class into its own folder, and not further down"
            )
        names += [path.relative_to(folder).as_posix() for path in images]
        label += [number] * len(images)
        ignored += len(inside) - len(images)
    return Listing(names, label, ignored)
