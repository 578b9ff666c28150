"""train.py and analyze.py as a user runs them: the run folder, resumption, sweeps, ranks."""

import json
import re
import signal
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.metrics import confusion_matrix, f1_score
from torch import Tensor

from mmrep.features import read_features
from mmrep.loggers import read_metrics
from mmrep.runs import load_run, read_facts
from tests.scripts import TINY, run, start

pytestmark = pytest.mark.slow


def weights(run_folder: Path, name: str = "last") -> dict[str, Tensor]:
    path = run_folder / "checkpoints" / f"{name}.ckpt"
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def assert_equal_weights(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours | theirs)


def wait_for(process: Popen[str], text: str) -> str:
    """What was printed up to the line that holds `text`."""
    printed = ""
    assert process.stdout is not None
    for line in process.stdout:
        printed += line
        if text in line:
            return printed
    raise AssertionError(f"{text!r} was not printed but:\n{printed}")


def test_the_run_folder_is_complete(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if "wandb" not in p.parts}
    expected = {"DONE", "run.json", "metrics.csv", ".hydra/config.yaml"}
    expected |= {f"checkpoints/{n}.ckpt" for n in ("init", "last", "best")}
    expected |= {f"checkpoints/epoch={n:03d}.ckpt" for n in (2, 4)}
    expected |= {
        f"figures/{n}.{s}" for n in ("confusion", "learning_curves") for s in ("png", "svg")
    }
    expected |= {"analysis/confusion/epoch=004.npz", "analysis/confusion/confusion.csv"}
    assert expected <= names
    assert not [name for name in names if name.endswith((".part", ".lock"))]
    assert "simulated data" in (folder / "figures" / "confusion.svg").read_text()
    for said in ("val/f1", "run      ", "scores   ", "figures  ", "wandb sync ", "simulated data"):
        assert said in printed


def test_run_json_says_what_it_was(finished: tuple[Path, str]) -> None:
    facts = read_facts(finished[0])
    assert facts["command"].startswith("train.py model=shl_cnn data.source=simulated")
    assert facts["model"] == "shl_cnn"
    assert facts["parameters"] == 229_256
    assert facts["epochs"] == 4
    assert facts["steps"] == 4 * 7
    assert facts["data"]["source"] == "simulated"
    assert (facts["data"]["num_train"], facts["data"]["num_val"]) == (400, 101)
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["seconds"] > 0


