"""How open a network's gates are for each of its validation samples, on any number of ranks."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from lightning.pytorch import LightningModule
from scipy.stats import spearmanr
from torch import Tensor
from torch.utils.data import DataLoader

from mmrep.batch import Batch
from mmrep.features import read_features
from mmrep.metrics.sums import Sums

CLASS_COLUMNS = ("epoch", "modality", "class", "mean", "deviation_over_samples",
                 "deviation_over_units")  # fmt: skip
UNIT_COLUMNS = ("epoch", "modality", "unit", "mean", "deviation")
SAMPLE_COLUMNS = ("epoch", "modality", "index", "class", "mean", "deviation", "predicted",
                  "correct")  # fmt: skip  # then what the simulation has set
KNOWN_COLUMNS = ("modality", "of", "spearman", "p", "samples")
ALL = "all"  # beside the classes

Table = list[tuple[Any, ...]]


class Validated(NamedTuple):
    """What a network makes of each validation sample, in the samples' order.

    Gates are by modality, and there are none in a network without.
    """

    gates: dict[str, Float64[Tensor, "samples _"]]
    predicted: Int64[Tensor, "samples"]


class Corrupted(NamedTuple):
    """All samples under one corruption; gates by modality, as means over samples and units."""

    kind: str
    level: float
    correct: int
    samples: int
    gates: dict[str, tuple[float, float]]  # mean, and deviation of the samples' means

    @property
    def accuracy(self) -> float:
        return self.correct / self.samples


def gated_modalities(net: Any) -> list[str]:
    return [*getattr(net, "gates", ())]


def kinds_of(net: Any, data: Any) -> list[str]:
    """The corruptions of modalities that the network sees.

    ValueError: a network without branches, or data that cannot be corrupted.
    """
    if not hasattr(net, "branches"):
        raise ValueError(
            f"modality_gate finds no branches in {type(net).__name__}: choose a network of "
            "modalities, such as model=rgbd_gated"
        )
    if not getattr(data, "corruptions", ()):
        raise ValueError(
            f"modality_gate finds no corruptions in {data.name}: choose data with them, such as "
            "data=rgbd"
        )
    kinds = [kind for kind in data.corruptions if kind.rpartition("_")[0] in net.branches]
    if not kinds:
        raise ValueError(
            f"modality_gate: none of {', '.join(data.corruptions)} is of a modality that the "
            f"network sees, {', '.join(net.branches)}: choose other data, or another network"
        )
    return kinds


def read_validated(task: LightningModule, data: Any, loader: DataLoader[Batch]) -> Validated:
    """Gates and predictions for the samples of `data.val_set` as `loader` shows them.

    ValueError: gates or logits that are not finite.
    """
    names = gated_modalities(task.net)
    index, order = data.val_set.index.to(task.device).sort()
    predicted = Sums(len(index), 1).to(task.device)
    gates: dict[str, Sums] = {}
    with read_features(task, loader, ["logits", *(f"gates.{n}" for n in names)]) as readings:
        for batch, layers in readings:
            row = order[torch.searchsorted(index, batch.index)]
            for name in names:
                gate = layers[f"gates.{name}"]
                if name not in gates:
                    gates[name] = Sums(len(index), gate.shape[1]).to(task.device)
                gates[name].update(gate, row)
            logits = layers["logits"].double()
            known = logits.isfinite().all(dim=1, keepdim=True)
            chosen = logits.argmax(dim=1, keepdim=True).double()
            predicted.update(chosen.where(known, torch.nan), row)
    whole = {"logits": predicted.compute().cpu()}
    whole |= {name: of.compute().cpu() for name, of in gates.items()}
    for name, values in whole.items():  # of all ranks, which therefore agree
        if bad := int((~values.isfinite()).any(dim=1).sum()):
            what = name if name == "logits" else f"gates of {name}"
            raise ValueError(f"the {what} are not finite for {bad} of {len(values)} samples")
    classes = whole.pop("logits")[:, 0].long()
    return Validated(whole, classes)


def read_corrupted(
    task: LightningModule, data: Any, clean: Validated, levels: Sequence[float | int]
) -> list[Corrupted]:
    """All samples under each kind of corruption at each level; the first, 0, is `clean`."""
    found = []
    for kind in kinds_of(task.net, data):
        for level in map(float, levels):
            read = clean
            if level > 0:
                read = read_validated(task, data, data.corrupted_val_dataloader(kind, level))
            correct = int((read.predicted == data.val_set.label).sum())
            gates = {
                name: (gate.mean().item(), gate.mean(dim=1).std(correction=0).item())
                for name, gate in read.gates.items()
            }
            found.append(Corrupted(kind, level, correct, len(read.predicted), gates))
    return found


def class_rows(
    epoch: int,
    gates: Mapping[str, Float64[Tensor, "samples _"]],
    label: Int64[Tensor, "samples"],
    class_names: Sequence[str],
) -> Iterator[tuple[Any, ...]]:
    """`CLASS_COLUMNS` of all samples and of each class that has some.

    Deviations, here as below with n below the root, are of the samples' means over units, and of
    the units' means over samples.
    """
    chosen = {ALL: torch.ones_like(label, dtype=torch.bool)}
    chosen |= {name: label == number for number, name in enumerate(class_names)}
    for modality, gate in gates.items():
        for name, rows in chosen.items():
            if rows.any():
                of = gate[rows]
                deviations = [of.mean(dim=d).std(correction=0).item() for d in (1, 0)]
                yield epoch, modality, name, of.mean().item(), *deviations


def unit_rows(
    epoch: int, gates: Mapping[str, Float64[Tensor, "samples _"]]
) -> Iterator[tuple[Any, ...]]:
    """`UNIT_COLUMNS`: each unit's mean and deviation over samples."""
    for modality, gate in gates.items():
        means, deviations = gate.mean(dim=0).tolist(), gate.std(dim=0, correction=0).tolist()
        for unit, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
            yield epoch, modality, unit, mean, deviation


