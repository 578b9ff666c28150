"""Names of sweeps and jobs, and which run is taken up again."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mmrep.folders import (
    SEPARATOR,
    _new_folder,
    _take_back,
    job_name,
    sweep_name,
    unfinished_run,
)

LEGAL = re.compile(r"[A-Za-z0-9_.-]+")


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["seed=0", "sensor=acc_norm"], "acc_norm_seed-0"),
        (["model.optimizer.lr=1e-3"], "model.optimizer.lr-1e-3"),
        (["data.val_subjects=[7]"], "data.val_subjects-7"),
        (["hydra/launcher=basic"], "hydra-launcher-basic"),
        (["+trainer.profiler=simple"], "-trainer.profiler-simple"),
        ([], "job"),
    ],
)
def test_job_names(overrides: list[str], name: str) -> None:
    assert job_name(SEPARATOR.join(overrides)) == name


def test_job_names_hold_no_path_and_nothing_that_cannot_be_typed() -> None:
    path = job_name("weights=/home/me/run one/last.ckpt")
    assert "home" not in path
    names = {job_name(f"data.classes=[{value}]") for value in ("1,2", "1-2", "1, 2", "(1 2)", "é")}
    assert len(names) == 5  # what a name loses is hashed, so different values stay apart
    long = job_name("model.net.a=" + "x" * 300)
    assert len(long) <= 110
    assert all(LEGAL.fullmatch(name) for name in (path, long, *names))


def test_a_sweep_is_named_by_its_preset_or_its_model_and_a_hash() -> None:
    given = ["model=shl_cnn", "sensor=acc_norm,gyr_y", "seed=range(0,5)"]
    choices = {"model": "shl_cnn", "source": "paper", "size": "paper"}
    name = sweep_name(None, choices, given)
    assert re.fullmatch(r"shl_cnn_[0-9a-f]{8}", name)
    assert sweep_name(None, choices, [*reversed(given), "resume=true"]) == name
    assert sweep_name(None, choices, given[:2]) != name
    preset = ["experiment=figure4"]
    assert sweep_name("figure4", choices, preset) == "figure4"
    assert sweep_name("figure4", choices, [*preset, "seed=1"]).startswith("figure4_")
    small = choices | {"size": "small"}
    assert sweep_name("figure4", small, [*preset, "size=small"]) == "figure4_small"
    program = small | {"source": "program"}
    both = [*preset, "size=small", "source=program"]
    assert sweep_name("figure4", program, both) == "figure4_program_small"


def leave_run(folder: Path, config: dict[str, Any], *, done: bool) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"config": config}))
    if done:
        (folder / "DONE").touch()
    return folder


def test_resume_takes_the_newest_unfinished_run_of_the_same_config(tmp_path: Path) -> None:
    asked = {"seed": 0, "sensor": "acc_norm"}
    leave_run(tmp_path / "2026-11-18" / "10-00-00", asked, done=False)
    newest = leave_run(tmp_path / "2026-11-19" / "10-00-00", asked, done=False)
    leave_run(tmp_path / "2026-11-20" / "10-00-00", asked, done=True)
    leave_run(tmp_path / "2026-11-20" / "11-00-00", asked | {"seed": 1}, done=False)
    leave_run(tmp_path / "shl_cnn_0aa7a320" / "seed-0", asked, done=False)  # a sweep's job
    assert unfinished_run(tmp_path, asked) == newest
    assert unfinished_run(tmp_path, asked | {"seed": 2}) is None


def test_two_runs_of_one_second_have_two_folders(tmp_path: Path) -> None:
    wanted = tmp_path / "2026-11-20" / "10-00-00"
    made = [_new_folder(wanted) for _ in range(3)]
    assert [folder.name for folder in made] == ["10-00-00", "10-00-00_2", "10-00-00_3"]
    assert all(folder.is_dir() for folder in made)


def test_only_what_hydra_wrote_is_taken_back(tmp_path: Path) -> None:
    folder = tmp_path / "precious"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").touch()
    (folder / "thesis.txt").write_text("years of work")
    _take_back(folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    (folder / "thesis.txt").unlink()
    _take_back(folder)
    assert not folder.exists()
