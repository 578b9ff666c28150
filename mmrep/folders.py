"""Where runs write, and which unfinished run is taken up again: Hydra's callback of train.py."""

import atexit
import hashlib
import itertools
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from mmrep.command_line import choices as analyses
from mmrep.command_line import innermost, sentence
from mmrep.runs import asked_for, is_done, is_running, read_facts
from mmrep.screen import say_swept

log = logging.getLogger(__name__)

LONGEST_NAME = 100
SPEAKING = ("model", "data", "sensor")  # keys whose values say themselves what they are
VARIANTS = ("source=", "size=")  # of a preset
SEPARATOR = "\x1f"  # between the overrides of a job, since any printable sign may stand in one


class RunFolders(Callback):
    """Names the folders of runs and sweeps before Hydra makes them.

    A run with `resume=true` goes to the newest folder of its root that has no DONE, whose config
    equals this one, and that no living process writes to. A sweep goes to a folder fixed by its
    preset, or by the model and a hash of its overrides, so that the same command finds it again.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if _set_by_hand(config, "hydra.run.dir"):
            return
        folder = Path(config.hydra.run.dir)  # outputs/DATE/TIME
        root = folder.parents[1]
        found = unfinished_run(root, asked_for(config)) if config.resume else None
        if config.resume and found is None:
            print(f"resume=true: no unfinished run of this configuration in {root}, starts")
        with read_write(config.hydra):
            config.hydra.run.dir = str(found or _new_folder(folder))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        parser = OverridesParser.create()
        params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        given = list(config.hydra.overrides.task)
        parsed = parser.parse_overrides([*params, *given])
        swept = {override.key_or_group for override in parsed if override.is_sweep_override()}
        fixed = {override.key_or_group for override in parsed} - swept
        choices = config.hydra.runtime.choices
        root, *preset = Path(config.hydra.sweep.dir).parts  # outputs, and what a preset adds to it
        name = sweep_name("/".join(preset) or choices.get("experiment"), choices, given)
        with read_write(config.hydra):
            if not _set_by_hand(config, "hydra.sweep.dir"):
                config.hydra.sweep.dir = str(Path(root, name))
            # jobs are composed anew from these overrides, wherever they run
            config.hydra.overrides.hydra += [
                f"hydra.sweep.dir='{config.hydra.sweep.dir}'",
                f"hydra.job.config.override_dirname.exclude_keys=[{','.join(sorted(fixed))}]",
            ]

        # Hydra leaves its own hook for this out when a job has failed
        study = choices.get("experiment")
        known = study if study in analyses("analysis") else "scores"
        atexit.register(say_swept, Path(config.hydra.sweep.dir), known)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Puts into a job's log why it failed; takes back the folder of a run that never began."""
        if job_return.status != JobStatus.FAILED:
            return
        folder = Path(config.hydra.runtime.output_dir)
        if config.hydra.mode == RunMode.MULTIRUN:
            log.error(sentence(innermost(job_return._return_value)))
        elif not (folder / "run.json").exists():
            _take_back(folder)


def _set_by_hand(config: DictConfig, key: str) -> bool:
    return any(override.startswith(f"{key}=") for override in config.hydra.overrides.hydra)


def _new_folder(folder: Path) -> Path:
    """Makes a folder that no other run has, though it may start in the same second."""
    for number in itertools.count(1):
        free = folder.with_name(f"{folder.name}_{number}") if number > 1 else folder
        try:
            free.mkdir(parents=True)
        except FileExistsError:
            if free.is_dir():
                continue
        except OSError:
            pass  # Hydra will meet it too, and its errors are shown, while a callback's are not
        break
    return free


def _take_back(folder: Path) -> None:
    """Removes what Hydra wrote, and its folders if nothing else lies there."""
    for name in ("config", "hydra", "overrides"):
        (folder / ".hydra" / f"{name}.yaml").unlink(missing_ok=True)
    for path in folder.glob("train*.log"):
        if not path.stat().st_size:
            path.unlink()
    dated = [folder.parent] if re.fullmatch(r"\d{4}-\d\d-\d\d", folder.parent.name) else []
    for empty in (folder / ".hydra", folder, *dated):
        with suppress(OSError):  # not empty, so somebody's
            empty.rmdir()


def unfinished_run(root: Path, asked: dict[str, Any]) -> Path | None:
    """The newest run below `root` (DATE/TIME) that asked for the same and did not finish."""
    for folder in sorted(root.glob("????-??-??/*"), reverse=True):
        if is_done(folder) or is_running(folder):
            continue
        if read_facts(folder).get("config") == asked:
            return folder
    return None


def sweep_name(preset: str | None, choices: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """The preset's name with its variants, or the model's; and a hash of what else was asked."""
    how = ("experiment=", *VARIANTS, "trainer=", "precision=", "logger=")  # the same networks
    named = ("resume=", *(how if preset else ()))
    asked = sorted(override for override in overrides if not override.startswith(named))
    name = preset or choices.get("model") or "sweep"
    if preset:
        variants = [choices[group.rstrip("=")] for group in VARIANTS]
        name = "_".join([name, *(variant for variant in variants if variant != "paper")])
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
