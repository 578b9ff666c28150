"""Washington RGB-D Object: 300 things of 51 categories on a turntable, in colour and depth.

Lai, Bo, Ren & Fox 2011, "A large-scale hierarchical multi-view RGB-D object dataset",
10.1109/ICRA.2011.5980382; for non-commercial research, fetched by hand. Read from the official
layout: CATEGORY/INSTANCE/INSTANCE_SEQUENCE_FRAME_crop.png (colours), ..._depthcrop.png (16 bits of
grey: millimetres, 0 where none was measured) and ..._maskcrop.png (the object). ..._loc.txt, the
place of the crop in the camera's picture, is not read.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int16, Int64, UInt8
from PIL import Image

from mmrep.data import image_files
from mmrep.data.cache import cached_array, code_digest
from mmrep.data.image_files import files_digest, in_chunks, opened, read_image, squeezed
from mmrep.data.rgbd_frames import RGBDFrames

URL = "https://rgbd-dataset.cs.washington.edu/dataset/rgbd-dataset/"
COLOUR, DEPTH, MASK = "_crop.png", "_depthcrop.png", "_maskcrop.png"
DEEPEST = np.iinfo(np.int16).max  # mm; the camera's own range ends long before


class Frame(NamedTuple):
    """One picture: the numbers of its category and of its thing, and its path up to `COLOUR`."""

    label: int
    group: int
    path: str


def read_washington(
    folder: Path, *, size: int, frames: int | None, seed: int, object_mask: bool
) -> RGBDFrames:
    """So many `frames`, or all, of the categories in `folder`/rgbd-dataset, or in `folder` itself.

    As many are taken of each category, and of each thing in it, as the files allow; what cannot be
    dealt out equally, and the frames of a thing, are drawn by `seed`. Labels number the categories
    by name, `group` the things, `index` all frames by category, thing, sequence and frame.

    A crop is squeezed to `size` x `size`, since a border round it would be depth that is missing
    without having been missed by a camera. Colours are resized bilinearly with antialiasing; depth
    is that of the nearest pixel, since no surface lies between a surface and nothing. Depth above
    32,767 mm is missing. With `object_mask` everything but the object is black, and has no depth.

    FileNotFoundError, ValueError: there are no frames, or too few, or one of a frame's files is
    missing, of no use, or of another size than its colours.
    """
    official = folder / "rgbd-dataset"
    source = official if official.is_dir() else folder
    everything, class_names = list_frames(source)
    if not everything:
        raise FileNotFoundError(
            f"no frames of Washington RGB-D Object in {folder}: fetch rgbd-dataset by hand from "
            f"{URL} (non-commercial research) and unpack it there, as "
            f"{official.name}/apple/apple_1/apple_1_1_1{COLOUR} and so on"
        )
    if frames is not None and not 1 <= frames <= len(everything):
        raise ValueError(
            f"data.frames={frames}: there are {len(everything)} in {source}; ask for 1 to as many, "
            "or null for all"
        )
    index = choose(everything, len(everything) if frames is None else frames, seed)
    chosen = [everything[place] for place in index]
    paths = [frame.path for frame in chosen]
    kinds = (COLOUR, DEPTH, MASK) if object_mask else (COLOUR, DEPTH)
    key = {
        "files": files_digest(source, [path + kind for path in paths for kind in kinds]),
        "size": size,
        "object_mask": object_mask,
        "code": code_digest(__file__, image_files.__file__),
    }
    shape, cache = (size, size), folder / "converted"
    rgb = cached_array(
        cache,
        f"colour_{size}",
        key,
        (len(paths), 3, *shape),
        in_chunks(lambda path: read_colour(source / path, size, object_mask), paths),
        dtype="u1",
    )
    depth = cached_array(
        cache,
        f"depth_{size}",
        key,
        (len(paths), 1, *shape),
        in_chunks(lambda path: read_depth(source / path, size, object_mask)[None], paths),
        dtype="<i2",
    )
    return RGBDFrames(
        torch.from_numpy(rgb),
        torch.from_numpy(depth),
        torch.tensor([frame.label for frame in chosen]),
        torch.tensor([frame.group for frame in chosen]),
        torch.tensor(index),
        class_names,
        {},
    )


def list_frames(source: Path) -> tuple[list[Frame], tuple[str, ...]]:
    """All frames below a folder of categories, in order, and the categories that have any.

    FileNotFoundError: there are colours without their depth, or the reverse.
    ValueError: colours are not called after their folders.
    """
    frames: list[Frame] = []
    class_names: list[str] = []
    for category in _folders(source):
        if outside := min(category.glob(f"[!.]*{COLOUR}"), default=None):
            raise _misnamed(outside)
        things = sorted(_folders(category), key=lambda thing: (len(thing.name), thing.name))
        for names in filter(None, map(frames_of, things)):
            group = frames[-1].group + 1 if frames else 0
            frames += [Frame(len(class_names), group, f"{category.name}/{name}") for name in names]
        if frames and frames[-1].label == len(class_names):
            class_names.append(category.name)
    return frames, tuple(class_names)


def frames_of(thing: Path) -> list[str]:
    """INSTANCE/FRAME by sequence and frame, where the frame's files begin with FRAME.

    Files that end otherwise than `COLOUR` and `DEPTH` are passed over. Errors as in `list_frames`.
    """
    names = [name for name in os.listdir(thing) if name[0] != "."]
    colour, depth = ({n.removesuffix(k) for n in names if n.endswith(k)} for k in (COLOUR, DEPTH))
    for alone in sorted(colour ^ depth)[:1]:
        there, missing = (COLOUR, DEPTH) if alone in colour else (DEPTH, COLOUR)
        raise FileNotFoundError(
            f"there is no {thing / (alone + missing)} beside {alone}{there}: put it there again, "
            "or take the other away"
        )
    named = re.fullmatch(rf"{re.escape(thing.parent.name)}_\d+", thing.name)
    ordered: list[tuple[int, int, str]] = []
    for name in sorted(colour):
        numbers = re.fullmatch(rf"{re.escape(thing.name)}_(\d+)_(\d+)", name)
        if not named or not numbers:
            raise _misnamed(thing / (name + COLOUR))
        ordered.append((int(numbers[1]), int(numbers[2]), name))
    return [f"{thing.name}/{name}" for _, _, name in sorted(ordered)]


def choose(frames: Sequence[Frame], total: int, seed: int) -> list[int]:
    """The places of `total` of the frames, which are in order, as `read_washington` says."""
    random = np.random.default_rng(seed)
    categories = _together(range(len(frames)), lambda place: frames[place].label)
    chosen: list[int] = []
    shares = equal_shares([len(category) for category in categories], total, random)
    for category, share in zip(categories, shares, strict=True):
        things = _together(category, lambda place: frames[place].group)
        parts = equal_shares([len(thing) for thing in things], share, random)
        for thing, part in zip(things, parts, strict=True):
            chosen += random.choice(thing, part, replace=False).tolist()
    return sorted(chosen)


def equal_shares(there: Sequence[int], total: int, random: np.random.Generator) -> list[int]:
    """`total` dealt out: to each what is `there`, or a level that is common to all who have more.

    What is then left, less than one for each of these, goes by lot. `total` is at most all there
    is.
    """
    counts = np.array(there)
    levels = range(counts.max() + 1)
    level = bisect_right(levels, total, key=lambda level: np.minimum(counts, level).sum()) - 1
    shares = np.minimum(counts, level)
    shares[random.permutation(np.flatnonzero(counts > level))[: total - shares.sum()]] += 1
    return shares.tolist()


def read_colour(stem: Path, size: int, object_mask: bool) -> UInt8[np.ndarray, "3 size size"]:
    """The colours of one frame, whose files begin with `stem`."""
    colours = read_image(_file(stem, COLOUR), lambda image: image)
    if object_mask:
        height, width, _ = colours.shape
        colours = colours * _object(stem, (width, height))[..., None]
    return np.asarray(squeezed(Image.fromarray(colours), size)).transpose(2, 0, 1)


def read_depth(stem: Path, size: int, object_mask: bool) -> Int16[np.ndarray, "size size"]:
    """The depth of one frame in millimetres, 0 where it is missing."""
    with opened(_file(stem, COLOUR)) as image:
        pixels = image.size
    with opened(_file(stem, DEPTH)) as image:
        if image.mode not in ("I;16", "I"):  # Pillow's names, new and old, for 16 bits in a PNG
            raise ValueError(f"its pixels are of {image.mode}, not 16 bits of grey: millimetres")
        _require_size(image, pixels)
        far = np.asarray(image)
    depth = np.where(far > DEEPEST, 0, far).astype(np.int16)
    if object_mask:
        depth = depth * _object(stem, pixels)
    rows, columns = (_nearest(length, size) for length in depth.shape)
    return depth[np.ix_(rows, columns)]


def _misnamed(path: Path) -> ValueError:
    return ValueError(
        f"{path} is not called as in CATEGORY/CATEGORY_NUMBER/CATEGORY_NUMBER_SEQUENCE_FRAME"
        f"{COLOUR}: give it its name back, or take it away"
    )


def _object(stem: Path, pixels: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    with opened(_file(stem, MASK)) as image:
        _require_size(image, pixels)
        return np.asarray(image.convert("L")) > 0


def _require_size(image: Image.Image, pixels: tuple[int, int]) -> None:
    if image.size != pixels:
        raise ValueError(f"it has {image.size} pixels where its colours have {pixels}")


def _nearest(length: int, size: int) -> Int64[np.ndarray, "size"]:
    """Which of `length` pixels holds the centre of each of `size`."""
    return (2 * np.arange(size) + 1) * length // (2 * size)


def _together(places: Iterable[int], number: Callable[[int], int]) -> list[list[int]]:
    """Places that follow one another and have one number."""
    return [[*same] for _, same in groupby(places, number)]


def _file(stem: Path, kind: str) -> Path:
    return stem.with_name(stem.name + kind)


def _folders(folder: Path) -> list[Path]:
    """The sub-folders by name, hidden ones left out."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
