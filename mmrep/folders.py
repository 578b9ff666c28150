"""Where runs write, and which unfinished run is taken up again: Hydra's callback of train.py."""

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from mmrep.runs import asked_for, is_done, is_running
from mmrep.screen import say_swept

LONGEST_NAME = 100
SPEAKING = ("model", "data", "sensor")  # keys whose values say themselves what they are
SEPARATOR = "\x1f"  # between the overrides of a job, since any printable sign may stand in one


class RunFolders(Callback):
    """Names the folders of runs and sweeps before Hydra makes them.

    A run with `resume=true` goes to the newest folder of its root that has no DONE, whose config
    equals this one, and that no living process writes to. A sweep goes to a folder fixed by its
    preset, or by the model and a hash of its overrides, so that the same command finds it again.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        new = Path(config.hydra.run.dir)
        if not config.resume or (new / ".hydra").exists():  # the latter: a folder that was named
            return
        found = unfinished_run(new.parents[1], asked_for(config))
        if found is None:
            print(
                f"resume=true: no unfinished run of this configuration in {new.parents[1]}, starts"
            )
            return
        with read_write(config.hydra):
            config.hydra.run.dir = str(found)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        parser = OverridesParser.create()
        params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        given = list(config.hydra.overrides.task)
        parsed = parser.parse_overrides([*params, *given])
        swept = {override.key_or_group for override in parsed if override.is_sweep_override()}
        fixed = {override.key_or_group for override in parsed} - swept
        choices = config.hydra.runtime.choices
        name = sweep_name(choices.get("model"), choices.get("experiment"), given)
        set_by_hand = any(o.startswith("hydra.sweep.dir=") for o in config.hydra.overrides.hydra)
        with read_write(config.hydra):
            if not set_by_hand:
                config.hydra.sweep.dir = str(Path(config.hydra.sweep.dir) / name)
            # jobs are composed anew from these overrides, wherever they run
            config.hydra.overrides.hydra += [
                f"hydra.sweep.dir={config.hydra.sweep.dir}",
                f"hydra.job.config.override_dirname.exclude_keys=[{','.join(sorted(fixed))}]",
            ]

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Removes the folder of a single run that failed before it began, for nothing is in it."""
        folder = Path(config.hydra.runtime.output_dir)
        alone = config.hydra.mode == RunMode.RUN
        if alone and job_return.status == JobStatus.FAILED and not (folder / "run.json").exists():
            shutil.rmtree(folder)
            if not any(folder.parent.iterdir()):
                folder.parent.rmdir()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        say_swept(Path(config.hydra.sweep.dir))


def unfinished_run(root: Path, asked: dict[str, Any]) -> Path | None:
    """The newest run below `root` (DATE/TIME) that asked for the same and did not finish."""
    for folder in sorted(root.glob("*/*"), reverse=True):
        config = folder / ".hydra" / "config.yaml"
        if not config.exists() or is_done(folder) or is_running(folder):
            continue
        if asked_for(OmegaConf.load(config)) == asked:
            return folder
    return None


def sweep_name(model: str | None, experiment: str | None, overrides: Sequence[str]) -> str:
    """The preset's name, or the model's; and a hash of what was asked beside it."""
    named = {f"model={model}", f"experiment={experiment}"} if experiment else set()
    asked = sorted(o for o in overrides if o not in named and not o.startswith("resume="))
    name = experiment or model or "sweep"
    return f"{name}_{_hash(SEPARATOR.join(asked))}" if asked else name


def job_name(overrides: str) -> str:
    """`acc_norm_seed-0` from a job's swept overrides `seed=0`, `sensor=acc_norm`.

    Letters, digits, `-`, `_` and `.` only. Speaking values come first and without their key.
    Paths are hashed, and so is what a name loses.
    """
    pairs = [o.partition("=")[::2] for o in overrides.split(SEPARATOR) if o]
    bare = [_legal(value) for key, value in pairs if key in SPEAKING]
    keyed = [f"{_plain(key)}-{_legal(value)}" for key, value in pairs if key not in SPEAKING]
    name = "_".join([*bare, *keyed]) or "job"
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}_{_hash(name)}"


def _legal(value: str) -> str:
    if "/" in value or "\\" in value:
        return _hash(value)
    inner = value.strip("[]'\"")
    legal = _plain(inner)
    return legal if legal == inner else f"{legal}-{_hash(value)}"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


OmegaConf.register_new_resolver("job_name", job_name, replace=True)
