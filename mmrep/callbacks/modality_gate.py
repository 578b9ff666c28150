"""The analysis `modality_gate`: how open a network's gates are, and what bad images do to them.

Oyedotun et al. 2019.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from matplotlib.figure import Figure

from mmrep.files import whole_file, write_table
from mmrep.gates import (
    ALL,
    CLASS_COLUMNS,
    KNOWN_COLUMNS,
    SAMPLE_COLUMNS,
    UNIT_COLUMNS,
    Corrupted,
    Table,
    Validated,
    class_rows,
    corruption_table,
    curves_of,
    extremes,
    gated_modalities,
    kinds_of,
    known_rows,
    over_epochs,
    read_corrupted,
    read_validated,
    sample_rows,
    unit_rows,
    with_other_epochs,
)
from mmrep.loggers import log_curves, log_figure
from mmrep.plots.modality_gate import (
    plot_corruption,
    plot_gate_epochs,
    plot_gate_images,
    plot_gate_samples,
    plot_gate_units,
)

KEY = "analysis/modality_gate"
FOLDER = Path("analysis") / "modality_gate"


class GateStatistics(Callback):
    """Gates of all validation samples, and what the network does where images are corrupted.

    After every `every`-th epoch of a training, and when a trained network is validated, writes
    `analysis/modality_gate/epoch=012.npz` (gates (samples, units), predicted and true classes) and,
    in which rows of other epochs stay, `gates.csv` by class and `units.csv`; logs the means.

    When a trained network is validated, writes beside these `corruption.csv` with accuracy and
    gates at each of `levels` of each corruption of a modality that the network sees (of this epoch
    alone), `samples.csv` (of this epoch and the first: the others' gates are in their .npz) and
    `known.csv`, rank correlations with what is known of the samples. It draws
    `figures/modality_gate.png` and beside it `_units`, `_samples`, `_corruption` and `_images`, of
    the `examples` samples with the most and as many with the least open gates. Of a network without
    gates it has the corruptions alone. Where the carried modality's share has gates of its own
    (`separate_gates`), these are not followed.

    ValueError: no epoch, no example, or levels that do not rise from 0 to at most 1.
    """

    def __init__(
        self,
        *,
        every: int | None = 1,
        levels: Sequence[float | int] = (0, 0.25, 0.5, 0.75, 1),
        examples: int = 8,
    ) -> None:
        if every is not None and every < 1:
            raise ValueError(f"every={every} must be at least 1 epoch, or null: at the end only")
        rising = all(low < high for low, high in itertools.pairwise(levels))
        if not levels or levels[0] != 0 or not rising or levels[-1] > 1:
            raise ValueError(f"levels={[*levels]} must rise from 0, an intact image, to at most 1")
        if examples < 1:
            raise ValueError(f"examples={examples} must be at least 1 sample")
        self.every, self.levels, self.examples = every, [*levels], examples
        self.along = False  # with a training, which goes on whatever is met

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses what cannot be analysed before anything is trained."""
        kinds_of(pl_module.net, trainer.datamodule)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.along = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        training = trainer.state.fn == "fit"
        self.epoch = trainer.current_epoch + training  # how many the weights have seen
        self.step = trainer.global_step - training  # as Lightning counts what it logs
        due = self.every is not None and self.epoch % self.every == 0
        due = due and bool(gated_modalities(pl_module.net))
        if trainer.sanity_checking or (training and not due):
            return
        data = trainer.datamodule
        try:
            read = read_validated(pl_module, data, data.val_dataloader())
            corrupted = [] if training else read_corrupted(pl_module, data, read, self.levels)
        except ValueError as error:
            if not self.along:
                raise
            # Gates that cannot be analysed are no reason to lose a training.
            rank_zero_warn(f"modality_gate leaves out epoch {self.epoch}: {error}")
            return
        if not trainer.is_global_zero:
            return
        by_class = self._write_epoch(trainer, read) if read.gates else []
        if not training:
            self._write_end(trainer, read, corrupted)
            self._draw(trainer, pl_module.net, read, corrupted, by_class)

    def _write_epoch(self, trainer: Trainer, read: Validated) -> Table:
        """Gives `gates.csv`, with all epochs."""
        data, folder = trainer.datamodule, Path(trainer.default_root_dir) / FOLDER
        label, names = data.val_set.label, data.class_names
        with whole_file(folder / f"epoch={self.epoch:03d}.npz") as part:
            arrays = {
                "label": label.numpy(),
                "index": data.val_set.index.numpy(),
                "predicted": read.predicted.numpy(),
                "class_names": np.array(names),
            }
            arrays |= {f"gate_{name}": gate.float().numpy() for name, gate in read.gates.items()}
            np.savez(part, **arrays)
        rows = [*class_rows(self.epoch, read.gates, label, names)]
        by_class = with_other_epochs(folder / "gates.csv", self.epoch, rows)
        by_unit = [*unit_rows(self.epoch, read.gates)]
        by_unit = with_other_epochs(folder / "units.csv", self.epoch, by_unit)
        write_table(folder / "gates.csv", CLASS_COLUMNS, by_class)
        write_table(folder / "units.csv", UNIT_COLUMNS, by_unit)
        numbers: dict[str, float] = {}
        for _, modality, of, mean, deviation, _ in rows:
            if of == ALL:
                numbers |= {
                    f"{KEY}/{modality}/mean": mean,
                    f"{KEY}/{modality}/deviation": deviation,
                }
            else:
                numbers[f"{KEY}/{modality}/mean/{of}"] = mean
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch} | numbers, self.step)
        return by_class

    def _write_end(self, trainer: Trainer, read: Validated, corrupted: Sequence[Corrupted]) -> None:
        data, folder = trainer.datamodule, Path(trainer.default_root_dir) / FOLDER
        header, rows = corruption_table(self.epoch, corrupted)
        write_table(folder / "corruption.csv", header, rows)
        percent = [round(100 * level) for level in self.levels]
        curves = {
            kind: (percent, [of.accuracy for of in corrupted if of.kind == kind])
            for kind in dict.fromkeys(of.kind for of in corrupted)
        }
        log_curves(
            trainer.loggers,
            "modality_gate/corruption",
            curves,
            [tuple(header), *rows],
            epoch=trainer.current_epoch,
            step=self.step,
        )
        if not read.gates:
            return
        epochs = {int(path.stem.partition("=")[2]): path for path in folder.glob("epoch=*.npz")}
        first = min(epochs)
        of_samples = [*sample_rows(self.epoch, read, data)]
        if first != self.epoch:
            of_samples = [*sample_rows(first, _earlier(epochs[first], read), data), *of_samples]
        write_table(folder / "samples.csv", (*SAMPLE_COLUMNS, *data.val_known), of_samples)
        write_table(folder / "known.csv", KNOWN_COLUMNS, known_rows(read, data))

    def _draw(
        self,
        trainer: Trainer,
        net: Any,
        read: Validated,
        corrupted: Sequence[Corrupted],
        by_class: Table,
    ) -> None:
        data, run = trainer.datamodule, Path(trainer.default_root_dir)
        title = f"{data.title}, validation; {type(net).__name__}"
        look: dict[str, Any] = {
            "title": f"{title} after {self.epoch} epochs",
            "simulated": data.simulated,
        }
        figures = {"_corruption": plot_corruption(*curves_of(corrupted), **look)}
        if read.gates:
            figures |= self._figures_of_gates(data, [*net.branches], read, look)
            figures[""] = plot_gate_epochs(over_epochs(by_class), **look | {"title": title})
        for name, figure in figures.items():
            log_figure(trainer.loggers, run, f"modality_gate{name}", figure, self.step)

    def _figures_of_gates(
        self, data: Any, seen: Sequence[str], read: Validated, look: dict[str, Any]
    ) -> dict[str, Figure]:
        label, correct = data.val_set.label, (read.predicted == data.val_set.label).numpy()
        numbers = label.unique().tolist()
        of_units, of_samples = {}, {}
        figures = {}
        for name, gate in read.gates.items():
            by_unit = torch.stack([gate[label == number].mean(dim=0) for number in numbers])
            units = torch.stack([gate.mean(dim=0), gate.std(dim=0, correction=0)])
            of_units[name] = units.numpy(), by_unit.numpy()
            of_samples[name] = gate.mean(dim=1).numpy()
            which = f"_{name}" if len(read.gates) > 1 else ""
            examples = {
                how: (
                    _images(data.val_set, rows, seen),
                    [
                        f"{data.class_names[label[row]]}\n{of_samples[name][row]:.3f}"
                        for row in rows
                    ],
                )
                for how, rows in extremes(gate.mean(dim=1), self.examples).items()
            }
            titled = look | {"title": f"{look['title']}\ngate of {name}, mean over units"}
            figures[f"_images{which}"] = plot_gate_images(examples, **titled)
        figures["_units"] = plot_gate_units(
            of_units, [data.class_names[number] for number in numbers], **look
        )
        figures["_samples"] = plot_gate_samples(of_samples, correct, **look)
        return figures


def _earlier(path: Path, read: Validated) -> Validated:
    """What an epoch's file has kept of the same samples."""
    kept = np.load(path)
    gates = {name: torch.from_numpy(kept[f"gate_{name}"]).double() for name in read.gates}
    return Validated(gates, torch.from_numpy(kept["predicted"]))


def _images(samples: Any, rows: list[int], seen: Sequence[str]) -> dict[str, np.ndarray]:
    """Of some validation samples, as the network sees them, by modality."""
    inputs = samples.prepare(samples[rows]).inputs
    return {name: inputs[name].numpy() for name in seen}
