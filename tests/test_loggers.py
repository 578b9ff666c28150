"""`metrics.csv`, and when W&B may speak to the network."""

import csv
import os
from pathlib import Path

import pytest

from mmrep.loggers import MetricsFile, configure_wandb, read_metrics


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def log(file: MetricsFile, step: int, **metrics: float) -> None:
    file.log_metrics(metrics, step)
    file.save()


def test_rows_of_one_step_are_one_and_new_columns_are_added(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path)
    file.save()  # nothing yet
    assert not (tmp_path / "metrics.csv").exists()
    log(file, 6, f1=0.5, epoch=0)
    log(file, 6, loss=2.0, epoch=0)
    log(file, 13, f1=0.25, epoch=1)
    log(file, 13, loss=1.0, epoch=1)
    assert rows(tmp_path) == [
        {"epoch": "0", "step": "6", "f1": "0.5", "loss": "2.0"},
        {"epoch": "1", "step": "13", "f1": "0.25", "loss": "1.0"},
    ]
    log(file, 20, late=3.0, epoch=2)
    assert [row["late"] for row in rows(tmp_path)] == ["", "", "3.0"]


def test_values_come_back_as_they_were(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path)
    values = [0.1, 1 / 3, 1e-300, float("inf")]
    for step, value in enumerate(values):
        log(file, step, loss=value, epoch=0)
    assert [float(row["loss"]) for row in read_metrics(tmp_path / "metrics.csv")] == values


def test_a_resumed_run_is_cut_back_and_appends(tmp_path: Path) -> None:
    first, whole = MetricsFile(tmp_path / "a"), MetricsFile(tmp_path / "b")
    for step in (6, 13, 20):
        log(first, step, loss=step, epoch=step // 7)
    resumed = MetricsFile(tmp_path / "a", resume_step=14)  # after two epochs of 7 steps
    for step in (20, 27):
        log(resumed, step, loss=step, epoch=step // 7)
    for step in (6, 13, 20, 27):
        log(whole, step, loss=step, epoch=step // 7)
    assert (tmp_path / "a/metrics.csv").read_bytes() == (tmp_path / "b/metrics.csv").read_bytes()


def test_a_resumed_run_may_begin_with_other_columns(tmp_path: Path) -> None:
    first = MetricsFile(tmp_path)
    log(first, 6, f1=0.5, epoch=0)
    log(first, 6, loss=2.0, epoch=0)
    resumed = MetricsFile(tmp_path, resume_step=7)
    log(resumed, 13, f1=0.25, epoch=1)
    log(resumed, 13, loss=1.0, epoch=1)
    assert rows(tmp_path) == [
        {"epoch": "0", "step": "6", "f1": "0.5", "loss": "2.0"},
        {"epoch": "1", "step": "13", "f1": "0.25", "loss": "1.0"},
    ]


def test_a_run_that_is_not_resumed_starts_anew(tmp_path: Path) -> None:
    log(MetricsFile(tmp_path), 6, loss=1.0, epoch=0)
    log(MetricsFile(tmp_path), 3, loss=2.0, epoch=0)
    assert [row["loss"] for row in rows(tmp_path)] == ["2.0"]


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("MODE", "API_KEY", "IDENTITY_TOKEN_FILE", "BASE_URL", "SILENT"):
        monkeypatch.setenv(f"WANDB_{name}", "")  # so that all are restored afterwards
        monkeypatch.delenv(f"WANDB_{name}")
    for name in ("CONSOLE", "ERROR_REPORTING"):
        monkeypatch.setenv(f"WANDB_{name}", "")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def test_without_a_key_nothing_leaves_the_machine(
    no_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_wandb()
    assert os.environ["WANDB_MODE"] == "offline"
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


@pytest.mark.parametrize("where", ["variable", "netrc"])
def test_with_a_key_the_run_is_online(
    no_key: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "variable":
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    else:
        no_key.write_text(f"machine api.wandb.ai login user password {'x' * 40}\n")
        no_key.chmod(0o600)
    configure_wandb()
    assert "WANDB_MODE" not in os.environ


def test_what_the_user_has_set_stands(no_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    configure_wandb()
    assert os.environ["WANDB_MODE"] == "disabled"
