"""`CIFAR` on miniature batches pickled as Python 2 did, and on the real CIFAR-10 where it is."""

import codecs
import hashlib
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mmrep.batch import Batch
from mmrep.data.cifar import CIFAR, CIFAR_10, CIFAR_100, Release, flip_and_crop
from mmrep.data.in_memory import PROJECT

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
REAL = PROJECT / "data"
real = pytest.mark.skipif(
    not (REAL / "cifar-10-batches-py").exists(), reason=f"no CIFAR-10 in {REAL}"
)


def python2_pickle(content: Any) -> bytes:
    """Protocol 2 as Python 2 and the NumPy of 2009 wrote the official files, opcode by opcode."""
    match content:
        case bytes():
            return b"T" + len(content).to_bytes(4, "little") + content
        case int():
            return b"J" + content.to_bytes(4, "little", signed=True)
        case tuple() | list():
            inside = b"".join(map(python2_pickle, content))
            return b"(" + inside + b"t" if isinstance(content, tuple) else b"](" + inside + b"e"
        case dict():
            return (
                b"}(" + b"".join(python2_pickle(x) for pair in content.items() for x in pair) + b"u"
            )
        case np.ndarray():
            empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
            dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ" + b"\xff" * 4
            dtype += b"J" + b"\xff" * 4 + b"K\x00tb"
            shape, data = python2_pickle(content.shape), python2_pickle(content.tobytes())
            return empty + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb"
    raise TypeError(type(content))


def python2_file(content: Any) -> bytes:
    return b"\x80\x02" + python2_pickle(content) + b"."


def random_pixels(num: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, 3072), dtype=np.uint8)


def write_release(
    root: Path, official: Release, write: Callable[[Any], bytes] = python2_file
) -> Release:
    """A release with 6 images in each training file and 4 in the test file, in the true format."""
    folder = root / official.folder
    folder.mkdir(parents=True)

    def files(names: list[str], contents: list[dict[bytes, Any]]) -> dict[str, str]:
        for name, content in zip(names, contents, strict=True):
            (folder / name).write_bytes(write(content))
        return {n: hashlib.md5((folder / n).read_bytes()).hexdigest() for n in names}

    def batch(num: int, seed: int) -> dict[bytes, Any]:
        labels = np.random.default_rng(seed).integers(0, 10, num).tolist()
        names = [b"image_%d.png" % i for i in range(num)]
        start: dict[bytes, Any] = {b"batch_label": b"batch", official.labels: labels}
        return start | {b"data": random_pixels(num, seed), b"filenames": names}

    classes = [b"class %d" % i for i in range(10)]
    return official._replace(
        url=(root / "nowhere.tar.gz").as_uri(),
        checksum="md5:0",
        train=files([*official.train], [batch(6, seed) for seed in range(len(official.train))]),
        test=files([*official.test], [batch(4, seed=99)]),
        meta=files([*official.meta], [{official.class_names: classes, b"num_vis": 3072}]),
    )


def cifar(root: Path, release: Release, **changes: Any) -> CIFAR:
    arguments: dict[str, Any] = {
        "data_dir": str(root),
        "num_classes": 100 if release.labels == b"fine_labels" else 10,
        "augment": True,
        "batch_size": 5,
        "seed": 0,
    }
    data = CIFAR(**arguments | IMAGENET | changes)
    data.release = release
    return data


def ready(root: Path, release: Release, **changes: Any) -> CIFAR:
    data = cifar(root, release, **changes)
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.mark.parametrize("official", [CIFAR_10, CIFAR_100], ids=lambda release: release.title)
def test_batches_become_images_numbered_through_the_set(tmp_path: Path, official: Release) -> None:
    data = ready(tmp_path, write_release(tmp_path, official))
    num_train = 6 * len(official.train)
    pixels = np.concatenate([random_pixels(6, seed) for seed in range(len(official.train))])
    images = data.train_set.inputs
    assert isinstance(images, Tensor)
    assert images.dtype == torch.uint8
    for number, red, row, column in [(0, 0, 0, 0), (num_train - 1, 2, 3, 31), (5, 1, 31, 7)]:
        assert images[number, red, row, column] == pixels[number, 1024 * red + 32 * row + column]
    assert_close(data.val_set.inputs, torch.from_numpy(random_pixels(4, 99)).view(4, 3, 32, 32))
    assert data.train_set.index.tolist() == list(range(num_train))
    assert data.val_set.index.tolist() == list(range(num_train, num_train + 4))
    labels = np.random.default_rng(99).integers(0, 10, 4)
    assert data.val_set.label.tolist() == labels.tolist()
    assert data.class_names == tuple(f"class {i}" for i in range(10))
    assert data.facts()["mean"] == IMAGENET["mean"]