def sample_rows(epoch: int, read: Validated, data: Any) -> Iterator[tuple[Any, ...]]:
    """`SAMPLE_COLUMNS`: each sample's mean and deviation over units; then `data.val_known`."""
    label, names = data.val_set.label, data.class_names
    parts = [
        data.val_set.index.tolist(),
        [names[number] for number in label.tolist()],
        [names[number] for number in read.predicted.tolist()],
        (read.predicted == label).long().tolist(),
        *(values.tolist() for values in data.val_known.values()),
    ]
    for modality, gate in read.gates.items():
        means, deviations = gate.mean(dim=1).tolist(), gate.std(dim=1, correction=0).tolist()
        for mean, deviation, (index, name, predicted, correct, *known) in zip(
            means, deviations, zip(*parts, strict=True), strict=True
        ):
            yield epoch, modality, index, name, mean, deviation, predicted, correct, *known


def known_rows(read: Validated, data: Any) -> Iterator[tuple[Any, ...]]:
    """`KNOWN_COLUMNS`: rank correlations of samples' mean gates with what is known of them.

    That is whether they are classified correctly, and what the simulation has set. What is equal
    for all samples has no correlation (None).
    """
    correct = (read.predicted == data.val_set.label).double()
    known = {"correct": correct, **data.val_known}
    for modality, gate in read.gates.items():
        mean = gate.mean(dim=1)
        for name, values in known.items():
            rank, p = None, None
            if mean.min() < mean.max() and values.min() < values.max():
                rank, p = map(float, spearmanr(mean.numpy(), values.double().numpy()))
            yield modality, name, rank, p, len(mean)


def corruption_table(epoch: int, found: Sequence[Corrupted]) -> tuple[list[str], Table]:
    """Header and rows: accuracy under each corruption, and how far each gate is open."""
    header = ["epoch", "kind", "level", "accuracy", "correct", "samples"]
    header += [f"gate_{name}{what}" for name in found[0].gates for what in ("", "_deviation")]
    rows = [
        (epoch, of.kind, of.level, of.accuracy, of.correct, of.samples,
         *(x for g in of.gates.values() for x in g))
        for of in found
    ]  # fmt: skip
    return header, rows


def with_other_epochs(path: Path, epoch: int, rows: Table) -> Table:
    """`rows` of this epoch, which come first in each, among the others of a CSV."""
    earlier: Table = []
    if path.exists():
        with path.open(newline="") as file:
            earlier = [tuple(row) for row in csv.reader(file)][1:]
    others = [row for row in earlier if int(row[0]) != epoch]
    return sorted([*others, *rows], key=lambda row: int(row[0]))


def extremes(mean: Float[Tensor, "samples"], examples: int) -> dict[str, list[int]]:
    """Rows of the samples with the most and the least open gates, the extreme ones first."""
    order = mean.argsort(stable=True).tolist()
    return {"most open": order[::-1][:examples], "least open": order[:examples]}


def over_epochs(by_class: Table) -> dict[str, dict[str, np.ndarray]]:
    """By modality and class: epoch, mean and deviation over samples, each of all epochs."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for epoch, modality, of, mean, deviation, _ in by_class:
        points = found.setdefault(modality, {}).setdefault(of, [])
        points.append([float(epoch), float(mean), float(deviation)])
    return {
        modality: {of: np.array(points).T for of, points in classes.items()}
        for modality, classes in found.items()
    }


def curves_of(
    corrupted: Sequence[Corrupted],
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """Level and accuracy by kind; level, mean gate and its deviation by modality and kind."""
    kinds = list(dict.fromkeys(of.kind for of in corrupted))
    accuracy = {
        kind: np.array([(of.level, of.accuracy) for of in corrupted if of.kind == kind]).T
        for kind in kinds
    }
    gates = {
        name: {
            kind: np.array([(of.level, *of.gates[name]) for of in corrupted if of.kind == kind]).T
            for kind in kinds
        }
        for name in corrupted[0].gates
    }
    return accuracy, gates
