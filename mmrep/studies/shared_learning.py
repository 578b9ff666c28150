"""Do codes of what is seen and heard have a common form (Eguchi et al. 2019; Ngiam et al. 2011)?

A classifier learns a frozen encoder's codes of one modality and is tested on both: on the one that
it has never met, it can only be right as far as the encoder gives both the same code.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Float64, Int64
from torch import Generator, Tensor

from mmrep import networks
from mmrep.features import read_features
from mmrep.files import whole_file
from mmrep.networks.code_head import CodeHead
from mmrep.runs import load_run, read_facts

DIRECTIONS = {"V2A": "visual", "A2V": "auditory"}  # and the modality that the head learns
MODALITIES = ("visual", "auditory")
BATCH_SIZE = 256
LAYERS = ("all", "last")


class Codes(NamedTuple):
    """What layers of an encoder make of samples that show one modality alone.

    There are as many samples of each modality, and all layers are equally wide. `label` is the
    digit shown.
    """

    layers: list[int]  # their numbers, the first is 1
    codes: Float32[Tensor, "layers modalities samples units"]
    label: Int64[Tensor, "modalities samples"]


class SharedAccuracy(NamedTuple):
    """Share of right answers on held-out samples: learnt in a direction, tested on a modality."""

    layers: list[int]
    accuracy: Float64[np.ndarray, "layers directions modalities"]


def kept_shared_accuracy(
    folder: Path, *, checkpoint: str, epochs: int, layers: str, seed: int
) -> SharedAccuracy:
    """How well heads on a finished run's codes do; `layers` is `all` of its encoder, or the `last`.

    From `analysis/shared_learning/CHECKPOINT_LAYERS.npz` where it has been done with these options
    and weights: it takes minutes.
    """
    if layers not in LAYERS:
        raise ValueError(f"analysis.layers={layers!r} is not one of {', '.join(LAYERS)}")
    if epochs < 1:
        raise ValueError(f"analysis.epochs={epochs} must be at least 1")
    weights = (folder / "checkpoints" / f"{checkpoint}.ckpt").read_bytes()
    package = Path(networks.__file__).parent
    sources = [package / "autoencoder.py", package / "code_head.py", Path(__file__)]
    digests = [
        hashlib.sha256(content).hexdigest()
        for content in (weights, *(path.read_bytes() for path in sources))
    ]
    key = json.dumps([digests, epochs, layers, seed])
    path = folder / "analysis" / "shared_learning" / f"{checkpoint}_{layers}.npz"
    if path.exists() and str((stored := np.load(path))["key"]) == key:
        return SharedAccuracy(stored["layers"].tolist(), stored["accuracy"])
    facts = read_facts(folder)
    train, validation = read_codes(folder, checkpoint=checkpoint, layers=layers)
    found = shared_accuracy(
        train,
        validation,
        num_classes=len(facts["data"]["class_names"]),
        epochs=epochs,
        seed=(seed, facts["seed"]),  # repetitions are to differ in their heads too
    )
    arrays: dict[str, Any] = found._asdict()
    with whole_file(path) as part:
        np.savez(part, key=key, **arrays)
    return found


def read_codes(folder: Path, *, checkpoint: str, layers: str) -> tuple[Codes, Codes]:
    """The codes of a run's training and validation samples."""
    task, data = load_run(folder, checkpoint=checkpoint)
    known: Any = data  # conditions, condition
    encoder: Any = task.net
    depth = len(encoder.encoder)
    numbers = [*range(1, depth + 1)] if layers == "all" else [depth]
    names = [f"encoder.layer{number}" for number in numbers]
    splits = []
    for loader in (known.plain_train_dataloader(), known.val_dataloader()):
        codes: list[Tensor] = []
        labels: list[Tensor] = []
        conditions: list[Tensor] = []
        with read_features(task, loader, names) as readings:
            for batch, by_layer in readings:
                codes.append(torch.stack([by_layer[name] for name in names]))
                labels.append(batch.label)
                conditions.append(known.condition(batch.index))
        shown = torch.cat(conditions)
        chosen = [shown == known.conditions.index(modality) for modality in MODALITIES]
        every, label = torch.cat(codes, dim=1), torch.cat(labels)
        splits.append(
            Codes(
                numbers,
                torch.stack([every[:, rows] for rows in chosen], dim=1),
                torch.stack([label[rows] for rows in chosen]),
            )
        )
    return splits[0], splits[1]


def shared_accuracy(
    train: Codes, validation: Codes, *, num_classes: int, epochs: int, seed: tuple[int, ...]
) -> SharedAccuracy:
    """Trains a head for each layer and direction, all side by side, and tests it."""
    learnt = [MODALITIES.index(modality) for modality in DIRECTIONS.values()]
    head = train_heads(
        train.codes[:, learnt].flatten(0, 1),
        train.label[learnt].repeat(len(train.layers), 1),
        num_classes=num_classes,
        epochs=epochs,
        generators=[
            own_generator(*seed, layer, name) for layer in train.layers for name in DIRECTIONS
        ],
    )
    accuracy = np.empty((len(train.layers), len(learnt), len(MODALITIES)))
    for place, label in enumerate(validation.label):
        codes = validation.codes[:, place].repeat_interleave(len(learnt), dim=0)
        with torch.no_grad():
            right = head(codes).argmax(dim=-1) == label
        accuracy[..., place] = right.double().mean(dim=-1).unflatten(0, (-1, len(learnt)))
    return SharedAccuracy(train.layers, accuracy)


def train_heads(
    codes: Float[Tensor, "heads samples units"],
    label: Int64[Tensor, "heads samples"],
    *,
    num_classes: int,
    epochs: int,
    generators: Sequence[Generator],
) -> CodeHead:
    """Heads after so many epochs, side by side and in evaluation mode.

    As published: cross-entropy, AdaDelta with the constants of Keras 2.0.9, batches of 256 of which
    the last is smaller, the last epoch's weights. Each head draws weights, order and dropout from
    its own generator, so that but for rounding it is the same whichever stand beside it.
    """
    head = CodeHead(codes.shape[-1], num_classes, replicas=len(codes))
    head.draw_weights(generators)
    optimizer = torch.optim.Adadelta(head.parameters(), lr=1.0, rho=0.95, eps=1e-8)
    samples = codes.shape[1]
    rows, labels = codes.flatten(0, 1), label.flatten()
    first = samples * torch.arange(len(codes))[:, None]
    for _ in range(epochs):
        order = torch.stack([torch.randperm(samples, generator=of) for of in generators]) + first
        for chosen in torch.split(order, BATCH_SIZE, dim=1):
            several = chosen.flatten()
            batch = rows.index_select(0, several).view(*chosen.shape, -1)
            logits = head(batch, generators).flatten(0, 1)
            losses = F.cross_entropy(logits, labels.index_select(0, several), reduction="sum")
            optimizer.zero_grad()
            # each head has the gradient it would have alone
            torch.autograd.backward(losses / chosen.shape[1])
            optimizer.step()
    return head.eval()


def own_generator(*names: int | str) -> Generator:
    """Random numbers of these names' own."""
    digest = hashlib.sha256(repr(names).encode()).hexdigest()
    return Generator().manual_seed(int(digest[:8], 16))
