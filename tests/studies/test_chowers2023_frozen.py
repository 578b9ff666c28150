"""Learning curves with the first layer free and frozen: gaps that are known, runs of few epochs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate

from mmrep.loggers import MetricsFile
from mmrep.studies.chowers2023_frozen import (
    QUANTITIES,
    Kind,
    Trained,
    gaps_of,
    read_curves,
    report_frozen,
    runs_of,
    statements_of,
)
from tests.test_conf import composed

NAME = "chowers2023_frozen"


def write_run(
    folder: Path,
    depth: int,
    frozen: bool,
    accuracy: list[float],
    *,
    seed: int = 0,
    network: str = "VGG",
    width: int = 64,
    source: str = "real",
) -> Path:
    """A finished run as train.py leaves it, unanalysed; losses are 2 and 1 less the accuracy."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").touch()
    net = {"_target_": f"mmrep.networks.vgg.{network}", "depth": depth, "width": width}
    config = {
        "seed": seed,
        "model": {"net": net | {"freeze_first_layer": frozen}},
        "data": {"classes": ["cat", "dog"]},
        "trainer": {"max_epochs": len(accuracy)},
    }
    data = {"name": "cifar10", "source": source, "fingerprint": "0"}
    facts = {"seed": seed, "sensor": None, "config": config, "data": data}
    (folder / "run.json").write_text(json.dumps(facts))
    log = MetricsFile(folder)
    for epoch, right in enumerate(accuracy):
        scores = {"epoch": epoch, "val/accuracy": right, "val/f1": 0.0, "val/loss": 1 - right}
        log.log_metrics(scores, epoch)
        log.log_metrics({"epoch": epoch, "train/loss": 2 - right}, epoch)
    log.log_metrics(scores | {"epoch": len(accuracy)}, len(accuracy))  # of the trained network
    log.save()
    (folder / "DONE").touch()
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def trained(*accuracies: list[float], seeds: list[int] | None = None) -> Trained:
    curves = np.array(accuracies)[..., None] * [1.0, -0.01, -0.01]  # percent, nats, nats
    return Trained(seeds or [*range(len(accuracies))], curves)


def test_curves_end_with_the_training(tmp_path: Path) -> None:
    curves = read_curves(write_run(tmp_path / "run", 11, False, [0.25, 0.5, 0.75]))
    assert [*QUANTITIES] == ["val/accuracy", "val/loss", "train/loss"]
    assert curves.tolist() == [[25, 0.75, 1.75], [50, 0.5, 1.5], [75, 0.25, 1.25]]


def test_gaps_are_of_seeds_and_epochs_that_both_have() -> None:
    free = trained([10, 30, 90], [20, 40, 90], [0, 0, 0], seeds=[0, 1, 7])
    frozen = trained([10, 32], [4, 30], seeds=[1, 0])  # another order, an epoch less
    gaps = gaps_of({Kind(11, False): free, Kind(11, True): frozen, Kind(16, True): frozen})
    assert [*gaps] == [11]
    assert gaps[11].seeds == [0, 1]
    assert gaps[11].curves[..., 0].tolist() == [[6, 0], [10, 8]]
    last, over_epochs = (
        s
        for s in statements_of(gaps, "CIFAR-10")
        if s.about.startswith("validation accuracy") and s.about.endswith("size of the gap")
    )
    assert last.ours == 4
    assert last.spread == pytest.approx(np.std([0, 8], ddof=1))
    assert over_epochs.ours == (8 + 4) / 2  # of the mean curves
    assert [last.holds, over_epochs.holds] == [False, False]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_gap_that_closes_with_depth_holds_whichever_is_ahead(swapped: bool) -> None:
    found = {}
    for depth, ahead in ((11, 5.0), (13, 9.0), (16, 0.5)):
        found[Kind(depth, swapped)] = trained([50 + ahead, 60 + ahead])
        found[Kind(depth, not swapped)] = trained([50, 60])
    statements = statements_of(gaps_of(found), "CIFAR-10")
    judged = [s for s in statements if s.holds is not None]
    assert len(judged) == 2 * (len(QUANTITIES) + 1)
    assert all(s.holds for s in judged)
    shrinks = {s.about: s.ours for s in judged if s.bound == "> 0"}
    assert shrinks["validation accuracy, last epoch: gap shrinks with depth"] == pytest.approx(4.5)
    assert shrinks["training loss, mean over epochs: gap shrinks with depth"] == pytest.approx(
        0.045
    )
    turned = statements_of({11: gaps_of(found)[16], 16: gaps_of(found)[11]}, "CIFAR-10")
    assert not any(s.holds for s in turned if s.bound)


