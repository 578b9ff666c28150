"""A run's folder: what a training leaves there, and what is read back from it."""

import fcntl
import json
import platform
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from mmrep.files import whole_file
from mmrep.weights import PUBLISHED, is_of_task, load_branch, network_state, read_checkpoint

# A finished run's config asks for it wherever it is read back.
OmegaConf.register_new_resolver(
    "number_of_classes",
    lambda chosen, labels, there: (
        10 if str(labels).startswith("energy") else there if chosen is None else len(chosen)
    ),  # deciles, where images are labelled by energy
    replace=True,
)

PACKAGES = ("mmrep", "torch", "lightning", "torchmetrics", "hydra-core", "numpy", "scipy", "wandb")


class Run(NamedTuple):
    """A finished run: its trained task and the data it was trained on."""

    task: LightningModule
    data: LightningDataModule


def load_run(folder: Path | str, *, checkpoint: str = "last") -> Run:
    """The task of a run with its trained weights, in evaluation mode, and its data, set up.

    `checkpoint` is a name in `checkpoints/`: last, best, init, or one that `checkpoint.every` kept.
    The data are those of the run: from where they lay then, if that is still there, and an error
    if they have changed. The config names the classes to build, so load runs only from people you
    trust.
    """
    task = load_task(folder, checkpoint=checkpoint)
    return Run(task, _data_of(Path(folder)))


def load_task(folder: Path | str, *, checkpoint: str = "last") -> LightningModule:
    """The task of a run alone, as `load_run`: for what needs no data."""
    folder = Path(folder)
    task: LightningModule = instantiate(_config_of(folder).model)
    load_checkpoint(task, folder / "checkpoints" / f"{checkpoint}.ckpt")
    return task.eval()


def load_partner(folder: Path | str | None) -> Run | None:
    """`load_run` for a network to compare with, which need not be given."""
    return None if folder is None else load_run(folder)


def _config_of(folder: Path) -> Any:
    config_file = folder / ".hydra" / "config.yaml"
    if not config_file.exists():
        raise FileNotFoundError(
            f"{folder} holds no .hydra/config.yaml, so it is no run: give a folder that train.py "
            "wrote, such as outputs/2026-11-20/10-15-03"
        )
    return OmegaConf.load(config_file)


def _data_of(folder: Path) -> LightningDataModule:
    config, facts = _config_of(folder), read_facts(folder)
    then = facts.get("data", {})  # absent in a run that did not finish
    known: dict[str, Any] = {}
    if "source" in config.data and then:
        known["source"] = then["source"]  # what `auto` has found
    if "data_dir" in config.data and (named := facts.get("data_dir")) and Path(named).exists():
        known["data_dir"] = named
    data: Any = instantiate(config.data, **known)
    data.prepare_data()
    data.setup("validate")
    now = data.facts()
    if then and now["fingerprint"] != then["fingerprint"]:
        raise ValueError(
            f"{folder} was trained on other data than there are now: fingerprint "
            f"{then['fingerprint']} then and {now['fingerprint']} now; bring back what it was "
            "trained on, or train anew"
        )
    return data


def load_checkpoint(
    task: LightningModule, source: Path | str, *, data_dir: str | None = None
) -> dict[str, Any]:
    """Puts weights from any source of `mmrep.weights.read_weights` into `task`; gives all it holds.

    A checkpoint of train.py holds the whole task. One of another program holds the network alone,
    its batch norm perhaps without the counters that PyTorch 0.4.1 brought.
    """
    checkpoint = read_checkpoint(source, data_dir=data_dir)
    stored: dict[str, Any] = checkpoint["state_dict"]
    ours = is_of_task(stored)
    module: Any = task if ours else task.net
    wanted = module.state_dict()
    if not ours:
        counters = {k: v for k, v in wanted.items() if k.endswith(".num_batches_tracked")}
        stored = counters | network_state(stored)
    both = stored.keys() & wanted.keys()
    missing, unexpected = wanted.keys() - both, stored.keys() - both
    misshapen = {key for key in both if stored[key].shape != wanted[key].shape}
    if missing or unexpected or misshapen:
        first = ", ".join(
            f"{key} ({tuple(stored[key].shape) if key in stored else 'absent'} there, "
            f"{tuple(wanted[key].shape) if key in wanted else 'absent'} here)"
            for key in map(min, filter(None, (missing, unexpected, misshapen)))
        )
        raise ValueError(
            f"{source} is a checkpoint of another network: {len(missing | unexpected | misshapen)} "
            f"tensors differ, first {first}; choose the model and data that it was trained with"
        )
    module.load_state_dict(stored)
    return checkpoint


