"""The analysis `learning_dynamics`: in which order layers become what they are at the end.

Raghu et al. 2017, Figure App.3.
"""

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from rich.progress import track

from mmrep.dynamics import (
    LEVELS,
    Comparison,
    Dynamics,
    convergence,
    dynamics,
    earlier_comparison,
    kept_as,
    kept_features,
    layers_of,
    probes,
    read_probe,
    write_dynamics,
)
from mmrep.features import layer_names
from mmrep.files import require_space
from mmrep.loggers import log_figure
from mmrep.plots.learning_dynamics import plot_convergence, plot_dynamics, plot_matrices
from mmrep.snapshots import (
    FEATURES,
    KEEP,
    WEIGHTS,
    Snapshot,
    bytes_kept,
    schedule,
    snapshots_of,
    states_of,
    write_features,
    write_weights,
)
from mmrep.stats.convergence import depth_correlation
from mmrep.stats.representations import MEASURES, REDUCTIONS, decomposed

GIGABYTE = 1e9


class LearningDynamics(Callback):
    """Similarity of every layer with its own final state, and with all layers', over a training.

    Along the training it keeps states of the network: before the first step, after 1, 2, 4 and so
    on within the first epoch, after every `every`-th epoch, and at 35, 75 and 100 % (where Raghu et
    al. 2017 compare all layers). `keep="weights"` keeps the network's weights, which costs next to
    nothing along the training and serves any later comparison; "features" what the layers say of
    `num_samples` validation samples, evenly spread, for SVCCA reduced to their kept singular
    directions. If all states might take more than `gigabytes`, the training is refused.

    When the trained network is validated, the states are compared with the last one, as `measure`
    and `reduction` say (`mmrep.dynamics.Comparison`): the run's snapshots, or its checkpoints where
    it was trained without this callback. One state at a time is in memory, beside the last: each of
    its layers takes samples x blocks x columns numbers of 8 bytes, of dft 16.

    Writes into `analysis/learning_dynamics` the arrays as `dynamics.npz` and tables: similarities
    with floors and kept directions, `matrices.csv` of all layers with all, `assessments.csv` with
    intervals and ranks, `convergence.csv` (the epoch at which each layer reaches each level) and
    `order.csv` (its rank correlation with depth); draws `figures/learning_dynamics.png` and beside
    it `_matrices` and `_order`, and hands these to every logger.
    """

    def __init__(
        self,
        *,
        layers: Sequence[str] | None,
        every: int = 1,
        keep: str = WEIGHTS,
        measure: str = "svcca",
        reduction: str = "dft",
        frequencies: int | None = None,
        num_samples: int = 1000,
        permutations: int = 5,
        resamples: int = 20,
        gigabytes: float | int = 2,
        seed: int = 0,
    ) -> None:
        for name, value, allowed in (
            ("keep", keep, KEEP),
            ("measure", measure, MEASURES),
            ("reduction", reduction, REDUCTIONS),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(allowed)}")
        for name, number, least in (
            ("every", every, 1),
            ("num_samples", num_samples, 4),
            ("permutations", permutations, 2),
            ("resamples", resamples, 2),
        ):
            if number < least:
                raise ValueError(f"{name}={number} must be at least {least}")
        if frequencies is not None and frequencies < 1:
            raise ValueError(f"frequencies={frequencies} must be at least 1, or null for all")
        self.every, self.keep, self.gigabytes = every, keep, gigabytes
        self.comparison = Comparison(
            None if layers is None else [*layers],
            measure,
            reduction,
            frequencies if reduction == "dft" else None,
            num_samples,
            permutations,
            resamples,
            seed,
        )
        self.along = False  # with a training, which goes on whatever is met

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses unknown layers before anything is trained."""
        self.along |= stage == "fit"
        net: Any = pl_module.net
        layer_names(net, self.comparison.layers)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps_per_epoch = int(trainer.num_training_batches)
        self.step = self.kept = trainer.current_epoch * self.steps_per_epoch
        run = Path(trainer.default_root_dir)
        if trainer.is_global_zero:
            for snapshot in snapshots_of(run):
                if self.step == 0 or snapshot.step > self.step:  # of what is not gone on with
                    snapshot.path.unlink()
        epochs = max(trainer.max_epochs or 0, 1)
        self.due = {*schedule(self.steps_per_epoch, epochs, self.every)}
        self.index = _index(trainer.datamodule, self.comparison.num_samples)
        if self.step == 0:
            seconds = self._check_layers(trainer, pl_module)
            first = self._keep(trainer, pl_module)
            if first is not None:
                self._check_size(run, first, seconds)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.step = trainer.current_epoch * self.steps_per_epoch + batch_idx + 1
        if self.step in self.due:
            self._keep(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.step > self.kept:  # it has ended before its time
            self._keep(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn == "fit":
            return
        run = Path(trainer.default_root_dir)
        if self.comparison.layers is None:
            self.comparison = self.comparison._replace(layers=layers_of(run))
        states = states_of(run)
        try:
            found = self._dynamics(trainer, pl_module, states)
        except ValueError as error:
            if not self.along:
                raise
            # Features that cannot be compared are no reason to lose a training.
            rank_zero_warn(f"learning_dynamics is left out: {error}")
            return
        if found is not None:
            self._report(trainer, run, found)

    def _dynamics(
        self, trainer: Trainer, task: LightningModule, states: Sequence[Snapshot]
    ) -> Dynamics | None:
        """On the rank that writes; the others only read their shares of the samples."""
        found = probes(task, trainer.datamodule, states, self.comparison)
        try:
            if trainer.is_global_zero:
                return dynamics(found, states, self.comparison, _tracked)
            return None
        finally:
            if trainer.world_size > 1:
                for _ in found:  # the other ranks' part, also where this one has met an error
                    pass

    def _report(self, trainer: Trainer, run: Path, found: Dynamics) -> None:
        if earlier := earlier_comparison(run, self.comparison):
            print(f"learning_dynamics: replaces figures and tables of {earlier}")
        write_dynamics(run, found, self.comparison)
        data = trainer.datamodule
        about: dict[str, Any] = {
            "title": f"{data.title}: {self.comparison.title}",
            "simulated": data.simulated,
        }
        passed = dict(zip(LEVELS, convergence(found), strict=True))
        figures = {
            "learning_dynamics": plot_dynamics({"": found.lines}, **about),
            "learning_dynamics_matrices": plot_matrices(
                found.squares,
                layers=(found.layers, found.layers),
                axes_of=("layers during training", "layers at the end"),
                **about,
            ),
            "learning_dynamics_order": plot_convergence(found.layers, passed, **about),
        }
        for name, figure in figures.items():
            log_figure(trainer.loggers, run, name, figure, trainer.global_step)
        for level, epochs in passed.items():
            correlation = depth_correlation(epochs).correlation
            told = (
                "fewer than 3 layers reach it above chance, or all do so at once"
                if math.isnan(correlation)
                else f"rank correlation {correlation:.2f}"
            )
            print(f"learning_dynamics: the epoch of reaching {level:g} and depth: {told}")

    def _keep(self, trainer: Trainer, task: LightningModule) -> Snapshot | None:
        """Every rank takes part, one writes."""
        self.kept = self.step
        run, epoch = Path(trainer.default_root_dir), self.step / self.steps_per_epoch
        if self.keep == WEIGHTS:
            if trainer.is_global_zero:
                net: Any = task.net
                return write_weights(run, self.step, epoch, net, self.index)
            return None
        found = read_probe(task, trainer.datamodule, self.comparison)
        if not trainer.is_global_zero:
            return None
        self.most = sum(bytes_kept(layer) for layer in found.layers.values())
        try:
            kept = kept_features(found, self.comparison.measure).layers
        except ValueError as error:
            if self.step == 0:
                raise
            rank_zero_warn(f"learning_dynamics leaves out step {self.step}: {error}")
            return None
        return write_features(run, self.step, epoch, kept, found.index, kept_as(self.comparison))

    def _check_layers(self, trainer: Trainer, task: LightningModule) -> float:
        """Refuses too few samples before the training; the seconds that reading a state takes."""
        started = time.monotonic()
        found = read_probe(task, trainer.datamodule, self.comparison)
        for name, layer in found.layers.items():
            try:
                decomposed(self.comparison.measure, layer)
            except ValueError as error:
                if "do not exceed the rank" in str(error) and self.comparison.layers is not None:
                    raise ValueError(f"layer {name!r}: {error}") from None
        return time.monotonic() - started

    def _check_size(self, run: Path, first: Snapshot, seconds: float) -> None:
        """Of features later states may keep more directions than the first: all, at most."""
        each = self.most if self.keep == FEATURES else first.path.stat().st_size
        total = each * len(self.due)
        what = f"{len(self.due)} states of {each / 1e6:.1f} MB, {total / GIGABYTE:.2g} GB in all"
        if total > self.gigabytes * GIGABYTE:
            first.path.unlink()
            raise ValueError(
                f"learning_dynamics might keep {what}, above gigabytes={self.gigabytes:g}: choose "
                "keep=weights or features, whichever is smaller, fewer layers, frequencies or "
                "samples, a greater every, or more gigabytes"
            )
        require_space(run, total)
        most = " at most" if self.keep == FEATURES else ""
        print(
            f"learning_dynamics keeps {what}{most}, below {run / 'analysis'}; to compare them when "
            f"all is trained takes at least {seconds * len(self.due):.0f} s"
        )


def _tracked(states: Sequence[Snapshot]) -> Iterable[Snapshot]:
    return track(states, description="learning_dynamics")


def _index(data: Any, num_samples: int) -> torch.Tensor:
    """The numbers of the probe samples, of all ranks."""
    shard = torch.cat([batch.index.flatten() for batch in data.probe_dataloader(num_samples)])
    shards: list[Any] = [shard]
    if dist.is_initialized():
        shards = [None] * dist.get_world_size()
        dist.all_gather_object(shards, shard)
    index = torch.cat(shards)
    return index[index >= 0].sort().values
