"""Tables of fusion: what is printed, and ours of runs whose accuracies are known."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mmrep.loggers import MetricsFile
from mmrep.runs import asked_for, read_facts
from mmrep.studies.oyedotun2019 import report_tables
from mmrep.studies.oyedotun2019_numbers import LITERATURE, ROWS, TABLES, model_of, published
from mmrep.studies.oyedotun2019_runs import (
    Group,
    grouped,
    missing,
    row_of_run,
    runs_of,
    settings_of,
    starts_of,
)
from mmrep.studies.oyedotun2019_statements import (
    against_best,
    difference_of,
    differences_of,
    statements_of,
)
from tests.test_conf import composed, names

NAME = "oyedotun2019_simulated"
TESTED = 200  # images of a fold: accuracies are multiples of 0.5 percent
ENDS = {  # percent, of the first fold and seed
    "rgbd_depth": 10.0,
    "rgbd_depth_vgg": 12.0,
    "rgbd_depth_scratch": 60.0,
    "rgbd_rgb": 70.0,
    "rgbd_rgb_vgg": 50.0,
    "rgbd_naive": 65.0,
    "rgbd_naive_vgg": 75.0,
    "rgbd_gated": 80.0,
    "rgbd_gated_vgg": 75.0,
}
IN_PLACE = ("small_resnet", "small_vgg")


def config_of(model: str, networks: tuple[str, str], changed: Mapping[str, Any]) -> dict[str, Any]:
    """As it was asked for, most values in other places than they are needed in."""
    kind, backbone = ROWS.get(model, ("rgb", "resnet"))
    made = {"network": "${backbones.${backbone}.network}", "frozen": "${frozen}"}
    branches = {"rgb": made, "depth": {"network": "depth_scratch"}}
    weights = {"rgb": "${backbones.${backbone}.weights}", "depth": None}
    if kind == "rgb":
        del branches["depth"], weights["depth"]
    elif kind.startswith("depth"):
        branches = {"depth": made if backbone else branches["depth"]}
        weights = {"depth": weights["rgb"] if backbone else None}
    small = networks == IN_PLACE
    config = OmegaConf.create(
        {
            "backbones": {
                name: {"network": network, "weights": "outputs/colour" if small else "imagenet"}
                for name, network in zip(("resnet", "vgg"), networks, strict=True)
            },
            "image_size": 32,
            "weights": weights,
            "checkpoint": {"use": "last"},
            "data": {"size": "${oc.select:image_size,32}", "batch_size": 32},
            "logger": {"save_dir": "${hydra:runtime.output_dir}"},  # which no analysis can know
            "model": {
                "net": {"width": 64, "branches": branches}
                | ({"gate_reads": None} if kind == "gated" else {}),
                "optimizer": {"lr": 1e-3},
            },
            "patience": "${trainer.max_epochs}",
            "trainer": {"max_epochs": 2},
        }
        | ({"backbone": backbone, "frozen": False} if backbone else {})
    )
    for key, value in changed.items():
        OmegaConf.update(config, key, value, merge=False)
    plain: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    return plain


def write_run(
    folder: Path,
    model: str,
    accuracy: float,
    *,
    fold: int = 0,
    seed: int = 0,
    folds: int = 3,
    data: Mapping[str, Any] | None = None,
    networks: tuple[str, str] = IN_PLACE,
    changed: Mapping[str, Any] | None = None,
) -> Path:
    """A finished run as train.py leaves it; the training loss ends at 1 less the accuracy."""
    folder.mkdir(parents=True)
    given = {"set": "simulated", "source": "simulated", "preset": "balanced"} | dict(data or {})
    if given["set"] != "simulated":
        given |= {"source": "real", "preset": None}
    facts = {
        "model": model,
        "seed": seed,
        "checkpoint": "last",
        "config": config_of(model, networks, changed or {}),
        "data": {
            "size": 32,
            "missing": "fill",
            "augment": True,
            "split_by": "group",
            "folds": folds,
            "fold": fold,
            "corruption_rate": 0.0,
            "num_val": TESTED,
            "num_train": TESTED * (folds - 1),
            "class_names": [*"abcdefghij"],
            "fingerprint": f"of fold {fold}",
        }
        | given,
        "scores": {"val/accuracy": float(np.float32(accuracy / 100))},
        "epochs": 2,
        "parameters": 1000 + len(model),
    }
    (folder / "run.json").write_text(json.dumps(facts))
    log = MetricsFile(folder)
    for epoch, loss in enumerate((2.0, 1 - accuracy / 100)):
        log.log_metrics({"epoch": epoch, "val/loss": 0.0, "train/loss": loss}, epoch)
    log.log_metrics({"epoch": 2, "val/loss": 0.0}, 2)  # of the trained network
    log.save()
    (folder / "DONE").touch()
    return folder


def write_table_of_runs(
    folder: Path,
    ends: Mapping[str, float],
    *,
    folds: int = 3,
    seeds: int = 2,
    step: float = 1.0,
    **kwargs: Any,
) -> None:
    """Runs of all rows: each fold is `step` better than the one before, and seed 1 by 4 points.

    The gate gains another 2 points with every fold, and every third row is a point uneven, so that
    differences vary.
    """
    for place, (model, end) in enumerate(ends.items()):
        for fold in range(folds):
            for seed in range(seeds):
                more = 2.0 * fold if "gated" in model else float((place + fold) % 3 == 0)
                accuracy = end + step * fold + 4 * seed + more
                at = folder / f"{model}_{fold}_{seed}"
                write_run(at, model, accuracy, fold=fold, seed=seed, folds=folds, **kwargs)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scores(*folds: float, seeds: int = 1) -> dict[tuple[int, int], float]:
    return {(fold, seed): float(x) for fold, x in enumerate(folds) for seed in range(seeds)}


# The published numbers.


def is_multiple(percent: float, of: int) -> bool:
    """Whether a share of `of` samples is printed as `percent`, with two digits."""
    return math.isclose(round(100 * round(percent * of / 100) / of, 2), percent, abs_tol=1e-9)


def test_table_1_is_of_720_samples_and_no_fewer() -> None:
    table = TABLES["bu3dfe", 10].values()
    assert [n for n in range(1, 721) if all(is_multiple(x, n) for x in table)] == [720]
    assert 720 == 60 * 6 * 2  # subjects, expressions, intensities


def test_tables_3_and_4_are_not_of_4500_samples() -> None:
    ten, five = (TABLES["washington", folds].values() for folds in (10, 5))
    assert [sum(is_multiple(x, 4500) for x in table) for table in (ten, five)] == [3, 8]
    assert all(is_multiple(x, 4496) for x in five)


def test_the_papers_gains_and_statements_follow_from_the_tables() -> None:
    gains = {
        key: tuple(
            round(table[f"rgbd_gated{v}"] - table[f"rgbd_naive{v}"], 2) for v in ("", "_vgg")
        )
        for key, table in TABLES.items()
    }
    assert gains == {
        ("bu3dfe", 10): (2.78, 1.38),
        ("washington", 10): (22.67, 8.98),
        ("washington", 5): (37.70, 16.35),
    }
    for (data, _), table in TABLES.items():
        for v in ("", "_vgg"):
            single = table[f"rgbd_rgb{v}"], table["rgbd_depth_scratch"]
            assert (table[f"rgbd_naive{v}"] > max(single)) == (data == "bu3dfe")
            assert table[f"rgbd_depth{v}"] < table["rgbd_depth_scratch"]
    chance = 100 / 51
    near = [table[m] for (d, _), table in TABLES.items() if d == "washington"
            for m in ("rgbd_depth", "rgbd_depth_vgg")]  # fmt: skip
    assert all(abs(x - chance) < 0.5 for x in near)


def test_table_2_repeats_table_1() -> None:
    of_table_1 = [*TABLES["bu3dfe", 10].values()][5:]
    assert [*LITERATURE.values()][6:] == of_table_1
    assert len(LITERATURE) == 10
    assert max(LITERATURE.values()) == of_table_1[-1]
    assert published("bu3dfe", 5) == published("simulated", 10) == {}


def test_rows_are_models_that_can_be_chosen() -> None:
    assert {*ROWS} <= {*names("model")}
    for model, (kind, backbone) in ROWS.items():
        assert model_of(kind, backbone) == model
        config = composed(f"model={model}")
        assert backbone == config.get("backbone", "")
        assert {"resnet", "vgg"} <= config.backbones.keys()
    assert model_of("depth_scratch", "vgg") == "rgbd_depth_scratch"


# Differences and statements.


def test_folds_count_once_however_many_seeds_there_are() -> None:
    a = {"x": scores(10, 20, 40), "y": scores(8, 19, 37)}
    many = {name: scores(*[of[fold, 0] for fold in range(3)], seeds=9) for name, of in a.items()}
    one, nine = (difference_of(of, "x", "y", test_share=0.5) for of in (a, many))
    assert one is not None
    assert nine is not None
    assert nine.found == one.found
    assert (one.mean, one.found.student.df) == (2, 2)
    assert one.found.corrected.t == pytest.approx(2 / math.sqrt(1 / 3 + 1 / 2))
    assert len(nine.by_run) == 27


def test_differences_are_of_runs_that_both_rows_have() -> None:
    rows = {
        "x": {(0, 0): 5.0, (0, 1): 9.0, (1, 0): 3.0, (2, 5): 100.0},
        "y": {(1, 0): 2.0, (0, 1): 5.0, (0, 0): 3.0, (3, 5): 0.0},
    }
    found = difference_of(rows, "x", "y", test_share=0.5)
    assert found is not None
    assert found.by_run == {(0, 0): 2.0, (0, 1): 4.0, (1, 0): 1.0}
    assert found.mean == (3 + 1) / 2  # of folds, not of runs
    alone = difference_of({"x": {(0, 0): 5.0}, "y": rows["y"]}, "x", "y", test_share=0.5)
    assert alone is not None
    assert (alone.mean, alone.found) == (2, None)
    assert difference_of({"x": {(9, 9): 1.0}, "y": rows["y"]}, "x", "y", test_share=0.5) is None
    assert difference_of({"x": rows["x"]}, "x", "y", test_share=0.5) is None


@pytest.mark.parametrize("order", [("rgb", "depth_scratch"), ("depth_scratch", "rgb")])
def test_the_best_branch_is_the_better_one(order: tuple[str, str]) -> None:
    better, worse = (model_of(kind, "vgg") for kind in order)
    table = {better: scores(50, 60), worse: scores(10, 12), "rgbd_naive_vgg": scores(40, 49)}
    found = differences_of(table, test_share=0.5)
    against = against_best(found, "naive", "vgg")
    assert against is not None
    assert (against.b, against.mean) == (better, -10.5)
    del table[worse]
    assert against_best(differences_of(table, test_share=0.5), "naive", "vgg") is None


def verdicts(table: Mapping[str, Any], data: str, preset: str = "") -> dict[str, Any]:
    """Of ResNet's statements, by their numbers or presets."""
    found = statements_of(
        differences_of(table, test_share=0.25),
        data=data,
        preset=preset,
        folds=10,
        of={"resnet": "resnet", "vgg": "vgg"},
    )
    return {s.about.split(" ")[0] + s.about.split(":")[-1]: s for s in found if s.of == "resnet"}


