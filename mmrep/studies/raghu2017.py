"""What the studies of Raghu et al. 2017 share: what of a run is compared, and what it is called."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmrep.dynamics import Comparison, layers_of
from mmrep.runs import read_facts
from mmrep.screen import short


def comparison_for(folder: Path, layers: Sequence[str] | None, **how: Any) -> Comparison:
    """What is compared of a run: the layers that are named, else those that its config names.

    `how` is what else a Comparison holds.
    """
    if how["reduction"] != "dft":
        how["frequencies"] = None
    return Comparison(layers_of(folder) if layers is None else [*layers], **how)


def network_class(folder: Path) -> str:
    """The class of a run's network, such as ConvNet."""
    target: str = read_facts(folder)["config"]["model"]["net"]["_target_"]
    return target.rpartition(".")[2]


def run_titles(folders: Sequence[Path]) -> dict[Path, str]:
    """What panels of runs say: model and seed, and the folder where several have these."""
    titles = {}
    for folder in folders:
        facts = read_facts(folder)
        titles[folder] = f"{facts['model'] or network_class(folder)}, seed {facts['seed']}"
    said = [*titles.values()]
    return {
        folder: title if said.count(title) == 1 else f"{title} ({short(folder)})"
        for folder, title in titles.items()
    }
