"""`cca_projection` against the statistics it stands on, beside training, and on two ranks."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from mmrep.features import read_features
from mmrep.runs import load_run
from mmrep.stats.cca import cca, correlations_on
from mmrep.stats.covariance import moments_of
from mmrep.stats.curves import (
    HEADS,
    choose_components,
    curves_from_counts,
    grid,
    retrained_heads,
)
from mmrep.stats.subspaces import METHODS, confusion, projection_scores, subspace
from mmrep.studies.recorded import record
from tests.scripts import TINY, run

ANALYSIS = ("analyze.py", "analysis=cca_projection", "analysis.callback.retrain=[recipe]")


@pytest.fixture(scope="module")
def partner(store: Path) -> Path:
    """Another network on the samples of `finished`."""
    folder = store / "outputs" / "partner"
    run(
        store, "train.py", *TINY, "trainer.max_epochs=2", "seed=1", "logger=none",
        f"hydra.run.dir={folder}",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def projected(store: Path, partner: Path) -> Path:
    """A run like `finished`, with the analysis at each epoch."""
    folder = store / "outputs" / "projected"
    printed = run(
        store, "train.py", *TINY, "trainer.max_epochs=4", "callbacks=cca_projection",
        "callbacks.cca_projection.retrain=[]", f"partner={partner}", f"hydra.run.dir={folder}",
    )  # fmt: skip
    assert re.search(r"cca_projection took \d\.\d\d s an epoch, \d+\.\d% of the", printed)
    return folder


@pytest.fixture(scope="module")
def analysed(store: Path, projected: Path, partner: Path) -> dict[str, np.ndarray]:
    """What the analysis of the finished run gives, which takes the place of the training's."""
    from_training = arrays(projected)
    run(store, *ANALYSIS, f"runs={projected}", f"partner={partner}")
    found = arrays(projected)
    assert_allclose(from_training["correlations"], found["correlations"], atol=1e-5)
    for name in ("accuracy", "macro_f1"):
        # The same network in another process: float32 features to rounding.
        original = found[name][found["head"] == "original"]
        assert_allclose(from_training[name], original, atol=1e-5)
    return found


def arrays(folder: Path, epoch: int = 4) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "analysis" / "cca_projection" / f"epoch={epoch:03d}.npz"))


@pytest.mark.slow
def test_training_goes_on_as_if_nothing_had_been_analysed(
    projected: Path, finished: tuple[Path, str]
) -> None:
    with_it, without = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (projected, finished[0])
    )
    assert all(torch.equal(with_it[name], without[name]) for name in without)
    assert not np.array_equal(arrays(projected, 1)["accuracy"], arrays(projected)["accuracy"])


@pytest.mark.slow
def test_curves_are_the_statistics_of_the_run(
    projected: Path, partner: Path, analysed: dict[str, np.ndarray]
) -> None:
    task, data = load_run(projected)
    other, _ = load_run(partner)
    layers = {}
    for name, network in (("x", task), ("y", other)):
        for split, loader in (
            ("train", data.plain_train_dataloader()),
            ("val", data.val_dataloader()),
        ):
            with read_features(network, loader) as readings:
                layers[name, split] = torch.cat([layer["features"] for _, layer in readings])
    label, head = data.val_set.label, task.net.head[-1]
    found = analysed
    assert list(dict.fromkeys(found["method"])) == list(METHODS)
    for row, method in enumerate(found["method"]):
        if found["head"][row] != "original" or found["draw"][row] or "random" in method:
            continue
        basis = subspace(str(method), layers["x", "train"], layers["y", "train"])
        there = ~np.isnan(found["accuracy"][row])
        components = [int(n) for n in found["components"][there]]
        for average in ("accuracy", "macro_f1"):
            expected = projection_scores(
                layers["x", "val"],
                label,
                head.weight,
                head.bias,
                basis,
                components,
                average=average,
            ).numpy()
            # With all 128 components stands the network as it was, not CCA's reduction of it.
            assert_allclose(found[average][row, there][:-1], expected[:-1], atol=1e-12)
    with (projected / "metrics.csv").open() as file:
        metrics = [row for row in csv.DictReader(file) if row["val/f1"]][-1]
    fit = cca(layers["x", "train"], layers["y", "train"])
    held_out = correlations_on(fit, moments_of(layers["x", "val"], layers["y", "val"]))
    assert_allclose(found["correlations"], fit.correlations, atol=1e-10)
    assert_allclose(found["held_out"], held_out, atol=1e-10)
    assert tuple(found["ranks"]) == (fit.x.rank, fit.y.rank)
    assert found["components"][-1] == 128
    ends = found["macro_f1"][found["head"] == "original", -1]
    assert_allclose(ends, float(metrics["val/f1"]), atol=1e-6)
    assert float(metrics["analysis/cca_projection/pca/0128"]) == found["macro_f1"][0, -1]