def test_verdicts_are_those_of_each_data_set() -> None:
    noise = np.array([0.2, -0.2, 0.1, -0.1, 0.0])
    table = {
        "rgbd_depth": scores(*(10 + noise)),
        "rgbd_depth_scratch": scores(*(60 + 0 * noise)),
        "rgbd_rgb": scores(*(70 - noise)),
        "rgbd_naive": scores(*(65 + noise)),
        "rgbd_gated": scores(*(80 - 2 * noise)),
    }
    found = verdicts(table, "washington")
    assert {key: s.holds for key, s in found.items()} == {
        "1. no loss": True, "1. a gain": True, "2. it hurts": True,
        "4. scratch wins": True,
    }  # fmt: skip
    ours = {key: (s.ours, s.paper) for key, s in found.items()}
    assert ours["1. a gain"] == pytest.approx((15, 22.67))
    assert ours["2. it hurts"] == pytest.approx((-5, 76.65 - 77.07))
    assert ours["4. scratch wins"] == pytest.approx((50, 74.68))
    faces = verdicts(table, "bu3dfe")
    assert faces["3. beats both"].holds is False
    assert faces["3. beats both"].paper == pytest.approx(87.08 - 84.72)
    assert "2. it hurts" not in faces
    solids = verdicts(table, "simulated", "balanced")
    assert {"2. it hurts", "3. beats both", "balanced: beats both"} <= solids.keys()
    assert solids["balanced: beats both"].holds
    assert all(s.paper is None for s in solids.values())
    redundant = verdicts(table, "simulated", "redundant")
    assert redundant["redundant: depth adds nothing"].holds is False  # the gate's: 10 points ahead
    assert not {key for key in solids if key.startswith("redundant")}


