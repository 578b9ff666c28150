"""What the studies of Chowers & Weiss 2023 share: trained networks by their first layers."""

import itertools
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
        config, name = self.facts["config"]["data"], self.facts["data"]["name"]
        parts = [TITLES.get(name, name)]
        if "attribute" in config:  # CelebA
            parts.append(f"{config['attribute']} {config['size']} x {config['size']}")
        if config.get("folder", name) != name:  # of images
            parts.append(str(config["folder"]))
        if config.get("classes"):
            parts.append("/".join(sorted(config["classes"])))
        return " ".join(parts)

    @property
    def family(self) -> str:
        return {"CifarResNet": "ResNet"}.get(self._class, self._class)

    @property
    def architecture(self) -> str:
        """Such as VGG11 or ResNet-20, whatever the width of the first layer."""
        name = f"{self.family}{'' if self.family == 'VGG' else '-'}{self._net.get('depth', '')}"
        plain = self._net.get("batch_norm") is False
        return f"{name.rstrip('-')}{' without batch norm' if plain else ''}"

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
        number = self.facts["config"]["data"].get("num_train")
        parts = [
            f"{self.architecture}, {self.width} filters",
            "" if self.labels == "true" else f"{self.labels} labels",
            "" if self.component is None else f"axis {self.component}",
            "" if self.alpha is None else f"times {self.alpha:g}",
            "frozen" if self.frozen else "",
            f"{number:,} images" if number else "",
            f"seed {self.seed}",
        ]
        return ", ".join(filter(None, parts))

    @property
    def normalisation(self) -> tuple[Any, Any]:
        """Mean and deviation by which colours were divided; patches compare in one unit alone."""
        return self.facts["data"].get("mean"), self.facts["data"].get("std")

    def profile(self, of: str) -> Float64[Tensor, "dimensions"]:
        """Of the last "weights", or of their "change" since the start."""
        return self.profiles(of)[-1]

    def profiles(self, of: str) -> Float64[Tensor, "epochs dimensions"]:
        initial = self.history.filters[0] if of == "change" else 0  # epoch 0, as `networks` asks
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
        if history.initial is None or len(history.epochs) < 2:
            raise ValueError(
                f"{folder} was followed after epoch {history.epochs[-1]} alone, without its "
                "initial weights: train with callbacks=energy_profile"
            )
        if epoch is not None:
            if epoch not in history.epochs:
                raise ValueError(
                    f"analysis.epoch={epoch}: {folder} has been followed at "
                    f"{', '.join(map(str, history.epochs))}; choose one that all runs have, or null"
                )
            history = history.until(epoch)
        found.append(Network(folder, read_facts(folder), history, read_axes(folder)))
    found.sort(key=lambda network: (network.data, network.title))
    for one, other in itertools.pairwise(found):
        if (one.data, one.title) == (other.data, other.title):
            raise ValueError(
                f"{one.folder} and {other.folder} are both {one.data}, {one.title}: give one of "
                "them, as runs that differ in their recipe alone are not told apart"
            )
        if one.data == other.data and one.normalisation != other.normalisation:
            raise ValueError(
                f"{one.folder} and {other.folder} read {one.data} normalised differently: give "
                "runs with the same data.mean and data.std"
            )
    return found


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
