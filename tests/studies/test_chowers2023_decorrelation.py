"""Figures 5 and 6 by other derivations, on a tiny run, and on the real CIFAR-10."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose
from torch import Tensor

from mmrep.data.cifar import CIFAR
from mmrep.data.in_memory import PROJECT
from mmrep.first_layer_report import Sample, sample_of
from mmrep.stats.autocorrelation import autocorrelation
from mmrep.stats.energy import LabelCorrelations, label_correlations, patch_axes
from mmrep.studies.chowers2023 import Network, networks
from mmrep.studies.chowers2023_decorrelation import (
    BOTH,
    ELSEWHERE,
    LARGEST,
    PIXELS,
    RANDOM,
    RMS,
    WHITENING,
    by_patches,
    lines_of,
    noise_of,
    on_labels,
    on_pixels,
)
from tests.scripts import run
from tests.studies.chowers2023_runs import axes_of_noise, filters_along, write_run
from tests.studies.test_energy_profile_weights import write_images

LEARNED, CHANGE = "learned filters, VGG11", "their change since the start, VGG11"
REAL = PROJECT / "data"


def sample_of_noise(count: int = 12) -> Sample:
    """Smooth images, brighter and less regular as they came than normalised."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(count, 3, 20, 20, generator=generator)
    smooth = noise + noise.roll(1, 3) + 0.5 * noise.roll(1, 2)
    return Sample(smooth, (smooth / 10 + 0.5).clamp(0, 1), torch.arange(count) % 3)


def write_networks(folder: Path, count: int) -> list[Network]:
    axes = axes_of_noise()
    for seed in range(count):
        start, end = (filters_along(axes, axes.energy + 0.1, seed=seed + s) for s in (10, 20))
        write_run(folder / f"seed-{seed}", [start, end], axes, seed=seed)
    return networks([*folder.iterdir()])


def by_convolution(images: Tensor, filters: Tensor, direction: str) -> np.ndarray:
    """C(delta) of a convolution's maps."""
    return autocorrelation(F.conv2d(images.double(), filters.double()), 15, direction).numpy()


def test_lines_are_those_of_convolved_images(tmp_path: Path) -> None:
    sample, found = sample_of_noise(), write_networks(tmp_path, 2)
    lines = lines_of(found, sample, seed=0)
    learned = [network.history.filters[-1] for network in found]
    change = [network.history.filters[-1] - network.history.filters[0] for network in found]
    for given, images in (("normalised", sample.normalised), ("raw", sample.raw)):
        means = []
        for direction in ("horizontal", "vertical"):
            of = lines[given, direction]
            for name, filters in ((LEARNED, learned), (CHANGE, change)):
                curves = np.stack([by_convolution(images, one, direction) for one in filters])
                assert_allclose(of[name].mean, curves.mean(axis=0), atol=1e-10)
                assert_allclose(of[name].deviation, curves.std(axis=0, ddof=1), atol=1e-10)
            pixels = autocorrelation(images, 15, direction).numpy()
            assert_allclose(of[PIXELS].mean, pixels, atol=1e-12)
            means.append(of[LEARNED].mean)
        assert_allclose(lines[given, BOTH][LEARNED].mean, np.mean(means, axis=0), atol=1e-12)


def test_random_filters_are_on_average_the_identity(tmp_path: Path) -> None:
    """One filter for each pixel of a patch has the Gram matrix that random ones have on average."""
    sample, found = sample_of_noise(), write_networks(tmp_path, 1)
    of = lines_of(found, sample, seed=0)["normalised", "horizontal"][RANDOM]
    every_pixel = torch.eye(27).view(27, 3, 3, 3)
    expected = by_convolution(sample.normalised, every_pixel, "horizontal")
    assert (of.deviation[1:] > 0).all()
    assert (np.abs(of.mean - expected)[1:] < 5 * of.deviation[1:] / 10).all()  # of 100


def test_one_network_has_no_deviation_and_without_its_start_no_change(tmp_path: Path) -> None:
    (network,) = write_networks(tmp_path, 1)
    alone = network._replace(history=network.history._replace(epochs=(1, 2)))
    of = lines_of([alone], sample_of_noise(), seed=0)["raw", BOTH]
    assert [*of] == [PIXELS, RANDOM, LEARNED, WHITENING]
    assert not of[LEARNED].deviation.any()


def test_chance_leaves_of_drawn_labels_what_the_noise_says() -> None:
    sample, axes = sample_of_noise(60), axes_of_noise()
    generator = torch.Generator().manual_seed(0)
    squares, noise = [], {}
    for _ in range(200):
        label = sample.label[torch.randperm(60, generator=generator)]
        found = label_correlations(sample.normalised, label, axes.axes, num_classes=3)
        squares.append([part.square().mean(dim=1).numpy() for part in found])
        noise = noise_of(found, 60)
    rms = np.sqrt(np.mean(squares, axis=0))
    for reading, measured in zip(LabelCorrelations._fields, rms, strict=True):
        # 1 / (n - 1) is the variance of a permuted correlation; 400 free ones are averaged
        assert_allclose(measured, noise[reading] * np.sqrt(60 / 59), rtol=5 / np.sqrt(800))


