"""Finished runs whose first layers are given, in the form in which train.py leaves them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmrep.first_layer import FOLDER, History
from mmrep.stats.energy import PatchAxes

CHANNELS, SIZE = 3, 3


def axes_of_noise(seed: int = 0) -> PatchAxes:
    """Axes at random, along which energies fall as those of CIFAR-10's patches do."""
    draws = torch.randn(27, 27, generator=torch.Generator().manual_seed(seed)).double()
    return PatchAxes(torch.linalg.qr(draws).Q, torch.logspace(0.65, -2, 27, dtype=torch.float64))


def filters_along(axes: PatchAxes, profile: Tensor, *, count: int = 40, seed: int = 0) -> Tensor:
    """Random filters whose energy profile is `profile`, up to the chance of `count` draws."""
    draws = torch.randn(count, len(profile), generator=torch.Generator().manual_seed(seed))
    filters = (draws.double() * profile) @ axes.axes.T
    return filters.view(count, CHANNELS, SIZE, SIZE).float()


def write_run(
    folder: Path,
    filters: list[Tensor],
    axes: PatchAxes,
    *,
    seed: int = 0,
    net: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    max_epochs: int | None = None,
    mean: float = 0.5,
) -> Path:
    """A run whose first layer had these filters after 0, 1, 2, ... epochs."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("seed: 0\n")
    config = {
        "model": {"net": {"_target_": "mmrep.networks.vgg.VGG", "depth": 11} | (net or {})},
        "data": {"labels": True, "classes": None, "component": None, "alpha": None} | (data or {}),
        "trainer": {"max_epochs": max_epochs or len(filters) - 1},
    }
    facts = {
        "seed": seed,
        "config": config,
        "data": {"name": "cifar10", "source": "real", "fingerprint": "0", "mean": [mean] * 3},
    }
    (folder / "run.json").write_text(json.dumps(facts))
    History(tuple(range(len(filters))), tuple(filters)).write(folder)
    arrays = {name: part.numpy() for name, part in axes._asdict().items()}
    np.savez(folder / FOLDER / "axes.npz", key="", **arrays)
    (folder / "DONE").touch()
    return folder
