"""Colour and depth as a user has them: trained over folds, drawn up as a table, looked into."""

import csv
from pathlib import Path
from typing import Any

import pytest

from mmrep.runs import load_run, read_facts
from tests.scripts import run

KINDS = ("gated", "naive")
SWEPT = (
    *("experiment=oyedotun2019_simulated", "model=rgbd_gated,rgbd_naive", "fold=0,1", "seed=0"),
    *("data.preset=balanced", "data.instances=2", "data.views=3", "data.folds=2", "logger=none"),
    *("backbones.resnet.weights=null", "trainer.max_epochs=1", "hydra.sweep.dir=outputs/rgbd"),
)


@pytest.mark.slow
def test_folds_are_trained_tabulated_and_looked_into(store: Path) -> None:
    said = run(store, "train.py", *SWEPT)
    assert "4 of 4 jobs done" in said
    folder = store / "outputs" / "rgbd"
    gated, naive = (folder / f"rgbd_{kind}_data.preset-balanced_fold-1_seed-0" for kind in KINDS)
    facts = read_facts(gated)
    assert (facts["data"]["fold"], facts["data"]["source"]) == (1, "simulated")
    loaded: Any = load_run(gated)
    assert [*loaded.task.net.gates] == ["depth"]
    assert len(loaded.data.val_set) == 30
    said = run(store, "analyze.py", "analysis=oyedotun2019_simulated", "runs=outputs/rgbd")
    assert "Gate: small_resnet + scratch" in said
    assert "rgbd_rgb is missing" in said
    assert (folder / "analysis" / "oyedotun2019_simulated" / "tests.csv").exists()
    said = run(store, "analyze.py", "analysis=modality_gate", "runs=outputs/rgbd")
    assert "modality_gate_networks.png" in said
    assert (gated / "figures" / "modality_gate_images.png").exists()
    assert not (naive / "figures" / "modality_gate_images.png").exists()


@pytest.mark.ddp
@pytest.mark.slow
def test_two_ranks_give_the_gates_of_one(store: Path) -> None:
    """What two ranks write as they end a training, and what one makes of the same weights."""
    tiny = ("data.instances=3", "data.views=3", "data.folds=3", "trainer.max_epochs=1")
    two = ("trainer=ddp", "trainer.devices=2", "data.corruption_rate=0.5", "logger=none")
    folder = store / "outputs" / "two_ranks"
    run(store, "train.py", "model=rgbd_gated", *tiny, *two, f"hydra.run.dir={folder}")
    scores = read_facts(folder)["scores"]
    by_two = {name: table(folder, name) for name in ("gates", "units", "corruption")}
    said = run(store, "analyze.py", "analysis=modality_gate", f"runs={folder}")
    assert "modality_gate.png" in said
    for name, rows in by_two.items():
        again = table(folder, name)
        assert [row.keys() for row in rows] == [row.keys() for row in again]
        for row, same in zip(rows, again, strict=True):
            for column, value in row.items():
                if column in ("kind", "modality", "class"):
                    assert value == same[column]
                else:
                    assert float(value) == pytest.approx(float(same[column]), abs=1e-6)
    intact = [row for row in by_two["corruption"] if float(row["level"]) == 0]
    accuracies = [float(row["accuracy"]) for row in intact]
    assert accuracies == pytest.approx(5 * [scores["val/accuracy"]])  # of every kind


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "analysis" / "modality_gate" / f"{name}.csv").open(newline="") as file:
        return [*csv.DictReader(file)]
