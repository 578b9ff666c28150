"""What happens as each epoch starts and ends: random numbers anew, and a line on the screen."""

import random
import time

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seeds the global random state from (seed, epoch, rank) as each epoch starts.

    Dropout and augmentation of an epoch then do not depend on what was drawn before it, so a
    resumed training ends with the same weights as an undisturbed one.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        entropy = (self.seed, trainer.current_epoch, trainer.global_rank)
        words = np.random.SeedSequence(entropy).generate_state(3)
        torch.manual_seed(int(words[0]))  # the CPU and every device
        np.random.seed(int(words[1]))
        random.seed(int(words[2]))


class EpochLine(Callback):
    """One line for each epoch, which stays on the screen and in a log file."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            shown = ("train/loss", "val/loss", "val/accuracy", "val/f1")
            values = trainer.callback_metrics
            scores = "  ".join(f"{name} {values[name]:.4f}" for name in shown if name in values)
            epoch = f"{trainer.current_epoch + 1:3d}/{trainer.max_epochs}"
            seconds = time.monotonic() - self.started
            print(f"epoch {epoch}  {scores}  {seconds:.1f} s")