def start_from(
    task: LightningModule, source: str | Mapping[str, str | None], *, data_dir: str | None
) -> None:
    """Puts weights into a task before its training: into all of it, or by branch of its network.

    `imagenet` means published weights of each branch for which there are some.
    """
    net: Any = task.net
    branches = dict(getattr(net, "branches", {}))
    if source == "imagenet":
        source = {name: source for name, one in branches.items() if one.network in PUBLISHED}
        if not source:
            raise ValueError(
                "weights=imagenet: this network has no branch of a published one; choose "
                "backbones=imagenet, or name the weights"
            )
    if isinstance(source, str):
        load_checkpoint(task, source, data_dir=data_dir)
        return
    for name, one in source.items():
        if one is not None and name not in branches:
            raise ValueError(
                f"weights.{name}={one}: the network has the branches {', '.join(branches)}"
            )
        if one is not None:
            load_branch(branches[name], name, one, data_dir=data_dir)


def validate(
    trainer: Trainer,
    task: LightningModule,
    data: LightningDataModule,
    folder: Path,
    checkpoint: str,
) -> dict[str, float]:
    """Scores over the whole validation split with a checkpoint's weights; analyses run along."""
    loaded = load_checkpoint(task, folder / "checkpoints" / f"{checkpoint}.ckpt")
    # analyses ask for current_epoch
    trainer.fit_loop.epoch_progress.current.completed = epochs_of(loaded)
    (scores,) = trainer.validate(task, datamodule=data, verbose=False)
    return {name: float(score) for name, score in scores.items()}


def epochs_of(checkpoint: dict[str, Any]) -> int:
    """How many epochs a checkpoint has seen."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
    return int(progress["processed"])


def _logged_steps(checkpoint: dict[str, Any]) -> int:
    """How many steps have been logged, as Lightning counts them."""
    return int(checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"])


def read_facts(folder: Path) -> dict[str, Any]:
    """What `run.json` says, {} where there is none."""
    path = folder / "run.json"
    return json.loads(path.read_text()) if path.exists() else {}


def asked_for(config: DictConfig) -> dict[str, Any]:
    """What a configuration asks for: all of it but whether a run is taken up again."""
    plain: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    asked = {key: value for key, value in plain.items() if key not in ("hydra", "resume")}
    return asked | {"data_dir": config.data_dir}  # which the environment may set


@rank_zero_only
def finish(folder: Path) -> None:
    """Says that a run is whole; of replicas, once each has a whole run of its own."""
    (folder / "DONE").touch()


def is_done(folder: Path) -> bool:
    return (folder / "DONE").exists()


def is_done_as_asked(folder: Path, config: DictConfig) -> bool:
    """Whether a folder holds this very run, finished; another one there is an error."""
    if is_done(folder):
        _refuse_another(folder, config, "a finished run")
    return is_done(folder)


def _refuse_another(folder: Path, config: DictConfig, holds: str) -> None:
    if read_facts(folder).get("config") != asked_for(config):
        _restore_config(folder)
        raise ValueError(
            f"{folder} holds {holds} of another configuration: remove it, or choose another "
            "place with hydra.run.dir=FOLDER (of a sweep: hydra.sweep.dir=FOLDER)"
        )


def _restore_config(folder: Path) -> None:
    """Puts a run's config back, which Hydra has written over before anybody could refuse."""
    if facts := read_facts(folder):
        OmegaConf.save(facts["config"], folder / ".hydra" / "config.yaml")


def is_running(folder: Path) -> bool:
    """Whether a living process holds the folder; a killed one holds nothing."""
    path = folder / ".lock"
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def resume_point(folder: Path, config: DictConfig) -> Path | None:
    """The checkpoint from which a run goes on, if it is to."""
    last = folder / "checkpoints" / "last.ckpt"
    return last if config.resume and last.exists() else None


