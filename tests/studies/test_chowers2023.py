"""Tables 1 to 3 of first layers whose profiles are known."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from mmrep.first_layer import formula
from mmrep.runs import run_folders
from mmrep.stats.energy import energy_profile
from mmrep.studies.chowers2023 import NUM_INITIALISATIONS, initialisations, networks, pairs
from mmrep.studies.chowers2023_consistency import COMPARISONS, report_consistency, table_1
from mmrep.studies.chowers2023_formula import fitted_of, report_formula
from mmrep.studies.chowers2023_numbers import (
    ARCHITECTURES,
    INITIALISATION,
    RANDOM_INITIALISATION,
    SEEDS,
    TRUE_AND_RANDOM,
    WIDTHS,
)
from mmrep.studies.chowers2023_random_labels import along, report_random_labels
from mmrep.studies.statements import Statement, print_statements
from tests.studies.chowers2023_runs import axes_of_noise, filters_along, write_run

AXES = axes_of_noise()
LEARNT = formula(AXES, 40_000.0)
OTHER = LEARNT.flip(0)
RESNET = {"_target_": "mmrep.networks.resnet.CifarResNet", "depth": 20}


def learning(profile: Tensor, *, seed: int, count: int = 2000) -> list[Tensor]:
    """Filters at the start, half way and at the end of learning a profile."""
    start = 0.05 * filters_along(AXES, torch.ones(27), count=count, seed=100 + seed)
    change = filters_along(AXES, profile / profile.max(), count=count, seed=seed)
    return [start, start + change / 2, start + change]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks that learn the formula from true labels, and from random ones its reverse."""
    root = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        write_run(root / f"true{seed}", learning(LEARNT, seed=seed), AXES, seed=seed)
        write_run(root / f"random{seed}", learning(OTHER, seed=seed + 2), AXES, seed=seed,
                  data={"labels": "random"})  # fmt: skip
    write_run(root / "wide", learning(LEARNT, seed=4, count=3000), AXES)
    write_run(root / "resnet", learning(LEARNT, seed=5), AXES, net=RESNET)
    write_run(root / "frozen", learning(0 * LEARNT + 1, seed=6)[:1] * 3, AXES,
              net={"freeze_first_layer": True})  # fmt: skip
    return root


def statements(root: Path, name: str) -> dict[tuple[str, str], dict[str, str]]:
    with (root / "analysis" / name / "statements.csv").open() as file:
        return {(row["about"], row["of"]): row for row in csv.DictReader(file)}


def test_networks_are_told_apart_by_what_they_are(runs: Path) -> None:
    found = {network.folder.name: network for network in networks(run_folders(str(runs)))}
    assert found["true0"].title == "VGG11, 2000 filters, seed 0"
    assert found["random1"].title == "VGG11, 2000 filters, random labels, seed 1"
    assert (found["wide"].width, found["resnet"].architecture) == (3000, "ResNet-20")
    assert found["frozen"].frozen
    true = [found[name] for name in ("true0", "true1", "wide", "resnet")]
    for about, expected in ((SEEDS, 1), (WIDTHS, 2), (ARCHITECTURES, 3)):
        assert len(pairs(true, COMPARISONS[about])) == expected


def test_profiles_are_those_of_the_filters_and_of_their_change(runs: Path) -> None:
    (network,) = networks([runs / "true0"])
    start, _, end = learning(LEARNT, seed=0)
    assert_allclose(network.profile("weights"), energy_profile(end, AXES.axes))
    assert_allclose(network.profile("change"), energy_profile(end - start, AXES.axes))
    assert np.corrcoef(network.profile("change"), LEARNT)[0, 1] > 0.99
    (half,) = networks([runs / "true0"], epoch=1)
    assert_allclose(half.profile("change"), network.profile("change") / 2, rtol=1e-5)


def test_table_1_has_the_correlations_of_numpy(runs: Path) -> None:
    found = {network.folder.name: network for network in networks(run_folders(str(runs)))}
    true = [found[name] for name in ("true0", "true1", "wide", "resnet")]
    rows = {row.about: row for row in table_1(true, "change")}
    one, other, wide, resnet = (network.profile("change").numpy() for network in true)
    assert_allclose(rows[SEEDS].ours, np.corrcoef(one, other)[0, 1])
    widths = [np.corrcoef(wide, x)[0, 1] for x in (one, other)]
    assert_allclose(rows[WIDTHS].ours, np.mean(widths))
    assert_allclose(rows[WIDTHS].spread, np.std(widths, ddof=1), rtol=1e-6)
    assert_allclose(
        rows[ARCHITECTURES].ours,
        np.mean([np.corrcoef(resnet, x)[0, 1] for x in (one, other, wide)]),
    )
    drawn = [
        np.corrcoef(network.profile("change"), initial)[0, 1]
        for network in true
        for initial in initialisations(network)
    ]
    assert len(drawn) == 4 * NUM_INITIALISATIONS
    assert_allclose(rows[INITIALISATION].ours, np.mean(drawn))


def test_a_start_is_flat_but_for_the_chance_of_its_draws(runs: Path) -> None:
    (network,) = networks([runs / "true0"])
    drawn = np.stack([profile.numpy() for profile in initialisations(network)])
    assert_allclose(drawn.mean(axis=0), 1, atol=0.02)  # the root mean square of 2000 of N(0, 1)
    assert_allclose(drawn.std(), 1 / np.sqrt(2 * 2000), rtol=0.1)


