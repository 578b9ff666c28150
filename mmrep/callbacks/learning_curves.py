"""The figure of a finished training."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from mmrep.loggers import log_figure, read_metrics
from mmrep.plots.learning_curves import Curve, plot_learning_curves

LOSSES = ("train/loss", "val/loss")
SCORES = ("val/f1", "val/accuracy")


class LearningCurves(Callback):
    """Draws losses and scores over the epochs from `metrics.csv` when training ends."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        run = Path(trainer.default_root_dir)
        rows = read_metrics(run / "metrics.csv") if trainer.is_global_zero else []
        if not rows:  # another rank, or a trial that logs nothing
            return

        def curves(names: tuple[str, ...]) -> dict[str, Curve]:
            points = {name: [row for row in rows if name in row] for name in names}
            return {
                name: ([int(r["epoch"]) + 1 for r in found], [float(r[name]) for r in found])
                for name, found in points.items()
                if found
            }

        data = trainer.datamodule
        figure = plot_learning_curves(
            curves(LOSSES), curves(SCORES), title=data.title, simulated=data.simulated
        )
        log_figure(trainer.loggers, run, "learning_curves", figure, trainer.global_step)
