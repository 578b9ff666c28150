"""The report of `modality_gate`: runs written by hand, averaged over folds and seeds."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate

from mmrep.studies.modality_gate import Kind, averaged, measured, report_gates
from tests.test_conf import composed

NAME = "modality_gate"
KINDS = ("depth_holes", "rgb_noise")


def write_run(
    folder: Path,
    model: str,
    accuracy: float,
    *,
    fold: int = 0,
    seed: int = 0,
    rate: float = 0.0,
    gated: bool = False,
    kinds: tuple[str, ...] = KINDS,
    source: str = "simulated",
    net: dict[str, Any] | None = None,
    backbone: str = "small_resnet",
    epoch: int = 3,
) -> Path:
    """A finished run of 3 epochs, analysed after `epoch`; accuracy halves, gates close, at 1."""
    (folder / "analysis" / NAME).mkdir(parents=True)
    branch = {"_target_": "Branch", "network": "${backbone}"}
    config = {
        "seed": seed,
        "fold": fold,
        "data": {"corruption_rate": rate},
        "backbone": backbone,
        "model": {"net": {"branches": {"rgb": branch, "depth": branch}, **(net or {})}},
    }
    data = {"name": "rgbd_balanced", "source": source, "fingerprint": str(fold)}
    if source == "simulated":
        data |= {"set": "simulated", "preset": "balanced"}
    facts = {"model": model, "seed": seed, "config": config, "data": data, "epochs": 3}
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "DONE").touch()
    gates = ("gate_depth,gate_depth_deviation", ",{gate},{spread}") if gated else ("", "")
    lines = [f"epoch,kind,level,accuracy,correct,samples{',' * gated}{gates[0]}"]
    for kind in kinds:
        for level in (0.0, 1.0):
            right = accuracy / (1 + level)
            gate = gates[1].format(gate=0.5 - 0.25 * level + 0.1 * fold, spread=0.1 + 0.2 * fold)
            lines.append(f"{epoch},{kind},{level},{right},1,2{gate}")
    (folder / "analysis" / NAME / "corruption.csv").write_text("\n".join(lines) + "\n")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_runs_are_averaged_by_network_and_training(tmp_path: Path) -> None:
    accuracies = {(0, 0): 0.8, (1, 0): 0.9, (1, 3): 0.7}
    folders = [
        write_run(tmp_path / f"{fold}{seed}", "rgbd_gated", x, fold=fold, seed=seed, gated=True)
        for (fold, seed), x in accuracies.items()
    ]
    folders += [write_run(tmp_path / "bad", "rgbd_gated", 0.5, rate=0.5, gated=True)]
    folders += [write_run(tmp_path / "depth", "rgbd_depth", 0.6, kinds=KINDS[:1])]
    found = measured(folders)
    assert [str(kind) for kind in found] == [
        "rgbd_depth, trained clean",
        "rgbd_gated, trained clean",
        "rgbd_gated, trained corrupted (rate 0.5)",
    ]
    assert [(of.fold, of.seed) for of in found[Kind("rgbd_gated", 0.0)]] == [*accuracies]
    table = averaged(found)
    assert len(table) == 2 + 4 + 4  # levels of the kinds that each network sees
    (clean,) = [
        row
        for row in table
        if (row["network"], row["corruption_rate"], row["kind"], row["level"])
        == ("rgbd_gated", 0.0, "rgb_noise", 1.0)
    ]
    halves = np.array([*accuracies.values()]) / 2
    assert (clean["runs"], clean["folds"], clean["seeds"]) == (3, 2, 2)
    numbers = {
        "accuracy": halves.mean(),
        "accuracy_deviation": halves.std(ddof=1),
        "gate_depth": (0.25 + 0.35 + 0.35) / 3,
        "gate_depth_deviation_over_runs": np.std([0.25, 0.35, 0.35], ddof=1),
        "gate_depth_deviation": (0.1 + 0.3 + 0.3) / 3,
    }
    assert {name: clean[name] for name in numbers} == pytest.approx(numbers)
    assert table[0]["accuracy_deviation"] is None  # of one run
    assert "gate_depth" not in table[0]


def test_the_report_of_several_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [
        write_run(tmp_path / "gated", "rgbd_gated", 0.8, gated=True),
        write_run(tmp_path / "naive", "rgbd_naive", 0.7),
        write_run(tmp_path / "depth", "rgbd_depth", 0.6, kinds=KINDS[:1]),
        write_run(tmp_path / "unfinished", "rgbd_rgb", 0.6, kinds=KINDS[1:]),
    ]
    (folders[-1] / "DONE").unlink()
    config = composed(f"analysis={NAME}", script="analyze")
    instantiate(config.analysis.report, folders)  # as analyze.py does
    printed = capsys.readouterr().out
    assert "unfinished: not DONE" in printed
    lines = {line.split()[0]: line.split() for line in printed.splitlines() if line}
    assert lines["rgbd_gated"][-3:] == ["80.0%", "40.0%", "40.0%"]
    assert lines["rgbd_depth"][-3:] == ["60.0%", "30.0%", "-"]
    for figure in ("networks", "networks_gate_depth"):
        assert f"modality_gate_{figure}.png" in printed
        drawn = (tmp_path / "figures" / f"modality_gate_{figure}.svg").read_text()
        assert "rgbd_gated" in drawn
        assert ("rgbd_naive" in drawn) == (figure == "networks")
        assert "simulated solids, balanced, tested folds" in drawn
        assert "simulated data" in drawn
    table = rows(tmp_path / "analysis" / NAME / "corruption.csv")
    assert {row["source"] for row in table} == {"simulated"}
    assert {row["gate_depth"] for row in table if row["network"] == "rgbd_naive"} == {""}


BOTH = {"gate_reads": ["rgb", "depth"], "gate_bias": 0.0}


def test_networks_of_one_model_are_told_apart_by_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = BOTH | {"gate_reads": None}
    runs: dict[str, dict[str, Any]] = {
        "published": {"net": published},
        "again": {"net": published, "seed": 1},
        "both": {"net": BOTH},
        "bad": {"net": BOTH, "rate": 0.5},  # in a panel of its own, under the same name
    }
    folders = [
        write_run(tmp_path / name, "rgbd_gated", 0.8, gated=True, **options)
        for name, options in runs.items()
    ]
    folders.append(write_run(tmp_path / "naive", "rgbd_naive", 0.7, net={"width": 8}))
    own, reads = "rgbd_gated, gate_reads=None", "rgbd_gated, gate_reads=['rgb', 'depth']"
    found = measured(folders)
    assert {kind: len(of) for kind, of in found.items()} == {
        Kind(reads, 0.0): 1,
        Kind(reads, 0.5): 1,
        Kind(own, 0.0): 2,
        Kind("rgbd_naive", 0.0): 1,  # what differs from another model is no part of the name
    }
    assert {row["network"] for row in averaged(found)} == {own, reads, "rgbd_naive"}
    report_gates(folders, NAME)
    assert reads in capsys.readouterr().out
    drawn = (tmp_path / "figures" / "modality_gate_networks.svg").read_text()
    assert own in drawn
    assert reads.partition(",")[2] in drawn


def test_what_is_named_elsewhere_in_the_configuration_is_told_once(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / name, "rgbd_naive", 0.8, backbone=name)
        for name in ("small_resnet", "small_vgg")
    ]
    assert [kind.network for kind in measured(folders)] == [
        "rgbd_naive, network=small_resnet",  # of both branches
        "rgbd_naive, network=small_vgg",
    ]


def test_other_weights_than_the_last_are_refused(tmp_path: Path) -> None:
    trained = write_run(tmp_path / "trained", "rgbd_gated", 0.8, gated=True)
    init = write_run(tmp_path / "init", "rgbd_gated", 0.1, seed=1, gated=True, epoch=0)
    with pytest.raises(
        ValueError,
        match=r"init/.*corruption.csv is of epoch 0, and the run was trained to epoch 3: write it "
        r"anew with python analyze.py analysis=modality_gate runs=.*/init$",
    ):
        report_gates([trained, init], NAME)
    path = trained / "analysis" / NAME / "corruption.csv"
    path.write_text("kind,level,accuracy,correct,samples\ndepth_holes,0.0,0.8,1,2\n")
    with pytest.raises(ValueError, match="is of epoch unknown, and the run was trained to epoch 3"):
        measured([trained])


def test_other_data_keep_their_name(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / str(seed), "rgbd_naive", 0.8, seed=seed, source="real")
        for seed in (0, 1)
    ]
    report_gates(folders, NAME)
    drawn = (tmp_path / "figures" / "modality_gate_networks.svg").read_text()
    assert "rgbd_balanced, tested folds" in drawn
    assert "simulated" not in drawn


def test_one_run_stands_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "gated", "rgbd_gated", 0.8, gated=True)
    report_gates([folder], NAME)
    assert capsys.readouterr().out.startswith("modality_gate: ")
    assert not (tmp_path / "figures").exists()
    assert not (folder / "figures").exists()


def test_wrong_runs_are_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", "rgbd_gated", 0.8, gated=True)
    again = write_run(tmp_path / "again", "rgbd_gated", 0.8, gated=True)
    with pytest.raises(
        ValueError, match=r"are both rgbd_gated, trained clean of fold 0 and seed 0"
    ):
        measured([one, again])
    real = write_run(tmp_path / "real", "rgbd_naive", 0.8, source="real")
    with pytest.raises(
        ValueError, match=r"of 2 data sets, .*real rgbd_balanced: give those of one"
    ):
        measured([one, real])
    (again / "analysis" / NAME / "corruption.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"corruption.csv: python analyze.py analysis=moda"):
        measured([again])