def test_a_difference_within_chance_is_no_gain_and_no_loss() -> None:
    swing = np.array([3.0, -3.0, 2.0, -2.5, 1.0])
    table = {
        "rgbd_depth_scratch": scores(*(60 - swing)),
        "rgbd_rgb": scores(*(70 + 0 * swing)),
        "rgbd_naive": scores(*(70 + swing)),
        "rgbd_gated": scores(*(70.5 - swing)),
    }
    found = verdicts(table, "simulated", "redundant")
    assert {key: s.holds for key, s in found.items()} == {
        "1. no loss": True, "1. a gain": False, "2. it hurts": False, "3. beats both": False,
        "redundant: depth adds nothing": True,
    }  # fmt: skip
    ahead = {model: scores(x, x) for model, x in (("rgbd_gated", 9), ("rgbd_naive", 8))}
    without = verdicts(ahead, "simulated")  # a difference that does not vary is not tested
    assert [s.holds for s in without.values()] == [True, None]
    alone = verdicts({model: {(0, 0): of[0, 0]} for model, of in ahead.items()}, "simulated")
    assert [s.holds for s in alone.values()] == [True, None]


# Whole studies of written runs.


def test_the_study_of_simulated_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table_of_runs(tmp_path / "balanced", ENDS)
    flat = dict.fromkeys(ENDS, 50.0)
    write_table_of_runs(tmp_path / "redundant", flat, seeds=1, data={"preset": "redundant"})
    write_run(tmp_path / "noisy", "rgbd_rgb", 50, data={"corruption_rate": 0.3})
    write_run(tmp_path / "vgg11", "vgg11", 50)
    config = composed(f"analysis={NAME}", script="analyze")
    folders = sorted(path.parent for path in tmp_path.glob("**/run.json"))
    instantiate(config.analysis.report, folders)  # as analyze.py does
    printed = capsys.readouterr().out
    for said in ("left out, trained with data.corruption_rate=0.3: 1", "vgg11: no row",
                 "small_resnet, from outputs/colour, holds the place of ResNet50",
                 "BU-3DFE (real), 10 folds", "Washington (real), 5 folds", "99.54",
                 "compare with none of ours", "simulated RGB-D, balanced, 3 folds by group",
                 "Gate: small_vgg + scratch", "5 of 6", "3 of 6"):  # fmt: skip
        assert said in printed
    for unsaid in ("is missing", "are missing", "recipes differ", "Table 2", "leak:"):
        assert unsaid not in printed
    study = tmp_path / "analysis" / NAME
    table = {(row["preset"], row["model"]): row for row in rows(study / "table.csv")}
    assert len(table) == 2 * len(ROWS)
    assert all(row["paper"] == "" for row in table.values())
    gated = table["balanced", "rgbd_gated"]
    # Folds 80, 83, 86 and two points more for the mean of both seeds, which are 4 points apart.
    numbers = {key: float(gated[key]) for key in gated if gated[key].replace(".", "").isdigit()}
    assert numbers["accuracy"] == pytest.approx(85)
    assert numbers["deviation_over_folds"] == pytest.approx(3)
    assert numbers["deviation_over_seeds"] == pytest.approx(math.sqrt(8))
    assert numbers["training_loss"] == pytest.approx(0.15)
    assert (gated["folds_run"], gated["seeds"], gated["runs"]) == ("3", "2", "6")
    assert (gated["row"], gated["epochs"]) == ("Gate: small_resnet + scratch", "2")
    assert table["redundant", "rgbd_gated"]["deviation_over_seeds"] == ""
    # 10 classes, 200 images: in 99 of 100 guesses 30 (15 percent) or fewer are right.
    chances = [math.comb(200, right) * 0.1**right * 0.9 ** (200 - right) for right in range(31)]
    assert sum(chances[:30]) < 0.99 <= sum(chances)
    assert table["balanced", "rgbd_depth"]["not_learnt"] == "5"
    assert table["balanced", "rgbd_rgb"]["not_learnt"] == "0"
    runs = rows(study / "runs.csv")
    assert len(runs) == 9 * 3 * 2 + 9 * 3
    within = [run for run in runs if run["learnt"] == "False"]
    assert max(float(run["accuracy"]) for run in within) <= 15.5
    assert min(float(run["accuracy"]) for run in runs if run not in within) > 15.5
    tests = {(row["preset"], row["a"], row["b"]): row for row in rows(study / "tests.csv")}
    # By fold: 80 + 3 k less 65 + k + [k = 1], that is 15, 16, 19.
    gain = tests["balanced", "Gate: small_resnet + scratch", "NF: small_resnet + scratch"]
    expected = np.array([15.0, 16.0, 19.0])
    variance = expected.var(ddof=1) * (1 / 3 + 1 / 2)
    assert float(gain["difference"]) == pytest.approx(expected.mean())
    assert float(gain["corrected_t"]) == pytest.approx(expected.mean() / math.sqrt(variance))
    assert (gain["folds_compared"], gain["runs_compared"]) == ("3", "6")
    assert len(tests) == 2 * 2 * 6
    assert rows(study / "leak.csv") == []
    stated = rows(study / "statements.csv")
    assert {row["of"] for row in stated} == {
        f"{preset}, 3 folds by group, {network}"
        for preset in ("balanced", "redundant")
        for network in ("small_resnet", "small_vgg")
    }
    assert all(row["paper"] == "" for row in stated)
    for figure in (NAME, f"{NAME}_gain"):
        drawn = (tmp_path / "figures" / f"{figure}.svg").read_text()
        assert "simulated data" in drawn
        assert "the paper" not in drawn
        assert "redundant, 3 folds by group" in drawn


