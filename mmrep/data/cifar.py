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

from mmrep.data.download import download_folder
from mmrep.data.images import ImageDataModule
from mmrep.data.in_memory import InMemory, data_folder

SIZE = 32  # pixels, height and width


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
RELEASES = {"cifar10": CIFAR_10, "cifar100": CIFAR_100}


class CIFAR(ImageDataModule):
    """CIFAR-10 or CIFAR-100, by `release`; validation is the official 10,000 test images.

    `num_train` keeps the first so many of the training images, of the chosen classes. Everything
    else is as in `ImageDataModule`. `index` counts the training images in the order of the files,
    then the test images.
    """

    def __init__(
        self,
        *,
        data_dir: str | None,
        release: str,
        num_train: int | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if num_train is not None and num_train < 1:
            raise ValueError(f"data.num_train={num_train} must be at least 1 image, or null: all")
        self.num_train = num_train
        if release not in RELEASES:
            raise ValueError(f"data.release={release!r} is not one of {', '.join(RELEASES)}")
        self.name, self.release = release, RELEASES[release]
        self.set_title = self.release.title
        self.root = data_folder(data_dir)

    def prepare_data(self) -> None:
        if not (self.root / self.release.folder).is_dir():
            download_folder(self.release.url, self.release.checksum, self.root, self.release.folder)

    def setup(self, stage: str) -> None:
        folder, release = self.root / self.release.folder, self.release
        (meta,) = read_batches(folder, release.meta, release)
        names = [name.decode() for name in meta[release.class_names]]
        class_names = self.chosen(names)
        train = self._read(release.train, first=0)
        val = self._read(release.test, first=len(train))
        if self.classes is not None:
            numbers = [names.index(name) for name in class_names]
            train, val = (_of_classes(data, numbers) for data in (train, val))
        if self.num_train is not None:
            if self.num_train > len(train):
                raise ValueError(
                    f"data.num_train={self.num_train}: there are {len(train)} training images"
                )
            kept = slice(self.num_train)
            train = InMemory(train.inputs[kept], train.label[kept], train.index[kept])
        self.use_images(train, val, class_names)

    def _read(self, files: Mapping[str, str], *, first: int) -> InMemory:
        """All images in `files`, numbered from `first`."""
        batches = read_batches(self.root / self.release.folder, files, self.release)
        pixels = np.concatenate([batch[b"data"] for batch in batches])
        label = torch.tensor([label for batch in batches for label in batch[self.release.labels]])
        inputs = torch.from_numpy(pixels).reshape(-1, 3, SIZE, SIZE)
        return InMemory(inputs, label, torch.arange(first, first + len(label)))


def _of_classes(data: InMemory, numbers: Sequence[int]) -> InMemory:
    """The samples of some classes, which are numbered anew in their order."""
    match = data.label[:, None] == torch.tensor(numbers)
    kept = match.any(dim=1)
    return InMemory(data.inputs[kept], match[kept].int().argmax(dim=1), data.index[kept])


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
