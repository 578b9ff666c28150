"""The analysis `cell_selectivity`: what single units tell of digits that are seen and heard.

Eguchi et al. 2019, figures 2 to 4.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from mmrep.callbacks.cell_figures import COLUMNS, Finished, Row, chosen_rows, show
from mmrep.cells import (
    AUDITORY,
    EXAMPLE_COLUMNS,
    VISUAL,
    Layer,
    example_rows,
    examples_of,
    layers_of,
    measure,
    own_thresholds_of,
    require_conditions,
)
from mmrep.features import read_features
from mmrep.files import whole_file, write_table
from mmrep.plots.cell_selectivity import Example
from mmrep.stats.cells import (
    CONSTANTS,
    NORMALISATIONS,
    SELECTIVE,
    SHOWN,
    Thresholds,
    cell_classes,
    count_classes,
)
from mmrep.stats.information import CELLS

KINDS = ("constants", "reference", "self")  # of thresholds


class CellSelectivity(Callback):
    """Information and classes of the cells in `layers`, over the validation samples.

    When a trained network is validated, and during training after every `every`-th epoch, the
    responses are read twice: for their ranges, and to be counted, with visual, auditory and all
    inputs each in their own range. Either way of normalising gives classes. `layers` are modules'
    names as `read_features` takes them, by default those of the network's encoder.

    Cells are selective above a `threshold` for each modality: "constants", the paper's, which hold
    on real MNIST and FSDD alone; "reference", the 80th percentiles (over stimuli and units) of the
    features of `reference`, a finished run on the same kind of data that figures call
    `reference_name`; "self", those of the last of `layers`, above which a fifth of any network's
    values lie. By default it is the first of these that there is. Files have them all, logs and
    figures the chosen one. `positive_only` is explained at `information_from_counts`.

    Writes `analysis/cell_selectivity/epoch=050.npz` and `cell_selectivity.csv`, in which rows of
    other epochs stay where they were measured alike, and logs the numbers of the last layer; at the
    end also `examples.csv`, and draws `figures/cell_selectivity.png` and beside it `_counts`,
    `_epochs` and `_examples`.
    """

    def __init__(
        self,
        *,
        layers: Sequence[str] | None = None,
        threshold: str | None = None,
        reference: Any | None = None,
        reference_name: str | None = None,
        every: int | None = None,
        positive_only: bool = True,
    ) -> None:
        if threshold not in (None, *KINDS):
            raise ValueError(f"threshold={threshold!r} is not one of {', '.join(KINDS)}, null")
        if threshold == "reference" and reference is None:
            raise ValueError("threshold='reference' needs a finished run: name it, reference=RUN")
        if layers is not None and not layers:
            raise ValueError("layers=[] leaves nothing to analyse: name modules, or leave it out")
        if every is not None and every < 1:
            raise ValueError(f"every={every} must be at least 1 epoch, or null: at the end only")
        self.layers, self.threshold, self.every = layers, threshold, every
        self.reference, self.reference_name = reference, reference_name or "the reference run"
        self.reference_thresholds: list[Thresholds] | None = None  # once they have been read
        self.positive_only = positive_only
        self.along = False  # with a training, which goes on whatever is met

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses what cannot be analysed before anything is trained."""
        data = trainer.datamodule
        require_conditions(data)
        self.kinds = ["self"]
        if self.reference is not None:
            ours, theirs = data.facts(), self.reference.data.facts()
            if (ours["name"], ours["source"]) != (theirs["name"], theirs["source"]):
                raise ValueError(
                    f"the reference run is of {theirs['source']} {theirs['name']}, and this one "
                    f"of {ours['source']} {ours['name']}: bits compare on the same data alone"
                )
            self.kinds.insert(0, "reference")
        if data.name == "mnist_fsdd" and not data.simulated and self.positive_only:
            self.kinds.insert(0, "constants")
        elif self.threshold == "constants":
            raise ValueError(
                f"threshold='constants' on {data.title}, positive_only={self.positive_only}: the "
                "paper's numbers are of positive terms on real mnist_fsdd alone; choose "
                "threshold=self, or reference=RUN of the same data"
            )
        self.kind = self.threshold or self.kinds[0]
        names = self._names(pl_module.net)
        with read_features(pl_module, data.val_dataloader(), names):
            pass  # it looks the layers up

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.along = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        training = trainer.state.fn == "fit"
        self.epoch = trainer.current_epoch + training  # how many the weights have seen
        self.step = trainer.global_step - training  # as Lightning counts what it logs
        not_due = self.every is None or self.epoch % self.every != 0
        if trainer.sanity_checking or (training and not_due):
            return
        data = trainer.datamodule
        names = self._names(pl_module.net)
        try:
            layers = measure(pl_module, data, names, positive_only=self.positive_only)
            thresholds = self._thresholds(pl_module, [*layers.values()][-1])
        except ValueError as error:
            if not self.along:
                raise
            # Responses that cannot be analysed are no reason to lose a training.
            rank_zero_warn(f"cell_selectivity leaves out epoch {self.epoch}: {error}")
            return
        arrays, rows = self._concluded(data, layers, thresholds)
        examples: dict[str, Example | None] = {}
        if not training:
            bounds = thresholds[self.kind][NORMALISATIONS.index("all")]
            found = examples_of(pl_module, data, names[-1], [*layers.values()][-1], bounds)
            examples = found.cells
            arrays |= {
                "example_classes": [name for name, cell in examples.items() if cell is not None],
                "example_units": np.array(found.units, dtype=np.int64),
                "example_responses": found.responses.numpy(),
            }
        if not trainer.is_global_zero:
            return
        run = Path(trainer.default_root_dir)
        folder = run / "analysis" / "cell_selectivity"
        with whole_file(folder / f"epoch={self.epoch:03d}.npz") as part:
            np.savez(part, **arrays)
        rows = _with_other_epochs(folder / "cell_selectivity.csv", self.epoch, rows)
        write_table(
            folder / "cell_selectivity.csv", COLUMNS, ([row[c] for c in COLUMNS] for row in rows)
        )
        for logger in trainer.loggers:
            numbers = self._numbers(rows, names[-1])
            logger.log_metrics({"epoch": trainer.current_epoch} | numbers, self.step)
        if not training:  # to draw takes longer than all else
            write_table(
                folder / "examples.csv",
                EXAMPLE_COLUMNS + tuple(data.class_names),
                example_rows(examples),
            )
            finished = Finished(
                self.epoch, self.step, self.kind, self._title_of_thresholds(bounds), arrays, rows,
                thresholds[self.kind], examples,
            )  # fmt: skip
            show(trainer, pl_module, finished)

    def _names(self, net: Any) -> list[str]:
        return layers_of(net) if self.layers is None else list(self.layers)

    def _thresholds(self, task: LightningModule, last: Layer) -> dict[str, list[Thresholds]]:
        """Those of each kind there is, for each normalisation."""
        found: dict[str, list[Thresholds]] = {}
        for kind in self.kinds:
            if kind == "constants":
                found[kind] = [CONSTANTS] * len(NORMALISATIONS)
            elif kind == "self":
                found[kind] = own_thresholds_of(last)
            else:
                found[kind] = self._thresholds_of_reference(task.device)
        return found

    def _thresholds_of_reference(self, device: torch.device) -> list[Thresholds]:
        if self.reference_thresholds is None:
            task, data = self.reference  # type: ignore[misc]  # there is one
            task.to(device)
            layers = measure(task, data, ["features"], positive_only=self.positive_only)
            self.reference_thresholds = own_thresholds_of(layers["features"])
        return self.reference_thresholds

    def _concluded(
        self, data: Any, layers: Mapping[str, Layer], thresholds: Mapping[str, list[Thresholds]]
    ) -> tuple[dict[str, Any], list[Row]]:
        """What is written: arrays, layers of fewer units filled up with NaN, and rows."""
        classes = {
            kind: [
                cell_classes(layer.information[VISUAL], layer.information[AUDITORY], bounds)
                for layer in layers.values()
            ]
            for kind, bounds in thresholds.items()
        }
        counts = {kind: [count_classes(layer) for layer in of] for kind, of in classes.items()}
        highest = [
            layer.information.amax(dim=2).mean(dim=2).transpose(0, 1) for layer in layers.values()
        ]
        arrays = {
            "layers": list(layers),
            "shown": SHOWN,
            "normalisations": NORMALISATIONS,
            "stimuli": data.class_names,
            "cells": CELLS,
            "kinds": list(thresholds),
            "kind": self.kind,
            "positive_only": self.positive_only,
            "information": _stacked([layer.information for layer in layers.values()]),
            "mean_response": _stacked([layer.mean_response for layer in layers.values()]),
            "classes": np.stack([_stacked(of, -1.0) for of in classes.values()]),
            "counts": np.stack([_stacked(of) for of in counts.values()]),
            "thresholds": np.array([*thresholds.values()]),  # kinds, normalisations, modalities
        }
        rows = [
            {
                "epoch": self.epoch,
                "layer": layer,
                "normalisation": how,
                "terms": "positive" if self.positive_only else "all",
                "reference": "" if self.reference is None else self.reference_name,
                "threshold": kind,
            }
            | bounds[j]._asdict()
            | dict(zip(CELLS, counts[kind][i][j].tolist(), strict=True))
            | {
                f"max_information_{shown}": bits
                for shown, bits in zip(SHOWN, highest[i][j].tolist(), strict=True)
            }
            for i, layer in enumerate(layers)
            for j, how in enumerate(NORMALISATIONS)
            for kind, bounds in thresholds.items()
        ]
        return arrays, rows

    def _title_of_thresholds(self, bounds: Thresholds) -> str:
        which = {
            "constants": "the published constants",
            "reference": f"80th percentiles of {self.reference_name}",
            "self": "80th percentiles of this network",
        }[self.kind]
        terms = "" if self.positive_only else ", all terms of equation 4"
        empty = "" if min(bounds) > 0 else "; 0 bits: any information counts"
        return f"thresholds: {which}{terms}{empty}"

    def _numbers(self, rows: Sequence[Row], last: str) -> dict[str, float]:
        numbers = COLUMNS[COLUMNS.index(SELECTIVE[0]) :]
        return {
            f"analysis/cell_selectivity/{row['normalisation']}/{name}": float(row[name])
            for row in chosen_rows(rows, self.kind, epoch=self.epoch, layer=last)
            for name in numbers
        }


