"""Image files as arrays of bytes: decoded and resized once, then read from a memory-mapped file."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from mmrep.data.cache import cached_array, code_digest

CHUNK = 256  # images between two steps of the progress bar

Resize = Callable[[Image.Image], Image.Image]


def decoded_images(
    source: Path,
    names: Sequence[str],
    resize: Resize,
    size: int,
    *,
    cache: Path,
    title: str,
    key: Mapping[str, Any],
) -> UInt8[Tensor, "images 3 height width"]:
    """The files `source`/NAME as colours, `size` x `size` pixels each after `resize`.

    They are kept in the folder `cache` as a file called after `title`, until one of the files or
    `key`, which says what `resize` does, becomes another.

    FileNotFoundError, ValueError: an image is not there, or cannot be read.
    """
    made = {"files": files_digest(source, names), "how": key, "code": code_digest(__file__)}
    shape = (len(names), 3, size, size)
    images = in_chunks(lambda name: read_image(source / name, resize).transpose(2, 0, 1), names)
    return torch.from_numpy(cached_array(cache, title, made, shape, images, dtype="u1"))


def files_digest(source: Path, names: Sequence[str]) -> str:
    """A digest of the sizes and times of the files `source`/NAME: for keys of what they hold.

    FileNotFoundError: one is not there.
    """
    files = hashlib.sha256()
    for name in names:
        try:
            state = (source / name).stat()
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no {source / name}: put it there again") from None
        files.update(repr((name, state.st_size, state.st_mtime_ns)).encode())
    return files.hexdigest()


def in_chunks(read: Callable[[str], np.ndarray], names: Sequence[str]) -> Iterator[np.ndarray]:
    """What `read` makes of each name, stacked, as many at a time as a progress bar steps by."""
    for start in range(0, len(names), CHUNK):
        yield np.stack([read(name) for name in names[start : start + CHUNK]])


def read_image(path: Path, resize: Resize) -> UInt8[np.ndarray, "height width 3"]:
    """One file's colours after `resize`.

    As in torchvision, a note of how the camera was held is not followed, nor is transparency.

    ValueError: no image that Pillow reads, or with more than 8 bits to a colour.
    """
    with opened(path) as image:
        if image.mode[0] in "IF":  # 16 or 32 bits to a pixel, which `convert` would cut off
            raise ValueError(f"its pixels are of {image.mode}, not of 8 bits to a colour")
        return np.asarray(resize(image.convert("RGB")))


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image of a file, which is named where reading it, or what is done with it, fails."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is of no use as an image ({error}): replace it") from None


def squeezed(image: Image.Image, size: int) -> Image.Image:
    """The whole image as a square (bilinear, antialiased), whatever its height and width."""
    return image.resize((size, size), Image.Resampling.BILINEAR)


def shorter_side(image: Image.Image, size: int) -> Image.Image:
    """Resized (bilinear, antialiased) so that the shorter side has `size` pixels."""
    width, height = image.size
    short = min(width, height)
    return image.resize((size * width // short, size * height // short), Image.Resampling.BILINEAR)


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """The `size` x `size` pixels in the middle, of an image at least as large.

    Where they cannot be in the middle, half a pixel is rounded to even, as in torchvision.
    """
    width, height = image.size
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))
