"""`ImageFolder` on small images of every format, and how they are resized and cropped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mmrep.data.image_files import centre_crop, read_image, shorter_side
from mmrep.data.image_folder import SUFFIXES, ImageFolder
from tests.data.faces_miniature import random_image

CLASSES = ("ant", "bee", "cat")


def write_classes(folder: Path, *, each: int = 6, first: int = 0) -> None:
    """So many images in each class' sub-folder, a new one in each, of all formats in turn."""
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            seed = first + number * each + i
            suffix = SUFFIXES[seed % len(SUFFIXES)]
            size = (40, 30) if seed % 2 else (30, 44)
            random_image(*size, seed).save(folder / name / f"{i}{suffix}", **lossless(suffix))


def lossless(suffix: str) -> dict[str, Any]:
    """How Pillow keeps colours as they are, or nearly, as JPEG can."""
    if suffix in (".jpg", ".jpeg"):
        return {"quality": 100, "subsampling": 0}
    return {"lossless": True} if suffix == ".webp" else {}


def images(root: Path, **changes: Any) -> ImageFolder:
    arguments: dict[str, Any] = {
        "data_dir": str(root),
        "folder": "insects",
        "resize": 20,
        "crop": 16,
        "val_fraction": 0.25,
        "split_seed": 0,
        "num_classes": 3,
        "augment": False,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "batch_size": 5,
        "seed": 0,
    }
    return ImageFolder(**arguments | changes)


def ready(root: Path, **changes: Any) -> ImageFolder:
    data = images(root, **changes)
    data.prepare_data()
    data.setup("fit")
    return data


def test_sub_folders_are_classes_and_every_image_is_in_one_set(tmp_path: Path) -> None:
    write_classes(tmp_path / "insects")
    data = ready(tmp_path)
    assert data.class_names == CLASSES
    assert (len(data.train_set), len(data.val_set)) == (14, 4)  # a quarter of 18, rounded to even
    index = torch.cat([data.train_set.index, data.val_set.index])
    label = torch.cat([data.train_set.label, data.val_set.label])
    assert sorted(index.tolist()) == [*range(18)]
    assert label.tolist() == (index // 6).tolist()
    assert data.train_set.inputs.shape == (14, 3, 16, 16)
    assert data.title == "insects"


def test_the_split_is_of_its_own_seed(tmp_path: Path) -> None:
    write_classes(tmp_path / "insects")
    one, same, other = ready(tmp_path), ready(tmp_path, seed=5), ready(tmp_path, split_seed=1)
    assert torch.equal(one.val_set.index, same.val_set.index)
    assert torch.equal(one.train_set.inputs, same.train_set.inputs)
    assert one.facts() == same.facts()
    assert not torch.equal(one.val_set.index, other.val_set.index)


def test_train_and_val_are_taken_where_both_are(tmp_path: Path) -> None:
    write_classes(tmp_path / "insects" / "train")
    write_classes(tmp_path / "insects" / "val", each=2, first=100)
    data = ready(tmp_path)
    assert data.train_set.label.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert data.val_set.label.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.val_set.index.tolist() == [*range(18, 24)]
    assert data.class_names == CLASSES
    assert data.facts()["split"] == ["train", "val"]


def test_every_format_is_resized_cropped_and_normalised_as_pytorch_does(tmp_path: Path) -> None:
    write_classes(tmp_path / "insects")
    data = ready(tmp_path)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (data.mean, data.std))
    for part in (data.train_set, data.val_set):
        prepared = part.prepare(part[[*range(len(part))]]).inputs
        for ours, number in zip(prepared, part.index.tolist(), strict=True):
            width, height = (40, 30) if number % 2 else (30, 44)
            pixels = torch.from_numpy(np.array(random_image(width, height, number)))
            size = (20, 26) if number % 2 else (29, 20)  # 20 * 40 / 30 and 20 * 44 / 30, cut off
            whole = F.interpolate(
                pixels.permute(2, 0, 1)[None].float(), size=size, mode="bilinear", antialias=True
            )
            top, left = round((size[0] - 16) / 2), round((size[1] - 16) / 2)
            expected = (whole[0, :, top : top + 16, left : left + 16] / 255 - mean) / std
            levels = ((ours - expected) * std).abs() * 255
            assert levels.mean() < 0.6  # rounding; 1.5 without antialiasing, 18 a pixel further


def test_some_classes_alone(tmp_path: Path) -> None:
    write_classes(tmp_path / "insects")
    data = ready(tmp_path, classes=["cat", "ant"], num_classes=2)
    assert data.class_names == ("cat", "ant")
    assert len(data.train_set) + len(data.val_set) == 12
    assert data.title == "insects cat, ant"
    whole = ready(tmp_path, val_fraction=0.1)
    cat = whole.train_set.inputs[whole.train_set.label == 2]
    ours = torch.cat([data.train_set.inputs, data.val_set.inputs])
    ours = ours[torch.cat([data.train_set.label, data.val_set.label]) == 0]
    assert all((image == ours).flatten(1).all(dim=1).any() for image in cat)


