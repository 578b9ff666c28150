"""Training of networks that tell the next word of a text."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection

from mmrep.batch import PADDING, Batch


class MeanLoss(Metric):
    """The mean loss of a word, in nats; each counts once, however batches and ranks hold them."""

    full_state_update = False
    total: Float64[Tensor, ""]
    count: Int64[Tensor, ""]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, losses: Float[Tensor, "words"]) -> None:
        self.total += losses.double().sum()  # MeanMetric rounds to float32 what it is given
        self.count += losses.numel()

    def compute(self) -> Float64[Tensor, ""]:
        return self.total / self.count


class Perplexity(MeanLoss):
    """Exp of the mean loss: of as many equally likely words a guess would be as good."""

    def compute(self) -> Float64[Tensor, ""]:
        return super().compute().exp()


class LanguageModel(LightningModule):
    """Mean cross-entropy of the next word in nats; perplexity over the whole validation text.

    The network carries its state from batch to batch, and errors go back through one batch
    (truncated back-propagation through time). Each word's loss is added up in float64, so that the
    scores depend neither on batches nor on ranks. `scheduler` takes a step after each epoch;
    without it the learning rate is constant.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.optimizer = optimizer  # a Hydra partial that lacks only the parameters
        self.scheduler = scheduler  # another, that lacks the optimizer
        scores = {"loss": MeanLoss(), "perplexity": Perplexity()}
        self.val_scores = MetricCollection(dict(scores), prefix="val/")

    def losses(self, batch: Batch) -> Float[Tensor, "words"]:
        """-log of the probability of each word that follows, in nats; without padding."""
        logits, label = self.net(batch.inputs).flatten(0, 1), batch.label.flatten()
        losses = F.cross_entropy(logits, label, ignore_index=PADDING, reduction="none")
        return losses[label != PADDING]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        losses = self.losses(batch)
        loss, size = losses.mean(), len(losses)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.val_scores.update(self.losses(batch))
        self.log_dict(self.val_scores)  # the objects: Lightning merges ranks and resets them

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        optimizer = self.optimizer(self.parameters())
        return [optimizer], [] if self.scheduler is None else [self.scheduler(optimizer)]
