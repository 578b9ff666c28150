"""What the studies of Chowers & Weiss 2023 share: trained networks by their first layers."""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from mmrep.files import write_table
from mmrep.first_layer import FOLDER, OF, History, read_axes
from mmrep.loggers import write_figure
from mmrep.plots.energy_profile import plot_energy_profiles, plot_profile_convergence
from mmrep.runs import read_facts
from mmrep.stats.energy import PatchAxes, energy_profile, profile_correlation
from mmrep.studies.chowers2023_numbers import Published
from mmrep.studies.pairs import finished
from mmrep.studies.statements import Statement

NUM_INITIALISATIONS = 100
OF_TITLES = {"weights": "the weights", "change": "the change since the start"}
SUFFIXES = {"weights": "", "change": "_change"}  # of files
Profile = Float64[np.ndarray, "dimensions"]
Panels = dict[str, dict[str, np.ndarray]]  # profiles, by panel and line
Line = tuple[list[int], list[float]]  # epochs, and a correlation after each
TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "celeba": "CelebA"}


class Network(NamedTuple):
    """A finished run by its first layer: the filters after each epoch, and its patches' axes."""

    folder: Path
    facts: dict[str, Any]  # of run.json
    history: History
    axes: PatchAxes

    @property
    def data(self) -> str:
        """The data set, and its classes where these are some of them."""
        config = self.facts["config"]["data"]
        name = TITLES.get(self.facts["data"]["name"], self.facts["data"]["name"])
        return f"{name} {'/'.join(sorted(config['classes']))}" if config.get("classes") else name

    @property
    def family(self) -> str:
        return {"CifarResNet": "ResNet"}.get(self._class, self._class)

    @property
    def architecture(self) -> str:
        """Such as VGG11 or ResNet-20, whatever the width of the first layer."""
        return f"{self.family}{'' if self.family == 'VGG' else '-'}{self._net['depth']}"

    @property
    def width(self) -> int:
        return len(self.history.filters[-1])

    @property
    def labels(self) -> str:
        name = self.facts["config"]["data"].get("labels", True)
        return "true" if name is True else str(name)

    @property
    def component(self) -> int | None:
        """Of the patches: that labels go by, or that is scaled."""
        component: int | None = self.facts["config"]["data"].get("component")
        return component

    @property
    def alpha(self) -> float | None:
        """By which patches are scaled along the component."""
        alpha = self.facts["config"]["data"].get("alpha")
        return None if alpha is None else float(alpha)

    @property
    def frozen(self) -> bool:
        return bool(self._net.get("freeze_first_layer"))

    @property
    def seed(self) -> int:
        return int(self.facts["seed"])

    @property
    def simulated(self) -> bool:
        return bool(self.facts["data"]["source"] == "simulated")

    @property
    def title(self) -> str:
        """What tells the network from others on the same data."""
        labels = "" if self.labels == "true" else f", {self.labels} labels"
        return f"{self.architecture}, {self.width} filters{labels}, seed {self.seed}"

    def profile(self, of: str) -> Float64[Tensor, "dimensions"]:
        """Of the last "weights", or of their "change" since the start."""
        return self.profiles(of)[-1]

    def profiles(self, of: str) -> Float64[Tensor, "epochs dimensions"]:
        initial = self.history.filters[0] if of == "change" else 0
        profiles = [energy_profile(f - initial, self.axes.axes) for f in self.history.filters]
        return torch.stack(profiles)

    @property
    def _net(self) -> dict[str, Any]:
        net: dict[str, Any] = self.facts["config"]["model"]["net"]
        return net

    @property
    def _class(self) -> str:
        return str(self._net["_target_"]).rsplit(".", 1)[-1]


def networks(folders: Sequence[Path], *, epoch: int | None = None) -> list[Network]:
    """Finished runs whose first layer was followed, as they were after `epoch`, or at their end."""
    found = []
    for folder in finished(folders):
        kept = folder / FOLDER / "filters.npz"
        if not kept.exists() or not (folder / FOLDER / "axes.npz").exists():
            raise ValueError(
                f"{folder} lacks {FOLDER}/: train with callbacks=energy_profile, or make it with "
                f"python analyze.py analysis=energy_profile runs={folder}"
            )
        history = History.read(kept)
        if epoch is not None:
            if epoch not in history.epochs:
                raise ValueError(
                    f"analysis.epoch={epoch}: {folder} has been followed at "
                    f"{', '.join(map(str, history.epochs))}; choose one that all runs have, or null"
                )
            history = history.until(epoch)
        found.append(Network(folder, read_facts(folder), history, read_axes(folder)))
    return sorted(found, key=lambda network: (network.data, network.title))