def test_the_study_of_real_runs_has_the_papers_numbers_and_the_leak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = ("resnet50", "vgg19")
    for split, ends in (("group", ENDS), ("frame", {m: x + 7 for m, x in ENDS.items()})):
        data = {"set": "washington", "split_by": split}
        write_table_of_runs(tmp_path / split, ends, folds=5, seeds=1, data=data, networks=networks)
    name = "oyedotun2019_washington"
    folders = [path.parent for path in tmp_path.glob("*/*/run.json")]
    instantiate(composed(f"analysis={name}", script="analyze").analysis.report, folders)
    printed = capsys.readouterr().out
    assert "Washington RGB-D Object, 5 folds by frame" in printed
    assert "holds the place" not in printed
    assert "not pretrained" not in printed
    study = tmp_path / "analysis" / name
    leak = rows(study / "leak.csv")
    assert [row["model"] for row in leak] == [*ROWS]
    assert [float(row["leak"]) for row in leak] == pytest.approx([7.0] * 9)
    table = [row for row in rows(study / "table.csv") if row["split_by"] == "group"]
    assert {row["model"]: float(row["paper"]) for row in table} == TABLES["washington", 5]
    assert table[-1]["row"] == "Gate: VGG19 + scratch"
    gains = [row["paper"] for row in rows(study / "statements.csv") if "a gain" in row["about"]]
    assert gains == ["37.7", "16.35"] * 2
    for figure in (name, f"{name}_gain"):
        drawn = (tmp_path / "figures" / f"{figure}.svg").read_text()
        assert ">the paper<" in drawn
        assert "simulated data" not in drawn


