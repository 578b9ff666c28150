"""Learning dynamics: how similar layers are, along a training, to what they are at its end.

Raghu et al. 2017, Figure App.3, by any of four similarities.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from lightning.pytorch import LightningModule

from mmrep.files import whole_file, write_table
from mmrep.probe import Probe, probe
from mmrep.runs import read_facts
from mmrep.snapshots import (
    FEATURES,
    SHARES,
    Snapshot,
    features_in,
    nearest,
    weights_in,
)
from mmrep.stats.assessment import Assessment
from mmrep.stats.convergence import depth_correlation, epochs_of_levels
from mmrep.stats.representations import (
    Directions,
    assessed,
    decomposed,
    floor_between,
    reduced_to_directions,
    similarity_between,
)

FOLDER = Path("analysis", "learning_dynamics")
LEVELS = (0.7, 0.8, 0.9)
NAN = float("nan")
KEPT_FOR = ("layers", "measure", "reduction", "frequencies", "num_samples")


class Comparison(NamedTuple):
    """What is compared, and how.

    `layers` are named as in `mmrep.features.read_features`; `measure` is svcca, cca, pwcca or cka;
    `reduction`, of convolutional maps, is dft (of the `frequencies` lowest on each axis, or all),
    pixels, pooled or flat. The first `num_samples` of validation are compared. Floors are means
    over `permutations`, intervals rest on `resamples`; both are drawn from `seed`.
    """

    layers: Sequence[str] | None
    measure: str
    reduction: str
    frequencies: int | None
    num_samples: int
    permutations: int
    resamples: int
    seed: int

    @property
    def title(self) -> str:
        """What figures say of it; the reduction is of convolutional maps alone."""
        name = {"cca": "mean CCA"}.get(self.measure, self.measure.upper())
        how = {
            "dft": " by frequency"
            + (f", {self.frequencies} x {self.frequencies} lowest" if self.frequencies else ""),
            "pixels": " of pixels",
            "pooled": " of channels' means",
            "flat": "",  # of all numbers that a layer gives
        }
        return f"{name}{how[self.reduction]}, {self.num_samples} samples"


class Dynamics(NamedTuple):
    """Similarity of each layer with its own final state, and of all with all at some shares.

    `floor` is what `own` would be of samples that do not belong together; `kept` is how many
    directions of each layer the measure has kept, over all blocks. `matrices[s, i, j]` compares
    layer i at `shares[s]`, a number of the snapshots, with layer j at the end. `assessments` are of
    `own` there, but for the end: value, floor, low, high, held_out and both ranks; of kept features
    these are given the directions that were kept. NaN stands where a layer did not vary, or had no
    fewer dimensions than there are samples.
    """

    layers: tuple[str, ...]  # in the order of the forward pass
    step: Int64[np.ndarray, "snapshots"]
    epoch: Float64[np.ndarray, "snapshots"]
    own: Float64[np.ndarray, "snapshots layers"]
    floor: Float64[np.ndarray, "snapshots layers"]
    kept: Float64[np.ndarray, "snapshots layers"]
    shares: Int64[np.ndarray, "shares"]
    matrices: Float64[np.ndarray, "shares layers layers"]
    assessments: Float64[np.ndarray, "before_the_end layers 7"]

    @property
    def lines(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of each layer the epochs, its similarity with its own final state, and the floor."""
        return {
            name: (self.epoch, self.own[:, i], self.floor[:, i])
            for i, name in enumerate(self.layers)
        }

    @property
    def squares(self) -> dict[str, np.ndarray]:
        """The matrices, by what they are of."""
        return {
            f"after {self.epoch[share]:.3g} of {self.epoch[-1]:g} epochs": matrix
            for share, matrix in zip(self.shares, self.matrices, strict=True)
        }


def layers_of(run: Path) -> list[str] | None:
    """The layers that a run was configured to compare, if it was."""
    named = read_facts(run).get("config", {}).get("layers")
    return None if named is None else [*named]


def read_probe(task: LightningModule, data: Any, comparison: Comparison) -> Probe:
    """The layers of a network as they are to be compared."""
    return probe(
        task,
        data,
        comparison.layers,
        comparison.reduction,
        num_samples=comparison.num_samples,
        frequencies=comparison.frequencies,
    )


def kept_features(found: Probe, measure: str) -> Probe:
    """What of a probe is worth keeping: for SVCCA its singular directions alone."""
    if measure != "svcca":
        return found
    return found._replace(
        layers={name: reduced_to_directions(layer) for name, layer in found.layers.items()}
    )


