"""`read_washington` on miniature frames in the official layout."""

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mmrep.data.rgbd_frames import RGBDFrames
from mmrep.data.washington import Frame, choose, equal_shares, list_frames, read_washington
from tests.data.washington_miniature import INSTANCES, write_washington

SIZE = (12, 10)  # of the miniature's crops


def read(folder: Path, **changes: Any) -> RGBDFrames:
    arguments = {"size": 6, "frames": None, "seed": 0, "object_mask": False}
    return read_washington(folder, **arguments | changes)


def frame(folder: Path, stem: str, kind: str) -> np.ndarray:
    """One file of a frame such as cell_phone_2_1_6, read by its name alone."""
    thing, category = stem.rsplit("_", 2)[0], stem.rsplit("_", 3)[0]
    with Image.open(folder / "rgbd-dataset" / category / thing / f"{stem}_{kind}.png") as image:
        return np.array(image)


def stems() -> list[str]:
    """All frames of the miniature in the order in which they are numbered."""
    places = ((1, 1), (1, 6), (2, 11), (2, 16))  # sequence and frame
    return [
        f"{category}_{instance}_{sequence}_{number}"
        for category, instances in INSTANCES.items()
        for instance in range(1, instances + 1)
        for sequence, number in places
    ]


def test_categories_things_and_frames_are_numbered(tmp_path: Path) -> None:
    frames = read(write_washington(tmp_path))
    assert frames.class_names == ("apple", "cell_phone", "dry_battery")
    assert frames.label.tolist() == [0] * 8 + [1] * 12 + [2] * 8
    assert frames.group.tolist() == [thing for thing in range(7) for _ in range(4)]
    assert frames.index.tolist() == [*range(28)]
    assert frames.known == {}
    assert (frames.rgb.dtype, frames.depth.dtype) == (torch.uint8, torch.int16)


def test_numbers_are_counted_as_numbers(tmp_path: Path) -> None:
    """Thing 10 after thing 2, and frame 101 after frame 6."""
    folder = write_washington(tmp_path, instances={"apple": 11}, frames=21)
    frames, _ = list_frames(folder / "rgbd-dataset")
    things = [int(frame.path.split("/")[1].split("_")[1]) for frame in frames]
    assert things == [thing for thing in range(1, 12) for _ in range(21)]
    assert [int(frame.path.rsplit("_")[-1]) for frame in frames[:21]] == [*range(1, 102, 5)]


@pytest.mark.parametrize("object_mask", [False, True])
def test_without_resizing_every_value_survives(tmp_path: Path, object_mask: bool) -> None:
    folder = write_washington(tmp_path, size=(10, 10))
    frames = read(folder, size=10, object_mask=object_mask)
    for stem, rgb, depth in zip(stems(), frames.rgb, frames.depth, strict=True):
        millimetres = frame(folder, stem, "depthcrop").astype(int)
        assert 0 < (millimetres == 0).sum() < 100
        assert millimetres.max() == 40_000
        millimetres[millimetres > 32_767] = 0
        colours = frame(folder, stem, "crop")
        if object_mask:
            beside = ~frame(folder, stem, "maskcrop")
            millimetres[beside], colours[beside] = 0, 0
        assert depth[0].tolist() == millimetres.tolist()
        assert rgb.permute(1, 2, 0).tolist() == colours.tolist()


@pytest.mark.parametrize("size", [6, 17])
@pytest.mark.parametrize("object_mask", [False, True])
def test_a_crop_is_squeezed_to_a_square(tmp_path: Path, size: int, object_mask: bool) -> None:
    """Colours as PyTorch does it, within rounding; depth as its "nearest-exact", exactly."""
    folder = write_washington(tmp_path)
    frames = read(folder, size=size, object_mask=object_mask)
    for stem, rgb, depth in zip(stems(), frames.rgb, frames.depth, strict=True):
        mask = torch.from_numpy(frame(folder, stem, "maskcrop") | (not object_mask))
        colours = torch.from_numpy(frame(folder, stem, "crop")).permute(2, 0, 1) * mask
        expected = F.interpolate(
            colours[None].float(), size=(size, size), mode="bilinear", antialias=True
        )
        assert (rgb - expected[0]).abs().max() < 1.1
        millimetres = torch.from_numpy(frame(folder, stem, "depthcrop").astype(np.float32)) * mask
        near = F.interpolate(millimetres[None, None], size=(size, size), mode="nearest-exact")[0]
        assert torch.equal(depth.float(), near.where(near <= 32_767, 0))
        assert {*depth.unique().tolist()} <= {0, *millimetres.unique().int().tolist()}


def brute_force_shares(there: list[int], total: int) -> list[int]:
    """In order of size, what is dealt out one by one, always to who has least so far."""
    shares = [0] * len(there)
    for _ in range(total):
        open_ = [i for i, count in enumerate(there) if shares[i] < count]
        shares[min(open_, key=lambda i: shares[i])] += 1
    return sorted(shares)


