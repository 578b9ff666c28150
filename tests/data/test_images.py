"""What image data share: augmentation, and choices that mean nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mmrep.data.images import ImageDataModule, flip_and_crop


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


def choices(**changes: Any) -> ImageDataModule:
    arguments: dict[str, Any] = {
        "num_classes": 10,
        "augment": False,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "batch_size": 5,
        "seed": 0,
    }
    data = ImageDataModule(**arguments | changes)
    data.set_title = "Set"
    return data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": [0.5]}, r"data\.mean=\[0\.5\] is not one number for each of R, G and B"),
        ({"std": [1.0, 0.0, 1.0]}, r"data\.std=\[1\.0, 0\.0, 1\.0\] must be positive"),
        (
            {"labels": "shuffled"},
            r"data\.labels='shuffled' is not one of true, random, iid, energy, energy_random",
        ),
        ({"labels": False}, r"data\.labels=False is not one of true"),
        ({"labels": "energy"}, r"data\.labels=energy needs data\.component, .*axes, 0 to 26"),
        ({"alpha": 3}, r"data\.alpha=3 needs data\.component"),
        ({"labels": "energy", "component": 27}, r"data\.component=27 is not one .*axes, 0 to 26"),
        ({"component": 3}, r"data\.component=3 says .*: choose one of them, or leave it out"),
        ({"component": 3, "alpha": -1.0}, r"data\.alpha=-1\.0 must be positive"),
        ({"component": 3, "alpha": 3, "augment": True}, r"data\.alpha .* set data\.augment=false"),
        ({"classes": ["cat"]}, r"data\.classes=\['cat'\] must name two classes or more"),
        ({"classes": ["cat", "dog", "cat"]}, r"must name two classes or more, each once"),
    ],
)
def test_a_wrong_choice_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choices(**changes)


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "Set"),
        ({"labels": True}, "Set"),
        ({"classes": ["cat", "dog"], "labels": "random"}, "Set cat, dog, random labels"),
        ({"classes": [*"abcde"]}, "Set 5 classes"),
        ({"labels": "energy", "component": 15}, "Set, labels by energy along axis 15"),
        (
            {"labels": "iid", "component": 0, "alpha": 3.0},
            "Set, labels drawn one by one, axis 0 times 3",
        ),
    ],
)
def test_titles_say_what_was_chosen(changes: dict[str, Any], title: str) -> None:
    assert choices(**changes).title == title
