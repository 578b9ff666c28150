"""CIFAR-10 and CIFAR-100: 32 x 32 colour images of 10 or 100 classes.

Krizhevsky 2009, "Learning multiple layers of features from tiny images", which is to be cited;
https://www.cs.toronto.edu/~kriz/cifar.html names no licence. Read from the official python batches.
"""

import hashlib
import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from mmrep.batch import Batch
from mmrep.data.download import download_folder
from mmrep.data.in_memory import InMemory, InMemoryDataModule, data_folder

SIZE = 32  # pixels, height and width
PADDING = 4  # black pixels round an image before the crop (He et al. 2016)


class Release(NamedTuple):
    """One archive as its author published it: where it is, and the md5 of each file in it."""

    title: str
    url: str
    checksum: str
    folder: str
    train: Mapping[str, str]
    test: Mapping[str, str]
    meta: Mapping[str, str]
    labels: bytes  # the keys in the files
    class_names: bytes


CIFAR_10 = Release(
    title="CIFAR-10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    checksum="md5:c58f30108f718f92721af3b95e74349a",
    folder="cifar-10-batches-py",
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
    meta={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
    labels=b"labels",
    class_names=b"label_names",
)
CIFAR_100 = Release(
    title="CIFAR-100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    checksum="md5:eb9058c3a382ffc7106e4002c42a8d85",
    folder="cifar-100-python",
    train={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    meta={"meta": "7973b15100ade9c7d40fb424638fde48"},
    labels=b"fine_labels",
    class_names=b"fine_label_names",
)
RELEASES = {10: CIFAR_10, 100: CIFAR_100}  # by number of classes


class Images(InMemory):
    """Images as bytes; on the device a batch is augmented, if asked for, and normalised."""

    def __init__(
        self,
        inputs: UInt8[Tensor, "samples 3 32 32"],
        label: Tensor,
        index: Tensor,
        *,
        mean: list[float],
        std: list[float],
        augment: bool,
    ) -> None:
        super().__init__(inputs, label, index)
        self.mean, self.std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
        self.augment = augment

    def prepare(self, batch: Batch) -> Batch:
        assert isinstance(batch.inputs, Tensor)
        images = flip_and_crop(batch.inputs) if self.augment else batch.inputs
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        return batch._replace(inputs=images.float().div_(255).sub_(mean).div_(std))


class CIFAR(InMemoryDataModule):
    """CIFAR-10 or CIFAR-100, by `num_classes`; validation is the official 10,000 test images.

    `mean` and `std` normalise the colours of pixels between 0 and 1; `augment` is for training
    alone. `index` counts the training images in the order of the files, then the test images.
    """

    def __init__(
        self,
        *,
        data_dir: str | None,
        num_classes: int,
        augment: bool,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(batch_size, seed)
        if num_classes not in RELEASES:
            raise ValueError(
                f"data.num_classes={num_classes} is not one of {', '.join(map(str, RELEASES))}"
            )
        for key, value in (("mean", mean), ("std", std)):
            if len(value) != 3:
                raise ValueError(f"data.{key}={[*value]} is not one number for each of R, G and B")
        if min(std) <= 0:
            raise ValueError(f"data.std={[*std]} must be positive: pixels are divided by it")
        self.name = f"cifar{num_classes}"
        self.release = RELEASES[num_classes]
        self.mean, self.std, self.augment = [*map(float, mean)], [*map(float, std)], augment
        self.root = data_folder(data_dir)

    @property
    def title(self) -> str:
        return self.release.title

    @property
    def plain_train_set(self) -> InMemory:
        return self._images(self.train_set, augment=False)

    def prepare_data(self) -> None:
        if not (self.root / self.release.folder).is_dir():
            download_folder(self.release.url, self.release.checksum, self.root, self.release.folder)

    def setup(self, stage: str) -> None:
        folder, release = self.root / self.release.folder, self.release
        (meta,) = read_batches(folder, release.meta, release)
        self.class_names = tuple(name.decode() for name in meta[release.class_names])
        first = 0
        sets = []
        for files in (release.train, release.test):
            batches = read_batches(folder, files, release)
            pixels = np.concatenate([batch[b"data"] for batch in batches])
            label = torch.tensor([label for batch in batches for label in batch[release.labels]])
            inputs = torch.from_numpy(pixels).reshape(-1, 3, SIZE, SIZE)
            sets.append(InMemory(inputs, label, torch.arange(first, first + len(label))))
            first += len(label)
        self.train_set = self._images(sets[0], augment=self.augment)
        self.val_set = self._images(sets[1], augment=False)

    def facts(self) -> dict[str, Any]:
        """Besides what all sets say: how images became inputs."""
        own = {"augment": self.augment, "mean": self.mean, "std": self.std}
        return super().facts() | own

    def _images(self, data: InMemory, *, augment: bool) -> Images:
        """The same samples in the same memory."""
        return Images(
            data.inputs, data.label, data.index, mean=self.mean, std=self.std, augment=augment
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


def read_batches(
    folder: Path, files: Mapping[str, str], release: Release
) -> list[dict[bytes, Any]]:
    """The dicts in `files`, each of them checked by its md5.

    FileNotFoundError or ValueError: a file is missing, is another one, or asks for code.
    """
    batches = []
    for name, md5 in files.items():
        path = folder / name
        remedy = f"remove {folder}, then it is fetched again from {release.url}"
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}: {remedy}")
        content = path.read_bytes()
        if (found := hashlib.md5(content).hexdigest()) != md5:
            raise ValueError(f"{path} has the md5 {found} instead of the official {md5}: {remedy}")
        try:
            batches.append(_Unpickler(io.BytesIO(content), encoding="bytes").load())
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path} {error}: {remedy}") from None
    return batches


def _number_type(name: bytes | str, *flags: object) -> np.dtype[Any]:
    """A type of plain numbers; NumPy's own call warns of the flags that old pickles hold."""
    dtype = np.dtype(name.decode() if isinstance(name, bytes) else name)
    if dtype.kind not in "biuf":
        _refuse(f"an array of {dtype}")
    return dtype


def _bytes(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in a pickle that Python 2 can read."""
    if encoding != "latin1":
        _refuse(f"the encoding {encoding}")
    return text.encode("latin1")


def _refuse(what: str) -> NoReturn:
    raise pickle.UnpicklingError(f"asks for {what}, which no batch of images needs")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],  # NumPy 2 writes so
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _number_type,
    ("_codecs", "encode"): _bytes,
}


class _Unpickler(pickle.Unpickler):
    """Makes arrays of numbers, bytes, text, numbers, lists and dicts, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            _refuse(f"{module}.{name}")
        return _ALLOWED[module, name]
