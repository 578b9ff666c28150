"""`CelebA` on miniature JPEGs and lists in the official layout."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mmrep.data.celeba import CelebA
from mmrep.stats.energy import patch_axes
from tests.data.faces_miniature import ATTRIBUTES, random_image, write_faces

PARTITION = (0,) * 24 + (1,) * 3 + (2,) * 8  # in the true order
TRAIN, VAL = range(24), range(27, 35)


def celeba(folder: Path, **changes: Any) -> CelebA:
    arguments: dict[str, Any] = {
        "data_dir": str(folder),
        "attribute": "Smiling",
        "size": 32,
        "num_train": None,
        "num_val": None,
        "num_classes": 2,
        "augment": False,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "batch_size": 5,
        "seed": 0,
    }
    return CelebA(**arguments | changes)


def ready(folder: Path, **changes: Any) -> CelebA:
    data = celeba(folder, **changes)
    data.prepare_data()
    data.setup("fit")
    return data


def test_the_attribute_is_the_class_and_partitions_0_and_2_are_used(tmp_path: Path) -> None:
    attributes = write_faces(tmp_path, PARTITION)
    for name in ("Smiling", "Young", "5_o_Clock_Shadow"):
        data = ready(tmp_path, attribute=name)
        has = attributes[:, ATTRIBUTES.index(name)] == 1
        for images, places in ((data.train_set, TRAIN), (data.val_set, VAL)):
            assert images.index.tolist() == [*places]
            assert images.label.tolist() == has[places].astype(int).tolist()
        assert data.class_names == (f"not {name}", name)
        assert data.facts()["attribute"] == name
    assert data.title == "CelebA 5 o Clock Shadow"
    assert not data.simulated


def test_the_releases_own_folders_are_read_too(tmp_path: Path) -> None:
    write_faces(tmp_path / "flat", PARTITION)
    write_faces(tmp_path / "released", PARTITION)
    folder = tmp_path / "released" / "celeba"
    for place, name in (("Img", "img_align_celeba"), ("Anno", "list_attr_celeba.txt"),
                        ("Eval", "list_eval_partition.txt")):  # fmt: skip
        (folder / place).mkdir()
        (folder / name).rename(folder / place / name)
    flat, released = (ready(tmp_path / name) for name in ("flat", "released"))
    assert torch.equal(released.train_set.inputs, flat.train_set.inputs)
    assert torch.equal(released.val_set.label, flat.val_set.label)


@pytest.mark.parametrize("size", [32, 178])
def test_the_middle_is_cropped_and_resized(tmp_path: Path, size: int) -> None:
    """Against the whole picture before it was a JPEG, resized by PyTorch."""
    write_faces(tmp_path, PARTITION)
    data = ready(tmp_path, size=size)
    assert data.train_set.inputs.dtype == torch.uint8
    for images, places in ((data.train_set, TRAIN), (data.val_set, VAL)):
        for ours, place in zip(images.inputs, places, strict=True):
            pixels = torch.from_numpy(np.array(random_image(178, 218, place)))
            square = pixels.permute(2, 0, 1)[None, :, 20:198].float()
            small = F.interpolate(square, size=(size, size), mode="bilinear", antialias=True)
            assert (ours - small[0]).abs().mean() < 1  # of 255 levels; 10 for a crop 3 pixels off
    assert data.facts()["image_size"] == [size, size]


def test_the_first_so_many_are_taken(tmp_path: Path) -> None:
    write_faces(tmp_path, PARTITION)
    whole, part = ready(tmp_path), ready(tmp_path, num_train=10, num_val=3)
    for ours, theirs, number in (
        (part.train_set, whole.train_set, 10),
        (part.val_set, whole.val_set, 3),
    ):
        assert len(ours) == number
        assert torch.equal(ours.inputs, theirs.inputs[:number])
        assert torch.equal(ours.label, theirs.label[:number])


def test_images_are_decoded_once_until_one_changes(tmp_path: Path) -> None:
    write_faces(tmp_path, PARTITION)
    first = ready(tmp_path)
    converted = tmp_path / "celeba" / "converted"
    kept = {path: path.stat().st_mtime_ns for path in converted.glob("*.npy")}
    assert {path.name.split("-")[0] for path in kept} == {"train_32", "val_32"}
    second = ready(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in converted.glob("*.npy")} == kept
    assert torch.equal(first.train_set.inputs, second.train_set.inputs)
    assert first.facts() == second.facts()

    images = tmp_path / "celeba" / "img_align_celeba"
    shutil.copy(images / "000001.jpg", images / "000002.jpg")
    third = ready(tmp_path)
    assert torch.equal(third.train_set.inputs[1], first.train_set.inputs[0])
    assert torch.equal(third.val_set.inputs, first.val_set.inputs)


def test_label_modes_and_alpha_are_as_for_cifar(tmp_path: Path) -> None:
    write_faces(tmp_path, PARTITION)
    true, random = ready(tmp_path), ready(tmp_path, labels="random")
    assert torch.equal(random.label_counts(with_val=False), true.label_counts(with_val=False))
    assert not torch.equal(random.train_set.label, true.train_set.label)
    assert torch.equal(random.val_set.label, true.val_set.label)
    energy = ready(tmp_path, labels="energy", component=4, num_classes=10)
    assert energy.label_counts(with_val=False).tolist() == [3, 2, 3, 2, 2] * 2  # 24 images

    def inputs(data: CelebA) -> Tensor:
        prepared = data.train_set.prepare(data.train_set[[*range(24)]]).inputs
        assert isinstance(prepared, Tensor)
        return prepared

    expected = patch_axes(inputs(true), 3).energy
    expected[4] *= 3
    scaled = patch_axes(inputs(ready(tmp_path, component=4, alpha=3)), 3, stride=3).energy
    assert torch.allclose(scaled, expected.sort(descending=True).values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 200}, r"data\.size=200 is not between 3 and 178 pixels"),
        ({"num_train": 0}, r"data\.num_train=0 must be at least 1 image, or null for all"),
        ({"num_val": 9}, r"data\.num_val=9: list_eval_partition\.txt has 8 images in part 2"),
        (
            {"attribute": "smilng"},
            r"data\.attribute='smilng' is not one of the 40 in list_attr_celeba\.txt: .*Smiling",
        ),
        ({"attribute": "x"}, r"data\.attribute='x' is not .* 5_o_Clock_Shadow or .* or Young$"),
        ({"num_classes": 10}, r"num_classes=10: there are 2, not Smiling, Smiling; set .*=2"),
    ],
)
def test_a_wrong_choice_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_faces(tmp_path, PARTITION)
    with pytest.raises(ValueError, match=message):
        ready(tmp_path, **changes)


def test_what_to_fetch_is_said_where_there_is_nothing(tmp_path: Path) -> None:
    said = (
        r"no CelebA in .*/celeba: img_align_celeba, list_attr_celeba\.txt, .* missing; fetch "
        r".*by hand from https://mmlab\.ie\.cuhk\.edu\.hk/projects/CelebA\.html and put them there"
    )
    with pytest.raises(FileNotFoundError, match=said):
        ready(tmp_path)
    write_faces(tmp_path, PARTITION)
    (tmp_path / "celeba" / "list_eval_partition.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"celeba: list_eval_partition\.txt missing"):
        ready(tmp_path)


def test_images_that_are_missing_broken_or_others_are_named(tmp_path: Path) -> None:
    write_faces(tmp_path, PARTITION)
    path = tmp_path / "celeba" / "img_align_celeba" / "000030.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ValueError, match=r"000030\.jpg is of no use as an image \(image file is trunc"
    ):
        ready(tmp_path)
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"000030\.jpg is of no use .*cannot identify.*: replace"):
        ready(tmp_path)
    Image.new("RGB", (100, 90)).save(path)
    with pytest.raises(
        ValueError, match=r"000030\.jpg .*it has \(100, 90\) pixels, not \(178, 218"
    ):
        ready(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*/000030\.jpg: put it there again"):
        ready(tmp_path)


@pytest.mark.parametrize(
    ("name", "line", "written", "message"),
    [
        ("attr_celeba", 0, "34", r"attr_celeba\.txt has 35 lines of images .* line says '34'"),
        ("attr_celeba", 5, "000004.jpg 1 -1", r"attr_celeba\.txt, line 6: '000004\.jpg 1 -1'"),
        ("attr_celeba", 5, "000099.jpg" + " 1" * 40, r"000004\.jpg is in list_eval_part.* not in"),
        ("eval_partition", 2, "000003.jpg 3", r"partition\.txt, line 3: '000003\.jpg 3' is no"),
        ("eval_partition", 2, "000003.jpg", r"partition\.txt, line 3: '000003\.jpg' is no image"),
    ],
)
def test_wrong_lines_are_named(
    tmp_path: Path, name: str, line: int, written: str, message: str
) -> None:
    write_faces(tmp_path, PARTITION)
    path = tmp_path / "celeba" / f"list_{name}.txt"
    lines = path.read_text().splitlines()
    lines[line] = written
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=message):
        ready(tmp_path)
