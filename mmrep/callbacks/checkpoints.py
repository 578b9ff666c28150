"""Which weights a run keeps."""

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from mmrep.files import whole_file
from mmrep.loggers import MetricsFile

BETTER = {"min": float.__lt__, "max": float.__gt__}


class Checkpoints(Checkpoint):
    """Keeps init, last and best, and one of every `every` epochs, in the run's `checkpoints/`.

    `init.ckpt` is written before the first step, `last.ckpt` after each epoch and its validation;
    `best.ckpt` is that of the epoch with the best `monitor`. All ranks take part, one writes, each
    file is whole or not there.
    """

    def __init__(self, monitor: str, mode: str, every: int | None = None) -> None:
        if mode not in BETTER:
            raise ValueError(f"monitor.mode={mode!r} is not one of {', '.join(BETTER)}")
        if every is not None and every < 1:
            raise ValueError(f"checkpoint.every={every} must be at least 1 epoch, or null for none")
        self.monitor, self.better, self.every = monitor, BETTER[mode], every
        self.best: float | None = None
        self.logged: dict[str, float] = {}  # what the epoch of `last` has logged, or will

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 0:
            _save(trainer, "init")
        elif self.logged:
            # Lightning logs the training loss after `last` is written: a run that was killed in
            # between would lack it in its metrics.csv. What is there already stays as it is.
            epoch, step = trainer.current_epoch - 1, trainer.global_step - 1
            for logger in trainer.loggers:
                if isinstance(logger, MetricsFile):
                    logger.log_metrics(self.logged | {"epoch": epoch}, step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor not in trainer.callback_metrics:
            there = ", ".join(sorted(trainer.callback_metrics))
            raise ValueError(f"monitor.name={self.monitor!r} is not logged; what is: {there}")
        epoch, score = trainer.current_epoch + 1, float(trainer.callback_metrics[self.monitor])
        is_best = self.best is None or self.better(score, self.best)
        self.best = score if is_best else self.best  # before saving, so that a resumed run knows
        self.logged = {name: float(x) for name, x in trainer.callback_metrics.items()}
        _save(trainer, "last")
        if is_best and trainer.is_global_zero:  # the file just written: it holds the same
            folder = Path(trainer.default_root_dir) / "checkpoints"
            with whole_file(folder / "best.ckpt") as part:
                shutil.copyfile(folder / "last.ckpt", part)
        if self.every is not None and epoch % self.every == 0:
            _save(trainer, f"epoch={epoch:03d}")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 0:  # no epoch was asked for: the weights are as they came
            _save(trainer, "last")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "logged": self.logged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.logged = state_dict["best"], state_dict["logged"]


def _save(trainer: Trainer, name: str) -> None:
    path = Path(trainer.default_root_dir) / "checkpoints" / f"{name}.ckpt"
    if trainer.is_global_zero:
        with whole_file(path) as part:
            trainer.save_checkpoint(part)
    else:
        trainer.save_checkpoint(path)  # writes nothing, but the ranks meet in it
    trainer.strategy.barrier(f"{name}.ckpt has its name")