def test_the_three_reports(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = run_folders(str(runs))
    report_consistency(folders, "consistency")
    report_random_labels(folders, "labels")
    report_formula(folders, "formula")
    printed = capsys.readouterr().out
    for name in ("consistency", "labels"):
        for suffix in ("", "_change", "_epochs"):
            assert (runs / "figures" / f"{name}{suffix}.png").exists()
    first = statements(runs, "consistency")
    assert first[SEEDS, "CIFAR-10, change"]["verdict"] == "holds"
    assert float(first[SEEDS, "CIFAR-10, change"]["paper"]) == 0.99
    second = statements(runs, "labels")
    where = "CIFAR-10, VGG11, 2000 filters, change"
    assert second[TRUE_AND_RANDOM, where]["verdict"] == "does not hold"
    assert float(second[TRUE_AND_RANDOM, where]["ours"]) < 0
    assert float(second[RANDOM_INITIALISATION, where]["paper"]) == 0.03
    third = statements(runs, "formula")
    assert third["true labels and formula", "CIFAR-10, VGG11, change"]["verdict"] == "holds"
    assert float(third["true labels and formula", "CIFAR-10, VGG11, change"]["paper"]) == 0.94
    assert third["random labels and formula", "CIFAR-10, VGG11, change"]["paper"] == ""
    with (runs / "analysis" / "formula" / "fits.csv").open() as file:
        fits = list(csv.DictReader(file))
    step = [float(f["step"]) for f in fits if f["network"] == "VGG11, 2000 filters, seed 0"]
    assert_allclose(step, 40_000, rtol=0.1)
    outside = [f for f in fits if f["outside the published grid"]]
    assert ("steps outside the published grid" in printed) == bool(outside)


def test_a_step_outside_the_published_grid_is_said_to_be(tmp_path: Path) -> None:
    for name, steps, expected in (("early", 300.0, "below"), ("late", 2e8, "above")):
        change = (formula(AXES, steps) * AXES.axes).T.reshape(27, 3, 3, 3).float()  # no chance
        folder = write_run(tmp_path / name, [0 * change, change], AXES)
        (network,) = networks([folder])
        fitted = fitted_of(network, "weights")
        assert fitted.left_grid == expected
        assert_allclose(fitted.correlation, 1, atol=1e-6)


def test_random_labels_are_followed_towards_what_true_ones_taught(runs: Path) -> None:
    true, random = (networks([runs / name]) for name in ("true0", "random0"))
    epochs, values = along(true, random, "change")
    assert epochs == [1, 2]
    for epoch, value in zip(epochs, values, strict=True):
        learnt, followed = true[0].profile("change"), random[0].profiles("change")[epoch]
        assert_allclose(value, np.corrcoef(learnt.numpy(), followed.numpy())[0, 1])


@pytest.mark.parametrize(
    ("report", "runs_of", "said"),
    [
        (report_consistency, ["random0"], "no run of true labels: train them with python train.py"),
        (
            report_random_labels,
            ["true0"],
            "no run of true and random labels: .* experiment=chowers",
        ),
        (report_formula, ["frozen"], "no run of energy profiles"),
    ],
)
def test_runs_that_do_not_do_are_refused(
    runs: Path, report: Any, runs_of: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        report([runs / name for name in runs_of], "nothing")


def test_an_epoch_or_a_history_that_is_not_there_is_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"analysis\.epoch=9: .* followed at 0, 1, 2; choose"):
        networks([runs / "true0"], epoch=9)
    bare = write_run(tmp_path / "bare", learning(LEARNT, seed=0), AXES)
    (bare / "analysis" / "energy_profile" / "axes.npz").unlink()
    with pytest.raises(
        ValueError, match=r"bare lacks .*energy_profile/: train with callbacks=ener"
    ):
        networks([bare])


def test_runs_that_are_not_told_apart_or_in_another_unit_are_refused(tmp_path: Path) -> None:
    for name, changes in {
        "one": {},
        "again": {"max_epochs": 9},
        "unit": {"seed": 1, "mean": 0.4},
        "few": {"seed": 2, "data": {"num_train": 5000}},
    }.items():
        write_run(tmp_path / name, learning(LEARNT, seed=0, count=30), AXES, **changes)
    with pytest.raises(
        ValueError, match=r"one and .*again are both CIFAR-10, VGG11, 30 filters, seed 0"
    ):
        networks([tmp_path / "one", tmp_path / "again"])
    with pytest.raises(ValueError, match=r"unit read CIFAR-10 normalised differently: give runs"):
        networks([tmp_path / "one", tmp_path / "unit"])
    (few,) = networks([tmp_path / "few"])
    assert few.title == "VGG11, 30 filters, 5,000 images, seed 2"


@pytest.mark.parametrize(
    ("net", "data", "architecture", "title"),
    [
        ({"batch_norm": False}, {}, "VGG11 without batch norm", "CIFAR-10"),
        (RESNET, {"classes": ["dog", "cat"]}, "ResNet-20", "CIFAR-10 cat/dog"),
        ({}, {"attribute": "Male", "size": 32}, "VGG11", "CIFAR-10 Male 32 x 32"),
    ],
)
def test_what_else_a_network_and_its_data_are_is_in_their_names(
    tmp_path: Path, net: dict[str, Any], data: dict[str, Any], architecture: str, title: str
) -> None:
    folder = write_run(tmp_path / "run", learning(LEARNT, seed=0), AXES, net=net, data=data)
    (network,) = networks([folder])
    assert (network.architecture, network.data) == (architecture, title)


def test_a_difference_below_one_is_shown_with_the_digits_that_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_statements([Statement("seeds", "CIFAR-10", 0.99, 0.952, 0.0123, "at least 0.97", False)])
    assert "0.95 ± 0.012, paper 0.99 (-0.038), asked at least 0.97" in capsys.readouterr().out
