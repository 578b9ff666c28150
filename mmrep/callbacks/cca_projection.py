"""The analysis `cca_projection`: what a network still tells on n components of its features.

Moreau et al. 2021, section 4.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from mmrep.batch import Batch
from mmrep.features import linear_head, read_features, require_same_samples
from mmrep.files import whole_file
from mmrep.loggers import log_curves, log_figure
from mmrep.metrics.moments import RunningMoments
from mmrep.metrics.projection import ProjectionConfusion
from mmrep.plots.cca_projection import plot_cca_projection
from mmrep.stats.cca import cca_from_moments, correlations_on
from mmrep.stats.covariance import Moments
from mmrep.stats.curves import (
    HEADS,
    SCORES,
    TITLES,
    Curves,
    Recipe,
    by_method,
    choose_components,
    curves_from_counts,
    original_heads,
    retrained_heads,
    table,
)
from mmrep.stats.subspaces import Heads


class CCAProjection(Callback):
    """Scores of the trained head on n components of the features, by seven ways to choose them.

    When a trained network is validated, and during training after every `every`-th epoch, the
    features of the training samples are read in evaluation mode, with those of the `partner` (a
    finished run) for the same samples; means, axes and canonical directions are fitted on them. The
    validation samples are projected while they are scored anyway. `n` runs from 1 to twice the
    classes, then over powers of two to the width, and over the rank of each method.

    Under mixed precision the validation features are those of mixed precision, as the scores are.

    When a trained network is validated, heads are also retrained on the projected features, as
    `retrain` says: by the "recipe" of the training, or until they have "converged". Every rank then
    holds the features of all training samples.

    Writes `analysis/cca_projection/epoch=050.npz` (the `Curves`, canonical correlations, also held
    out, and ranks) and `cca_projection.csv`, logs curves, table and the seconds that it took, and
    draws `figures/cca_projection.png` at the end. Without a partner the CCA methods are left out.
    `draws` are the random methods', from `seed`, the same at each epoch. `monitor`, val/f1 or
    val/accuracy, says what is drawn.
    """

    def __init__(
        self,
        partner: Any | None,
        *,
        monitor: str,
        every: int | None = None,
        draws: int = 3,
        retrain: Sequence[str] = ("recipe", "converged"),
        seed: int = 0,
    ) -> None:
        if monitor not in SCORES:
            raise ValueError(f"monitor={monitor!r} is not one of {', '.join(SCORES)}")
        if unknown := [how for how in retrain if how not in HEADS[1:]]:
            raise ValueError(f"retrain={unknown} is not among {', '.join(HEADS[1:])}")
        self.partner, self.every, self.draws, self.seed = partner, every, draws, seed
        self.retrain = list(retrain)
        self.score = SCORES[monitor]
        self.partner_features: dict[str, list[tuple[Tensor, Tensor]]] = {}  # by split: they stay
        self.confusion: ProjectionConfusion | None = None  # while a validation is projected
        self.along = False  # with a training, which goes on whatever is met
        self.epoch_seconds: list[tuple[float, float, float]] = []  # whole, analysis, reading

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.along = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.training = trainer.state.fn == "fit"
        self.epoch = trainer.current_epoch + self.training  # how many the weights have seen
        self.step = trainer.global_step - self.training  # as Lightning counts what it logs
        not_due = self.every is None or self.epoch % self.every != 0
        if trainer.sanity_checking or (self.training and not_due):
            return
        started = time.monotonic()
        data = trainer.datamodule
        self.kept: list[tuple[Tensor, Tensor, Tensor]] = []  # index, features, label
        self.seconds = 0.0
        moments = self._moments(data, pl_module)
        try:
            self.chosen = choose_components(
                moments, num_classes=len(data.class_names), draws=self.draws, seed=self.seed
            )
            self.cca = cca_from_moments(moments) if self.partner else None
        except ValueError as error:
            if not self.along:
                raise
            # Features that cannot be analysed are no reason to lose a training.
            rank_zero_warn(f"cca_projection leaves out epoch {self.epoch}: {error}")
            return
        own = Heads(*(part[None] for part in linear_head(pl_module.net)))
        heads = {"original": original_heads(self.chosen, own)}
        if not self.training and self.retrain:
            heads |= self._retrained(
                pl_module, data.batch_size, trainer.max_epochs or self.epoch, own
            )
        self.heads = list(heads)
        together = Heads(*(torch.cat(parts) for parts in zip(*heads.values(), strict=True)))
        self.confusion = ProjectionConfusion(together).to(pl_module.device)
        self.validation = RunningMoments(*moments.widths).to(pl_module.device)
        net: Any = pl_module.net  # a network of ours: features, head
        self.hook = net.head.register_forward_pre_hook(self._keep_features)
        self.seconds += _seconds_since(started, pl_module) - self.reading_seconds

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.confusion is None:
            return
        started = time.monotonic()
        self.confusion.update(self.features, batch.label)
        partner = self._partner_batch("validation", batch_idx, batch, trainer.datamodule, pl_module)
        self.validation.update(self.features, *partner)
        self.seconds += _seconds_since(started, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.confusion is None:
            return
        started = time.monotonic()
        self.hook.remove()
        counts = self.confusion.compute().cpu()  # every rank takes part, one writes
        validation = self.validation.compute()
        self.confusion = None
        if not trainer.is_global_zero:
            return
        split = torch.split(counts, len(counts) // len(self.heads))
        curves = curves_from_counts(self.chosen, dict(zip(self.heads, split, strict=True)))
        correlations = {}
        if self.cca is not None:
            correlations["correlations"] = self.cca.correlations.cpu().numpy()
            correlations["held_out"] = correlations_on(self.cca, validation).cpu().numpy()
            correlations["ranks"] = np.array([self.cca.x.rank, self.cca.y.rank])
        self._write(trainer, curves, correlations)
        self.seconds += time.monotonic() - started
        seconds = {"seconds": self.seconds, "reading_seconds": self.reading_seconds}
        for logger in trainer.loggers:
            named = {f"analysis/cca_projection/{name}": value for name, value in seconds.items()}
            logger.log_metrics({"epoch": trainer.current_epoch} | named, self.step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self.every and self.epoch % self.every == 0:
            whole = time.monotonic() - self.started
            self.epoch_seconds.append((whole, self.seconds, self.reading_seconds))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says what the analysis has cost; the first epoch also read the partner's features."""
        if not self.epoch_seconds:
            return
        whole, own, reading = np.median(np.array(self.epoch_seconds), axis=0)
        without = whole - own - reading
        print(
            f"cca_projection took {own:.2f} s an epoch, {own / without:.1%} of the {without:.1f} s "
            f"without it, and {reading:.1f} s to read the training features"
        )

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self.confusion is not None:
            self.hook.remove()

    def _moments(self, data: Any, task: LightningModule) -> Moments:
        """Of the training samples' features, and beside them the partner's."""
        moments: RunningMoments | None = None
        started, updating = time.monotonic(), 0.0
        with read_features(task, data.plain_train_dataloader()) as readings:
            for number, (batch, layers) in enumerate(readings):
                partner = self._partner_batch("training", number, batch, data, task)
                views = (layers["features"], *partner)
                if moments is None:
                    moments = RunningMoments(*(view.shape[1] for view in views)).to(task.device)
                read = _seconds_since(0.0, task)
                moments.update(*views)
                updating += _seconds_since(read, task)
                if not self.training and self.retrain:
                    self.kept.append((batch.index, layers["features"], batch.label))
        if moments is None:
            raise ValueError("there are no training samples to take components of")
        self.reading_seconds = _seconds_since(started, task) - updating
        return moments.compute()

    def _retrained(self, task: Any, batch_size: int, epochs: int, own: Heads) -> dict[str, Heads]:
        """Heads retrained on all ranks' samples, in their order: the same on every rank."""
        index, features, label = (torch.cat(parts) for parts in zip(*self.kept, strict=True))
        self.kept = []
        if dist.is_initialized():
            shards: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(shards, (index.cpu(), features.cpu(), label.cpu()))
            index, features, label = (
                torch.cat(parts).to(own.bias.device) for parts in zip(*shards, strict=True)
            )
        order = index.argsort()
        recipe = Recipe(task.optimizer, task.scheduler, epochs, batch_size, task.class_weight)
        print(f"retrains heads on {len(index)} samples: {', '.join(self.retrain)}")
        return {
            how: retrained_heads(
                how, self.chosen, features[order], label[order], own, recipe, seed=self.seed
            )
            for how in self.retrain
        }

    def _partner_batch(
        self, split: str, number: int, batch: Batch, data: Any, task: LightningModule
    ) -> tuple[Tensor, ...]:
        """The partner's features of the same samples; () without a partner."""
        if self.partner is None:
            return ()
        if split not in self.partner_features:
            self.partner_features[split] = list(self._read_partner(split, data, task))
        index, features = self.partner_features[split][number]
        if not torch.equal(index.to(batch.index.device), batch.index):
            raise ValueError(
                f"batch {number} of {split} holds other samples in the partner's data: train both "
                "networks on the same split of the same set"
            )
        return (features,)

    def _read_partner(
        self, split: str, data: Any, task: LightningModule
    ) -> Iterator[tuple[Tensor, Tensor]]:
        partner_task, partner_data = self.partner  # type: ignore[misc]  # there is one
        require_same_samples(data.facts(), partner_data.facts())
        partner_data.batch_size = data.batch_size
        partner_task.to(task.device)
        loader = (
            partner_data.plain_train_dataloader()
            if split == "training"
            else partner_data.val_dataloader()
        )
        with read_features(partner_task, loader) as readings:
            for batch, layers in readings:
                yield batch.index, layers["features"]

    def _keep_features(self, head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (self.features,) = inputs

    def _write(self, trainer: Trainer, curves: Curves, correlations: dict[str, np.ndarray]) -> None:
        data, run = trainer.datamodule, Path(trainer.default_root_dir)
        folder = run / "analysis" / "cca_projection"
        with whole_file(folder / f"epoch={self.epoch:03d}.npz") as part:
            arrays: dict[str, Any] = {**curves._asdict(), **correlations}
            np.savez(part, **arrays)
        with whole_file(folder / "cca_projection.csv") as part:
            part.write_text("".join(",".join(map(str, row)) + "\n" for row in table(curves)))
        lines = {head: by_method(curves, self.score, head) for head in self.heads}
        for head, by_head in lines.items():
            log_curves(
                trainer.loggers,
                "cca_projection" if head == "original" else f"cca_projection/{head}",
                {name: (n, scores.mean(axis=0)) for name, (n, scores) in by_head.items()},
                [table(curves)[0], *(row for row in table(curves) if row[0] == head)],
                epoch=trainer.current_epoch,
                step=self.step,
            )
        if self.training:
            return  # to draw takes longer than all else
        figure = plot_cca_projection(
            {TITLES[head]: {"": by_head} for head, by_head in lines.items()},
            num_classes=len(data.class_names),
            score=self.score.replace("macro_f1", "macro F1"),
            title=f"{data.title}, validation, after {self.epoch} epochs",
            simulated=data.simulated,
        )
        log_figure(trainer.loggers, run, "cca_projection", figure, self.step)


def _seconds_since(started: float, task: LightningModule) -> float:
    """On a device work is only queued: wait for it, lest another line be charged with it."""
    if task.device.type == "cuda":
        torch.cuda.synchronize(task.device)
    return time.monotonic() - started
