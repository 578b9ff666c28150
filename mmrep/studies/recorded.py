"""What trained networks make of their samples, read once and kept in the runs' folders."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mmrep.features import linear_head, read_features, require_same_samples
from mmrep.files import whole_file
from mmrep.runs import load_run, load_task, read_facts
from mmrep.stats.curves import SCORES, Recipe
from mmrep.stats.subspaces import Heads


class Split(NamedTuple):
    """Features, labels and numbers of the samples of one split, in order."""

    features: Float[Tensor, "samples units"]
    label: Int64[Tensor, "samples"]
    index: Int64[Tensor, "samples"]  # type: ignore[assignment]  # as in Batch


class Recorded(NamedTuple):
    """A trained network by its features on both splits, its head, and how it was trained."""

    folder: Path
    facts: dict[str, Any]  # of run.json
    weights: str  # digest of the checkpoint
    train: Split
    validation: Split
    own: Heads  # one
    recipe: Recipe

    @property
    def num_classes(self) -> int:
        return self.own.bias.shape[1]

    @property
    def dropout(self) -> bool:
        """Whether the network was trained with any."""
        net = self.facts["config"]["model"]["net"]
        return any(value for key, value in net.items() if "dropout" in key)

    @property
    def score(self) -> str:
        """The score that the network was chosen for: macro_f1 or accuracy."""
        return SCORES[self.facts["monitor"]]

    def logits(self, split: Split) -> Float[Tensor, "samples classes"]:
        return split.features.double() @ self.own.weight[0].T + self.own.bias[0]


def record(folder: Path, *, checkpoint: str) -> Recorded:
    """A finished run's features, from `analysis/features/CHECKPOINT.npz` once they are there.

    They are read anew where the checkpoint's file is another one. The data are not touched again.
    """
    facts, task = read_facts(folder), load_task(folder, checkpoint=checkpoint)
    if facts["monitor"] not in SCORES:
        raise ValueError(
            f"{folder} was monitored by {facts['monitor']}, which is not one of "
            f"{', '.join(SCORES)}: choose runs of a classifier"
        )
    weights = (folder / "checkpoints" / f"{checkpoint}.ckpt").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    path = folder / "analysis" / "features" / f"{checkpoint}.npz"
    if not path.exists() or str(np.load(path)["weights"]) != digest:
        _read(folder, checkpoint, path, digest)
    stored = np.load(path)
    train, validation = (
        Split(*(torch.from_numpy(stored[f"{split}_{name}"]) for name in Split._fields))
        for split in ("train", "validation")
    )
    own = Heads(*(part[None] for part in linear_head(task.net)))
    epochs, batch_size = (
        facts["config"][group][key]
        for group, key in (("trainer", "max_epochs"), ("data", "batch_size"))
    )
    known: Any = task  # a classification: optimizer, scheduler, class_weight
    recipe = Recipe(known.optimizer, known.scheduler, epochs, batch_size, known.class_weight)
    return Recorded(folder, facts, digest, train, validation, own, recipe)


def require_same(x: Recorded, y: Recorded) -> None:
    """Refuses two networks whose samples are not the same in the same order."""
    require_same_samples(x.facts["data"], y.facts["data"])
    for name, ours, theirs in (
        ("training", x.train, y.train),
        ("validation", x.validation, y.validation),
    ):
        if not (torch.equal(ours.index, theirs.index) and torch.equal(ours.label, theirs.label)):
            raise ValueError(
                f"{x.folder} and {y.folder} hold the samples of {name} in another order, or with "
                "other labels: train both on the same set"
            )


def _read(folder: Path, checkpoint: str, path: Path, digest: str) -> None:
    task, data = load_run(folder, checkpoint=checkpoint)
    known: Any = data
    arrays: dict[str, Any] = {"weights": digest}
    for split, loader in (
        ("train", known.plain_train_dataloader()),
        ("validation", known.val_dataloader()),
    ):
        with read_features(task, loader) as readings:
            parts = [(layers["features"], batch.label, batch.index) for batch, layers in readings]
        for name, tensors in zip(Split._fields, zip(*parts, strict=True), strict=True):
            arrays[f"{split}_{name}"] = torch.cat(tensors).numpy()
    with whole_file(path) as part:
        np.savez(part, **arrays)
