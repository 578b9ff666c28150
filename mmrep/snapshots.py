"""States of a network along its training, kept to be compared with the last one.

A snapshot is a `.safetensors` in the run's `analysis/learning_dynamics/snapshots/`: the weights of
the network, or what its layers said of the probe samples, with these samples' `index` beside it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mmrep.files import whole_file
from mmrep.runs import epochs_of
from mmrep.stats.representations import Representation
from mmrep.weights import network_state, read_checkpoint

FOLDER = Path("analysis", "learning_dynamics", "snapshots")
SHARES = (0.0, 0.35, 0.75, 1.0)  # of a training, where Raghu et al. 2017 show all pairs of layers
WEIGHTS, FEATURES = "weights", "features"
KEEP = (WEIGHTS, FEATURES)


class Snapshot(NamedTuple):
    """One state: after so many training steps, which are so many epochs, in this file.

    `holds` is "weights" or "features"; of the latter, `comparison` says how they were reduced.
    """

    step: int
    epoch: float
    path: Path
    holds: str
    comparison: Mapping[str, Any]


def schedule(steps_per_epoch: int, epochs: int, every: int) -> list[int]:
    """After how many steps a training is looked at.

    Before the first step, after 1, 2, 4 and so on within the first epoch, then at the end of every
    `every`-th epoch, at the nearest step to each of `SHARES`, and at the end.
    """
    total = steps_per_epoch * epochs
    within = [2**n for n in range(steps_per_epoch.bit_length()) if 2**n < steps_per_epoch]
    ends = range(every * steps_per_epoch, total + 1, every * steps_per_epoch)
    shares = [round(share * total) for share in SHARES]
    return sorted(step for step in {*within, steps_per_epoch, *ends, *shares} if step <= total)


def nearest(snapshots: Sequence[Snapshot], share: float) -> int:
    """The number of the state that is nearest to a share of the training."""
    wanted = share * snapshots[-1].epoch
    return min(range(len(snapshots)), key=lambda i: abs(snapshots[i].epoch - wanted))


def write_weights(
    run: Path, step: int, epoch: float, net: nn.Module, index: Int64[Tensor, "samples"]
) -> Snapshot:
    """Keeps all that a network holds, with the numbers of the probe samples."""
    return _write(run, step, epoch, net.state_dict(), index, WEIGHTS, {})


def write_features(
    run: Path,
    step: int,
    epoch: float,
    layers: Mapping[str, Representation],
    index: Int64[Tensor, "samples"],
    comparison: Mapping[str, Any],
) -> Snapshot:
    """Keeps what layers say of the probe samples, in single precision, in their order."""
    tensors = {
        name: (torch.view_as_real(v) if (v := layer.values).is_complex() else v).float()
        for name, layer in layers.items()
    }
    forms = {name: [*layer[1:]] for name, layer in layers.items()}  # all but the values
    about = {**comparison, "forms": forms}
    return _write(run, step, epoch, tensors, index, FEATURES, about)


def bytes_kept(layer: Representation) -> int:
    """How much of a layer `write_features` keeps at most: real numbers of 4 bytes."""
    return layer.values.numel() * (8 if layer.values.is_complex() else 4)


def _write(
    run: Path,
    step: int,
    epoch: float,
    tensors: Mapping[str, Tensor],
    index: Tensor,
    holds: str,
    comparison: Mapping[str, Any],
) -> Snapshot:
    path = run / FOLDER / f"step={step:08d}.safetensors"
    held = {f"{holds}.{name}": part.detach().cpu().clone() for name, part in tensors.items()}
    held = {name: part.contiguous() for name, part in held.items()}
    about = {"step": step, "epoch": epoch, "holds": holds, "comparison": comparison}
    with whole_file(path) as part:
        part.write_bytes(
            save(held | {"index": index.cpu()}, {k: json.dumps(v) for k, v in about.items()})
        )
    return Snapshot(step, epoch, path, holds, comparison)


def snapshots_of(run: Path) -> list[Snapshot]:
    """Those that a run has kept, by step; [] where there are none."""
    found = []
    for path in sorted((run / FOLDER).glob("step=*.safetensors")):
        with safe_open(path, "pt") as file:
            about = {key: json.loads(value) for key, value in file.metadata().items()}
        found.append(Snapshot(path=path, **about))
    return found


def states_of(run: Path) -> list[Snapshot]:
    """A run's snapshots, or its checkpoints where it has none, from the first to the last."""
    if snapshots := snapshots_of(run):
        return snapshots
    found = []
    for path in (run / "checkpoints").glob("[!.]*.ckpt"):
        if path.stem != "best":  # one of the others
            held = read_checkpoint(path)
            epoch = float(epochs_of(held))
            found.append(Snapshot(int(held["global_step"]), epoch, path, WEIGHTS, {}))
    return sorted({state.epoch: state for state in found}.values(), key=lambda state: state.epoch)


def weights_in(state: Snapshot) -> dict[str, Tensor]:
    """The network's own state dict at that time."""
    if state.path.suffix == ".ckpt":
        return network_state(read_checkpoint(state.path)["state_dict"])
    held = load_file(state.path)
    return {name.removeprefix(f"{WEIGHTS}."): held[name] for name in held if name != "index"}


def features_in(state: Snapshot) -> tuple[Int64[Tensor, "samples"], dict[str, Representation]]:
    """The probe samples' numbers, and what layers said of them at that time, in float64."""
    held, layers = load_file(state.path), {}
    for name, (size, *form) in state.comparison["forms"].items():
        values = held[f"{FEATURES}.{name}"].double()
        values = torch.view_as_complex(values) if values.ndim == 4 else values
        layers[name] = Representation(values, (size[0], size[1]), *form)
    return held["index"], layers
