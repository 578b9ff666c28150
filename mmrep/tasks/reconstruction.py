"""Unsupervised training of an autoencoder of several modalities."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from mmrep.batch import Batch


class Reconstruction(LightningModule):
    """Every modality of `target` from inputs that may lack one, by the networks' logits.

    `loss` is "bce", the binary cross-entropy with grey levels between 0 and 1 in nats, or "mse",
    the squared error of the logistic outputs: the mean over pixels and batch, the modalities added.
    Of replicas it is the sum, so that each has the gradient it would have alone.

    What the loader gives at once is cut into updates of `batch_size`: over so small a network
    Lightning's own work for a step would take a third of the time. With `compile` the loss, its
    gradient and the optimizer's step are compiled, which takes half a minute at the start.
    """

    automatic_optimization = False

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer],
        batch_size: int,
        loss: str = "bce",
        compile: bool = False,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"model.loss={loss!r} is not one of {', '.join(LOSSES)}")
        self.net = net
        self.optimizer = optimizer  # a Hydra partial that lacks only the parameters
        self.batch_size = batch_size
        self.pixel_loss = LOSSES[loss]
        self.compile_updates = compile

    def setup(self, stage: str) -> None:
        compiled = stage == "fit" and self.compile_updates
        self.update_losses = torch.compile(self.losses) if compiled else self.losses

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, "*replicas"]]:
        """The mean loss of each modality."""
        targets = _targets(batch)
        decoded = self.net(batch.inputs)
        return {
            name: self.pixel_loss(logits, targets[name]).mean(dim=(-2, -1))
            for name, logits in decoded.items()
        }

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)  # there is one
        total = torch.zeros((), device=self.device)  # or of each replica
        parts = list(updates(batch, self.batch_size))
        for part in parts:
            loss = torch.stack([*self.update_losses(part).values()]).sum(dim=0)
            optimizer.zero_grad()
            self.manual_backward(loss.sum())
            optimizer.step()
            total = total + loss.detach() * part.label.shape[-1]
        # Lightning logs by calls of this method: by updates, as resumption and analyses count.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped += len(parts) - 1
        self._log({"train/loss": total / batch.label.shape[-1]}, batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        losses = self.losses(batch)
        scores = {f"val/loss/{name}": value for name, value in losses.items()}
        self._log({"val/loss": torch.stack([*losses.values()]).sum(dim=0)} | scores, batch)

    def _log(self, scores: dict[str, Float[Tensor, "*replicas"]], batch: Batch) -> None:
        """Means over the epoch: of replicas that over all, and each one's as `replica_0/...`."""
        each = {
            f"replica_{replica}/{name}": value
            for name, values in scores.items()
            if values.ndim
            for replica, value in enumerate(values)
        }
        means = {name: values.mean() for name, values in scores.items()}
        self.log_dict(
            means | each,
            on_step=False,
            on_epoch=True,
            batch_size=batch.label.shape[-1],
            sync_dist=True,
        )

    def configure_optimizers(self) -> Optimizer:
        optimizer = self.optimizer(self.parameters())
        if self.compile_updates:
            compiled = torch.compile(optimizer.step)
            optimizer.step = compiled  # type: ignore[method-assign, assignment]  # as Lightning does
        return optimizer


def updates(batch: Batch, batch_size: int) -> Iterator[Batch]:
    """The batch in pieces of `batch_size` samples, the last one with what is left."""
    targets = _targets(batch)
    inputs: Any = batch.inputs  # by modality, as the targets are
    for start in range(0, batch.label.shape[-1], batch_size):
        some = slice(start, start + batch_size)
        yield Batch(
            {name: values[..., some, :] for name, values in inputs.items()},
            batch.label[..., some],
            batch.index[..., some],
            {name: values[..., some, :] for name, values in targets.items()},
        )


def _targets(batch: Batch) -> dict[str, Tensor]:
    if batch.target is None:
        raise ValueError(
            "the data say what class a sample is of and not what to reconstruct from it: choose "
            "data of two modalities, such as data=mnist_fsdd"
        )
    return batch.target


def _squared_error(
    logits: Float[Tensor, "*batch values"], target: Float[Tensor, "*batch values"]
) -> Float[Tensor, "*batch values"]:
    return (logits.sigmoid() - target).square()


def _cross_entropy(
    logits: Float[Tensor, "*batch values"], target: Float[Tensor, "*batch values"]
) -> Float[Tensor, "*batch values"]:
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


LOSSES = {"bce": _cross_entropy, "mse": _squared_error}