def probes(
    task: LightningModule, data: Any, states: Sequence[Snapshot], comparison: Comparison
) -> Iterator[Probe]:
    """The network as it was in the last of the states, then in all others in their order.

    Every rank takes part. The network's weights are as before when all are read.
    """
    if len(states) < 2:
        raise ValueError(
            f"there are {len(states)} states of this training: train with "
            "callbacks=learning_dynamics, or with checkpoint.every=1"
        )
    with _restored(task):
        for state in (states[-1], *states[:-1]):
            if state.holds == FEATURES:
                _check_kept(state, comparison)
                yield Probe(*features_in(state))
            else:
                net: Any = task.net
                net.load_state_dict(weights_in(state))
                yield read_probe(task, data, comparison)


def dynamics(
    found: Iterable[Probe],
    states: Sequence[Snapshot],
    comparison: Comparison,
    track: Callable[[Sequence[Snapshot]], Iterable[Snapshot]] = iter,
) -> Dynamics:
    """Learning dynamics from the `probes` of the states.

    Two states at a time are in memory, each with samples x blocks x columns numbers of a layer.
    """
    each = iter(found)
    last = next(each)
    ends = comparable(last, comparison, states[-1])
    names = tuple(ends)
    shares = sorted({nearest(states, share) for share in SHARES})
    own, floor, kept, matrices, assessments = [], [], [], [], []
    for number, state in enumerate(track(states)):
        here = last if state is states[-1] else next(each)
        if not torch.equal(here.index, last.index):
            raise ValueError(
                f"{state.path} was kept of other samples than the last state: train anew, or "
                "remove the snapshots, then checkpoints are compared"
            )
        of_ends = here._replace(layers={name: here.layers[name] for name in names})
        now = ends if here is last else comparable(of_ends, comparison, state, at_the_end=False)
        generator = torch.Generator().manual_seed(comparison.seed)
        own.append([similarity_between(now[i], ends[i]) if i in now else NAN for i in names])
        kept.append([float(now[i].rank) if i in now else NAN for i in names])
        floor.append(
            [
                floor_between(
                    now[name],
                    ends[name],
                    permutations=comparison.permutations,
                    generator=generator,
                )
                if name in now
                else NAN
                for name in names
            ]
        )
        if number in shares:
            matrices.append(
                [
                    [similarity_between(now[i], ends[j]) if i in now else NAN for j in names]
                    for i in names
                ]
            )
        if number in shares and here is not last:
            assessments.append(
                [
                    _numbers(
                        assessed(
                            comparison.measure,
                            here.layers[name],
                            last.layers[name],
                            permutations=comparison.permutations,
                            resamples=comparison.resamples,
                            generator=generator,
                        )
                    )
                    if name in now
                    else [NAN] * 7
                    for name in names
                ]
            )
    return Dynamics(
        names,
        np.array([state.step for state in states]),
        np.array([state.epoch for state in states], dtype=np.float64),
        np.array(own),
        np.array(floor),
        np.array(kept),
        np.array(shares),
        np.array(matrices),
        np.array(assessments),
    )


def comparable(
    found: Probe, comparison: Comparison, of: Snapshot | Path, *, at_the_end: bool = True
) -> dict[str, Directions]:
    """Each layer made ready to be compared with others; `of` says in what state, or of which run.

    ValueError: a layer that was named does not vary, or has no fewer dimensions than there are
    samples. Of layers that were not named, and before the end, such a one is left out, with a line
    that says why.
    """
    where = of.path if isinstance(of, Snapshot) else of
    ready = {}
    for name, layer in found.layers.items():
        try:
            ready[name] = decomposed(comparison.measure, layer)
        except ValueError as error:
            if comparison.layers is not None and at_the_end:
                raise ValueError(f"layer {name!r} in {where}: {error}") from None
            print(f"left out {name} in {where}: {error}")
    if not ready and at_the_end:
        raise ValueError(f"none of {len(found.layers)} layers in {where} can be compared")
    return ready


def _numbers(found: Assessment) -> list[float]:
    return [*found[:5], *map(float, found.ranks)]


def convergence(
    found: Dynamics, levels: Sequence[float] = LEVELS
) -> Float64[np.ndarray, "levels layers"]:
    """The epoch at which each layer first is as similar to its end as each level.

    NaN for a layer that never is, or where chance (the floor) alone would reach the level.
    """
    above = [np.where(found.floor < level, found.own, NAN) for level in levels]
    rows = [
        epochs_of_levels(found.epoch, own, [level])
        for own, level in zip(above, levels, strict=True)
    ]
    return np.concatenate(rows)