def test_one_depth_says_nothing_of_depth() -> None:
    same = {Kind(11, False): trained([50, 60]), Kind(11, True): trained([50, 60])}
    statements = statements_of(gaps_of(same), "CIFAR-10")
    assert [s.ours for s in statements] == [0] * 2 * len(QUANTITIES)
    assert [s.bound for s in statements if s.holds] == ["at most 1"] * 2
    assert all(s.spread is None for s in statements)


@pytest.mark.parametrize("source", ["real", "simulated"])
def test_the_study_of_finished_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    ends = {(11, False): 0.8, (11, True): 0.7, (16, False): 0.9, (16, True): 0.895}
    for (depth, frozen), end in ends.items():
        for seed in (0, 1):
            accuracy = [0.5, end + 0.01 * seed]
            folder = tmp_path / f"{depth}_{frozen}_{seed}"
            write_run(folder, depth, frozen, accuracy, seed=seed, source=source)
    write_run(tmp_path / "other", 20, False, [0.5], network="CifarResNet", source=source)
    config = composed(f"analysis={NAME}", script="analyze")
    instantiate(config.analysis.report, sorted(tmp_path.iterdir()))  # as analyze.py does
    printed = capsys.readouterr().out
    assert "other: no VGG" in printed
    assert "training images is not logged" in printed
    assert "8 of 8 statements hold" in printed
    study = tmp_path / "analysis" / NAME
    curves = rows(study / "curves.csv")
    assert len(curves) == 4 * 2 * 2  # kinds, seeds, epochs
    assert {row["source"] for row in curves} == {source}
    gap = rows(study / "gaps.csv")[0]
    found = {key: float(gap[key]) for key in ("free", "frozen", "gap", "gap_over_epochs")}
    assert found == pytest.approx(
        {"free": 80.5, "frozen": 70.5, "gap": 10, "gap_over_epochs": 5}, abs=1e-9
    )
    assert float(gap["free_deviation"]) == pytest.approx(np.sqrt(0.5))
    assert float(gap["gap_deviation"]) == pytest.approx(0, abs=1e-9)
    assert (gap["epoch"], gap["seeds"]) == ("2", "2")
    for figure in (NAME, f"{NAME}_loss"):
        drawn = (tmp_path / "figures" / f"{figure}.svg").read_text()
        assert "CIFAR-10 cat/dog" in drawn
        assert ("simulated data" in drawn) == (source == "simulated")


def test_wrong_runs_are_refused(tmp_path: Path) -> None:
    free = write_run(tmp_path / "free", 11, False, [0.5])
    with pytest.raises(ValueError, match=r"no runs of one depth and seed .*experiment=chowers2023"):
        report_frozen([free], NAME)
    wide = write_run(tmp_path / "wide", 11, False, [0.5], width=32)
    with pytest.raises(ValueError, match=r"width=64: there are others of VGG11, first layer free"):
        runs_of([free, wide])
    resnet = write_run(tmp_path / "resnet", 20, False, [0.5], network="CifarResNet")
    with pytest.raises(ValueError, match=r"none of the 1 runs is a finished VGG"):
        runs_of([resnet])
    (free / "metrics.csv").write_text("epoch,step,val/loss\n0,1,2.0\n")
    with pytest.raises(ValueError, match=r"no epoch with val/accuracy, val/loss, train/loss in"):
        read_curves(free)
