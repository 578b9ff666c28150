"""A network's first layer beside the images that it reads, over the epochs of a training.

What the callback `energy_profile`, analyses of weight files and the studies share.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from mmrep.files import whole_file
from mmrep.metrics.patches import PatchMoments
from mmrep.runs import epochs_of, read_facts
from mmrep.stats.energy import (
    PUBLISHED_RATE,
    PUBLISHED_STEPS,
    PatchAxes,
    axes_from_sums,
    energy_profile,
    fit_theoretical_profile,
    profile_correlation,
    theoretical_profile,
)

FOLDER = Path("analysis", "energy_profile")  # in a run's
OF = ("weights", "change")  # what profiles are of; the change is since the initialisation

Filters = Float[Tensor, "filters channels rows columns"]


class History(NamedTuple):
    """The filters of one layer after so many epochs, 0 being the initialisation."""

    epochs: tuple[int, ...] = ()
    filters: tuple[Tensor, ...] = ()

    def with_epoch(self, epoch: int, filters: Filters) -> "History":
        """The same up to `epoch`, after which the filters are these."""
        before = self.until(epoch - 1)
        kept = filters.detach().float().cpu().clone()
        return type(self)((*before.epochs, epoch), (*before.filters, kept))

    def until(self, epoch: int) -> "History":
        """What there was after `epoch` epochs."""
        kept = sum(one <= epoch for one in self.epochs)
        return type(self)(self.epochs[:kept], self.filters[:kept])

    @property
    def initial(self) -> Tensor | None:
        return self.filters[0] if self.epochs and self.epochs[0] == 0 else None

    def write(self, run: Path) -> None:
        with whole_file(run / FOLDER / "filters.npz") as part:
            np.savez(part, epochs=self.epochs, filters=torch.stack(self.filters).numpy())

    @classmethod
    def read(cls, path: Path) -> "History":
        stored = np.load(path)
        return cls(tuple(stored["epochs"].tolist()), (*torch.from_numpy(stored["filters"]),))

    @classmethod
    def of_run(cls, run: Path, layer: str) -> "History":
        """What `energy_profile` has kept along a training; else what the run's checkpoints hold."""
        path = run / FOLDER / "filters.npz"
        if path.exists():
            return cls.read(path)
        found = {}
        for checkpoint in run.glob("checkpoints/[!.]*.ckpt"):
            loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
            epoch, weight = epochs_of(loaded), loaded["state_dict"].get(f"net.{layer}.weight")
            if weight is None:
                raise ValueError(f"{checkpoint} has no layer {layer!r}: choose runs of one network")
            found[0 if checkpoint.stem == "init" else epoch] = weight.float()
        if not found:
            raise FileNotFoundError(
                f"{run} holds neither {FOLDER}/filters.npz nor checkpoints: give a run's folder"
            )
        return cls((*sorted(found),), tuple(found[epoch] for epoch in sorted(found)))


class Row(NamedTuple):
    """Pearson's correlations of a profile after an epoch; NaN where there is nothing to compare."""

    epoch: int
    of: str  # weights, or change
    with_initial: float  # the profile of the initial weights
    with_partner: float  # the same of another run's last weights
    with_formula: float  # at its best step
    step: float


