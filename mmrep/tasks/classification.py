"""Supervised training of any network from inputs to class logits."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from mmrep.batch import Batch

CLASS_WEIGHTS = ("none", "train", "train_and_val")


class Classification(LightningModule):
    """Cross-entropy on labelled batches; loss, accuracy and F1 over the whole validation split.

    `class_weights` weighs each class by 1/count, with the counts of the training samples or, as
    Moreau et al. 2021 do, of training and validation together. PyTorch divides a batch's loss by
    the sum of its weights, so only their ratios matter. `scheduler` takes a step after each epoch;
    without it the learning rate is constant.
    """

    class_weight: Tensor

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer],
        num_classes: int,
        class_weights: str = "none",
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    ) -> None:
        super().__init__()
        if class_weights not in CLASS_WEIGHTS:
            allowed = ", ".join(CLASS_WEIGHTS)
            raise ValueError(f"class_weights={class_weights!r} is not one of {allowed}")
        self.net = net
        self.optimizer = optimizer  # a Hydra partial that lacks only the parameters
        self.scheduler = scheduler  # another, that lacks the optimizer
        self.class_weights = class_weights
        self.register_buffer("class_weight", torch.ones(num_classes))
        accuracy = MulticlassAccuracy(num_classes, average="micro")
        scores = {"accuracy": accuracy, "f1": MulticlassF1Score(num_classes)}
        self.val_scores = MetricCollection(dict(scores), prefix="val/")
        self.val_f1_of_class = MulticlassF1Score(num_classes, average="none")
        self.val_loss = MeanMetric()

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.class_weights != "none":
            with_val = self.class_weights == "train_and_val"
            count = self.trainer.datamodule.label_counts(with_val=with_val)
            self.class_weight.copy_(torch.where(count > 0, 1 / count, 0))  # no sample, no loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self.net(batch.inputs), batch.label, self.class_weight)
        size = len(batch.label)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self.net(batch.inputs)
        self.val_scores.update(logits, batch.label)
        self.val_f1_of_class.update(logits, batch.label)
        loss = F.cross_entropy(logits, batch.label, self.class_weight)
        self.val_loss.update(loss, self.class_weight[batch.label].sum())  # exact for any batches
        self.log_dict(self.val_scores)  # the objects: Lightning merges ranks and resets them
        self.log("val/loss", self.val_loss)
        return logits

    def on_validation_epoch_end(self) -> None:
        f1 = self.val_f1_of_class.compute()
        names = self.trainer.datamodule.class_names
        of_class = {f"val/f1/{name}": f1[i] for i, name in enumerate(names)}
        self.log_dict(of_class, sync_dist=True)  # equal on all ranks, and Lightning wants it said
        self.val_f1_of_class.reset()

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        optimizer = self.optimizer(self.parameters())
        return [optimizer], [] if self.scheduler is None else [self.scheduler(optimizer)]
