"""CelebA: 202,599 faces of 10,177 people with 40 attributes, one of which is the class.

Liu, Luo, Wang & Tang 2015, "Deep learning face attributes in the wild",
https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html; for non-commercial research, fetched by hand.
Read from the official layout, with the aligned and cropped images.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from mmrep.data.cache import code_digest
from mmrep.data.image_files import centre_crop, decoded_images
from mmrep.data.images import ImageDataModule
from mmrep.data.in_memory import InMemory, data_folder

URL = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
IMAGES, ATTRIBUTES = "img_align_celeba", "list_attr_celeba.txt"
PARTITION = "list_eval_partition.txt"
RELEASED = {IMAGES: "Img", ATTRIBUTES: "Anno", PARTITION: "Eval"}  # folders of the release
WIDTH, HEIGHT = 178, 218  # pixels of an aligned image; the middle WIDTH x WIDTH are used
TRAIN, VALIDATION, TEST = "0", "1", "2"  # in the list of partitions


class Chosen(NamedTuple):
    """Images of one set: names, whether each has the attribute, and places in the whole list."""

    names: list[str]
    label: list[int]
    places: list[int]


class CelebA(ImageDataModule):
    """Faces with and without `attribute`, the middle 178 x 178 pixels as `size` x `size`.

    They are resized bilinearly with antialiasing. Training is the official training set, or its
    first `num_train` images; validation is the official test set, or its first `num_val`; the
    official validation set is not used. Everything else is as in `ImageDataModule`. `index` is an
    image's place among all, from 0: its number in its file's name, less 1.
    """

    name = "celeba"

    def __init__(
        self,
        *,
        data_dir: str | None,
        attribute: str,
        size: int,
        num_train: int | None,
        num_val: int | None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if not 3 <= size <= WIDTH:
            raise ValueError(f"data.size={size} is not between 3 and {WIDTH} pixels")
        for key, number in (("num_train", num_train), ("num_val", num_val)):
            if number is not None and number < 1:
                raise ValueError(f"data.{key}={number} must be at least 1 image, or null for all")
        self.attribute, self.size = attribute, size
        self.num_train, self.num_val = num_train, num_val
        self.folder = data_folder(data_dir) / "celeba"
        self.set_title = f"CelebA {attribute.replace('_', ' ')}"

    def prepare_data(self) -> None:
        names = (IMAGES, ATTRIBUTES, PARTITION)
        missing = [name for name in names if not self._path(name).exists()]
        if missing:
            raise FileNotFoundError(
                f"no CelebA in {self.folder}: {', '.join(missing)} missing; fetch "
                f"{IMAGES}.zip, {ATTRIBUTES} and {PARTITION} by hand from {URL} and put them "
                f"there, the archive unpacked as {IMAGES}/000001.jpg and so on"
            )
        self._read()

    def setup(self, stage: str) -> None:
        self.use_images(*self._read(), (f"not {self.attribute}", self.attribute))

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"attribute": self.attribute}

    def _read(self) -> tuple[InMemory, InMemory]:
        """Training and validation, decoded in the first call, and then kept."""
        has = read_attribute(self._path(ATTRIBUTES), self.attribute)
        partition = read_partition(self._path(PARTITION))
        train = choose(has, partition, TRAIN, self.num_train, "num_train")
        val = choose(has, partition, TEST, self.num_val, "num_val")
        return self._decoded("train", train), self._decoded("val", val)

    def _decoded(self, title: str, chosen: Chosen) -> InMemory:
        inputs = decoded_images(
            self._path(IMAGES),
            chosen.names,
            self._resize,
            self.size,
            cache=self.folder / "converted",
            title=f"{title}_{self.size}",
            key={"size": self.size, "code": code_digest(__file__)},
        )
        return InMemory(inputs, torch.tensor(chosen.label), torch.tensor(chosen.places))

    def _path(self, name: str) -> Path:
        """In the folder itself, or where the release has it."""
        released = self.folder / RELEASED[name] / name
        return released if released.exists() else self.folder / name

    def _resize(self, image: Image.Image) -> Image.Image:
        if image.size != (WIDTH, HEIGHT):
            raise ValueError(f"it has {image.size} pixels, not {(WIDTH, HEIGHT)}")
        square = centre_crop(image, WIDTH)
        return square.resize((self.size, self.size), Image.Resampling.BILINEAR)


def choose(
    has: dict[str, bool],
    partition: Sequence[tuple[str, str]],
    part: str,
    first: int | None,
    key: str,
) -> Chosen:
    """The images of one part of the partition, or the `first` so many, which `key` asks for."""
    places = [place for place, (_, theirs) in enumerate(partition) if theirs == part]
    if len(places) < (first or 1):
        raise ValueError(
            f"data.{key}={first}: {PARTITION} has {len(places)} images in part {part}; ask for at "
            "most as many, or null for all"
        )
    names = [partition[place][0] for place in places[:first]]
    if unknown := next((name for name in names if name not in has), None):
        raise ValueError(f"{unknown} is in {PARTITION} and not in {ATTRIBUTES}: fetch both again")
    return Chosen(names, [int(has[name]) for name in names], places[:first])


def read_attribute(path: Path, attribute: str) -> dict[str, bool]:
    """By the image's name: whether it has the attribute.

    The file has the number of images in its first line, the attributes' names in its second, and
    then `000001.jpg -1  1 ...`, with one or two spaces before a number.
    """
    count, names, *lines = path.read_text().splitlines() + [""] * 2
    attributes, rows = names.split(), [line.split() for line in lines if line]
    if count.strip() != str(len(rows)):
        raise ValueError(
            f"{path} has {len(rows)} lines of images where its first line says {count!r}: fetch it "
            f"again from {URL}"
        )
    if attribute not in attributes:
        near = get_close_matches(attribute, attributes, cutoff=0.5) or attributes
        raise ValueError(
            f"data.attribute={attribute!r} is not one of the {len(attributes)} in {path.name}: "
            f"take {' or '.join(near)}"
        )
    column = attributes.index(attribute) + 1
    for number, row in enumerate(rows, start=3):
        if len(row) != len(attributes) + 1 or row[column] not in ("-1", "1"):
            raise ValueError(
                f"{path}, line {number}: {' '.join(row)[:30]!r}... is no image's name and "
                f"{len(attributes)} times 1 or -1: fetch it again from {URL}"
            )
    return {row[0]: row[column] == "1" for row in rows}


def read_partition(path: Path) -> list[tuple[str, str]]:
    """Names of images in the file's order, and 0 (training), 1 (validation) or 2 (test)."""
    partition: list[tuple[str, str]] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        match line.split():
            case [name, ("0" | "1" | "2") as part]:
                partition.append((name, part))
            case _:
                raise ValueError(
                    f"{path}, line {number}: {line!r} is no image's name and 0, 1 or 2: fetch it "
                    f"again from {URL}"
                )
    return partition
