"""Networks of several seeds trained as one, and taken apart into the runs they would have been."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch import LightningModule, seed_everything
from omegaconf import DictConfig, OmegaConf

from mmrep.data.side_by_side import SideBySide
from mmrep.files import whole_file
from mmrep.loggers import MetricsFile, read_metrics
from mmrep.runs import asked_for, is_done, read_facts

# What goes along with the training of all; analyses are made of each alone, when it has ended.
ALONG = ("channels_last", "epoch_seed", "epoch_line", "progress", "learning_curves", "checkpoints")


def number_of(config: DictConfig) -> int:
    """How many networks a configuration trains as one (`model.net.replicas`)."""
    return OmegaConf.select(config, "model.net.replicas", default=1)


def alone(config: DictConfig, replica: int) -> DictConfig:
    """The configuration of one replica's own run: the seeds count up from the one given."""
    single = config.copy()
    single.seed, single.model.net.replicas = config.seed + replica, 1
    return single


def together(config: DictConfig) -> tuple[SideBySide, LightningModule]:
    """Data and task of all replicas, each drawn and initialised as it would be alone."""
    if config.weights:
        raise ValueError(
            f"weights={config.weights} are of one network, model.net.replicas="
            f"{number_of(config)} begin each from its own seed: leave one of the two out"
        )
    if config.checkpoint.use == "best":
        raise ValueError(
            "checkpoint=best: replicas that are trained as one have their best epochs at different "
            "times, and only the last weights are kept; choose checkpoint=last"
        )
    singles = [alone(config, replica) for replica in range(number_of(config))]
    states = []
    for single in singles:
        seed_everything(single.seed, verbose=False)
        states.append(instantiate(single.model).net.state_dict())
    task = instantiate(config.model)
    task.net.load_state_dict({name: torch.stack([s[name] for s in states]) for name in states[0]})
    return SideBySide([instantiate(single.data) for single in singles]), task


def along(config: DictConfig) -> dict[str, DictConfig]:
    """The callbacks that go along with the training of all; says which do not."""
    if "learning_dynamics" in config.callbacks:
        raise ValueError(
            f"callbacks=learning_dynamics follows one network, not {number_of(config)} replicas: "
            "set model.net.replicas=1, or train with checkpoint.every=N and compare the checkpoints"
            " by analysis=learning_dynamics"
        )
    apart = [name for name in config.callbacks if name not in ALONG]
    if apart:
        print(f"{', '.join(apart)}: of each replica alone, when all are trained")
    return {name: config.callbacks[name] for name in ALONG if name in config.callbacks}


def taken_apart(config: DictConfig, folder: Path) -> Iterator[tuple[DictConfig, Path]]:
    """Each replica's configuration and its run's folder in `replicas/`, but those that are done.

    It holds what a run has left when all its epochs are done: train it with resume=true, which the
    configuration says, and it is validated, analysed and finished. A single network is not taken
    apart.
    """
    number = number_of(config)
    for replica in range(number) if number > 1 else ():
        single = alone(config, replica)
        inside = folder / "replicas" / f"seed-{single.seed}"
        if not is_done(inside):
            _write(single, replica, folder, inside)
            single.resume = True
            yield single, inside


def _write(single: DictConfig, replica: int, folder: Path, inside: Path) -> None:
    shutil.copytree(folder / ".hydra", inside / ".hydra", dirs_exist_ok=True)
    with whole_file(inside / ".hydra" / "config.yaml") as part:
        OmegaConf.save(single, part)
    for path in folder.glob("checkpoints/[!.]*.ckpt"):
        if path.stem != "best":  # which is that of all
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            with whole_file(inside / "checkpoints" / path.name) as part:
                torch.save(_checkpoint_of(replica, checkpoint), part)
    metrics = MetricsFile(inside)
    for row in read_metrics(folder / "metrics.csv"):
        numbers = {name: float(value) for name, value in row.items() if name != "step"}
        metrics.log_metrics(_scores_of(replica, numbers), int(row["step"]))
    metrics.save()
    facts = {"id": uuid.uuid4().hex[:12], "seconds": read_facts(folder)["seconds"]}
    with whole_file(inside / "run.json") as part:
        part.write_text(json.dumps(facts | {"config": asked_for(single)}, indent=1) + "\n")


def _checkpoint_of(replica: int, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What the replica's own training would have kept."""

    def own(value: Any) -> Any:
        return value[replica].clone() if isinstance(value, torch.Tensor) and value.ndim else value

    weights = {name: own(value) for name, value in checkpoint["state_dict"].items()}
    optimizers = [
        one | {"state": {i: {k: own(v) for k, v in s.items()} for i, s in one["state"].items()}}
        for one in checkpoint["optimizer_states"]
    ]
    callbacks = {
        key: state | {"best": None, "logged": _scores_of(replica, state["logged"])}
        if "logged" in state
        else state
        for key, state in checkpoint["callbacks"].items()
    }
    own_parts = {"state_dict": weights, "optimizer_states": optimizers, "callbacks": callbacks}
    return checkpoint | own_parts


def _scores_of(replica: int, scores: dict[str, float]) -> dict[str, float]:
    """A replica's scores under their plain names, in place of the means over all."""
    prefix = f"replica_{replica}/"
    own = {name.removeprefix(prefix): x for name, x in scores.items() if name.startswith(prefix)}
    return own | {name: x for name, x in scores.items() if name == "epoch"}
