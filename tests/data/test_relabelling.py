"""Label modes and scaled patches: NumPy's derivation, CIFAR in miniature, and the real one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mmrep.data import relabelling
from mmrep.data.cifar import CIFAR, CIFAR_10
from mmrep.data.relabelling import (
    deciles,
    energies,
    independent,
    patch_axis,
    permuted,
    scaled_apart,
)
from mmrep.stats.energy import patch_axes
from tests.data.test_cifar import REAL, ready, real, write_release


def bytes_of(num: int, seed: int = 0, height: int = 12, width: int = 10) -> Tensor:
    """Images whose pixels resemble their neighbours, so that all 27 axes differ."""
    noise = np.random.default_rng(seed).normal(size=(num, 3, height + 3, width + 3))
    smooth = sum(
        noise[..., i : i + height, j : j + width] / (1 + i + j) for i, j in np.ndindex(4, 4)
    )
    mixed = np.einsum("nchw,dc->ndhw", smooth, [[1, 0, 0], [0.8, 0.5, 0], [0.7, 0.3, 0.3]])
    return torch.from_numpy((128 + 25 * mixed).clip(0, 255).astype(np.uint8))


def normalise(images: Tensor) -> Tensor:
    return (images.float() / 255 - 0.4) / 0.25


def windows(images: Tensor) -> np.ndarray:
    """(images, rows, columns, 27) in NumPy."""
    view = np.lib.stride_tricks.sliding_window_view(
        normalise(images).double().numpy(), (3, 3), (2, 3)
    )
    return view.transpose(0, 2, 3, 1, 4, 5).reshape(len(images), *view.shape[2:4], 27)


def numpy_axes(images: Tensor) -> np.ndarray:
    """Right singular vectors of all centred patches, as columns."""
    patches = windows(images).reshape(-1, 27)
    return np.linalg.svd(patches - patches.mean(axis=0), full_matrices=False)[2].T


def numpy_energies(images: Tensor, axis: np.ndarray) -> np.ndarray:
    return np.square(windows(images) @ axis).sum(axis=(1, 2))


def test_permuted_labels_are_the_same_ones_elsewhere() -> None:
    label = torch.arange(1000) % 7
    one, same, other = permuted(label, 3), permuted(label, 3), permuted(label, 4)
    assert torch.equal(one, same)
    assert torch.equal(one.sort().values, label.sort().values)
    # By chance one in seven stays what it is: within four standard deviations of that.
    for this, that in ((one, label), (one, other)):
        assert abs((this == that).sum() - 1000 / 7) < 4 * (1000 * 6 / 49) ** 0.5


def test_independent_labels_are_uniform_and_of_their_seed() -> None:
    one, same, other = independent(7000, 7, 3), independent(7000, 7, 3), independent(7000, 7, 4)
    assert torch.equal(one, same)
    assert abs((one == other).sum() - 1000) < 4 * (7000 * 6 / 49) ** 0.5
    counts = torch.bincount(one, minlength=7)
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 6 + 4 * 12**0.5  # chi-squared, 6 degrees
    assert counts.float().std() > 0  # a permutation would have kept all of them equal


@pytest.mark.parametrize("component", [0, 14, 26])
@pytest.mark.parametrize("chunk", [120 * 7, 2**20], ids=["seven at a time", "all at once"])
def test_axis_and_energies_are_numpys(
    component: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relabelling, "CHUNK_PIXELS", chunk)
    images = bytes_of(60)
    axis, expected = patch_axis(images, component, normalise), numpy_axes(images)[:, component]
    assert abs(axis.numpy() @ expected) == pytest.approx(1, abs=1e-9)
    found = energies(images, axis, normalise)
    assert_close(found, torch.from_numpy(numpy_energies(images, expected)), rtol=1e-6, atol=0)


def test_deciles_are_numpys_and_test_images_follow_the_same_limits() -> None:
    random = np.random.default_rng(0)
    train, test = random.gamma(2, size=1003), random.gamma(2, size=400)
    label, test_label = deciles(torch.from_numpy(train), torch.from_numpy(test))
    # how many training images have more energy, in tenths of all of them
    above = (train[None] > train[:, None]).sum(axis=1)
    assert label.tolist() == (above * 10 // 1003).tolist()
    assert torch.bincount(label).tolist() == [101, 100, 100, 101, 100, 100, 101, 100, 100, 100]
    limits = [train[label.numpy() == group].min() for group in range(9)]  # decreasing
    assert test_label.tolist() == (9 - np.searchsorted(limits[::-1], test, side="right")).tolist()
    _, again = deciles(torch.from_numpy(train), torch.from_numpy(train))
    assert torch.equal(again, label)
    _, ends = deciles(torch.from_numpy(train), torch.tensor([1e9, -1.0]).double())
    assert ends.tolist() == [0, 9]


def test_deciles_need_ten_images() -> None:
    nine = torch.arange(9.0).double()
    with pytest.raises(ValueError, match=r"labels=energy puts .* into 10 classes, and there are 9"):
        deciles(nine, nine)


def test_patches_apart_are_a_literal_loop() -> None:
    images = normalise(bytes_of(2, height=5, width=6))
    axis = patch_axis(bytes_of(60), 3, normalise)
    apart = scaled_apart(images, axis, 2.5)
    assert apart.shape == (2, 3, 9, 12)
    for number in range(2):
        for row in range(3):
            for column in range(4):
                patch = images[number, :, row : row + 3, column : column + 3].double().flatten()
                expected = (patch + 1.5 * (patch @ axis) * axis).view(3, 3, 3).float()
                block = apart[number, :, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
                assert_close(block, expected)


@pytest.mark.parametrize("component", [0, 15, 25])
@pytest.mark.parametrize("alpha", [3, 0.5])
def test_alpha_multiplies_the_energy_of_one_axis_alone(component: int, alpha: float) -> None:
    """Variance by alpha squared, thus its root by alpha; axes and their other energies stay."""
    images = normalise(bytes_of(80))
    before = patch_axes(images, 3)
    after = patch_axes(scaled_apart(images, before.axes[:, component], alpha), size=3, stride=3)
    expected = before.energy.clone()
    expected[component] *= alpha
    order = expected.argsort(descending=True)
    assert_close(after.energy, expected[order], rtol=1e-5, atol=1e-7)
    along = (before.axes[:, order] * after.axes).sum(dim=0).abs()
    assert_close(along, torch.ones(27).double(), rtol=0, atol=1e-4)


def test_alpha_of_one_only_lays_patches_apart() -> None:
    images = normalise(bytes_of(4))
    apart = scaled_apart(images, patch_axis(bytes_of(60), 0, normalise), 1)
    assert torch.equal(apart[:, :, 1::3, 1::3], images[:, :, 1:-1, 1:-1])  # windows' middles
    assert torch.equal(apart[:, :, ::3, ::3], images[:, :, :-2, :-2])


def labels_of(folder: Path, **changes: Any) -> CIFAR:
    return ready(folder, write_release(folder, CIFAR_10), augment=False, **changes)


@pytest.mark.parametrize("mode", ["random", "iid"])
def test_validation_keeps_the_true_labels(tmp_path: Path, mode: str) -> None:
    true = labels_of(tmp_path / "true", labels=True)
    ours, same = (labels_of(tmp_path / x, labels=mode) for x in "ab")
    other = labels_of(tmp_path / "c", labels=mode, seed=1)
    assert torch.equal(ours.val_set.label, true.val_set.label)
    assert torch.equal(ours.train_set.inputs, true.train_set.inputs)
    assert torch.equal(ours.train_set.label, same.train_set.label)
    assert torch.equal(ours.train_set.label, ours.plain_train_set.label)
    for wrong in (true, other):
        assert not torch.equal(ours.train_set.label, wrong.train_set.label)
    counts = [data.label_counts(with_val=False).tolist() for data in (ours, true)]
    assert (counts[0] == counts[1]) == (mode == "random")
    assert ours.facts()["fingerprint"] == same.facts()["fingerprint"] != true.facts()["fingerprint"]
    assert ours.facts()["labels"] == mode


def test_energy_labels_are_numpys_deciles_of_the_training_images(tmp_path: Path) -> None:
    data = labels_of(tmp_path / "energy", labels="energy", component=20)
    images, val_images = data.train_set.inputs, data.val_set.inputs
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (data.mean, data.std))

    def of(inputs: Tensor) -> np.ndarray:
        pixels = ((inputs / 255 - mean) / std).double().numpy()
        view = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), (2, 3))
        return view.transpose(0, 2, 3, 1, 4, 5).reshape(len(inputs), -1, 27)

    axis = np.linalg.eigh(np.cov(of(images).reshape(-1, 27).T))[1][:, ::-1][:, 20]
    train, val = (np.square(of(x) @ axis).sum(axis=1) for x in (images, val_images))
    expected = np.empty(30, dtype=int)
    expected[np.argsort(-train)] = np.arange(30) // 3
    assert data.train_set.label.tolist() == expected.tolist()
    lowest = [train[expected == group].min() for group in range(9)]
    assert data.val_set.label.tolist() == [sum(one < limit for limit in lowest) for one in val]
    assert data.class_names[0] == "tenth 1"

    mixed = labels_of(tmp_path / "mixed", labels="energy_random", component=20)
    assert torch.equal(mixed.val_set.label, data.val_set.label)
    assert not torch.equal(mixed.train_set.label, data.train_set.label)
    assert torch.bincount(mixed.train_set.label).tolist() == [3] * 10


def test_alpha_reaches_training_and_validation_batches(tmp_path: Path) -> None:
    plain = labels_of(tmp_path / "plain")
    data = labels_of(tmp_path / "alpha", component=2, alpha=3)

    def inputs(module: CIFAR, part: str) -> Tensor:
        images = getattr(module, part)
        return images.prepare(images[[*range(len(images))]]).inputs

    axes, energy = patch_axes(inputs(plain, "train_set"), 3)
    assert data.scaling is not None
    assert_close(data.scaling.axis, axes[:, 2], rtol=0, atol=1e-9)
    energy[2] *= 3
    for part in ("train_set", "plain_train_set"):
        found = patch_axes(inputs(data, part), 3, stride=3).energy
        assert_close(found, energy.sort(descending=True).values, rtol=1e-5, atol=0)
    expected = scaled_apart(inputs(plain, "val_set"), axes[:, 2], 3)
    assert_close(inputs(data, "val_set"), expected)


@real
@pytest.mark.real
def test_real_images_are_told_apart_by_their_energy() -> None:
    data = ready(REAL, CIFAR_10, labels="energy", component=15)
    assert data.label_counts(with_val=False).tolist() == [5000] * 10
    # Test images come from the same source, so that a tenth of them falls into each range.
    counts = torch.bincount(data.val_set.label, minlength=10)
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 9 + 4 * 18**0.5