def test_metrics_csv_has_a_row_for_each_epoch_and_one_for_the_final_scores(
    finished: tuple[Path, str],
) -> None:
    rows = read_metrics(finished[0] / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert all(
        {"train/loss", "val/loss", "val/f1", "val/accuracy"} <= row.keys() for row in rows[:4]
    )
    assert rows[4]["val/f1"] == rows[3]["val/f1"]  # the last epoch's weights


def test_load_run_gives_the_network_behind_the_scores(
    finished: tuple[Path, str], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = finished
    monkeypatch.setenv("MMREP_DATA", str(store))
    task, data = load_run(folder)
    data.setup("validate")
    with read_features(task, data.val_dataloader(), ["logits"]) as readings:
        parts = list(readings)
    truth = torch.cat([part.batch.label for part in parts])
    predicted = torch.cat([part.layers["logits"] for part in parts]).argmax(dim=1)
    f1 = f1_score(truth, predicted, average="macro", zero_division=0)
    assert read_facts(folder)["scores"]["val/f1"] == pytest.approx(f1, abs=1e-6)
    stored = np.load(folder / "analysis" / "confusion" / "epoch=004.npz")
    expected = confusion_matrix(truth, predicted, labels=range(8))
    assert np.array_equal(stored["confusion"], expected)
    assert stored["class_names"][0] == "Still"


def test_wandb_has_one_run_with_config_scores_and_media(finished: tuple[Path, str]) -> None:
    (folder,) = (finished[0] / "wandb").glob("offline-run-*")
    assert folder.name.endswith(read_facts(finished[0])["id"])
    media = {path.name.split("_")[0] for path in (folder / "files").rglob("*.png")}
    assert media == {"confusion", "learning"}
    (record,) = folder.glob("*.wandb")
    content = record.read_bytes()
    for name in (b"train/loss", b"val/f1", b"weight_decay"):
        assert name in content


def test_wandb_config_can_be_resumed_under_one_id(store: Path) -> None:
    arguments = (*TINY, "trainer.max_epochs=30", "hydra.run.dir=outputs/interrupted/0")
    process = start(store, "train.py", *arguments)
    wait_for(process, "epoch   2/30")
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "resume=true" in printed
    folder = store / "outputs" / "interrupted" / "0"
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert not (folder / "DONE").exists()
    time.sleep(1)  # W&B names offline folders by the second
    printed = run(store, "train.py", *arguments, "resume=true")
    folders = sorted(path.name for path in (folder / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    assert folders[0].split("-")[-1] == folders[1].split("-")[-1]
    assert all(name in printed for name in folders)  # the hint how to synchronise names both
    epochs = [int(row["epoch"]) for row in read_metrics(folder / "metrics.csv")]
    assert epochs == list(range(31))


def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(
    finished: tuple[Path, str], store: Path
) -> None:
    undisturbed, _ = finished
    arguments = (*TINY, "trainer.max_epochs=4", "checkpoint.every=2", "logger=csv")
    process = start(store, "train.py", *arguments)
    wait_for(process, "epoch   2/4")
    process.kill()
    process.communicate()
    (killed,) = [p.parent for p in store.glob("outputs/20*/*/run.json")]
    assert not (killed / "DONE").exists()
    printed = run(store, "train.py", *arguments, "resume=true")
    assert re.search(r"resumes .* after epoch [123]", printed)
    assert (killed / "DONE").exists()
    assert_equal_weights(killed, undisturbed)
    ours, theirs = (read_metrics(folder / "metrics.csv") for folder in (killed, undisturbed))
    assert ours == theirs
    printed = run(store, "train.py", *arguments, "trainer=smoke", "resume=true")
    assert "no unfinished run of this configuration in outputs, starts" in printed


def test_another_seed_gives_other_numbers(finished: tuple[Path, str], store: Path) -> None:
    run(
        store, "train.py", *TINY, "trainer.max_epochs=1", "seed=1", "logger=none",
        "hydra.run.dir=outputs/seed/1",
    )  # fmt: skip
    rows = read_metrics(store / "outputs" / "seed" / "1" / "metrics.csv")
    assert rows[0]["train/loss"] != read_metrics(finished[0] / "metrics.csv")[0]["train/loss"]


def test_a_sweep_started_again_runs_only_what_is_not_done(store: Path) -> None:
    arguments = (
        "-m", *TINY, "trainer.max_epochs=1", "logger=tensorboard", "sensor=acc_norm,gyr_y",
        "seed=range(0,2)",
    )  # fmt: skip
    run(store, "train.py", *arguments)
    (sweep,) = store.glob("outputs/shl_cnn_*")
    jobs = {"acc_norm_seed-0", "acc_norm_seed-1", "gyr_y_seed-0", "gyr_y_seed-1"}
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == jobs
    assert list(sweep.glob("acc_norm_seed-0/tensorboard/events*"))
    (sweep / "gyr_y_seed-0" / "DONE").unlink()
    printed = run(store, "train.py", *arguments)
    assert printed.count("is DONE already: skipped") == 3
    assert "4 of 4 jobs done" in printed
    printed = run(store, "analyze.py", "analysis=scores", f"runs={sweep}")
    assert "gyr_y" in printed
    table = (sweep / "analysis" / "scores" / "shl_simulated.csv").read_text().splitlines()
    scores = [read_facts(sweep / f"acc_norm_seed-{i}")["scores"]["val/f1"] for i in (0, 1)]
    cells = table[1].split(",")
    assert cells[:4] == ["simulated", "acc_norm", "val/f1", "2"]
    assert float(cells[4]) == pytest.approx(np.mean(scores))
    assert float(cells[5]) == pytest.approx(np.std(scores, ddof=1))


def test_each_job_of_a_sweep_is_a_wandb_run_of_its_own(store: Path) -> None:
    run(
        store, "train.py", "-m", *TINY, "trainer.max_epochs=1", "seed=0,1",
        "hydra.sweep.dir=outputs/two_jobs",
    )  # fmt: skip
    jobs = [store / "outputs" / "two_jobs" / f"seed-{seed}" for seed in (0, 1)]
    ids = [read_facts(job)["id"] for job in jobs]
    assert ids[0] != ids[1]
    for job, run_id in zip(jobs, ids, strict=True):
        (folder,) = job.glob("wandb/offline-run-*")
        assert folder.name.endswith(f"-{run_id}")
        (record,) = folder.glob("*.wandb")
        assert f"two_jobs/{job.name}".encode() in record.read_bytes()


def load_config(folder: Path) -> Any:
    config = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml"))
    assert isinstance(config, dict)
    return {key: value for key, value in config.items() if key not in ("resume", "data_dir")}


def test_a_folder_with_another_finished_run_is_left_alone(
    finished: tuple[Path, str], store: Path
) -> None:
    before = load_config(finished[0])
    said = run(
        store, "train.py", *TINY, "seed=5", "hydra.run.dir=outputs/undisturbed/0", code=1
    )  # fmt: skip
    assert "undisturbed/0 holds a finished run of another configuration: remove it" in said
    assert load_config(finished[0]) == before


def test_resuming_another_configuration_is_refused(store: Path) -> None:
    folder = "hydra.run.dir=outputs/resumed/0"
    run(store, "train.py", *TINY, "trainer.max_epochs=1", "logger=none", folder)
    (store / "outputs" / "resumed" / "0" / "DONE").unlink()
    said = run(
        store, "train.py", *TINY, "trainer.max_epochs=2", "logger=none", folder, "resume=true",
        code=1,
    )  # fmt: skip
    assert "holds an unfinished run of another configuration" in said


def test_a_folder_that_is_being_written_is_left_alone(store: Path) -> None:
    folder = "hydra.run.dir=outputs/held/0"
    process = start(store, "train.py", *TINY, "trainer.max_epochs=99", "logger=none", folder)
    try:
        wait_for(process, "epoch   1/99")
        said = run(store, "train.py", *TINY, "seed=3", "logger=none", folder, code=1)
    finally:
        process.kill()
        process.communicate()
    assert "is being written by another process: wait for it" in said
    assert load_config(store / "outputs" / "held" / "0")["seed"] == 0


def test_a_sweep_names_the_jobs_that_failed(store: Path) -> None:
    said = run(
        store, "train.py", "-m", *TINY, "trainer.max_epochs=1", "logger=none",
        "sensor=gyr_y,bogus", "hydra.sweep.dir=outputs/my sweep", code=1,
    )  # fmt: skip
    assert "1 of 2 jobs done" in said
    assert "not done outputs/my sweep/bogus: its train.log says why" in said
    log = (store / "outputs" / "my sweep" / "bogus" / "train.log").read_text()
    assert "sensor='bogus' is not one of" in log


def scores_of(folder: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((folder / "run.json").read_text())["scores"]
    return scores


@pytest.mark.ddp
def test_two_ranks_score_as_one(finished: tuple[Path, str], store: Path) -> None:
    folder, _ = finished
    run(
        store, "train.py", *TINY, "trainer=ddp", "trainer.devices=2", "trainer.max_epochs=0",
        f"weights={folder}", "logger=none", "hydra.run.dir=outputs/two/0",
    )  # fmt: skip
    two, one = scores_of(store / "outputs" / "two" / "0"), scores_of(folder)
    assert two == pytest.approx(one, abs=1e-6)  # 101 samples, none of them twice
    counts = np.load(store / "outputs/two/0/analysis/confusion/epoch=000.npz")["confusion"]
    assert counts.sum() == 101
    assert np.array_equal(
        counts, np.load(folder / "analysis" / "confusion" / "epoch=004.npz")["confusion"]
    )


@pytest.mark.ddp
def test_two_ranks_train_and_keep_checkpoints(store: Path) -> None:
    run(
        store, "train.py", *TINY, "trainer=ddp", "trainer.devices=2", "trainer.max_epochs=2",
        "logger=none", "hydra.run.dir=outputs/two/1",
    )  # fmt: skip
    folder = store / "outputs" / "two" / "1"
    assert (folder / "DONE").exists()
    assert read_facts(folder)["devices"]["ranks"] == 2
    assert read_facts(folder)["steps"] == 2 * 4  # 200 samples a rank in batches of 64
    assert weights(folder).keys() == weights(folder, "best").keys()


def test_the_best_weights_are_an_option_and_marked(store: Path) -> None:
    run(
        store, "train.py", *TINY, "trainer.max_epochs=3", "checkpoint=best", "logger=none",
        "precision=bf16", "hydra.run.dir=outputs/best/0",
    )  # fmt: skip
    folder = store / "outputs" / "best" / "0"
    facts = read_facts(folder)
    rows = read_metrics(folder / "metrics.csv")
    assert facts["checkpoint"] == "best"
    best = max(float(row["val/f1"]) for row in rows[:3])
    assert facts["scores"]["val/f1"] == pytest.approx(best, abs=0.02)  # bf16 training, 32-bit sums


def test_analyses_of_finished_runs(finished: tuple[Path, str], store: Path) -> None:
    folder, _ = finished
    figure = folder / "figures" / "confusion.png"
    figure.unlink()
    again = run(store, "analyze.py", "analysis=confusion", f"runs=[{folder}]")
    assert "figures/confusion.png" in again
    assert figure.exists()
    run(store, "analyze.py", "analysis=confusion", f"runs={folder}", "checkpoint.use=init")
    initial = np.load(folder / "analysis" / "confusion" / "epoch=000.npz")["confusion"]
    assert initial.sum() == 101
    listed = run(store, "analyze.py", "analysis=list", f"runs={folder}")
    assert "shl_cnn" in listed
    assert "done" in listed