@pytest.mark.slow
def test_retrained_heads_are_those_of_the_recipe(
    projected: Path, partner: Path, analysed: dict[str, np.ndarray]
) -> None:
    x, y = (record(folder, checkpoint="last") for folder in (projected, partner))
    chosen = choose_components(
        moments_of(x.train.features, y.train.features), num_classes=8, draws=3, seed=0
    )
    assert (x.recipe.epochs, x.recipe.batch_size) == (4, 64)
    heads = retrained_heads(
        "recipe", chosen, x.train.features, x.train.label, x.own, x.recipe, seed=0
    )
    counts = confusion(x.validation.features, x.validation.label, heads)
    expected = curves_from_counts(chosen, {"recipe": counts})
    of_recipe = analysed["head"] == "recipe"
    assert_allclose(analysed["macro_f1"][of_recipe], expected.macro_f1, atol=1e-10)
    whole = expected.macro_f1[:, -1]
    assert_array_equal(whole, np.full_like(whole, whole[0]))  # one head on untouched features
    assert not np.allclose(analysed["macro_f1"][of_recipe], analysed["macro_f1"][~of_recipe])


@pytest.mark.ddp
@pytest.mark.slow
def test_two_ranks_give_the_arrays_of_one(
    store: Path, projected: Path, partner: Path, analysed: dict[str, np.ndarray]
) -> None:
    (projected / "analysis" / "cca_projection" / "epoch=004.npz").unlink()
    printed = run(
        store, *ANALYSIS, f"runs={projected}", f"partner={partner}", "trainer=ddp",
        "trainer.devices=2",
    )  # fmt: skip
    together = arrays(projected)
    assert "figures/cca_projection.png" in printed
    for name in ("head", "method", "draw", "components", "kept"):
        assert_array_equal(together[name], analysed[name])
    for name in ("accuracy", "macro_f1", "correlations", "held_out"):
        assert_allclose(together[name], analysed[name], atol=1e-10)


@pytest.mark.slow
def test_without_a_partner_the_methods_that_need_none_are_left(store: Path, partner: Path) -> None:
    run(store, "analyze.py", "analysis=cca_projection", f"runs={partner}")
    found = arrays(partner, epoch=2)
    assert set(found["method"]) == set(METHODS[3:])
    assert set(found["head"]) == set(HEADS)
    assert "correlations" not in found


@pytest.mark.slow
def test_a_partner_of_other_samples_and_an_unknown_score_are_refused(
    store: Path, partner: Path
) -> None:
    run(
        store, "train.py", "model=shl_cnn", "data.source=simulated",
        "data.simulated_segments=501", "data.val_segments=201", "trainer.max_epochs=1",
        "logger=none", f"hydra.run.dir={store}/outputs/other_split",
    )  # fmt: skip
    printed = run(
        store, "analyze.py", "analysis=cca_projection", "runs=outputs/other_split",
        f"partner={partner}", code=1,
    )  # fmt: skip
    assert "the partner saw other samples (num_train: 300 here, 400 there" in printed
    printed = run(
        store, "analyze.py", "analysis=cca_projection", f"runs={partner}",
        "analysis.callback.monitor=val/loss", code=1,
    )  # fmt: skip
    assert "monitor='val/loss' is not one of val/f1, val/accuracy" in printed
    printed = run(
        store, "analyze.py", "analysis=cca_projection", f"runs={partner}",
        "analysis.callback.retrain=[best]", code=1,
    )  # fmt: skip
    assert "retrain=['best'] is not among recipe, converged" in printed


@pytest.mark.slow
def test_features_that_cannot_be_analysed_do_not_end_a_training(store: Path) -> None:
    few = ("data.simulated_segments=50", "data.val_segments=20", "logger=none")
    for name, more in (("few", ()), ("along", ("callbacks=cca_projection", "partner=outputs/few"))):
        printed = run(
            store, "train.py", *TINY[:2], *few, *more, "trainer.max_epochs=1",
            f"hydra.run.dir=outputs/{name}",
        )  # fmt: skip
    assert "leaves out epoch 1: 30 samples do not exceed the rank of x" in printed
    assert (store / "outputs" / "along" / "DONE").exists()
    printed = run(store, *ANALYSIS, "runs=outputs/along", "partner=outputs/few", code=1)
    assert "error: 30 samples do not exceed the rank of x" in printed


def test_the_grid_is_the_papers() -> None:
    assert grid(8, 128) == [*range(1, 17), 32, 64, 128]
    assert grid(10, 64) == [*range(1, 21), 32, 64]
    assert grid(10, 6) == [1, 2, 3, 4, 5, 6]