def test_other_files_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classes(tmp_path / "insects")
    before = ready(tmp_path).facts()
    assert before["ignored_files"] == 0
    for name in ("notes.txt", "film.gif", "._0.jpg"):
        (tmp_path / "insects" / "bee" / name).write_bytes(b"none")
    (tmp_path / "insects" / ".thumbnails").mkdir()
    data = images(tmp_path)
    for _ in range(2):
        data.prepare_data()
    data.setup("fit")
    assert capsys.readouterr().out.count("3 files are left out") == 1
    assert data.facts() == before | {"ignored_files": 3}


def test_label_modes_are_as_for_cifar(tmp_path: Path) -> None:
    write_classes(tmp_path / "insects")
    true, random = ready(tmp_path), ready(tmp_path, labels="random")
    assert torch.equal(random.label_counts(with_val=False), true.label_counts(with_val=False))
    assert not torch.equal(random.train_set.label, true.train_set.label)
    assert torch.equal(random.val_set.label, true.val_set.label)
    energy = ready(tmp_path, labels="energy", component=0, num_classes=10)
    assert torch.bincount(energy.train_set.label).tolist() == [2, 1, 2, 1, 1] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 24}, r"data\.crop=24 is not between 3 and data\.resize=20 pixels"),
        ({"val_fraction": 1.0}, r"data\.val_fraction=1\.0 is not between 0 and 1"),
        ({"val_fraction": 0.01}, r"data\.val_fraction=0\.01 of 18 images are 0, and training and"),
        ({"num_classes": 1000}, r"num_classes=1000: there are 3, ant, bee, cat; set .*classes=3"),
        (
            {"classes": ["ant", "dog"], "num_classes": 2},
            r"data\.classes=\['ant', 'dog'\]: insects has no dog, but ant, bee, cat",
        ),
    ],
)
def test_a_wrong_choice_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_classes(tmp_path / "insects")
    with pytest.raises(ValueError, match=message):
        ready(tmp_path, **changes)


def test_folders_that_hold_no_images_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "insects"
    with pytest.raises(FileNotFoundError, match=r"no folder .*/insects: .* data\.folder=PATH"):
        ready(tmp_path)
    folder.mkdir()
    random_image(20, 20, 0).save(folder / "0.png")
    with pytest.raises(FileNotFoundError, match=r"insects has no sub-folders: give each class"):
        ready(tmp_path)
    write_classes(folder / "train")  # and no val/, so that "train" is a class without images
    with pytest.raises(ValueError, match=r"insects/train holds no image \(\.jpg, .*not further"):
        ready(tmp_path)
    write_classes(folder / "val")
    (folder / "val" / "wasp").mkdir()
    with pytest.raises(ValueError, match=r"insects has wasp in only one of train/ and val/"):
        ready(tmp_path)


def test_deep_and_broken_images_are_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "insects")
    deep = tmp_path / "insects" / "cat" / "deep.png"
    Image.fromarray(np.full((20, 20), 40_000, dtype=np.uint16)).save(deep)
    with pytest.raises(
        ValueError, match=r"deep\.png is of no use .*its pixels are of I;16, not of 8"
    ):
        ready(tmp_path)
    deep.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"deep\.png is of no use as an image \("):
        ready(tmp_path)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_images_of_other_kinds_become_colours(tmp_path: Path, mode: str) -> None:
    """White stays white, and black stays black."""
    suffix = "tif" if mode == "CMYK" else "png"
    halves = Image.new("RGB", (8, 4), "white")
    halves.paste("black", (0, 0, 4, 4))
    halves.convert(mode).save(tmp_path / f"image.{suffix}")
    pixels = read_image(tmp_path / f"image.{suffix}", lambda image: image)
    assert pixels.shape == (4, 8, 3)
    assert (pixels[:, :4] == 0).all()
    assert (pixels[:, 4:] == 255).all()


def test_sizes_are_torchvisions() -> None:
    """Its `Resize` cuts the longer side off to whole pixels, its `CenterCrop` rounds to even."""
    landscape, portrait = Image.new("RGB", (500, 375)), Image.new("RGB", (333, 500))
    assert shorter_side(landscape, 256).size == (341, 256)
    assert shorter_side(portrait, 256).size == (256, 384)
    columns = Image.fromarray(np.arange(9, dtype=np.uint8)[None].repeat(9, axis=0))
    assert np.asarray(centre_crop(columns, 4))[0].tolist() == [2, 3, 4, 5]  # from 2.5
    assert np.asarray(centre_crop(columns, 5))[0].tolist() == [2, 3, 4, 5, 6]
    assert np.asarray(centre_crop(columns, 2))[0].tolist() == [4, 5]  # from 3.5
