"""The studies of Moreau et al. 2021 on a tiny sweep, and their arithmetic by other derivations."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mmrep.runs import load_run
from mmrep.stats.cca import cca, correlations_on
from mmrep.stats.covariance import moments_of
from mmrep.stats.curves import HEADS, Curves, grid
from mmrep.stats.subspaces import METHODS, projection_scores, subspace
from mmrep.studies.comparison import (
    Comparison,
    column_correlations,
    compare,
    explained_variance,
    implied_agreement,
)
from mmrep.studies.lines import at, combined, whole
from mmrep.studies.moreau2021_fusion import multiset_variates, pairwise_variates, together
from mmrep.studies.moreau2021_statements import one_class, saturation
from mmrep.studies.pairs import networks_of, pairs_of
from mmrep.studies.recorded import record
from tests.scripts import TINY, run

SENSORS = ("acc_norm", "gyr_y", "mag_norm")


@pytest.fixture(scope="module")
def sweep(store: Path) -> Path:
    """Two networks of each of three sensors, seeds 0 and 5."""
    run(
        store, "train.py", "experiment=moreau2021_same_sensor", *TINY[1:], "seed=0,5",
        "trainer.max_epochs=2", "logger=none", "hydra.sweep.dir=outputs/sensors",
    )  # fmt: skip
    return store / "outputs" / "sensors"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_one_sensors_networks_in_pairs(store: Path, sweep: Path) -> None:
    command = (
        *("analyze.py", "analysis=moreau2021_same_sensor", "runs=outputs/sensors"),
        *("analysis.retrain=[recipe]", "analysis.draws=2", "analysis.permutations=2"),
    )
    printed = run(store, *command)
    study = sweep / "analysis" / "moreau2021_same_sensor"
    assert "Table 1: shl (simulated)" in printed
    assert "statements hold" in printed
    assert (sweep / "figures" / "moreau2021_same_sensor.svg").exists()
    assert "simulated data" in (sweep / "figures" / "moreau2021_same_sensor.svg").read_text()
    found = rows(study / "moreau2021_same_sensor.csv")
    assert {row["of"] for row in found} == set(SENSORS)
    assert {row["head"] for row in found} == {"original", "recipe"}
    assert {row["source"] for row in found} == {"simulated"}
    # The curve of PCA by its own function, from the network that the run's folder holds.
    x = record(sweep / "gyr_y_seed-0", checkpoint="last")
    of_pca = {
        int(row["n"]): float(row["macro_f1"])
        for row in found
        if (row["of"], row["head"], row["method"]) == ("gyr_y", "original", "pca")
    }
    expected = projection_scores(
        x.validation.features, x.validation.label, x.own.weight[0], x.own.bias[0],
        subspace("pca", x.train.features), sorted(of_pca), average="macro_f1",
    )  # fmt: skip
    assert_allclose([of_pca[n] for n in sorted(of_pca)], expected, atol=1e-12)
    summary = next(
        row
        for row in rows(study / "summary.csv")
        if (row["of"], row["head"], row["method"], row["n"]) == ("gyr_y", "original", "pca", "8")
    )
    assert (float(summary["macro_f1"]), summary["repetitions"]) == (of_pca[8], "1")
    statements = rows(study / "statements.csv")
    full = next(s for s in statements if s["about"] == "all components" and s["of"] == "gyr_y")
    scores = x.facts["scores"]
    assert float(full["ours"]) == pytest.approx(100 * scores["val/f1"], abs=1e-4)
    assert (full["paper"], full["verdict"]) == ("81", "")
    assert float(full["difference"]) == pytest.approx(float(full["ours"]) - 81)
    kept = {path: path.stat().st_mtime_ns for path in study.glob("pairs/*.npz")}
    run(store, *command)  # what was compared is not compared again
    assert len(kept) == 3
    assert kept == {path: path.stat().st_mtime_ns for path in study.glob("pairs/*.npz")}


@pytest.mark.slow
def test_every_sensor_with_every_other(store: Path, sweep: Path) -> None:
    printed = run(store, "analyze.py", "analysis=moreau2021_cross_sensor", "runs=outputs/sensors")
    study = sweep / "analysis" / "moreau2021_cross_sensor"
    assert "11. mean of 8 held-out correlations of acc_norm and gyr_y" in printed
    for name in ("", "_matrix", "_correlations"):
        assert (sweep / "figures" / f"moreau2021_cross_sensor{name}.png").exists()
    # The sensor whose features and head are tested, with the network of seed 5 of the other.
    x, y = (record(sweep / name, checkpoint="last") for name in ("gyr_y_seed-0", "mag_norm_seed-5"))
    fit = cca(x.train.features, y.train.features)
    held_out = correlations_on(fit, moments_of(x.validation.features, y.validation.features))
    of_pair = [
        row for row in rows(study / "correlations.csv") if row["of"] == "gyr_y with mag_norm"
    ]
    for column, expected in (("correlations", fit.correlations), ("held_out", held_out)):
        assert_allclose([float(row[column]) for row in of_pair], expected, atol=1e-10)
    highest = {
        int(row["n"]): float(row["macro_f1"])
        for row in rows(study / "moreau2021_cross_sensor.csv")
        if (row["of"], row["method"]) == ("gyr_y with mag_norm", "cca_highest")
    }
    tested = projection_scores(
        x.validation.features, x.validation.label, x.own.weight[0], x.own.bias[0],
        subspace("cca_highest", x.train.features, y.train.features), range(1, 17),
        average="macro_f1",
    )  # fmt: skip
    assert_allclose([highest[n] for n in range(1, 17)], tested, atol=1e-12)
    methods = {row["method"] for row in rows(study / "moreau2021_cross_sensor.csv")}
    assert methods == set(METHODS[:3])


@pytest.mark.slow
def test_fusion_of_sensors(store: Path, sweep: Path) -> None:
    printed = run(
        store, "analyze.py", "analysis=moreau2021_fusion", "analysis.landmarks=50",
        "runs=[outputs/sensors/acc_norm_seed-0,outputs/sensors/acc_norm_seed-5,"
        "outputs/sensors/mag_norm_seed-0,outputs/sensors/mag_norm_seed-5]",
    )  # fmt: skip
    assert "9. CCA by pairs, kernel ridge, n = 8: score above that of added logits" in printed
    found = rows(sweep / "analysis" / "moreau2021_fusion" / "moreau2021_fusion.csv")
    x = record(sweep / "acc_norm_seed-0", checkpoint="last")
    y = record(sweep / "mag_norm_seed-5", checkpoint="last")
    alone = next(row for row in found if row["fusion"] == "acc_norm alone")
    assert float(alone["macro_f1"]) == pytest.approx(x.facts["scores"]["val/f1"], abs=1e-6)
    added = (x.logits(x.validation) + y.logits(y.validation)).argmax(dim=1)
    own = x.logits(x.validation).argmax(dim=1)
    assert float(alone["agreement"]) == pytest.approx(float((added == own).double().mean()))
    # Of two networks the fused columns are the sums of CCA's variates, brought to one size.
    fit = cca(x.train.features, y.train.features)
    variates = [
        (v.train.features.double() - basis.mean) @ basis.directions[:, :3]
        for v, basis in ((x, fit.x), (y, fit.y))
    ]
    both = torch.cat([variates[0] + variates[1], pairwise_variates([x, y]).train[:, :3]], dim=1)
    assert_allclose(torch.corrcoef(both.T).diagonal(3).abs(), np.ones(3), atol=1e-6)
    by_pairs = pairwise_variates([x, y, x])  # the pairs' first columns come first
    assert_allclose(by_pairs.train[:, 1], multiset_variates([x, x]).train[:, 0], atol=1e-9)
    assert by_pairs.per_component == 3


@pytest.mark.slow
def test_dropout_tells_configurations_apart(store: Path, sweep: Path) -> None:
    run(
        store, "train.py", "experiment=moreau2021_dropout", *TINY[1:], "seed=0", "sensor=acc_norm",
        "trainer.max_epochs=2", "logger=none", "hydra.sweep.dir=outputs/no_dropout",
    )  # fmt: skip
    printed = run(
        store, "analyze.py", "analysis=moreau2021_dropout", "analysis.draws=1",
        "runs=[outputs/no_dropout,outputs/sensors/acc_norm_seed-0]",
    )  # fmt: skip
    assert "figures/moreau2021_dropout.png" in printed
    study = store / "outputs" / "analysis" / "moreau2021_dropout"
    asked = {row["of"]: row["bound"] for row in rows(study / "statements.csv")}
    assert asked == {
        "acc_norm, model.net.conv_dropout=0.0, model.net.head_dropout=0.0": "0 +- 2",
        "acc_norm, model.net.conv_dropout=0.25, model.net.head_dropout=0.5": ">= 0",
    }


@pytest.mark.slow
def test_features_are_kept_and_read_anew_for_other_weights(sweep: Path) -> None:
    folder = sweep / "acc_norm_seed-0"
    first = record(folder, checkpoint="last")
    path = folder / "analysis" / "features" / "last.npz"
    written = path.stat().st_mtime_ns
    task, data = load_run(folder)
    assert_allclose(
        first.logits(first.validation),
        task.net(data.val_set.inputs).detach(),
        atol=1e-5,
    )
    record(folder, checkpoint="last")
    assert path.stat().st_mtime_ns == written
    assert first.recipe.epochs == 2
    before = record(folder, checkpoint="init")
    assert (before.recipe.epochs, before.weights == first.weights) == (2, False)
    assert not torch.equal(before.train.features, first.train.features)
    assert torch.equal(before.train.index, first.train.index)


@pytest.mark.slow
def test_runs_that_cannot_be_paired_are_refused(store: Path, sweep: Path, finished: Any) -> None:
    networks = networks_of([*sweep.glob("acc*")])["acc_norm"]
    with pytest.raises(ValueError, match=r"no pair of seeds i and i \+ 3 among \[0, 5\]"):
        pairs_of(networks, networks, 3, names="acc_norm")
    with pytest.raises(ValueError, match=r"analysis\.offset=0 must be 1 or more"):
        pairs_of(networks, networks, 0, names="acc_norm")
    ten = {seed: Path(str(seed)) for seed in range(10)}
    numbers = [(int(a.name), int(b.name)) for a, b in pairs_of(ten, ten, 3, names="")]
    assert numbers == [(0, 3), (1, 4), (2, 5), (6, 9)]  # no network in two pairs
    copy = shutil.copytree(sweep / "acc_norm_seed-0", store / "copy")
    with pytest.raises(ValueError, match="are both acc_norm with seed 0"):
        networks_of([sweep / "acc_norm_seed-0", copy])
    x = record(sweep / "acc_norm_seed-0", checkpoint="last")
    other = x._replace(facts=x.facts | {"data": x.facts["data"] | {"num_val": 7}})
    with pytest.raises(ValueError, match=r"other samples \(num_val: 101 here, 7 there\)"):
        compare(x, other, draws=1, permutations=1, seed=0)
    order = x.train._replace(index=x.train.index.flip(0))
    with pytest.raises(ValueError, match="hold the samples of training in another order"):
        compare(x, x._replace(train=order), draws=1, permutations=1, seed=0)
    printed = run(
        store, "analyze.py", "analysis=moreau2021_fusion", "runs=outputs/undisturbed", code=1
    )
    assert "there are runs of acc_norm alone: fusion needs 2 sensors" in printed


def test_one_seed_serves_no_two_networks_of_a_fusion() -> None:
    ten = {sensor: {seed: Path(f"{sensor}_{seed}") for seed in range(10)} for sensor in "abc"}
    assert [[path.name for path in pair] for pair in together(ten, ("a", "b"))] == [
        [f"a_{i}", f"b_{i + 5}"] for i in range(5)
    ]
    for triple in together(ten, ("a", "b", "c")):
        assert len({path.name[2:] for path in triple}) == 3
    with pytest.raises(ValueError, match="a, b have the seeds \\[0\\] in common: train at least 2"):
        together({"a": {0: Path("a")}, "b": {0: Path("b")}}, ("a", "b"))


def test_explained_variance_is_that_of_a_regression() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 6, generator=generator) @ torch.randn(6, 6, generator=generator) + 2
    y = x @ torch.randn(6, 4, generator=generator) + torch.randn(300, 4, generator=generator)
    fit, logits = cca(x[:200], y[:200]), (x @ torch.randn(6, 3, generator=generator)).double()
    found = explained_variance(fit, x[200:], logits[200:])
    scores = (x[200:].double() - fit.x.mean) @ fit.x.directions
    target = logits[200:] - logits[200:].mean(dim=0)
    for n in range(1, 5):
        design = torch.cat([torch.ones(100, 1).double(), scores[:, :n]], dim=1)
        rest = target - design @ torch.linalg.lstsq(design, target).solution
        assert found[n - 1] == pytest.approx(float(1 - rest.square().sum() / target.square().sum()))


def test_correlations_of_columns_are_numpys() -> None:
    a, b = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(1))
    expected = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(3)]
    assert_allclose(column_correlations(a.double(), b.double()), expected, atol=1e-6)


def test_implied_agreement_is_that_of_independent_errors() -> None:
    generator = torch.Generator().manual_seed(2)
    label = torch.randint(4, (200_000,), generator=generator)

    def guesses(accuracy: float) -> torch.Tensor:
        wrong = (label + torch.randint(1, 4, label.shape, generator=generator)) % 4
        right = torch.rand(label.shape, generator=generator) < accuracy
        return torch.nn.functional.one_hot(torch.where(right, label, wrong), 4).double()

    a, b = guesses(0.8), guesses(0.6)
    equal = float((a.argmax(1) == b.argmax(1)).double().mean())
    assert implied_agreement(a, b, label) == pytest.approx(equal, abs=5e-3)


def comparison(scores: np.ndarray, ranks: tuple[int, int]) -> Comparison:
    """One that holds nothing but a curve of CCA highest with the given rank."""
    components = sorted({*grid(4, 32), ranks[0]})
    values = np.full((1, len(components)), np.nan)
    there = [i for i, n in enumerate(components) if n <= ranks[0] or n == 32]
    values[0, there] = scores[: len(there)]
    curves = Curves([HEADS[0]], ["cca_highest"], [0], components, np.ones_like(values, dtype=int),
                    values, values)  # fmt: skip
    none = np.zeros(1)
    return Comparison(curves, none, none, none, none, ranks, none, none, none, 0.0, 0.0)


def test_curves_of_pairs_are_joined_with_each_ones_own_rank() -> None:
    rise = np.minimum(np.arange(1, 20) / 3, 1)  # plateau from n = 3 on, one less than 4 classes
    lines = combined([comparison(rise, (20, 9)), comparison(0.9 * rise, (24, 9))], "accuracy",
                     "original")  # fmt: skip
    components, scores = lines["cca_highest"]
    assert components == [*grid(4, 32)[:-1], 22, 32]
    assert_allclose(scores[:, -2:], [[1, 1], [0.9, 0.9]])
    assert_allclose(at(lines, "cca_highest", 2), [100 * 2 / 3, 60])
    assert_allclose(at(lines, "cca_highest", 15), [100, 90])  # the most below it: 8
    assert_allclose(whole(lines), [100, 90])
    assert saturation(lines, "cca_highest", 4) == 3


def test_a_mean_rank_never_hides_the_untouched_network() -> None:
    scores = np.linspace(0.5, 0.9, 20)
    found = [comparison(scores, (rank, 9)) for rank in (32, 32, 31)]
    whole_ones = [one.curves.accuracy[0, -1] for one in found]
    assert_allclose(whole(combined(found, "accuracy", "original")), 100 * np.array(whole_ones))


def test_predicting_one_class_scores_what_counts_say(sweep: Path) -> None:
    x = record(sweep / "acc_norm_seed-0", checkpoint="last")
    label = x.validation.label
    counts = torch.bincount(label, minlength=8)
    best = max(
        2 * float(counts[c]) / (len(label) + float(counts[c])) / int((counts > 0).sum())
        for c in range(8)
    )
    assert one_class(x) == pytest.approx(100 * best)