def first_layer(net: Any, name: str | None = None) -> tuple[str, nn.Conv2d]:
    """A convolution by its name in the network; by default the first there is."""
    convolutions = {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    if not convolutions:
        raise ValueError(
            f"{type(net).__name__} has no convolution: energy profiles are of a network that reads "
            "images, such as model=vgg11"
        )
    name = next(iter(convolutions)) if name is None else name
    if name not in convolutions:
        raise ValueError(
            f"layer={name!r} is no convolution of {type(net).__name__}; the first are "
            f"{', '.join([*convolutions][:5])}"
        )
    return name, convolutions[name]


def patch_stride(layer: nn.Conv2d) -> int:
    """1, all windows, as published; a layer that reads windows side by side knows no other."""
    return layer.stride[0] if layer.stride == layer.kernel_size else 1


def axes_of_training(data: Any, size: int, stride: int, device: torch.device) -> PatchAxes:
    """Axes of all patches of the training images, without augmentation, as a network sees them.

    Every rank reads its share and has the result.
    """
    moments: PatchMoments | None = None
    for batch in data.plain_train_dataloader():
        images = prepared(data, batch, device)
        if moments is None:
            moments = PatchMoments(images.shape[1], size, stride).to(device)
        moments.update(images)
    assert moments is not None  # a loader has at least one batch
    return PatchAxes(*(part.cpu() for part in axes_from_sums(*moments.compute())))


def kept_axes(run: Path, data: Any, size: int, stride: int) -> PatchAxes | None:
    """The axes in a run's folder, if they are of these data and windows."""
    path = run / FOLDER / "axes.npz"
    if not path.exists():
        return None
    return read_axes(run) if str(np.load(path)["key"]) == _key(data, size, stride) else None


def read_axes(run: Path) -> PatchAxes:
    """The axes in a run's folder, whatever they are of."""
    stored = np.load(run / FOLDER / "axes.npz")
    return PatchAxes(torch.from_numpy(stored["axes"]), torch.from_numpy(stored["energy"]))


def keep_axes(run: Path, axes: PatchAxes, data: Any, size: int, stride: int) -> None:
    arrays = {name: part.numpy() for name, part in axes._asdict().items()}
    with whole_file(run / FOLDER / "axes.npz") as part:
        np.savez(part, key=_key(data, size, stride), **arrays)


def require_same_normalisation(partner: Path, data: Any) -> None:
    """Refuses another run whose filters are in another unit of colour."""
    ours, theirs = data.facts(), read_facts(partner).get("data", {})
    for name in ("mean", "std"):
        if name in theirs and theirs[name] != ours.get(name):
            raise ValueError(
                f"partner={partner} was trained with data.{name}={theirs[name]} and this network "
                f"has {ours.get(name)}: profiles compare along the same axes alone"
            )


def prepared(data: Any, batch: Any, device: torch.device) -> Float[Tensor, "_ channels rows cols"]:
    """The images of a batch as the network sees them in validation."""
    if not isinstance(batch.inputs, Tensor) or batch.inputs.ndim != 4:
        raise ValueError(
            f"energy_profile reads images, and the inputs of {data.name} are none: choose data "
            "such as cifar10"
        )
    moved = batch._replace(inputs=batch.inputs.to(device))
    images: Tensor = data.plain_train_set.prepare(moved).inputs
    return images


def profiles_of(
    history: History, axes: Float64[Tensor, "dimensions dimensions"]
) -> dict[str, Float64[Tensor, "epochs dimensions"]]:
    """By what they are of: profiles of the weights, and of their change where it is known."""
    initial = history.initial
    found = {"weights": [energy_profile(filters, axes) for filters in history.filters]}
    if initial is not None:
        found["change"] = [energy_profile(filters - initial, axes) for filters in history.filters]
    return {name: torch.stack(profiles) for name, profiles in found.items()}


def correlations_of(
    history: History, axes: PatchAxes, partner: History | None = None
) -> Iterator[Row]:
    """How the profiles of each epoch compare; the change of the initial weights is none."""
    profiles = profiles_of(history, axes.axes)
    theirs = {} if partner is None else profiles_of(partner, axes.axes)
    for name, by_epoch in profiles.items():
        for epoch, profile in zip(history.epochs, by_epoch, strict=True):
            if name == "change" and epoch == 0:
                continue
            initial = profiles["weights"][0] if history.initial is not None else None
            other = theirs[name][-1] if name in theirs else None
            yield Row(
                epoch,
                name,
                torch.nan if initial is None else profile_correlation(profile, initial),
                torch.nan if other is None else profile_correlation(profile, other),
                *best_fit(profile, axes),
            )


def best_fit(profile: Float64[Tensor, "dimensions"], axes: PatchAxes) -> tuple[float, float]:
    """Correlation with the formula at its best step, and that step; NaN for a constant profile."""
    if profile.min() == profile.max():  # as the change of a frozen layer is
        return torch.nan, torch.nan
    fit = fit_theoretical_profile(profile, axes.energy, rate=rate_of(axes))
    return fit.correlation, fit.step


def formula(axes: PatchAxes, step: float) -> Float64[Tensor, "dimensions"]:
    """The theoretical profile at a step that `best_fit` has found."""
    return theoretical_profile(axes.energy, step, rate_of(axes))


def left_grid(step: float, axes: PatchAxes) -> str:
    """Whether a step of `best_fit` lies "below" or "above" those of the published search."""
    low, high = PUBLISHED_STEPS
    in_theirs = step * rate_of(axes) / PUBLISHED_RATE
    return "below" if in_theirs < low else "above" if in_theirs > high else ""


def rate_of(axes: PatchAxes) -> float:
    """The published program's, unless the images vary so much that its steps would overshoot."""
    return min(PUBLISHED_RATE, 1 / axes.energy.max().item() ** 2)


def _key(data: Any, size: int, stride: int) -> str:
    facts = {name: fact for name, fact in data.facts().items() if name != "class_names"}
    return json.dumps(facts | {"size": size, "stride": stride}, sort_keys=True)