def test_table_2_is_printed_beside_faces_as_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", "rgbd_gated", 80, folds=10, data={"set": "bu3dfe"})
    report_tables([run], "oyedotun2019_bu3dfe", data="bu3dfe")
    printed = capsys.readouterr().out
    assert "Table 2, as printed in the paper, not run" in printed
    assert "distance + slopes + SVM" in printed
    assert "89.86" in printed
    assert "folds 1, 2, 3, 4, 5, 6, 7, 8, 9 of rgbd_gated seed 0 are missing" in printed
    assert rows(tmp_path / "run/analysis/oyedotun2019_bu3dfe/tests.csv") == []
    assert not (tmp_path / "run/figures/oyedotun2019_bu3dfe_gain.png").exists()


def test_what_is_missing_is_named_and_the_rest_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = {model: ENDS[model] for model in ("rgbd_rgb", "rgbd_naive", "rgbd_gated")}
    write_table_of_runs(tmp_path, ends)
    (tmp_path / "rgbd_naive_1_0" / "DONE").unlink()
    folders = sorted(tmp_path.iterdir())
    groups = grouped(runs_of(folders))
    ((group, found),) = groups.items()
    assert group == Group("balanced", "group", 3)
    said = [*missing(group, found)]
    assert "fold 1 of rgbd_naive seed 0 is missing" in said
    assert [line for line in said if "fold" not in line] == [
        f"{model} is missing" for model in ROWS if model not in ends
    ]
    del found["rgbd_rgb"][0, 1], found["rgbd_rgb"][1, 1]
    assert "folds 0, 1 of rgbd_rgb seed 1 are missing" in [*missing(group, found)]
    del found["rgbd_rgb"][2, 1]
    assert "seed 1 of rgbd_rgb is missing" in [*missing(group, found)]
    report_tables(folders, NAME, data="simulated")
    printed = capsys.readouterr().out
    assert "rgbd_naive_1_0: not DONE" in printed
    assert "3 x 2, 5 runs" in printed
    (gain,) = (row for row in rows(tmp_path / "analysis" / NAME / "tests.csv")
               if row["b"].startswith("NF"))  # fmt: skip
    # Fold 1 has seed 1 alone, whose lead of four points both rows have.
    assert (gain["folds_compared"], gain["runs_compared"]) == ("3", "5")
    assert float(gain["difference"]) == pytest.approx(np.mean([15, 17, 18]))