def test_shares_are_as_equal_as_can_be() -> None:
    random = np.random.default_rng(0)
    for there in ([5], [0, 4], [1, 1, 1], [2, 9, 4, 9], [7, 0, 3, 3, 1]):
        for total in range(sum(there) + 1):
            shares = equal_shares(there, total, random)
            assert all(share <= count for share, count in zip(shares, there, strict=True))
            assert sorted(shares) == brute_force_shares(there, total)


def test_what_is_left_goes_by_lot() -> None:
    """6 to 4 who have 1, 5, 5, 5: one of the last three gets 1, and each of them at times."""
    seen = {tuple(equal_shares([1, 5, 5, 5], 6, np.random.default_rng(s))) for s in range(50)}
    assert seen == {(1, 1, 2, 2), (1, 2, 1, 2), (1, 2, 2, 1)}


def uneven(there: dict[int, list[int]]) -> list[Frame]:
    """Frames of things, so many of each, by category."""
    things = itertools.count()
    return [
        Frame(label, thing, f"{label}/{thing}/{number}")
        for label, counts in there.items()
        for count, thing in zip(counts, things, strict=False)
        for number in range(count)
    ]


@pytest.mark.parametrize("total", [1, 7, 20, 31, 40])
def test_a_selection_is_equal_over_categories_and_then_over_things(total: int) -> None:
    there = {0: [3, 1], 1: [10, 2, 6], 2: [9, 9]}
    frames = uneven(there)
    chosen = choose(frames, total, seed=3)
    assert chosen == sorted({*chosen})
    assert len(chosen) == total
    by_label = Counter(frames[place].label for place in chosen)
    sums = [sum(counts) for counts in there.values()]
    assert sorted(by_label[label] for label in there) == brute_force_shares(sums, total)
    by_thing = Counter(frames[place].group for place in chosen)
    for label, counts in there.items():
        first = sum(len(there[before]) for before in range(label))
        ours = sorted(by_thing[first + i] for i in range(len(counts)))
        assert ours == brute_force_shares(counts, by_label[label])


def test_every_frame_of_a_thing_is_as_likely() -> None:
    """2 of 8 frames, 4,000 times: each is expected 1,000 times, with deviation 27."""
    frames = uneven({0: [8]})
    times = Counter(place for seed in range(4000) for place in choose(frames, 2, seed))
    assert [times[place] for place in range(8)] == pytest.approx([1000] * 8, abs=5 * 27.4)


def test_seeds_reproduce_and_a_frame_keeps_its_number(tmp_path: Path) -> None:
    folder = write_washington(tmp_path)
    whole = read(folder)
    one, same, other = (read(folder, frames=9, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.index, same.index)
    assert not torch.equal(one.index, other.index)
    for part in (one, other):
        assert len(part.index) == 9
        assert torch.bincount(part.label).tolist() == [3, 3, 3]
        for ours, theirs in zip(part[:4], whole[:4], strict=True):
            assert torch.equal(ours, theirs[part.index])
        assert part.class_names == whole.class_names


def test_categories_may_lie_in_the_folder_itself(tmp_path: Path) -> None:
    folder = write_washington(tmp_path)
    before = read(folder)
    for category in (folder / "rgbd-dataset").iterdir():
        category.rename(folder / category.name)
    (folder / "rgbd-dataset").rmdir()
    after = read(folder)  # beside converted/, which is no category
    assert all(torch.equal(a, b) for a, b in zip(before[:5], after[:5], strict=True))
    assert after.class_names == before.class_names


def test_frames_are_decoded_once_until_a_file_changes(tmp_path: Path) -> None:
    folder = write_washington(tmp_path)

    def kept() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (folder / "converted").glob("*.npy")}

    first, made = read(folder), kept()
    assert {path.name.split("-")[0] for path in made} == {"colour_6", "depth_6"}
    assert torch.equal(read(folder).depth, first.depth)
    assert kept() == made
    apple = folder / "rgbd-dataset" / "apple" / "apple_1"
    for kind in ("crop", "depthcrop"):
        shutil.copy(apple / f"apple_1_2_11_{kind}.png", apple / f"apple_1_1_6_{kind}.png")
    changed = read(folder)
    assert torch.equal(changed.rgb[1], first.rgb[2])
    assert torch.equal(changed.depth[1], first.depth[2])
    assert torch.equal(changed.depth[2:], first.depth[2:])
    assert not torch.equal(read(folder, object_mask=True).depth, changed.depth)


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    folder = write_washington(tmp_path)
    before = read(folder)
    source = folder / "rgbd-dataset"
    (source / "apple" / "apple_1" / "notes.png").write_bytes(b"none")
    (source / "apple" / "apple_1" / "._apple_1_1_1_crop.png").write_bytes(b"none")
    (source / "apple" / "pose.txt").write_text("none")
    (source / "empty" / "empty_1").mkdir(parents=True)
    (source / ".hidden" / "hidden_1").mkdir(parents=True)
    for location in source.glob("*/*/*_loc.txt"):
        location.unlink()
    after = read(folder)
    assert after.class_names == before.class_names
    assert torch.equal(after.index, before.index)


