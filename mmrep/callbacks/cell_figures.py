"""Figures and charts of the analysis `cell_selectivity` (Eguchi et al. 2019, Figures 2 to 4)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import WandbLogger

from mmrep.cells import EXAMPLE_COLUMNS, example_rows
from mmrep.loggers import log_curves, log_figure
from mmrep.plots.cell_selectivity import (
    Example,
    plot_cell_counts,
    plot_cell_epochs,
    plot_example_cells,
    plot_ranked_information,
)
from mmrep.stats.cells import NORMALISATIONS, SELECTIVE, SHOWN, Thresholds, ranked_information
from mmrep.stats.information import CELLS

COLUMNS = (
    "epoch",
    "layer",
    "normalisation",
    "terms",  # of the information: positive, or all
    "reference",  # run whose thresholds are among those below, if any
    "threshold",
    *Thresholds._fields,
    *SELECTIVE,
    "none",
    *(f"max_information_{shown}" for shown in SHOWN),
)

Row = dict[str, Any]


class Finished(NamedTuple):
    """What has been measured of one network, and how it is called."""

    epoch: int
    step: int
    kind: str  # of thresholds, the chosen one
    bounded: str  # what figures say of it
    arrays: Mapping[str, Any]
    rows: Sequence[Row]  # of all epochs
    thresholds: Sequence[Thresholds]  # for each normalisation
    examples: Mapping[str, Example | None]  # by class


def show(trainer: Trainer, task: Any, finished: Finished) -> None:
    """Draws the figures and hands them, with W&B's charts, to the loggers."""
    epoch, step, kind, bounded, arrays, rows, thresholds, examples = finished
    data, run = trainer.datamodule, Path(trainer.default_root_dir)
    network = f"{data.title}, validation; {type(task.net).__name__}"
    title = f"{network} after {epoch} epochs\n{bounded}"
    layers, last = arrays["layers"], arrays["layers"][-1]
    chosen = arrays["kinds"].index(kind)
    bounds = np.array(thresholds)
    ranked = {  # a layer of fewer units has NaN, which is left out again
        name: ranked_information(torch.from_numpy(bits[..., ~np.isnan(bits[0, 0, 0])])).numpy()
        for name, bits in zip(layers, arrays["information"], strict=True)
    }
    figures = {
        "cell_selectivity": plot_ranked_information(
            {name: bits.swapaxes(0, 1) for name, bits in ranked.items()},
            bounds,
            title=title,
            simulated=data.simulated,
        ),
        "cell_selectivity_counts": plot_cell_counts(
            dict(zip(layers, arrays["counts"][chosen], strict=True)),
            bounds,
            title=title,
            simulated=data.simulated,
        ),
    }
    over_epochs = [chosen_rows(rows, kind, layer=last, normalisation=how) for how in NORMALISATIONS]
    epochs = [row["epoch"] for row in over_epochs[0]]
    if len(epochs) > 1:
        counts, bits = (
            np.array([[[row[name] for name in names] for row in of] for of in over_epochs])
            for names in (CELLS, [f"max_information_{shown}" for shown in SHOWN])
        )
        figures["cell_selectivity_epochs"] = plot_cell_epochs(
            epochs,
            counts,
            bits,
            title=f"{network}, {last}\n{bounded}",
            simulated=data.simulated,
        )
    figures["cell_selectivity_examples"] = plot_example_cells(
        examples,
        bounds[NORMALISATIONS.index("all")],
        data.class_names,
        title=f"{title}; {last}, one range for all units",
        simulated=data.simulated,
    )
    for name, figure in figures.items():
        log_figure(trainer.loggers, run, name, figure, step)
    wandb = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    _chart(wandb, trainer.current_epoch, finished, ranked[last], examples)


def chosen_rows(rows: Sequence[Row], kind: str, **where: Any) -> list[Row]:
    """Rows of the chosen thresholds that have these values."""
    wanted = {"threshold": kind} | where
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _chart(
    loggers: Sequence[WandbLogger],
    epoch: int,
    finished: Finished,
    ranked: Float64[np.ndarray, "shown normalisations units"],
    examples: Mapping[str, Example | None],
) -> None:
    """Figures 2 to 4 as charts with tables, which W&B alone can show."""
    kind, arrays, rows = finished.kind, finished.arrays, finished.rows
    last = arrays["layers"][-1]
    table = [COLUMNS, *(tuple(row[c] for c in COLUMNS) for row in rows)]
    cells = np.arange(1, ranked.shape[-1] + 1).tolist()
    ranks = {
        f"{shown} inputs, {how}": (cells, ranked[i, j])
        for i, shown in enumerate(SHOWN)
        for j, how in enumerate(NORMALISATIONS)
    }
    by_rank = [("cell", *ranks), *zip(cells, *(y for _, y in ranks.values()), strict=True)]
    published = chosen_rows(rows, kind, layer=last, normalisation="all")
    by_layer = chosen_rows(rows, kind, epoch=finished.epoch, normalisation="all")
    epochs = [row["epoch"] for row in published]
    depths = np.arange(1, len(by_layer) + 1).tolist()
    charts: dict[str, tuple[dict[str, Any], list[tuple[Any, ...]]]] = {
        "ranked": (ranks, by_rank),
        "epochs": ({c: (epochs, [float(row[c]) for row in published]) for c in CELLS}, table),
        "layers": (
            {c: (depths, [float(row[c]) for row in by_layer]) for c in CELLS},
            [COLUMNS, *(tuple(row[c] for c in COLUMNS) for row in by_layer)],
        ),
    }
    if told := example_rows(finished.examples):
        digits = list(range(len(arrays["stimuli"])))
        charts["examples"] = (
            {f"{name} {unit} {modality}": (digits, bits) for name, unit, modality, *bits in told},
            [EXAMPLE_COLUMNS + tuple(arrays["stimuli"]), *told],
        )
    for name, (curves, rows_of) in charts.items():
        log_curves(
            loggers, f"cell_selectivity/{name}", curves, rows_of, epoch=epoch, step=finished.step
        )