def test_unequal_recipes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        write_run(tmp_path / "a", "rgbd_naive", 50),
        write_run(
            tmp_path / "b",
            "rgbd_gated",
            60,
            data={"size": 64},
            changed={"model.optimizer.lr": 1e-4, "image_size": 64, "trainer.max_epochs": 9},
        ),
        # What it asks for by number is what the first one has by default.
        write_run(tmp_path / "c", "rgbd_rgb", 60, changed={"data.size": 32, "patience": 2}),
    ]
    report_tables(runs, NAME, data="simulated")
    fusion, gate = (f"{kind}: small_resnet + scratch" for kind in ("NF", "Gate"))
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("recipes differ")] == [
        f"recipes differ: {key} is {one} (RGB-small_resnet, {fusion}); {other} ({gate})"
        for key, one, other in (
            ("trainer.max_epochs", 2, 9),
            ("patience", 2, 9),
            ("model.optimizer.lr", 0.001, 0.0001),
            ("data.size", 32, 64),
        )
    ]


def test_settings_are_those_that_hydra_would_give() -> None:
    for row, (_, backbone) in ROWS.items():
        config = composed(f"model={row}", "backbones=imagenet", "trainer.max_epochs=7")
        data = {"size": config.data.size, "missing": config.data.missing,
                "augment": config.data.augment}  # fmt: skip
        facts = {"model": row, "config": asked_for(config), "data": data}
        settings = settings_of(facts)
        assert row_of_run(facts) == row
        assert settings["patience"] == 7
        assert (settings["data.batch_size"], settings["data.size"]) == (32, 224)
        assert settings["model.net"] == OmegaConf.to_container(config.model.net, resolve=True)
        starts = {*starts_of(facts | {"row": row, "settings": settings})}
        wanted = {(backbone, "imagenet")} if backbone else set()
        scratch = {("", None)} if "depth_scratch" in str(settings["model.net"]) else set()
        assert starts == wanted | scratch


