"""The analysis `cca_projection`: what a network still tells on n components of its features.

Moreau et al. 2021, section 4, with the trained network's own head.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from mmrep.batch import Batch
from mmrep.features import read_features
from mmrep.files import whole_file
from mmrep.loggers import log_curves, log_figure
from mmrep.metrics.moments import RunningMoments
from mmrep.metrics.projection import ProjectionConfusion
from mmrep.plots.cca_projection import plot_cca_projection
from mmrep.stats.cca import Basis, cca_from_moments, correlations_on
from mmrep.stats.covariance import Moments
from mmrep.stats.subspaces import (
    CCA_METHODS,
    METHODS,
    Heads,
    projected_heads,
    scores_from_counts,
    subspaces_from_moments,
)

SCORES = {"val/f1": "macro_f1", "val/accuracy": "accuracy"}


class Curves(NamedTuple):
    """Scores on n components: a row for each method and draw, a column for each n.

    NaN where a method keeps fewer than n components. At n = units stands the untouched network.
    """

    method: list[str]
    draw: list[int]
    components: list[int]
    kept: np.ndarray  # (rows, n): components that were there to keep
    accuracy: np.ndarray  # (rows, n)
    macro_f1: np.ndarray  # (rows, n)


class CCAProjection(Callback):
    """Scores of the trained head on n components of the features, by seven ways to choose them.

    When a trained network is validated, and during training after every `every`-th epoch, the
    features of the training samples are read in evaluation mode, with those of the `partner` (a
    finished run) for the same samples; means, axes and canonical directions are fitted on them. The
    validation samples are projected while they are scored anyway. `n` runs from 1 to twice the
    classes, then over powers of two to the width, and over the rank of each method.

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
        seed: int = 0,
    ) -> None:
        if draws < 1:
            raise ValueError(f"draws={draws}: the random methods need at least 1")
        if monitor not in SCORES:
            raise ValueError(f"monitor={monitor!r} is not one of {', '.join(SCORES)}")
        self.partner, self.every, self.draws, self.seed = partner, every, draws, seed
        self.score = SCORES[monitor]
        self.partner_features: dict[str, list[tuple[Tensor, Tensor]]] = {}  # by split: they stay
        self.confusion: ProjectionConfusion | None = None  # while a validation is projected

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        training = trainer.state.fn == "fit"
        self.epoch = trainer.current_epoch + training  # how many the weights have seen
        self.step = trainer.global_step - training  # as Lightning counts what it logs
        not_due = self.every is None or self.epoch % self.every != 0
        if trainer.sanity_checking or (training and not_due):
            return
        started = time.monotonic()
        moments = self._moments(trainer.datamodule, pl_module)
        read = time.monotonic()
        self._choose_bases(moments)
        width = moments.widths[0]
        ranks = [basis.rank for basis in self.bases]
        self.components = sorted({*grid(len(trainer.datamodule.class_names), width), *ranks})
        own = _last_linear(pl_module.net)
        projected = projected_heads(own, self.bases, self.components)
        heads = Heads(*(torch.cat(pair) for pair in zip(projected, own, strict=True)))
        self.confusion = ProjectionConfusion(heads).to(pl_module.device)
        self.validation = RunningMoments(*moments.widths).to(pl_module.device)
        net: Any = pl_module.net  # a network of ours: features, head
        self.hook = net.head.register_forward_pre_hook(self._keep_features)
        self.reading_seconds, self.seconds = read - started, time.monotonic() - read

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
        self.seconds += time.monotonic() - started

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
        curves = self._curves(counts)
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

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self.confusion is not None:
            self.hook.remove()

    def _moments(self, data: Any, task: LightningModule) -> Moments:
        """Of the training samples' features, and beside them the partner's."""
        moments: RunningMoments | None = None
        with read_features(task, data.plain_train_dataloader()) as readings:
            for number, (batch, layers) in enumerate(readings):
                partner = self._partner_batch("training", number, batch, data, task)
                views = (layers["features"], *partner)
                if moments is None:
                    moments = RunningMoments(*(view.shape[1] for view in views)).to(task.device)
                moments.update(*views)
        if moments is None:
            raise ValueError("there are no training samples to take components of")
        return moments.compute()

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
        ours, theirs = data.facts(), partner_data.facts()
        different = [
            f"{name}: {ours[name]} here, {theirs[name]} there"
            for name in ("name", "source", "num_train", "num_val", "fingerprint")
            if ours[name] != theirs[name]
        ]
        if different:
            raise ValueError(
                f"the partner saw other samples ({'; '.join(different)}): features can only be "
                "compared on the same ones"
            )
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

    def _choose_bases(self, moments: Moments) -> None:
        """All methods once, the random ones as often as `draws`."""
        methods = [name for name in METHODS if self.partner or name not in CCA_METHODS]
        generator = torch.Generator().manual_seed(self.seed)
        self.rows: list[tuple[str, int]] = []
        self.bases: list[Basis] = []
        for draw in range(self.draws):
            chosen = methods if draw == 0 else [name for name in methods if "random" in name]
            for name, basis in subspaces_from_moments(chosen, moments, generator=generator).items():
                self.rows.append((name, draw))
                self.bases.append(basis)
        self.cca = cca_from_moments(moments) if self.partner else None

    def _curves(self, counts: Tensor) -> Curves:
        rows, width = len(self.rows), len(self.bases[0].mean)
        components = np.array(self.components)
        ranks = np.array([basis.rank for basis in self.bases])
        whole = components == width
        scores = []
        for average in ("accuracy", "macro_f1"):
            of_heads = scores_from_counts(counts, average).numpy()
            table = of_heads[:-1].reshape(rows, len(components))
            # With all components the data are as they were, which a reduced CCA alone is not.
            table[:, whole] = of_heads[-1]
            scores.append(np.where(whole | (components <= ranks[:, None]), table, np.nan))
        methods, draws = zip(*self.rows, strict=True)
        kept = np.where(whole, width, np.minimum(components, ranks[:, None]))
        return Curves(list(methods), list(draws), self.components, kept, *scores)

    def _write(self, trainer: Trainer, curves: Curves, correlations: dict[str, np.ndarray]) -> None:
        data, run = trainer.datamodule, Path(trainer.default_root_dir)
        folder = run / "analysis" / "cca_projection"
        with whole_file(folder / f"epoch={self.epoch:03d}.npz") as part:
            arrays: dict[str, Any] = {**curves._asdict(), **correlations}
            np.savez(part, **arrays)
        with whole_file(folder / "cca_projection.csv") as part:
            part.write_text("".join(",".join(map(str, row)) + "\n" for row in table(curves)))
        lines = by_method(curves, self.score)
        means = {name: (n, scores.mean(axis=0)) for name, (n, scores) in lines.items()}
        log_curves(
            trainer.loggers,
            "cca_projection",
            means,
            table(curves),
            epoch=trainer.current_epoch,
            step=self.step,
        )
        if trainer.state.fn == "fit":
            return  # to draw takes longer than all else
        figure = plot_cca_projection(
            lines,
            num_classes=len(data.class_names),
            score=self.score.replace("macro_f1", "macro F1"),
            title=f"{data.title}, validation, after {self.epoch} epochs",
            simulated=data.simulated,
        )
        log_figure(trainer.loggers, run, "cca_projection", figure, self.step)


