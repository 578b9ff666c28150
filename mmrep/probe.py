"""What the layers of a network say of the probe samples: what similarities are taken of."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor

from mmrep.features import read_features
from mmrep.stats.representations import Representation, represent


class Probe(NamedTuple):
    """Layers in the order of the forward pass; row i of each is the sample of number `index[i]`."""

    index: Tensor  # type: ignore[assignment]  # as in Batch
    layers: dict[str, Representation]


def probe(
    task: LightningModule,
    data: Any,
    layers: Sequence[str] | None,
    reduction: str,
    *,
    num_samples: int,
    frequencies: int | None = None,
) -> Probe:
    """The first `num_samples` validation samples as the layers represent them, on every rank.

    Layers are named as in `read_features`, and read in float64 in one pass; convolutional maps are
    reduced batch by batch as `represent` says. Of text a sample is a token. Layers that were not
    named and are no such outputs are left out.
    """
    loader = data.probe_dataloader(num_samples)
    parts: dict[str, list[Representation]] = {}
    indices = []
    with read_features(task, loader, layers, double=True) as readings:
        for batch, outputs in readings:
            tokens = batch.index.flatten()
            there = tokens >= 0  # the ends of shorter streams are no samples
            indices.append(tokens[there].cpu())
            for name, output in outputs.items():
                of_one = output.ndim - batch.index.ndim  # dimensions of one sample's output
                if output.shape[: batch.index.ndim] != batch.index.shape or of_one not in (1, 3):
                    if layers is None:
                        continue
                    raise ValueError(
                        f"layer {name!r} gives {tuple(output.shape)} for samples of "
                        f"{tuple(batch.index.shape)}: choose layers that give each sample a vector "
                        "or maps, such as what a sequence is averaged or flattened to"
                    )
                rows = output.flatten(0, batch.index.ndim - 1)[there]
                part = represent(rows, reduction, frequencies=frequencies)
                parts.setdefault(name, []).append(part._replace(values=part.values.cpu()))
    index = torch.cat(indices)
    gathered = {name: torch.cat([p.values for p in of]) for name, of in parts.items()}
    if dist.is_initialized():
        shards: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(shards, (index, gathered))
        index = torch.cat([shard[0] for shard in shards])
        gathered = {name: torch.cat([shard[1][name] for shard in shards]) for name in gathered}
    order = index.argsort()
    whole = {name: of[0]._replace(values=gathered.pop(name)[order]) for name, of in parts.items()}
    return Probe(index[order], whole)
