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
from mmrep.data.cifar import CIFAR, CIFAR_10, CIFAR_100, Release
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
        "release": "cifar100" if release.title == "CIFAR-100" else "cifar10",
        "num_classes": 10,  # of the miniature
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


def test_the_first_images_are_kept(tmp_path: Path) -> None:
    release = write_release(tmp_path, CIFAR_10)
    whole, few = ready(tmp_path, release), ready(tmp_path, release, num_train=7)
    assert_close(few.train_set.inputs, whole.train_set.inputs[:7])
    assert_close(few.train_set.label, whole.train_set.label[:7])
    assert few.train_set.index.tolist() == list(range(7))
    assert few.facts()["fingerprint"] != whole.facts()["fingerprint"]
    assert len(few.val_set) == len(whole.val_set)
    with pytest.raises(ValueError, match=r"data\.num_train=31: there are 30 training images"):
        ready(tmp_path, release, num_train=31)
    with pytest.raises(ValueError, match=r"data\.num_train=0 must be at least 1 image"):
        cifar(tmp_path, release, num_train=0)


def test_pickles_of_python_3_are_read_as_well(tmp_path: Path) -> None:
    def protocol_2(content: Any) -> bytes:
        return pickle.dumps(content, protocol=2)

    one = ready(tmp_path / "2", write_release(tmp_path / "2", CIFAR_10))
    other = ready(tmp_path / "3", write_release(tmp_path / "3", CIFAR_10, protocol_2))
    assert_close(one.train_set.inputs, other.train_set.inputs)
    assert_close(one.train_set.label, other.train_set.label)


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


def test_a_release_that_is_none_is_named(tmp_path: Path) -> None:
    chosen: dict[str, Any] = {**IMAGENET, "augment": True, "batch_size": 5, "seed": 0}
    with pytest.raises(
        ValueError, match=r"data\.release='cifar20' is not one of cifar10, cifar100"
    ):
        CIFAR(data_dir=str(tmp_path), release="cifar20", num_classes=20, **chosen)


def test_classes_are_kept_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    release = write_release(tmp_path, CIFAR_10)
    whole = ready(tmp_path, release)
    names = ["class 7", "class 2", "class 5"]
    some = ready(tmp_path, release, classes=names, num_classes=3)
    assert some.class_names == tuple(names)
    assert some.title == "CIFAR-10 class 7, class 2, class 5"
    for ours, theirs in ((some.train_set, whole.train_set), (some.val_set, whole.val_set)):
        kept = [i for i, label in enumerate(theirs.label.tolist()) if label in (7, 2, 5)]
        assert ours.label.tolist() == [(7, 2, 5).index(theirs.label[i]) for i in kept]
        assert ours.index.tolist() == [theirs.index[i] for i in kept]
        assert torch.equal(ours.inputs, theirs.inputs[kept])
    assert len(some.train_set) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"classes": ["class 1", "cat"], "num_classes": 2},
            r"data\.classes=\['class 1', 'cat'\]: CIFAR-10 has no cat, but class 0, class 1",
        ),
        (
            {"classes": ["class 1", "class 3"]},
            r"data\.num_classes=10: there are 2, class 1, class 3; set data\.num_classes=2",
        ),
        (
            {"labels": "energy", "component": 0, "num_classes": 100},
            r"data\.num_classes=100: there are 10, tenth 1, .*; set data\.num_classes=10",
        ),
    ],
)
def test_classes_that_are_not_there_are_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    release = write_release(tmp_path, CIFAR_10)
    with pytest.raises(ValueError, match=message):
        ready(tmp_path, release, **changes)


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


@real
@pytest.mark.real
def test_a_pair_of_real_classes_is_a_binary_task() -> None:
    data = ready(REAL, CIFAR_10, classes=["cat", "dog"], num_classes=2)
    assert data.label_counts(with_val=False).tolist() == [5000] * 2
    assert data.label_counts(with_val=True).tolist() == [6000] * 2
    whole = ready(REAL, CIFAR_10)
    assert torch.equal(whole.train_set.label[data.train_set.index] == 5, data.train_set.label == 1)