def test_networks_that_see_other_colours_are_not_put_together(tmp_path: Path) -> None:
    found = write_networks(tmp_path, 2)
    assert by_patches(found) == {"CIFAR-10": found}
    axes = found[1].axes
    other = found[1]._replace(axes=axes._replace(energy=1.1 * axes.energy))
    with pytest.raises(ValueError, match=r"seed-1 read CIFAR-10 normalised differently: give runs"):
        by_patches([found[0], other])


def test_claims_are_of_the_mean_of_both_directions_10_pixels_apart(tmp_path: Path) -> None:
    sample, found = sample_of_noise(), write_networks(tmp_path, 1)
    lines = lines_of(found, sample, seed=0)
    said = [*on_pixels("A set", lines)]
    assert len(said) == 2 * 5  # of pixels, random, learned, change and whitening, on both inputs
    curves = [autocorrelation(sample.raw, 10, d)[10].item() for d in ("horizontal", "vertical")]
    (rgb,) = [s for s in said if s.about.startswith(PIXELS) and "raw" in s.of]
    assert rgb.ours == pytest.approx(np.mean(curves))
    assert rgb.holds
    (normalised,) = [s for s in said if s.about.startswith(PIXELS) and "normalised" in s.of]
    assert not normalised.holds  # smooth over two pixels alone


def test_a_class_that_is_an_axis_is_found() -> None:
    sample, axes = sample_of_noise(60), axes_of_noise()
    label = (sample.normalised.mean(dim=(1, 2, 3)) > 0).long()
    found = label_correlations(sample.normalised, label, axes.axes, num_classes=2)
    first, *_ = on_labels("A set", found, ("dark", "light"))
    assert first.about.startswith("largest correlation with a label (axis ")
    assert first.ours == pytest.approx(found.image_coefficient.abs().max().item())
    assert not first.holds


@pytest.mark.slow
def test_runs_on_a_folder_of_images(tmp_path: Path) -> None:
    write_images(tmp_path / "images", side=32)
    run(
        tmp_path, "train.py", "model=vgg11", "data=images", "data.resize=32", "data.crop=32",
        "data.num_classes=2", "data.batch_size=8", "trainer.max_epochs=1", "logger=none",
        "hydra.run.dir=outputs/decorrelation/0",
    )  # fmt: skip
    run(tmp_path, "analyze.py", "analysis=energy_profile", "runs=outputs/decorrelation")
    said = run(
        tmp_path, "analyze.py", "analysis=chowers2023_decorrelation", "runs=outputs/decorrelation"
    )
    assert re.search(r"\n[1-9]\d* of 14 statements hold", said)
    study = tmp_path / "outputs" / "decorrelation" / "0"
    figures = {path.stem for path in study.glob("figures/chowers2023_decorrelation*.png")}
    assert {name.removeprefix("chowers2023_decorrelation") for name in figures} == {
        "_images",
        "_labels_images",
    }
    table = study / "analysis" / "chowers2023_decorrelation" / "label_correlations.csv"
    with table.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 4 * 27 * 2
    assert {row["class"] for row in rows} == {"dark", "light"}
    # two classes: what goes with the one goes against the other
    values = np.array([float(row["correlation"]) for row in rows]).reshape(-1, 2)
    assert_allclose(values[:, 0], -values[:, 1], atol=1e-10)


def test_without_true_labels_the_command_is_named(tmp_path: Path) -> None:
    axes = axes_of_noise()
    filters = filters_along(axes, axes.energy)
    write_run(tmp_path / "run", [filters, filters], axes, data={"labels": "random"})
    said = run(
        tmp_path, "analyze.py", "analysis=chowers2023_decorrelation", "runs=run", code=1
    )  # fmt: skip
    assert "no run of true labels: train them with python train.py experiment=chowers2023_d" in said


@pytest.mark.real
@pytest.mark.skipif(not (REAL / "cifar-10-batches-py").exists(), reason=f"no CIFAR-10 in {REAL}")
def test_real_images_give_what_was_measured_elsewhere(tmp_path: Path) -> None:
    data = CIFAR(
        data_dir=str(REAL), release="cifar10", num_classes=10, augment=False, batch_size=256,
        mean=[0.4914, 0.4822, 0.4465], std=[0.2471, 0.2435, 0.2616], seed=0,
    )  # fmt: skip
    data.setup("fit")
    sample = sample_of(data, 2000)
    axes = patch_axes(sample.normalised, 3)
    filters = filters_along(axes, axes.energy)
    write_run(tmp_path / "0", [filters, filters], axes)
    lines = lines_of(networks([tmp_path / "0"])[:1], sample, seed=0)
    labels = label_correlations(sample.normalised, sample.label, axes.axes, num_classes=10)
    said = [*on_pixels("CIFAR-10", lines), *on_labels("CIFAR-10", labels, data.class_names)]
    elsewhere = [statement for statement in said if "elsewhere" in statement.bound]
    assert len(elsewhere) == len(ELSEWHERE) + len(LARGEST) + len(RMS)
    assert all(statement.holds for statement in elsewhere)
    around_0 = {s.of: s.holds for s in said if s.about.startswith("largest") and "(" in s.about}
    assert [of for of, holds in around_0.items() if holds] == ["CIFAR-10, patch, energy"]