def grid(num_classes: int, width: int) -> list[int]:
    """Every n to twice the number of classes, then powers of two, then the width itself."""
    powers = [2**i for i in range(width.bit_length()) if 2 * num_classes < 2**i < width]
    return [*range(1, min(2 * num_classes, width - 1) + 1), *powers, width]


def by_method(curves: Curves, score: str) -> dict[str, tuple[list[int], np.ndarray]]:
    """For each method the n that it has, and the scores of (draws, n)."""
    scores = curves.accuracy if score == "accuracy" else curves.macro_f1
    lines = {}
    for method in dict.fromkeys(curves.method):
        of_method = scores[[name == method for name in curves.method]]
        there = ~np.isnan(of_method).any(axis=0)
        lines[method] = list(np.array(curves.components)[there]), of_method[:, there]
    return lines


def table(curves: Curves) -> list[tuple[Any, ...]]:
    """A row for each method, draw and n, under a header."""
    rows: list[tuple[Any, ...]] = [("method", "draw", "n", "kept", "accuracy", "macro_f1")]
    for row, (method, draw) in enumerate(zip(curves.method, curves.draw, strict=True)):
        rows += [
            (method, draw, n, curves.kept[row, i], curves.accuracy[row, i], curves.macro_f1[row, i])
            for i, n in enumerate(curves.components)
            if not np.isnan(curves.accuracy[row, i])
        ]
    return rows


def _last_linear(net: Any) -> Heads:
    """The last linear layer of the head, as one head of many."""
    linear = [module for module in net.head.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"the head of {type(net).__name__} has no linear layer to project before")
    weight, bias = linear[-1].weight.detach().double(), linear[-1].bias.detach().double()
    return Heads(weight[None], bias[None])