def test_pickles_of_python_3_are_read_as_well(tmp_path: Path) -> None:
    def protocol_2(content: Any) -> bytes:
        return pickle.dumps(content, protocol=2)

    one = ready(tmp_path / "2", write_release(tmp_path / "2", CIFAR_10))
    other = ready(tmp_path / "3", write_release(tmp_path / "3", CIFAR_10, protocol_2))
    assert_close(one.train_set.inputs, other.train_set.inputs)
    assert_close(one.train_set.label, other.train_set.label)


def images_of(num: int, size: int = 32) -> Tensor:
    """Random pixels that are never black."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, 256, (num, 3, size, size), dtype=torch.uint8, generator=generator)


def test_flip_and_crop_is_a_literal_loop_over_images() -> None:
    images = images_of(64)
    before = images.clone()
    torch.manual_seed(3)
    augmented = flip_and_crop(images)
    torch.manual_seed(3)
    flip, (top, left) = torch.rand(64) < 0.5, torch.randint(0, 9, (2, 64))
    for number in range(64):
        image = images[number].flip(2) if flip[number] else images[number]
        framed = torch.zeros(3, 40, 40, dtype=torch.uint8)
        framed[:, 4:36, 4:36] = image
        row, column = int(top[number]), int(left[number])
        assert torch.equal(augmented[number], framed[:, row : row + 32, column : column + 32])
    assert torch.equal(images, before)


def test_all_places_and_both_sides_are_equally_frequent() -> None:
    torch.manual_seed(0)
    num = 16_200
    image = torch.zeros(num, 3, 32, 32, dtype=torch.uint8)
    image[:, :, 16, 10] = 1  # mirrored it is in column 21
    place = flip_and_crop(image)[:, 0].flatten(1).argmax(1)
    row, column = place // 32, place % 32
    flipped = column > 15  # columns 6 to 14, or 17 to 25
    moved = torch.where(flipped, column - 21, column - 10) + 4
    cells = 81 * flipped + 9 * (row - 12) + moved
    counts = torch.bincount(cells, minlength=162)
    assert len(counts) == 162
    expected = num / 162  # 100 of each: chi-squared with 161 degrees of freedom
    assert ((counts - expected) ** 2 / expected).sum() < 161 + 4 * (2 * 161) ** 0.5


def test_borders_are_black_and_not_the_mean(tmp_path: Path) -> None:
    data = ready(tmp_path, write_release(tmp_path, CIFAR_10))
    white = torch.full((200, 3, 32, 32), 255, dtype=torch.uint8)
    torch.manual_seed(0)
    batch = data.train_set.prepare(Batch(white, torch.zeros(200), torch.arange(200)))
    mean, std = (torch.tensor(IMAGENET[key]) for key in ("mean", "std"))
    assert isinstance(batch.inputs, Tensor)
    for channel, values in enumerate(batch.inputs.unbind(1)):
        black, full = -mean[channel] / std[channel], (1 - mean[channel]) / std[channel]
        assert_close(torch.stack([values.min(), values.max()]), torch.stack([black, full]))
        assert ((values == values.min()) | (values == values.max())).all()


def test_only_training_is_augmented_and_memory_is_shared(tmp_path: Path) -> None:
    data = ready(tmp_path, write_release(tmp_path, CIFAR_10))
    every = [*range(len(data.train_set))]
    inputs, plain = data.train_set.inputs, data.plain_train_set
    assert isinstance(inputs, Tensor)
    assert isinstance(plain.inputs, Tensor)
    assert plain.inputs.data_ptr() == inputs.data_ptr()
    mean, std = (torch.tensor(IMAGENET[key]).view(3, 1, 1) for key in ("mean", "std"))
    expected = (inputs / 255 - mean) / std
    assert_close(plain.prepare(plain[every]).inputs, expected)
    assert_close(data.val_set.prepare(plain[every]).inputs, expected)
    augmented = data.train_set.prepare(data.train_set[every]).inputs
    assert isinstance(augmented, Tensor)
    assert augmented.shape == expected.shape
    assert not torch.equal(augmented, expected)
    without = ready(tmp_path, data.release, augment=False).train_set
    assert_close(without.prepare(without[every]).inputs, expected)


class Malicious:
    """Runs a command where pickles are believed."""

    def __reduce__(self) -> Any:
        return (os.system, ("touch harmed",))


class OtherEncoding:
    """Calls a codec that Python 2 never called for bytes."""

    def __reduce__(self) -> Any:
        return (codecs.encode, ("x", "rot13"))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Malicious(), r"\w+\.system"),
        ({b"data": Malicious()}, r"\w+\.system"),
        (OtherEncoding(), "the encoding rot13"),
        (np.array([{}, None]), "an array of object"),
        (slice(1), r"\w+\.slice"),
    ],
)
def test_a_file_that_asks_for_more_than_data_is_refused(
    tmp_path: Path, content: Any, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    release = write_release(tmp_path, CIFAR_10)
    path = tmp_path / release.folder / "data_batch_3"
    path.write_bytes(pickle.dumps(content, protocol=2))
    md5s = {**release.train, "data_batch_3": hashlib.md5(path.read_bytes()).hexdigest()}
    with pytest.raises(ValueError, match=rf"data_batch_3 asks for {named}, which no .* remove"):
        ready(tmp_path, release._replace(train=md5s))
    assert not (tmp_path / "harmed").exists()


def test_another_file_is_named_with_both_checksums(tmp_path: Path) -> None:
    release = write_release(tmp_path, CIFAR_10)
    path = tmp_path / release.folder / "test_batch"
    path.write_bytes(b"no pickle at all")
    found, official = hashlib.md5(b"no pickle at all").hexdigest(), release.test["test_batch"]
    message = rf"test_batch has the md5 {found} instead of the official {official}: remove"
    with pytest.raises(ValueError, match=message):
        ready(tmp_path, release)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    release = write_release(tmp_path, CIFAR_10)
    (tmp_path / release.folder / "data_batch_5").unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*/data_batch_5: remove .* fetched again"):
        ready(tmp_path, release)


def test_the_set_is_downloaded_where_it_is_not(tmp_path: Path) -> None:
    release = write_release(tmp_path / "source", CIFAR_100)
    archive = tmp_path / "source" / "cifar-100-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "source" / release.folder, release.folder)
    checksum = f"md5:{hashlib.md5(archive.read_bytes()).hexdigest()}"
    fetched = release._replace(url=archive.as_uri(), checksum=checksum)
    data = ready(tmp_path / "elsewhere", fetched)
    assert_close(data.train_set.inputs, ready(tmp_path / "source", release).train_set.inputs)


def test_no_set_and_no_network_is_one_sentence(tmp_path: Path) -> None:
    release = CIFAR_10._replace(url=(tmp_path / "cifar-10-python.tar.gz").as_uri())
    with pytest.raises(FileNotFoundError, match=r"no .*/cifar-10-batches-py, and cifar-10-python"):
        ready(tmp_path, release)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 20}, r"data\.num_classes=20 is not one of 10, 100"),
        ({"mean": [0.5]}, r"data\.mean=\[0\.5\] is not one number for each of R, G and B"),
        ({"std": [1.0, 0.0, 1.0]}, r"data\.std=\[1\.0, 0\.0, 1\.0\] must be positive"),
    ],
)
def test_a_wrong_choice_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cifar(tmp_path, CIFAR_10, **changes)


@real
@pytest.mark.real
def test_real_cifar10_is_the_published_one() -> None:
    data = ready(REAL, CIFAR_10)
    assert (len(data.train_set), len(data.val_set)) == (50_000, 10_000)
    assert data.label_counts(with_val=False).tolist() == [5000] * 10
    assert data.label_counts(with_val=True).tolist() == [6000] * 10
    assert data.class_names[::9] == ("airplane", "truck")
    assert data.val_set.index[[0, -1]].tolist() == [50_000, 59_999]
    images = data.train_set.inputs
    assert isinstance(images, Tensor)
    channels = images.transpose(0, 1).flatten(1)
    counts = torch.stack([torch.bincount(channel, minlength=256) for channel in channels])
    mean = counts.double() @ torch.arange(256.0).double() / counts.sum(1) / 255
    assert_close(mean, torch.tensor([0.4914, 0.4822, 0.4465]).double(), atol=5e-5, rtol=0)