def on_plain_images(found: Iterable[Network]) -> list[Network]:
    """Networks that were free to learn from images as they are."""
    return [network for network in found if network.alpha is None and not network.frozen]


def compared(
    about: str,
    of: str,
    values: Float64[np.ndarray, "comparisons"],
    paper: Published | None,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Statement:
    """A table's entry: mean and deviation of ours, and what the paper claims of it."""
    mean = float(values.mean())
    bound, holds = "", None
    if at_least is not None:
        bound, holds = f"at least {at_least:g}", mean >= at_least
    elif at_most is not None:
        bound, holds = f"at most {at_most:g} from 0", abs(mean) <= at_most
    spread = float(values.std(ddof=1)) if len(values) > 1 else None
    return Statement(about, of, paper and paper.mean, mean, spread, bound, holds)


def require(found: Iterable[Network], what: str, command: str) -> list[Network]:
    """At least one network, or a sentence that says how to train what is missing."""
    chosen = list(found)
    if not chosen:
        raise ValueError(f"there is no run of {what}: train them with python train.py {command}")
    return chosen


def initialisations(network: Network, *, seed: int = 0) -> list[Float64[Tensor, "dimensions"]]:
    """Profiles of random filters as many as the network has: what a Kaiming-normal start gives."""
    generator = torch.Generator().manual_seed(seed)
    shape = (NUM_INITIALISATIONS, *network.history.filters[-1].shape)
    filters = torch.randn(shape, generator=generator)
    return [energy_profile(one, network.axes.axes) for one in filters]


def pairs(
    found: Iterable[Network], alike: Callable[[Network, Network], bool]
) -> list[tuple[Network, Network]]:
    """All pairs on the same patches of the same data that are `alike` in what is asked."""
    return [
        (x, y)
        for x, y in itertools.combinations(found, 2)
        if x.data == y.data and len(x.axes.energy) == len(y.axes.energy) and alike(x, y)
    ]


def correlations(both: Iterable[tuple[Network, Network]], of: str) -> Float64[np.ndarray, "pairs"]:
    """Pearson's correlation of the profiles of each pair."""
    return np.array([profile_correlation(x.profile(of), y.profile(of)) for x, y in both])


def common_folder(found: Sequence[Network]) -> Path:
    """The folder that holds all runs, where the study is written."""
    runs = [network.folder.absolute() for network in found]
    return Path(os.path.commonpath(runs)) if len(runs) > 1 else runs[0]


def show_profiles(
    study: Path, name: str, panels: Callable[[str], Panels], *, title: str, simulated: bool
) -> None:
    """A figure of the panels of the weights' profiles, and one of those of their change."""
    for of in OF:
        figure = plot_energy_profiles(
            panels(of), title=f"{title}: {OF_TITLES[of]}", simulated=simulated
        )
        write_figure(study, f"{name}{SUFFIXES[of]}", figure)


def show_epochs(
    study: Path, name: str, lines: dict[str, dict[str, Line]], *, title: str, simulated: bool
) -> None:
    """`epochs.csv` and a figure of correlations after each epoch, by what they are of and line."""
    figure = plot_profile_convergence(
        {OF_TITLES[of]: of_lines for of, of_lines in lines.items()},
        title=title,
        simulated=simulated,
    )
    write_figure(study, f"{name}_epochs", figure)
    write_table(
        study / "analysis" / name / "epochs.csv",
        ("networks", "of", "epoch", "correlation"),
        (
            (line, of, epoch, value)
            for of, of_lines in lines.items()
            for line, (epochs, values) in of_lines.items()
            for epoch, value in zip(epochs, values, strict=True)
        ),
    )


def with_initialisations(found: Iterable[Network], of: str) -> Float64[np.ndarray, "comparisons"]:
    """Of each network's profile with those of 100 random initialisations."""
    return np.array(
        [
            profile_correlation(network.profile(of), initial)
            for network in found
            for initial in initialisations(network)
        ]
    )
