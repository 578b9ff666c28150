"""The analysis `confusion`: which classes a trained network takes for which."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from torchmetrics.classification import MulticlassConfusionMatrix

from mmrep.batch import Batch
from mmrep.files import whole_file
from mmrep.loggers import log_figure
from mmrep.plots.confusion import plot_confusion


class Confusion(Callback):
    """Counts of (true, predicted) class over the validation split.

    Drawn when a trained network is validated, and during training after every `every`-th epoch.
    Writes `analysis/confusion/epoch=050.npz` (`confusion` (classes, classes), `class_names`),
    `analysis/confusion/confusion.csv` and `figures/confusion.png`, and logs the figure. It needs a
    task whose validation step returns logits.
    """

    def __init__(self, every: int | None = None) -> None:
        self.every = every

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        size = len(trainer.datamodule.class_names)
        self.confusion = MulticlassConfusionMatrix(size).to(pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.confusion.update(outputs, batch.label)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        training = trainer.state.fn == "fit"
        epoch = trainer.current_epoch + training  # how many the weights have seen
        if training and (self.every is None or epoch % self.every):
            return
        counts = self.confusion.compute().cpu().numpy()  # every rank takes part, one writes
        if not trainer.is_global_zero:
            return
        data, run = trainer.datamodule, Path(trainer.default_root_dir)
        folder = run / "analysis" / "confusion"
        with whole_file(folder / f"epoch={epoch:03d}.npz") as part:
            np.savez(part, confusion=counts, class_names=np.array(data.class_names))
        with whole_file(folder / "confusion.csv") as part:
            rows = [("true", *data.class_names), *zip(data.class_names, *counts.T, strict=True)]
            part.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
        figure = plot_confusion(
            counts,
            data.class_names,
            title=f"{data.title}, validation, after {epoch} epochs",
            simulated=data.simulated,
        )
        log_figure(trainer.loggers, run, "confusion", figure, trainer.global_step)