def test_there_must_be_something_to_read(tmp_path: Path) -> None:
    said = (
        r"no frames of Washington RGB-D Object in .*washington: fetch rgbd-dataset by hand from "
        r"https://rgbd-dataset\.cs\.washington\.edu/dataset/rgbd-dataset/ \(non-commercial "
        r"research\) and unpack it there, as rgbd-dataset/apple/apple_1/apple_1_1_1_crop\.png"
    )
    with pytest.raises(FileNotFoundError, match=said):
        read(tmp_path / "washington")
    (tmp_path / "washington" / "rgbd-dataset").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=said):
        read(tmp_path / "washington")


@pytest.mark.parametrize("frames", [0, -4, 29])
def test_so_many_frames_must_be_there(tmp_path: Path, frames: int) -> None:
    with pytest.raises(
        ValueError, match=rf"data\.frames={frames}: there are 28 in .*; ask for 1 to as many, or nu"
    ):
        read(write_washington(tmp_path), frames=frames)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("depthcrop", r"no .*/apple_1_1_6_depthcrop\.png beside apple_1_1_6_crop\.png: put it"),
        ("crop", r"no .*/apple_1_1_6_crop\.png beside apple_1_1_6_depthcrop\.png: put it there ag"),
        ("maskcrop", r"there is no .*/apple_1_1_6_maskcrop\.png: put it there again"),
    ],
)
def test_a_file_that_is_missing_is_named(tmp_path: Path, gone: str, said: str) -> None:
    folder = write_washington(tmp_path)
    (folder / "rgbd-dataset" / "apple" / "apple_1" / f"apple_1_1_6_{gone}.png").unlink()
    if gone == "maskcrop":
        assert len(read(folder).index) == 28  # nobody asks for it
    with pytest.raises(FileNotFoundError, match=said):
        read(folder, object_mask=True)


GREY = np.full((10, 12), 7, dtype=np.uint8)


@pytest.mark.parametrize(
    ("kind", "pixels", "said"),
    [
        ("crop", None, r"_crop\.png is of no use as an image \(cannot identify.*\): replace it"),
        ("depthcrop", None, r"_depthcrop\.png is of no use as an image \(cannot identify"),
        ("maskcrop", None, r"_maskcrop\.png is of no use as an image \(cannot identify"),
        ("crop", GREY.astype(np.uint16), r"_crop\.png .*its pixels are of I;16, not of 8 bits"),
        ("depthcrop", GREY, r"_depthcrop\.png .*pixels are of L, not 16 bits of grey: millimetres"),
        (
            "depthcrop",
            GREY.T.astype(np.uint16),
            r"_depthcrop\.png .*it has \(10, 12\) pixels where its colours have \(12, 10\)\): repl",
        ),
        ("maskcrop", GREY[1:], r"_maskcrop\.png .*it has \(12, 9\) pixels where its colours have"),
    ],
)
def test_a_file_of_no_use_is_named(
    tmp_path: Path, kind: str, pixels: np.ndarray | None, said: str
) -> None:
    folder = write_washington(tmp_path)
    path = folder / "rgbd-dataset" / "cell_phone" / "cell_phone_2" / f"cell_phone_2_1_6_{kind}.png"
    if pixels is None:
        path.write_bytes(b"no image")
    else:
        Image.fromarray(pixels).save(path)
    if kind == "maskcrop":
        assert len(read(folder).index) == 28
    with pytest.raises(ValueError, match=rf"cell_phone_2_1_6{said}"):
        read(folder, object_mask=True)
    assert not [*(folder / "converted").glob("*.part*")]


@pytest.mark.parametrize(
    "name",
    [
        "apple/apple_1/pear_1_1_1",
        "apple/apple_1/apple_2_1_1",
        "apple/apple_1/apple_1_1",
        "apple/apple_1/apple_1_1_x",
        "apple/red/red_1_1",
        "apple/apple_1_1_1",
    ],
)
def test_odd_names_are_errors(tmp_path: Path, name: str) -> None:
    folder = write_washington(tmp_path)
    source = folder / "rgbd-dataset"
    (source / name).parent.mkdir(exist_ok=True)
    for kind in ("crop", "depthcrop"):
        shutil.copy(
            source / "apple" / "apple_1" / f"apple_1_1_1_{kind}.png", source / f"{name}_{kind}.png"
        )
    with pytest.raises(
        ValueError, match=rf"{name}_crop\.png is not called as in CATEGORY/CATEGORY_NUMBER/.*name b"
    ):
        read(folder)
