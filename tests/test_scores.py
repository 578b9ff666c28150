"""Scores are averaged over seeds, and over nothing else."""

from typing import Any

from mmrep.scores import by_configuration

OVER = ["seed"]


def run(sensor: str | None, seed: int, epochs: int = 50) -> dict[str, Any]:
    net = {"_target_": "mmrep.networks.resnet.CifarResNet", "depth": 20}
    config = {
        "seed": seed, "sensor": sensor, "trainer": {"max_epochs": epochs}, "model": {"net": net}
    }  # fmt: skip
    return {"sensor": sensor, "seed": seed, "model": "resnet56", "config": config}


def test_seeds_are_one_group_for_each_sensor() -> None:
    groups = by_configuration([run("acc_norm", 0), run("gyr_y", 0), run("acc_norm", 1)], OVER)
    assert {name: [r["seed"] for r in runs] for name, runs in groups.items()} == {
        "acc_norm": [0, 1],
        "gyr_y": [0],
    }


def test_whatever_else_differs_is_named() -> None:
    groups = by_configuration([run("acc_norm", 0), run("acc_norm", 0, epochs=5)], OVER)
    assert set(groups) == {"acc_norm, trainer.max_epochs=50", "acc_norm, trainer.max_epochs=5"}


def test_runs_without_a_sensor_are_named_by_their_network() -> None:
    assert set(by_configuration([run(None, 0), run(None, 1)], OVER)) == {"CifarResNet 20"}


def test_other_keys_can_be_averaged_over() -> None:
    runs = [run("acc_norm", 0), run("acc_norm", 0, epochs=5)]
    assert set(by_configuration(runs, ["seed", "trainer.max_epochs"])) == {"acc_norm"}