def test_a_row_has_the_backbone_that_its_runs_have(tmp_path: Path) -> None:
    vgg = {"backbone": "vgg"}
    folders = [
        write_run(tmp_path / "a", "rgbd_gated", 50),
        write_run(tmp_path / "b", "rgbd_gated", 60, changed=vgg),
        write_run(tmp_path / "c", "rgbd_rgb_vgg", 70, changed={"backbone": "resnet"}),
        write_run(tmp_path / "d", "rgbd_depth_scratch", 40, changed=vgg),
        write_run(tmp_path / "e", "rgbd_naive", 40, changed={"backbone": "other"}),
    ]
    facts = runs_of(folders)
    assert {folder.name: found["row"] for folder, found in facts.items()} == {
        "a": "rgbd_gated",
        "b": "rgbd_gated_vgg",
        "c": "rgbd_rgb",
        "d": "rgbd_depth_scratch",
    }
    (rows_of,) = grouped(facts).values()
    assert {row: runs[0, 0].accuracy for row, runs in rows_of.items()} == {
        "rgbd_depth_scratch": 40, "rgbd_rgb": 70, "rgbd_gated": 50, "rgbd_gated_vgg": 60,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"frozen": True}, "frozen=False and True"),
        ({"model.net.width": 8}, r"model\.net\.width=64 and 8"),
        (
            {"model.net.branches.rgb.frozen": True},
            r"model\.net\.branches\.rgb\.frozen=False and True",
        ),
        (
            {"model.net.gate_reads": ["rgb", "depth"]},
            r"model\.net\.gate_reads=None and \['rgb', 'depth'\]",
        ),
    ],
)
def test_a_row_has_one_network(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    first = write_run(tmp_path / "first", "rgbd_gated", 50)
    same = write_run(
        tmp_path / "same", "rgbd_gated", 50, fold=1,
        changed={"model.net.branches.rgb.network": "small_resnet"},
    )  # fmt: skip
    other = write_run(tmp_path / "other", "rgbd_gated", 60, fold=2, changed=changed)
    report_tables([first, same], NAME, data="simulated")
    with pytest.raises(
        ValueError,
        match=rf"first and .*other are both rgbd_gated, with {said}: give runs of one network",
    ):
        report_tables([first, same, other], NAME, data="simulated")


@pytest.mark.parametrize(
    ("networks", "weights", "said"),
    [
        (("resnet50", "vgg19"), {}, []),
        (("resnet50", "vgg19"), {"rgb": "resnet50"}, []),
        (("resnet50", "vgg19"), "imagenet", []),
        (("resnet50", "vgg19"), {"rgb": None}, ["ResNet50, not pretrained"]),
        (("resnet50", "vgg19"), None, ["ResNet50, not pretrained"]),
        (("resnet50", "vgg19"), {"rgb": "a.pth"}, ["ResNet50, from a.pth"]),
        (
            IN_PLACE,
            "all.ckpt",
            [
                "small_resnet, from all.ckpt, holds the place of ResNet50",
                "what rows call scratch: from all.ckpt",
            ],
        ),
        (IN_PLACE, "imagenet", ["small_resnet, not pretrained, holds the place of ResNet50"]),
        (
            IN_PLACE,
            {"depth": "d.pth"},
            [
                "small_resnet, from outputs/colour, holds the place of ResNet50",
                "what rows call scratch: from d.pth",
            ],
        ),
    ],
)
def test_what_the_runs_started_from_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    networks: tuple[str, str],
    weights: str | dict[str, str | None] | None,
    said: list[str],
) -> None:
    by_branch = isinstance(weights, dict)
    changed = {f"weights.{k}": v for k, v in weights.items()} if by_branch else {"weights": weights}
    run = write_run(tmp_path / "run", "rgbd_gated", 50, networks=networks, changed=changed)
    assert starts_said([run], capsys) == said


