"""Colour and depth as a user has them: trained over folds, drawn up as a table, looked into."""

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
