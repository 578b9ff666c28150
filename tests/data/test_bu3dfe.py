"""`read_bu3dfe` on miniature scans in the official layout."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mmrep.data.bu3dfe import choose, read_bu3dfe
from mmrep.data.depth_mesh import MARGIN
from mmrep.data.rgbd_frames import RGBDFrames
from tests.data.bu3dfe_miniature import EXPRESSIONS, radius, write_bu3dfe

PEOPLE = ("F0001", "F0002", "M0001")
USED = [(expression, intensity) for expression in EXPRESSIONS for intensity in (3, 4)]


def read(folder: Path, **changes: Any) -> RGBDFrames:
    return read_bu3dfe(folder, **{"size": 16, "subjects": None, "seed": 0} | changes)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bu3dfe(tmp_path_factory.mktemp("faces"))


@pytest.fixture
def faces(tmp_path: Path, written: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(written, tmp_path / "bu3dfe", ignore=shutil.ignore_patterns("conver*"))


def test_two_intensities_of_six_expressions_of_everyone(written: Path) -> None:
    frames = read(written)
    assert frames.class_names == ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    assert frames.label.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5] * 3
    assert frames.group.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert frames.index.tolist() == [*range(36)]
    assert frames.known == {}


def test_pictures_are_those_of_the_scan(written: Path) -> None:
    """They have 16 x 16 pixels: no value changes; or 8 x 8 as PyTorch makes them."""
    whole, half = read(written), read(written, size=8)
    names = [
        f"{subject}/{subject}_{expression}{intensity:02}{ethnicity}_F2D.bmp"
        for subject, ethnicity in zip(PEOPLE, ("WH", "BL", "AE"), strict=True)
        for expression, intensity in USED
    ]
    for name, rgb, small in zip(names, whole.rgb, half.rgb, strict=True):
        with Image.open(written / name) as image:
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        assert torch.equal(rgb, pixels)
        expected = F.interpolate(pixels[None].float(), (8, 8), mode="bilinear", antialias=True)
        assert (small - expected[0]).abs().max() < 1.1


def test_depth_is_that_of_the_hemispheres(written: Path) -> None:
    """Their chords lie within 1.7 % of the radius of the sphere where it is not steep."""
    frames = read(written, size=64)
    for (expression, intensity), depth in zip(USED, frames.depth[:12, 0], strict=True):
        mm = radius(expression, intensity)
        x = torch.linspace(-1, 1, 129)[1::2] * mm / (1 - 2 * MARGIN)
        far = torch.hypot(x, x[:, None])
        flat = far < 0.7 * mm
        sphere = mm - (mm**2 - far[flat] ** 2).sqrt() + 1
        error = depth[flat] - sphere
        assert error.min() > -0.5 - 1e-3
        assert error.max() < 0.5 + 0.05 * mm
        assert (depth[far > mm] == 0).all()
        assert depth.max() == pytest.approx(mm + 1, abs=0.2 * mm)
    assert torch.equal(frames.depth[:12], frames.depth[24:])  # everyone has the same


@pytest.mark.parametrize(
    ("total", "women"), [(2, {1}), (4, {2}), (5, {2, 3}), (7, {4}), (8, {5}), (9, {6})]
)
def test_as_many_women_as_men(total: int, women: set[int]) -> None:
    """Six women and three men; an odd number is rounded by lot."""
    people = [f"F{i:04}" for i in range(1, 7)] + [f"M{i:04}" for i in range(1, 4)]
    taken = [choose(people, total, seed) for seed in range(40)]
    assert {len(one) for one in taken} == {total}
    assert {sum(i < 6 for i in one) for one in taken} == women
    assert len({frozenset(one) for one in taken}) > 1 or total == 9
    assert {i for one in taken for i in one} == {*range(9)}


def test_seeds_reproduce_and_a_scan_keeps_its_number(written: Path) -> None:
    whole = read(written)
    parts = [read(written, subjects=2, seed=seed) for seed in range(6)]
    assert torch.equal(parts[3].index, read(written, subjects=2, seed=3).index)
    assert {tuple(part.group.unique().tolist()) for part in parts} == {(0, 2), (1, 2)}
    for part in parts:
        for ours, theirs in zip(part[:4], whole[:4], strict=True):
            assert torch.equal(ours, theirs[part.index])


def test_scans_are_read_once_until_a_file_changes(faces: Path) -> None:
    def kept() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (faces / "converted").glob("*.npy")}

    first, made = read(faces), kept()
    assert {path.name.split("-")[0] for path in made} == {"colour_16", "depth_16"}
    assert torch.equal(read(faces).depth, first.depth)
    assert kept() == made
    for kind in ("F2D.bmp", "F3D.wrl"):
        source = faces / "F0001" / f"F0001_SU04WH_{kind}"
        shutil.copy(source, faces / "F0001" / f"F0001_AN03WH_{kind}")
    changed = read(faces)
    assert torch.equal(changed.rgb[0], first.rgb[11])
    assert torch.equal(changed.depth[0], first.depth[11])
    assert torch.equal(changed.rgb[1:], first.rgb[1:])
    assert len(kept()) == 4


def test_there_must_be_something_to_read(tmp_path: Path) -> None:
    said = (
        r"no subjects of BU-3DFE in .*bu3dfe: fetch the set by hand, after a licence, from "
        r"https://www\.cs\.binghamton\.edu/~lijun/Research/3DFE/3DFE_Analysis\.html and unpack it"
    )
    with pytest.raises(FileNotFoundError, match=said):
        read(tmp_path / "bu3dfe")
    (tmp_path / "bu3dfe" / "X0001").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=said):
        read(tmp_path / "bu3dfe")


@pytest.mark.parametrize("subjects", [0, 4])
def test_so_many_subjects_must_be_there(written: Path, subjects: int) -> None:
    with pytest.raises(
        ValueError, match=rf"data\.subjects={subjects}: there are 3 in .*bu3dfe; ask for 1 to as "
    ):
        read(written, subjects=subjects)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["F3D.wrl"], r"F0002_FE04BL_F3D\.wrl beside F0002_FE04BL_F2D\.bmp: put it there again"),
        (["F2D.bmp"], r"F0002_FE04BL_F2D\.bmp beside F0002_FE04BL_F3D\.wrl: .*take F0002 away"),
        (["F3D.wrl", "F2D.bmp"], r"F0002_FE04\.\._F2D\.bmp \(\.\. is the ethnicity\): put it ther"),
    ],
)
def test_a_file_that_is_missing_is_named(faces: Path, gone: list[str], said: str) -> None:
    for name in gone:
        (faces / "F0002" / f"F0002_FE04BL_{name}").unlink()
    with pytest.raises(FileNotFoundError, match=rf"there is no .*/F0002/{said}"):
        read(faces)


def test_files_that_are_not_used_may_be_missing(faces: Path) -> None:
    for unused in faces.glob("*/*"):
        if not any(f"_{e}0{i}" in unused.name and "_F" in unused.name for e, i in USED):
            unused.unlink()
    (faces / "readme.txt").write_text("none")
    assert len([*faces.glob("*/*_F2D.bmp")]) == len([*faces.glob("*/*_F3D.wrl")]) == 36
    assert len(read(faces).index) == 36


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("F2D.bmp", "no image", r"F2D\.bmp is of no use as an image \(cannot identify"),
        ("F3D.wrl", "", r"F3D\.wrl is of no use as a mesh \(0 closed lists of points .*: replace"),
        (
            "F3D.wrl",
            "coord Coordinate { point [ ] } coordIndex [ 0 1 2 -1 ]",
            r"F3D\.wrl is of no use as a mesh \(0 numbers in a list of points",
        ),
        (
            "F3D.wrl",
            "coord Coordinate { point [ 0 0 0 1 1 1 2 2 2 ] } coordIndex [ 0 1 2 -1 ]",
            r"F3D\.wrl is of no use as a mesh \(seen from the front its triangles cover no pixel\)",
        ),
    ],
)
def test_a_file_of_no_use_is_named(faces: Path, kind: str, content: str, said: str) -> None:
    (faces / "M0001" / f"M0001_HA03AE_{kind}").write_text(content)
    with pytest.raises(ValueError, match=rf"M0001_HA03AE_{said}"):
        read(faces)
    assert not [*(faces / "converted").glob("*.part*")]
