"""`energy_profile` of weight files on a folder of images, beside NumPy on the files themselves."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from torch import Tensor

from mmrep.data.image_folder import ImageFolder
from mmrep.studies.energy_profile import name_of, report_weights
from tests.scripts import run
from tests.test_command_line import refusal

SIDE = 16
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def write_images(folder: Path, *, per_class: int = 8, side: int = SIDE) -> np.ndarray:
    """Smooth noise, darker in one class, as train/CLASS/n.png and val/CLASS/n.png.

    The training images: images, height, width, channels.
    """
    draws = np.random.default_rng(0)
    train = []
    for part in ("train", "val"):
        for label, name in enumerate(("dark", "light")):
            (folder / part / name).mkdir(parents=True)
            for number in range(per_class):
                noise = draws.normal(size=(side, side, 3))
                smooth = noise + np.roll(noise, 1, axis=0) + np.roll(noise, 1, axis=1)
                pixels = np.clip(100 + 40 * label + 25 * smooth, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
                if part == "train":
                    train.append(pixels)
    return np.stack(train)


def images_in(folder: Path, *, side: int = SIDE) -> ImageFolder:
    return ImageFolder(
        data_dir=str(folder),
        folder="images",
        resize=side,
        crop=side,
        val_fraction=0.5,
        split_seed=0,
        num_classes=2,
        augment=False,
        mean=MEAN,
        std=STD,
        batch_size=5,
        seed=0,
    )


def write_weights(path: Path, size: int = 3, *, channels: int = 3, count: int = 6) -> Tensor:
    """A network's state with `features.0`, whose filters are random, and a second layer."""
    generator = torch.Generator().manual_seed(size)
    filters = torch.randn(count, channels, size, size, generator=generator)
    second = torch.randn(4, count, 3, 3, generator=generator)
    state = {"features.0.weight": filters, "features.0.bias": torch.zeros(count)}
    torch.save(state | {"features.3.weight": second}, path)
    return filters