def write_dynamics(run: Path, found: Dynamics, comparison: Comparison) -> None:
    """The arrays as `dynamics.npz`, and tables of them, into `analysis/learning_dynamics`."""
    folder = run / FOLDER
    arrays: dict[str, Any] = {name: np.array(x) for name, x in found._asdict().items()}
    with whole_file(folder / "dynamics.npz") as part:
        np.savez(part, comparison=np.array(_described(comparison)), **arrays)
    depth = dict(zip(found.layers, range(1, len(found.layers) + 1), strict=True))
    write_table(
        folder / "similarity.csv",
        ("layer", "depth", "step", "epoch", "similarity", "floor", "kept", "final_kept"),
        (
            (
                layer,
                depth[layer],
                step,
                epoch,
                found.own[i, j],
                found.floor[i, j],
                found.kept[i, j],
                found.kept[-1, j],
            )
            for i, (step, epoch) in enumerate(zip(found.step, found.epoch, strict=True))
            for j, layer in enumerate(found.layers)
        ),
    )
    write_table(
        folder / "matrices.csv",
        ("epoch", "layer", "final_layer", "similarity", "kept", "final_kept"),
        (
            (
                found.epoch[share],
                one,
                other,
                found.matrices[s, i, j],
                found.kept[share, i],
                found.kept[-1, j],
            )
            for s, share in enumerate(found.shares)
            for i, one in enumerate(found.layers)
            for j, other in enumerate(found.layers)
        ),
    )
    write_table(
        folder / "assessments.csv",
        ("epoch", "layer", *Assessment._fields[:5], "rank", "final_rank"),
        (
            (found.epoch[share], layer, *found.assessments[s, j])
            for s, share in enumerate(found.shares[:-1])
            for j, layer in enumerate(found.layers)
        ),
    )
    passed = convergence(found)
    write_table(
        folder / "convergence.csv",
        ("level", "layer", "depth", "epoch"),
        (
            (level, layer, depth[layer], passed[i, j])
            for i, level in enumerate(LEVELS)
            for j, layer in enumerate(found.layers)
        ),
    )
    write_table(
        folder / "order.csv",
        ("level", "rank_correlation_with_depth", "p", "layers"),
        (
            (level, *depth_correlation(row), int(np.isfinite(row).sum()))
            for level, row in zip(LEVELS, passed, strict=True)
        ),
    )


def read_dynamics(run: Path, comparison: Comparison, states: Sequence[Snapshot]) -> Dynamics | None:
    """What `write_dynamics` has left of this very comparison of these states, if it has."""
    path = run / FOLDER / "dynamics.npz"
    if not path.exists():
        return None
    with np.load(path) as held:
        arrays = {name: held[name] for name in held.files}
    same = str(arrays.pop("comparison")) == _described(comparison)
    if (
        not same
        or arrays.keys() != {*Dynamics._fields}
        or arrays["step"].tolist() != [state.step for state in states]
    ):
        return None
    return Dynamics(**arrays | {"layers": tuple(map(str, arrays["layers"]))})


def earlier_comparison(run: Path, comparison: Comparison) -> str | None:
    """What figures said of another comparison that lies in a run, if there is one."""
    path = run / FOLDER / "dynamics.npz"
    if not path.exists():
        return None
    with np.load(path) as held:
        earlier = Comparison(**json.loads(str(held["comparison"])))
    return None if _described(earlier) == _described(comparison) else earlier.title


def _described(comparison: Comparison) -> str:
    layers = None if comparison.layers is None else [*comparison.layers]
    return json.dumps({**comparison._asdict(), "layers": layers})


def kept_as(comparison: Comparison) -> dict[str, Any]:
    """What a comparison must share with the one that features were kept for."""
    asked = json.loads(_described(comparison))
    return {key: asked[key] for key in KEPT_FOR}


def _check_kept(state: Snapshot, comparison: Comparison) -> None:
    for key, asked in kept_as(comparison).items():
        if (kept := state.comparison[key]) != asked:
            raise ValueError(
                f"{key}={asked}: the run has kept features for {key}={kept}; ask for that, or "
                "train with callbacks.learning_dynamics.keep=weights, which serves any; or remove "
                "the snapshots, then checkpoints are compared"
            )


@contextmanager
def _restored(task: LightningModule) -> Iterator[None]:
    net: Any = task.net
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    try:
        yield
    finally:
        net.load_state_dict(before)
