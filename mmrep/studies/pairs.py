"""Which finished runs are compared with which: by sensor, or what else tells them, and by seed."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrep.runs import is_done, read_facts
from mmrep.scores import by_configuration, flat
from mmrep.screen import short

Networks = dict[int, Path]  # by seed


def finished(folders: Sequence[Path]) -> list[Path]:
    """The runs that are DONE, at least one; says which are not."""
    done = [folder for folder in folders if is_done(folder)]
    if not done:
        raise ValueError(
            f"none of the {len(folders)} runs is DONE: finish them with the command of their "
            "sweep, which skips what is there"
        )
    for folder in folders:
        if folder not in done:
            print(f"left out {short(folder)}: not DONE")
    return done


def networks_of(folders: Sequence[Path]) -> dict[str, Networks]:
    """Finished runs by sensor (and whatever else tells configurations apart), then by seed.

    ValueError: runs of several data sets, or one configuration and seed twice.
    """
    done = [read_facts(folder) | {"folder": folder} for folder in finished(folders)]
    sets = {
        tuple(facts["data"][key] for key in ("name", "source", "fingerprint")) for facts in done
    }
    if len(sets) > 1:
        raise ValueError(
            f"the runs are of {len(sets)} data sets, {sorted(sets)}: compare networks of one"
        )
    keys = {key for facts in done for key, _ in flat(facts["config"])}
    elsewhere = {
        key
        for key in keys
        if not key.startswith(("model.", "data.")) and key != "trainer.max_epochs"
    }  # what a network is, does not depend on the rest: devices, loggers, callbacks
    groups = by_configuration(done, over=("seed", "data.data_dir", *elsewhere))
    networks: dict[str, Networks] = {}
    for name, runs in groups.items():
        networks[name] = {}
        for facts in sorted(runs, key=lambda facts: facts["seed"]):
            folder = facts["folder"]
            if facts["seed"] in networks[name]:
                raise ValueError(
                    f"{short(networks[name][facts['seed']])} and {short(folder)} are both "
                    f"{name} with seed {facts['seed']}: give one of them"
                )
            networks[name][facts["seed"]] = folder
    return networks


def pairs_of(x: Networks, y: Networks, offset: int, *, names: str) -> list[tuple[Path, Path]]:
    """Networks of x with seed i and of y with seed i + offset, no seed in two pairs.

    Seeds 0 to 4 with 5 to 9, then 10 to 14 with 15 to 19. The seed decides the initial weights, so
    that two networks of one seed have those in common.
    """
    if offset < 1:
        raise ValueError(f"analysis.offset={offset} must be 1 or more: no network is its own pair")
    firsts = [seed for seed in sorted(x) if seed // offset % 2 == 0]
    pairs = [(x[seed], y[seed + offset]) for seed in firsts if seed + offset in y]
    if not pairs:
        raise ValueError(
            f"{names}: no pair of seeds i and i + {offset} among {sorted(x)} and {sorted(y)}: "
            "train them, or set analysis.offset"
        )
    return pairs


def folders_of(networks: Mapping[Any, Networks]) -> list[Path]:
    return [folder for by_seed in networks.values() for folder in by_seed.values()]


def common_folder(runs: Iterable[Path]) -> Path:
    """The folder that holds all runs, where the study is written."""
    folders = [folder.absolute() for folder in runs]
    return Path(os.path.commonpath(folders)) if len(folders) > 1 else folders[0]