def starts_said(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> list[str]:
    report_tables(folders, NAME, data="simulated")
    lines = capsys.readouterr().out.splitlines()
    told = (", from ", ", not pretrained", "what rows")
    return [line for line in lines if any(word in line for word in told)]


def test_rows_that_started_from_other_weights_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        write_run(tmp_path / str(place), model, 50, networks=("resnet50", "vgg19"), changed=changed)
        for place, (model, changed) in enumerate(
            (
                ("rgbd_depth_vgg", {"weights.depth": None}),
                ("rgbd_rgb_vgg", {}),
                ("rgbd_depth", {}),
                ("rgbd_naive_vgg", {}),
            )
        )
    ]
    assert starts_said(runs, capsys) == [
        "VGG19, not pretrained (DepthMap-VGG19); from imagenet (RGB-VGG19, NF: VGG19 + scratch)"
    ]


def test_wrong_runs_are_refused(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", "rgbd_rgb", 50, fold=2, seed=4)
    again = write_run(tmp_path / "again", "rgbd_rgb", 60, fold=2, seed=4)
    with pytest.raises(
        ValueError, match=r"first and .*again are both rgbd_rgb with fold 2 and see"
    ):
        report_tables([first, again], NAME, data="simulated")
    frames = write_run(tmp_path / "frames", "rgbd_rgb", 60, data={"set": "bu3dfe"})
    for folders, data, said in (
        ([first, frames], "simulated", "frames is of data.set=bu3dfe, not simulated: .*_bu3dfe$"),
        ([first], "washington", "first is of data.set=simulated, not washington: .*_simulated$"),
    ):
        with pytest.raises(ValueError, match=said):
            report_tables(folders, NAME, data=data)
    large = write_run(tmp_path / "large", "rgbd_rgb", 60, networks=("resnet50", "small_vgg"))
    with pytest.raises(ValueError, match=r"have resnet50, small_resnet for ResNet50: give those"):
        report_tables([first, large], NAME, data="simulated")
    other = write_run(
        tmp_path / "other", "rgbd_naive", 60, fold=2, seed=4, data={"fingerprint": "another"}
    )
    with pytest.raises(
        ValueError, match=r"first and .*other are of fold 2 and other images: .*masking"
    ):
        report_tables([first, other], NAME, data="simulated")
    noisy = write_run(tmp_path / "noisy", "rgbd_rgb", 50, data={"corruption_rate": 0.5})
    with pytest.raises(ValueError, match=r"none of the 1 runs is a finished row .*rgbd_gated_vgg"):
        report_tables([noisy], NAME, data="simulated")
    assert read_facts(first)["data"]["fold"] == 2
    (first / "metrics.csv").unlink()
    with pytest.raises(ValueError, match=r"first has no train/loss in metrics.csv: train it anew"):
        report_tables([first], NAME, data="simulated")
    assert not (tmp_path / "analysis").exists()
