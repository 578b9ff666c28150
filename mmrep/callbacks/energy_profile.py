"""The analysis `energy_profile`: which axes of image patches a first layer responds to.

Chowers & Weiss 2023.
"""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from mmrep.first_layer import (
    FOLDER,
    History,
    axes_of_training,
    correlations_of,
    first_layer,
    keep_axes,
    kept_axes,
    patch_stride,
    profiles_of,
    require_same_normalisation,
)
from mmrep.first_layer_report import report
from mmrep.loggers import log_curves, log_figure
from mmrep.stats.energy import PatchAxes

KEY = "analysis/energy_profile"


class EnergyProfile(Callback):
    """Energy profile of a convolution, by default the first, along the axes of its patches.

    The axes are those of all patches of the training images, without augmentation; they are found
    once and kept in the run's folder. After every epoch of a training the filters are kept in
    `analysis/energy_profile/filters.npz`, and the profiles of the weights and of their change since
    the start are compared with the initial one, with `partner`, another run's folder, and with the
    formula at its best step: these numbers go to all loggers.

    When a trained network is validated, writes `correlations.csv`, `profiles.csv`,
    `autocorrelation.csv` and `label_correlations.csv` beside it, and draws
    `figures/energy_profile.png` and beside it `_epochs`, `_filters`, `_autocorrelation` and
    `_labels`. Autocorrelation and labels are of `num_images` of the training images.
    """

    def __init__(
        self, *, layer: str | None = None, partner: str | None = None, num_images: int = 1000
    ) -> None:
        if num_images < 2:
            raise ValueError(f"num_images={num_images} must be at least 2")
        self.layer, self.partner_folder, self.num_images = layer, partner, num_images
        self.history: History | None = None  # along a training
        self.epoch_seconds: list[tuple[float, float]] = []  # whole, analysis

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses what cannot be analysed before anything is trained."""
        self.name, layer = first_layer(pl_module.net, self.layer)
        if layer.kernel_size[0] != layer.kernel_size[1] or layer.groups != 1:
            raise ValueError(
                f"layer={self.name!r} has filters of {tuple(layer.weight.shape[1:])} in "
                f"{layer.groups} groups: choose one of square filters that read all channels"
            )
        self.size, self.stride = layer.kernel_size[0], patch_stride(layer)
        self.partner = None
        if self.partner_folder is not None:
            self.partner = History.of_run(Path(self.partner_folder), self.name)
            require_same_normalisation(Path(self.partner_folder), trainer.datamodule)
            ours, theirs = layer.weight.shape[1:], self.partner.filters[-1].shape[1:]
            if ours != theirs:
                raise ValueError(
                    f"partner={self.partner_folder} has filters of {tuple(theirs)} and this "
                    f"network of {tuple(ours)}: profiles compare along the same axes alone"
                )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        run, epoch = Path(trainer.default_root_dir), trainer.current_epoch
        self.axes = self._axes(trainer, pl_module)
        filters = self._filters(pl_module)
        if filters[0].numel() != len(self.axes.axes):
            raise ValueError(
                f"layer={self.name!r} has filters of {tuple(filters.shape[1:])}, which are no "
                "patches of the images: choose the first layer"
            )
        before = self._before(run).until(epoch - 1) if epoch else History()
        self.history = before.with_epoch(epoch, filters)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        started = time.monotonic()
        assert self.history is not None  # the training has started
        epoch = trainer.current_epoch + 1
        self.history = self.history.with_epoch(epoch, self._filters(pl_module))
        if not trainer.is_global_zero:
            return
        self.history.write(Path(trainer.default_root_dir))
        try:
            numbers = self._numbers(self.history)
        except ValueError as error:  # no reason to lose a training
            rank_zero_warn(f"energy_profile leaves out epoch {epoch}: {error}")
            return
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": epoch - 1} | numbers, trainer.global_step - 1)
        now = time.monotonic()
        self.epoch_seconds.append((now - self.started, now - started))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says what the analysis has cost."""
        if self.epoch_seconds:
            whole, own = np.median(np.array(self.epoch_seconds), axis=0)
            print(f"energy_profile took {own:.3f} s an epoch, {own / whole:.2%} of it")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn == "fit":
            return
        run, data, epoch = Path(trainer.default_root_dir), trainer.datamodule, trainer.current_epoch
        axes = self._axes(trainer, pl_module)  # every rank takes part, one writes
        if not trainer.is_global_zero:
            return
        before = self.history or self._before(run)
        history = before.with_epoch(epoch, self._filters(pl_module))
        if not (run / FOLDER / "filters.npz").exists():  # of a run that was trained without this
            history.write(run)
        try:
            figures = report(
                run,
                history,
                axes,
                data,
                network=f"{type(pl_module.net).__name__} after {epoch} epochs",
                stride=self.stride,
                num_images=self.num_images,
                partner=self.partner,
            )
        except ValueError as error:
            if self.history is None:
                raise
            rank_zero_warn(f"energy_profile leaves out the report: {error}")
            return
        for name, figure in figures.items():
            log_figure(trainer.loggers, run, name, figure, trainer.global_step)
        profiles = {name: of[-1] for name, of in profiles_of(history, axes.axes).items()}
        components = range(len(axes.energy))
        log_curves(
            trainer.loggers,
            "energy_profile",
            {name: (components, profile.tolist()) for name, profile in profiles.items()},
            [("component", *profiles), *zip(components, *profiles.values(), strict=True)],
            epoch=epoch,
            step=trainer.global_step,
        )

    def _axes(self, trainer: Trainer, task: LightningModule) -> PatchAxes:
        """Those that the run has kept, else of all training images; the same on all ranks."""
        run, data = Path(trainer.default_root_dir), trainer.datamodule
        kept = kept_axes(run, data, self.size, self.stride) if trainer.is_global_zero else None
        axes: PatchAxes | None = trainer.strategy.broadcast(kept)
        if axes is None:
            axes = axes_of_training(data, self.size, self.stride, task.device)
            if trainer.is_global_zero:
                keep_axes(run, axes, data, self.size, self.stride)
        return axes

    def _before(self, run: Path) -> History:
        """What is known of a finished run; of one that has no checkpoints, nothing."""
        try:
            return History.of_run(run, self.name)
        except FileNotFoundError:
            return History()

    def _filters(self, task: Any) -> Any:
        return first_layer(task.net, self.layer)[1].weight

    def _numbers(self, history: History) -> dict[str, float]:
        """Of the last epoch, what there is to compare."""
        initial = history.until(history.epochs[0])
        last = history._replace(
            epochs=(*initial.epochs, history.epochs[-1]),
            filters=(*initial.filters, history.filters[-1]),
        )
        return {
            f"{KEY}/{row.of}/{name}": value
            for row in correlations_of(last, self.axes, self.partner)
            if row.epoch == history.epochs[-1]
            for name, value in row._asdict().items()
            if name not in ("epoch", "of") and not math.isnan(value)
        }