def _stacked(layers: Sequence[Tensor], fill: float = torch.nan) -> np.ndarray:
    """Layers of (..., units), the narrower ones filled up."""
    widest = max(layer.shape[-1] for layer in layers)
    return np.stack(
        [
            torch.nn.functional.pad(layer, (0, widest - layer.shape[-1]), value=fill).numpy()
            if layer.shape[-1] < widest
            else layer.numpy()
            for layer in layers
        ]
    )


def _with_other_epochs(path: Path, epoch: int, rows: Sequence[Row]) -> list[Row]:
    """`rows` of this epoch among those of the file that were measured alike; the others go."""
    earlier: list[Row] = []
    if path.exists():
        with path.open(newline="") as file:
            earlier = [_numbers_of(row) for row in csv.DictReader(file)]
    alike = [
        row for row in earlier if all(row[key] == rows[0][key] for key in ("terms", "reference"))
    ]
    others = [row for row in alike if row["epoch"] != epoch]
    return sorted([*others, *rows], key=lambda row: int(row["epoch"]))


def _numbers_of(row: Mapping[str, str]) -> Row:
    whole = {name: int(row[name]) for name in ("epoch", *CELLS)}
    bits = {name: float(row[name]) for name in COLUMNS if "_" in name}
    return {**row, **whole, **bits}