def report(tmp_path: Path, weights: Path | str, **changes: Any) -> Path:
    """The folder that is written to."""
    chosen: dict[str, Any] = {"partner": None, "layer": None, "num_images": 16}
    data = images_in(tmp_path)
    report_weights(
        data,
        name="energy_profile",
        weights=str(weights),
        folder=str(tmp_path / "out"),
        data_dir=str(tmp_path),
        **chosen | changes,
    )
    return tmp_path / "out" / name_of(str(weights))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def profile_by_loops(images: np.ndarray, filters: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Energy and profile, from patches written out one by one."""
    size = filters.shape[-1]
    inputs = ((images / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    last = SIDE - size + 1
    patches = np.array(
        [
            image[:, y : y + size, x : x + size].ravel()
            for image in inputs
            for y in range(last)
            for x in range(last)
        ]
    )
    variance, axes = np.linalg.eigh(np.cov(patches.T, bias=True))
    coordinates = filters.flatten(1).double().numpy() @ axes[:, ::-1]
    return np.sqrt(variance[::-1]), np.sqrt((coordinates**2).mean(axis=0))


@pytest.mark.parametrize("size", [3, 5])
def test_profiles_are_those_of_patches_written_out(tmp_path: Path, size: int) -> None:
    images = write_images(tmp_path / "images")
    filters = write_weights(tmp_path / "net.pth", size)
    out = report(tmp_path, tmp_path / "net.pth", layer="features.0")
    found = rows(out / "analysis" / "energy_profile" / "profiles.csv")
    energy, profile = profile_by_loops(images, filters)
    assert_allclose([float(row["energy"]) for row in found], energy, rtol=1e-6)
    assert_allclose([float(row["weights"]) for row in found], profile, rtol=1e-5)
    assert "change" not in found[0]  # nothing is known of the initialisation
    figures = {path.stem for path in (out / "figures").glob("*.png")}
    parts = ("", "_autocorrelation", "_filters", "_labels")
    assert figures == {f"energy_profile{part}" for part in parts}


def test_other_weights_are_compared_along_the_same_axes(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    filters, others = (write_weights(tmp_path / f"{n}.pth", count=n) for n in (6, 9))
    out = report(tmp_path, tmp_path / "6.pth", partner=str(tmp_path / "9.pth"))
    (row,) = rows(out / "analysis" / "energy_profile" / "correlations.csv")
    ours, theirs = (profile_by_loops(images, one)[1] for one in (filters, others))
    assert_allclose(float(row["with_partner"]), np.corrcoef(ours, theirs)[0, 1], atol=1e-6)
    assert row["with_initial"] == "nan"


def test_kept_axes_are_taken_up_and_those_of_other_images_are_not(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    write_weights(tmp_path / "net.pth")
    out = report(tmp_path, tmp_path / "net.pth")
    kept = out / "analysis" / "energy_profile" / "axes.npz"
    before = kept.stat().st_mtime_ns
    report(tmp_path, tmp_path / "net.pth")
    assert kept.stat().st_mtime_ns == before
    (tmp_path / "images" / "train" / "dark" / "0.png").unlink()
    report(tmp_path, tmp_path / "net.pth")
    assert kept.stat().st_mtime_ns > before


def test_names_tell_runs_apart(tmp_path: Path) -> None:
    folder = tmp_path / "seed-3" / "checkpoints"
    folder.mkdir(parents=True)
    assert name_of(str(folder / "last.ckpt")) == "seed-3_last"
    assert name_of(str(folder.parent)) == "seed-3"
    assert name_of("vgg11-8a719046.pth") == "vgg11-8a719046"
    assert name_of("resnet18") == "resnet18"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer": "features.3"}, r"layer='features\.3' has filters of 6 x 3 x 3, .* 3 x 16 x 16"),
        ({"layer": "conv1"}, r"layer='conv1' is no convolution of these weights; near: features"),
        ({"num_images": 1}, r"analysis\.num_images=1 must be at least 2"),
        ({"partner": "other.pth"}, r"partner=.*other\.pth has filters of \(3, 5, 5\) and these"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    write_images(tmp_path / "images")
    write_weights(tmp_path / "net.pth")
    write_weights(tmp_path / "other.pth", 5)
    if "partner" in changes:
        changes = {"partner": str(tmp_path / changes["partner"])}
    with pytest.raises(ValueError, match=said):
        report(tmp_path, tmp_path / "net.pth", **changes)


def test_filters_of_grey_images_have_no_profile_of_colours(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    write_weights(tmp_path / "grey.pth", channels=1)
    with pytest.raises(ValueError, match="has filters of 1 x 3 x 3, which are no patches of"):
        report(tmp_path, tmp_path / "grey.pth")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analysis=energy_profile", "weights=x.pth"], r"weights=x\.pth .*choose the images, such"),
        (
            ["analysis=energy_profile", "weights=x.pth", "data=cifar10", "runs=outputs"],
            r"runs=outputs: analysis=energy_profile looks into no run here; leave it out",
        ),
        (
            ["analysis=energy_profile", "weights=x.pth", "data=cifar10", "trainer=gpu"],
            r"trainer=gpu: analysis=energy_profile works in one process on the CPU; leave it out",
        ),
        (
            ["analysis=energy_profile", "data=cifar10"],
            r"data=cifar10: a run brings its own data; leave it out, or give weights=FILE",
        ),
        (
            ["analysis=energy_profile", "weights=[x.pth,y.pth]", "data=cifar10"],
            r"weights=\['x.pth', 'y.pth'\]: give one source, or several to analysis=chowers2023_f",
        ),
        (["analysis=confusion", "weights=x.pth"], r"'weights' is no key of this configuration"),
        (["analysis=confusion", "data=cifar10"], r"'data' is no key of this configuration"),
        (["analysis=energy_profile", "weights=x.pth", "data=cifar10"], r"x\.pth is not there"),
    ],
)
def test_wrong_choices_are_one_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    assert re.search(said, refusal(capsys, monkeypatch, tmp_path, "analyze", *arguments))


def test_the_command_line_takes_weights_and_a_folder_of_images(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    write_weights(tmp_path / "net.pth")
    printed = run(
        tmp_path, "analyze.py", "analysis=energy_profile", "weights=net.pth", "layer=features.0",
        "data=images", "data.resize=16", "data.crop=16", "data.num_classes=2",
        "analysis.num_images=16",
    )  # fmt: skip
    assert "outputs/energy_profile/net/figures/energy_profile.png" in printed
    assert (tmp_path / "outputs/energy_profile/net/analysis/energy_profile/profiles.csv").exists()
