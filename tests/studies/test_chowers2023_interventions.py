"""Labels by energy and scaled patches: filters of given profiles, patches scaled in truth."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hydra.utils import instantiate
from torch import Tensor
from torch.testing import assert_close

from mmrep.data.relabelling import scaled_apart
from mmrep.first_layer import OF, formula
from mmrep.stats.energy import PatchAxes, patch_axes, profile_correlation
from mmrep.studies.chowers2023 import Network, networks
from mmrep.studies.chowers2023_interventions import (
    correlations_by_component,
    energies_statement,
    fit,
    label_statements,
    permuted_profile,
    report_interventions,
    unscaled_axes,
)
from tests.studies.chowers2023_runs import SIZE, write_run
from tests.test_conf import composed

NAME = "chowers2023_interventions"
STEP = 3_000.0  # the formula of these images is highest at lambda = 3, that of their first axis
ALPHA = 3.0


def smooth_images() -> Tensor:
    noise = torch.randn(40, 3, 12, 12, generator=torch.Generator().manual_seed(1)).double()
    mixed = noise + 0.3 * noise.roll(1, 1)
    return 0.8 * (mixed + mixed.roll(1, 2) + mixed.roll(1, 3) + 0.5 * mixed.roll(2, 3))


@pytest.fixture(scope="module")
def axes() -> PatchAxes:
    return patch_axes(smooth_images(), SIZE)


def scaled_axes(axes: PatchAxes, component: int, alpha: float) -> PatchAxes:
    """Of the patches that are truly scaled and laid side by side."""
    apart = scaled_apart(smooth_images(), axes.axes[:, component], alpha)
    return patch_axes(apart, SIZE, stride=SIZE)


def filters_of(axes: PatchAxes, profile: Tensor) -> Tensor:
    """One filter along each axis: their profile is this one exactly."""
    count = len(profile)
    return (math.sqrt(count) * profile[:, None] * axes.axes.T).view(count, 3, SIZE, SIZE)


def network(folder: Path, axes: PatchAxes, filters: Tensor, seed: int = 0, **data: Any) -> Path:
    """A run that started from filters of 0, so that weights and change are the same."""
    return write_run(folder, [0 * filters, filters], axes, seed=seed, data=data)


def following(axes: PatchAxes, component: int | None = None, alpha: float = 1) -> Tensor:
    """Filters along the unscaled axes, by the formula with lambda times alpha along one."""
    energy = axes.energy.clone()
    if component is not None:
        energy[component] *= alpha
    return filters_of(axes, formula(axes._replace(energy=energy), STEP))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def only(folder: Path) -> Network:
    (found,) = networks([folder])
    return found


@pytest.mark.parametrize("component", [0, 13, 26])
def test_scaled_patches_follow_the_formula_of_scaled_energies(
    tmp_path: Path, axes: PatchAxes, component: int
) -> None:
    data = {"component": component, "alpha": ALPHA, "labels": "true"}
    filters = following(axes, component, ALPHA)
    scaled = only(network(tmp_path / "a", scaled_axes(axes, component, ALPHA), filters, **data))
    plain = only(network(tmp_path / "b", axes, following(axes)))
    assert energies_statement([scaled], axes, "").ours < 1e-6  # float32 filters are not in it
    for of in OF:
        found = fit(scaled, axes, [scaled, plain], of)
        assert found.with_scaled == pytest.approx(1, abs=1e-6)
        assert found.step == pytest.approx(STEP, rel=0.05)
        assert found.with_unscaled < found.with_scaled - 1e-4
        assert found.ratio == pytest.approx(found.formula_ratio, rel=0.05)
    energy = axes.energy[component] * torch.tensor([1, ALPHA])
    peak = PatchAxes(axes.axes[:, :2], energy)
    lower = formula(peak, STEP)[1] < formula(peak, STEP)[0]
    assert (found.ratio < 1) == lower
    assert lower == (component == 0)  # energy goes down where lambda is large, up where it is small


def test_an_axis_of_another_ones_energy_is_told_by_the_unscaled_axes(
    tmp_path: Path, axes: PatchAxes
) -> None:
    component, other = 13, 5
    alpha = (axes.energy[other] / axes.energy[component]).item()
    own = scaled_axes(axes, component, alpha)
    assert_close(own.energy[other], own.energy[other + 1])  # any basis of the two is as good
    angle = torch.tensor(0.6, dtype=torch.float64)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    mixed = own.axes.clone()
    mixed[:, other : other + 2] = own.axes[:, other : other + 2] @ turn
    data = {"component": component, "alpha": alpha}
    filters = following(axes, component, alpha)
    folder = network(tmp_path / "a", own._replace(axes=mixed), filters, **data)
    plain = only(network(tmp_path / "b", axes, following(axes)))
    scaled = only(folder)
    known = unscaled_axes([scaled, plain], scaled)
    assert known is not None
    assert fit(scaled, known, [], "weights").with_scaled == pytest.approx(1, abs=1e-6)


def test_unscaled_axes_are_those_of_the_first_component_scaled_up(
    tmp_path: Path, axes: PatchAxes
) -> None:
    filters = following(axes)
    first, later = (
        only(network(tmp_path / str(c), scaled_axes(axes, c, ALPHA), filters, **both))
        for c, both in ((c, {"component": c, "alpha": ALPHA}) for c in (0, 13))
    )
    assert unscaled_axes([later], later) is None
    found = unscaled_axes([later, first], later)
    assert found is not None
    assert_close(found.energy, axes.energy)
    assert_close(found.axes.abs(), axes.axes.abs(), atol=1e-6, rtol=0)


def test_correlations_are_of_all_pairs_of_a_component(tmp_path: Path, axes: PatchAxes) -> None:
    generator = torch.Generator().manual_seed(3)
    profiles = {
        (component, labels, seed): torch.rand(27, generator=generator).double() + 0.1
        for component in (2, 15)
        for labels in ("energy", "energy_random")
        for seed in (0, 1)
    }
    folders = [
        network(
            tmp_path / "_".join(map(str, key)),
            axes,
            filters_of(axes, profile),
            seed=key[2],
            component=key[0],
            labels=key[1],
        )
        for key, profile in profiles.items()
    ]
    found = networks(folders)
    for of in OF:
        by_component = correlations_by_component(found, of)
        assert [*by_component] == [2, 15]
        expected = [
            profile_correlation(profiles[15, "energy", x], profiles[15, "energy_random", y])
            for x in (0, 1)
            for y in (0, 1)
        ]
        assert by_component[15] == pytest.approx(np.array(expected), abs=1e-6)
        permuted = [p / p.max() for (_, labels, _), p in profiles.items() if "random" in labels]
        mean = torch.stack(permuted).mean(dim=0)
        assert permuted_profile(found, of) == pytest.approx(mean.numpy(), abs=1e-6)


@pytest.mark.parametrize(("turned", "holds"), [(False, True), (True, False)])
def test_agreement_vanishes_where_random_labels_teach_little(turned: bool, holds: bool) -> None:
    permuted = np.linspace(1.0, 0.1, 27) ** 2
    correlation = 0.8 * (permuted[::-1] if turned else permuted) - 0.1
    found = {i: np.array([correlation[i], correlation[i] + 0.02]) for i in range(27)}
    *shown, rank = label_statements(found, permuted, "CIFAR-10")
    assert [s.holds for s in shown] == [None, abs(correlation[15] + 0.01) <= 0.3, None]
    assert shown[1].ours == pytest.approx(correlation[15] + 0.01)
    assert rank.ours == pytest.approx(1 if turned else -1)
    assert rank.holds is holds
    few = {i: found[i] for i in (0, 15, 25)}
    assert len(label_statements(few, permuted, "CIFAR-10")) == 3


def test_the_rank_correlation_is_scipys(axes: PatchAxes) -> None:
    generator = np.random.default_rng(0)
    permuted = generator.random(27)
    found = {i: generator.random(3) for i in range(27)}
    *_, rank = label_statements(found, permuted, "CIFAR-10")
    drop = [-values.mean() for values in found.values()]
    ranks = (scipy.stats.rankdata(one) for one in (drop, permuted))
    assert rank.ours == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert rank.holds is False


def test_the_study_of_finished_runs(
    tmp_path: Path, axes: PatchAxes, capsys: pytest.CaptureFixture[str]
) -> None:
    config = composed(f"analysis={NAME}", script="analyze")
    for labels in ("energy", "energy_random"):
        for component in (0, 15):
            moved = following(axes, component if labels == "energy" else None, 9)
            folder = tmp_path / f"{labels}_{component}"
            network(folder, axes, moved, labels=labels, component=component)
    instantiate(config.analysis.report, sorted(tmp_path.iterdir()))  # as analyze.py does
    printed = capsys.readouterr().out
    assert "left out D.2: no networks of scaled patches" in printed
    assert "2 components, fewer than 5, so no rank correlation" in printed
    runs = sorted(tmp_path.glob("energy*"))
    for component in (0, 15):
        data: dict[str, Any] = {"component": component, "alpha": ALPHA}
        own, filters = scaled_axes(axes, component, ALPHA), following(axes, component, ALPHA)
        runs += [network(tmp_path / f"alpha_{component}", own, filters, **data)]
    runs += [network(tmp_path / "plain", axes, following(axes))]
    report_interventions(runs, NAME)
    study = tmp_path / "analysis" / NAME
    assert len(rows(study / "labels.csv")) == 2 * 2
    alpha = rows(study / "alpha.csv")
    assert len(alpha) == 2 * 2
    assert all(float(row["with_scaled"]) > 0.999 for row in alpha)
    judged = [row for row in rows(study / "statements.csv") if "without" in row["about"]]
    assert len(judged) == 2 * 2 * 2
    assert {row["verdict"] for row in judged} == {"holds"}
    for figure in ("", "_labels", "_labels_change", "_alpha", "_alpha_change"):
        assert "CIFAR-10, VGG11" in (tmp_path / "figures" / f"{NAME}{figure}.svg").read_text()


def test_wrong_runs_are_refused(tmp_path: Path, axes: PatchAxes) -> None:
    filters = following(axes)
    plain = network(tmp_path / "plain", axes, filters)
    with pytest.raises(ValueError, match=r"no run of labels by energy .*experiment=chowers2023_i"):
        report_interventions([plain], NAME)
    data = {"labels": "energy", "component": 3}
    whole = network(tmp_path / "a", axes, filters, **data)
    part = network(tmp_path / "b", axes, filters, **data, classes=["cat", "dog"])
    with pytest.raises(ValueError, match=r"2 networks and data sets, CIFAR-10 cat/dog, VGG11"):
        report_interventions([whole, part], NAME)