class RunRecord:
    """The `run.json` of a run that is under way."""

    def __init__(self, folder: Path, config: DictConfig) -> None:
        self.folder = folder
        self.started = time.monotonic()
        self.config: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
        self.resume_point = resume_point(folder, config)
        self.resume_step: int | None = None  # up to where what was logged before still counts
        earlier: dict[str, Any] = {}
        if self.resume_point is not None:
            _refuse_another(folder, config, "an unfinished run")
            checkpoint = torch.load(self.resume_point, map_location="cpu", weights_only=True)
            self.resume_step, earlier = _logged_steps(checkpoint), read_facts(folder)
            rank_zero_only(print)(f"resumes {folder} after epoch {epochs_of(checkpoint)}")
        elif (folder / "run.json").exists():
            rank_zero_only(_clear)(folder)
        self.seconds_before: float = earlier.get("seconds", 0.0)
        self.id: str = earlier.get("id") or uuid.uuid4().hex[:12]  # also W&B's
        choices = HydraConfig.get().runtime.choices
        self.facts: dict[str, Any] = {
            "id": self.id,
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "model": choices.get("model"),
            "sensor": self.config.get("sensor"),
            "seed": self.config["seed"],
            "monitor": self.config["monitor"]["name"],
            "checkpoint": self.config["checkpoint"]["use"],
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in PACKAGES},
            "data_dir": self.config["data_dir"],
            "config": asked_for(config),
        }

    @rank_zero_only
    def update(self, **facts: Any) -> None:
        """Writes further facts, and the seconds so far."""
        seconds = self.seconds_before + time.monotonic() - self.started
        self.facts |= facts | {"seconds": round(seconds, 1)}
        with whole_file(self.folder / "run.json") as part:
            part.write_text(json.dumps(self.facts, indent=1) + "\n")


@contextmanager
def recorded(folder: Path, config: DictConfig) -> Iterator[RunRecord]:
    """Holds the folder for this process and keeps its `run.json`.

    If the run is interrupted, says how to go on.
    """
    with _held(folder):
        if is_done(folder):  # by a process that this one found at it
            raise RuntimeError(f"{folder} has been finished meanwhile: nothing is left to do")
        record = RunRecord(folder, config)
        record.update()
        try:
            yield record
        except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
            record.update()
            kept = (folder / "checkpoints" / "last.ckpt").exists()
            what = "keeps its last whole epoch" if kept else "has no whole epoch yet"
            said = f"\ninterrupted; {folder} {what}\ngo on with the same command and resume=true"
            rank_zero_only(print)(said)
            raise


def _clear(folder: Path) -> None:
    """Removes what an unfinished run left that is not gone on with, lest the two be mixed."""
    for name in ("checkpoints", "analysis", "figures", "replicas"):
        shutil.rmtree(folder / name, ignore_errors=True)


def what_ran(trainer: Trainer, task: LightningModule) -> dict[str, Any]:
    """Devices, size and length of a training, for `run.json`."""
    device = task.device
    cpu = platform.processor() or platform.machine()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    return {
        "devices": {"type": device.type, "name": name, "ranks": trainer.world_size},
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in task.parameters()),
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
    }


@contextmanager
def moved_to(folder: Path) -> Iterator[None]:
    """Lets the config's `hydra:runtime.output_dir` be another folder within the block."""
    runtime: Any = HydraConfig.get().runtime
    before = runtime.output_dir
    with read_write(runtime), open_dict(runtime):
        runtime.output_dir = str(folder)
        try:
            yield
        finally:
            runtime.output_dir = before


def run_folders(runs: str | Sequence[str]) -> list[Path]:
    """The runs that are meant: a run's folder is itself, any other folder is all runs below it.

    Where replicas were trained as one, the runs are those into which they were taken apart.
    """
    found: list[Path] = []
    for name in [runs] if isinstance(runs, str) else runs:
        folder = Path(name)
        inside = sorted(path.parents[1] for path in folder.glob("**/.hydra/config.yaml"))
        if not inside:
            raise FileNotFoundError(
                f"runs={name}: no run there; give a folder that train.py wrote, or one that holds "
                "such folders (outputs by default)"
            )
        outer = {around for run in inside for around in run.parents}
        found += [run for run in inside if run not in outer]
    return found


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Locks a run's folder until this process ends, in whatever way; other ranks are let in."""
    if getattr(rank_zero_only, "rank", 0) != 0:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _restore_config(folder)
            raise RuntimeError(
                f"{folder} is being written by another process: wait for it, or choose another "
                "folder with hydra.run.dir=FOLDER"
            ) from None
        yield
        path.unlink()


def _commit() -> str | None:
    """The commit of the project, `+` behind it where the tree differs; None outside git."""
    git = ["git", "-C", str(Path(__file__).parents[1])]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, check=True, text=True
        )
        state = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if state.stdout.strip() else "")
