"""Classes of cells from recorded responses, whatever network gave them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mmrep.files import whole_file, write_table
from mmrep.plots.cell_selectivity import plot_units
from mmrep.plots.style import style
from mmrep.screen import print_columns, short
from mmrep.stats.cells import (
    NORMALISATIONS,
    Thresholds,
    cell_classes,
    count_classes,
    own_thresholds,
)
from mmrep.stats.information import CELLS, single_cell_information

ARRAYS = ("visual", "visual_label", "auditory", "auditory_label")
SCREEN = 64  # units that are printed; the table has all
COLUMNS = (
    "unit",
    "normalisation",
    "class",
    "visual_stimulus",
    "visual_information",
    "auditory_stimulus",
    "auditory_information",
    *Thresholds._fields,
)


class RecordedCells(NamedTuple):
    """Responses of units to stimuli, numbered from 0, which are seen in one part, heard in one."""

    visual: Float64[Tensor, "seen units"]
    visual_label: Int64[Tensor, "seen"]
    auditory: Float64[Tensor, "heard units"]
    auditory_label: Int64[Tensor, "heard"]
    units: list[str]


def read_recorded_cells(path: Path) -> RecordedCells:
    """An `.npz` file of `visual` (samples, units), `auditory`, their labels, and maybe `units`."""
    if not path.exists():
        raise FileNotFoundError(f"activations={path} is not there: give an .npz file of responses")
    try:
        with np.load(path) as archive:  # an array of its own, from .npy, is no context
            stored = dict(archive)
    except (ValueError, OSError, TypeError, EOFError, BadZipFile):
        raise ValueError(f"{path} is no .npz file of numbers: write it with numpy.savez") from None
    if missing := [name for name in ARRAYS if name not in stored]:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: it must hold {', '.join(ARRAYS)}, and has "
            f"{', '.join(stored) or 'nothing'}"
        )
    for name in ("visual", "auditory"):
        _check(f"{path}: {name}", stored[name], stored[f"{name}_label"])
    seen, heard = stored["visual"].shape[1], stored["auditory"].shape[1]
    if seen != heard:
        raise ValueError(f"{path}: {seen} units in visual, {heard} in auditory: record the same")
    stimuli = sorted({*stored["visual_label"].tolist(), *stored["auditory_label"].tolist()})
    for name in ("visual_label", "auditory_label"):
        if absent := sorted({*range(stimuli[-1] + 1)} - {*stored[name].tolist()}):
            raise ValueError(
                f"{path}: {name} has no sample of the stimuli {absent}: number from 0 the stimuli "
                "that were both seen and heard, and leave out the others"
            )
    units = [str(name) for name in stored.get("units", range(seen))]
    if len(units) != seen:
        raise ValueError(f"{path}: {len(units)} names in units for {seen} units: name each one")
    return RecordedCells(
        torch.from_numpy(stored["visual"].astype(np.float64)),
        torch.from_numpy(stored["visual_label"].astype(np.int64)),
        torch.from_numpy(stored["auditory"].astype(np.float64)),
        torch.from_numpy(stored["auditory_label"].astype(np.int64)),
        units,
    )


def report_recorded_cells(
    folders: Sequence[Path],
    activations: str | None,
    visual_threshold: float | None = None,
    auditory_threshold: float | None = None,
    num_bins: int = 10,
    positive_only: bool = True,
) -> None:
    """Classifies the units of the file and writes, beside it, `FILE_cells.csv` and `.png`.

    Each unit has a row for each way of normalising, with the stimulus that it tells most of in
    either modality. A threshold in bits that is not given is the 80th percentile of these units.
    """
    if folders:
        raise ValueError(
            "analysis=recorded_cells reads activations=FILE.npz and no run: leave out runs, or "
            "choose analysis=cell_selectivity"
        )
    if activations is None:
        raise ValueError("analysis=recorded_cells needs a file of responses: activations=FILE.npz")
    for name, bits in (("visual", visual_threshold), ("auditory", auditory_threshold)):
        if bits is not None and bits < 0:
            raise ValueError(f"{name}_threshold={bits} must be at least 0 bits, or null")
    path = Path(activations)
    recorded = read_recorded_cells(path)
    visual, auditory = (
        torch.stack(
            [
                single_cell_information(
                    response,
                    label,
                    num_bins=num_bins,
                    positive_only=positive_only,
                    normalise=how,
                )
                for how in NORMALISATIONS
            ]
        )
        for response, label in (
            (recorded.visual, recorded.visual_label),
            (recorded.auditory, recorded.auditory_label),
        )
    )
    thresholds = [
        _given_or(own_thresholds(*pair), visual_threshold, auditory_threshold)
        for pair in zip(visual, auditory, strict=True)
    ]
    classes = cell_classes(visual, auditory, thresholds)
    (seen, seen_best), (heard, heard_best) = visual.max(dim=1), auditory.max(dim=1)
    rows = [
        (
            name,
            how,
            CELLS[int(classes[i, unit])],
            int(seen_best[i, unit]),
            float(seen[i, unit]),
            int(heard_best[i, unit]),
            float(heard[i, unit]),
            *thresholds[i],
        )
        for i, how in enumerate(NORMALISATIONS)
        for unit, name in enumerate(recorded.units)
    ]
    table, picture = (path.with_name(f"{path.stem}_cells{end}") for end in (".csv", ".png"))
    write_table(table, COLUMNS, rows)
    figure = plot_units(
        seen.numpy(),
        heard.numpy(),
        classes.numpy(),
        np.array(thresholds),
        title=f"{path.name}: {len(recorded.units)} units",
    )
    with whole_file(picture) as part, style():
        figure.savefig(part)
    _print(rows, thresholds, classes)
    print(f"recorded_cells: {short(table)}, {short(picture)}")


def _given_or(own: Thresholds, visual: float | None, auditory: float | None) -> Thresholds:
    return Thresholds(
        own.visual_threshold if visual is None else float(visual),
        own.auditory_threshold if auditory is None else float(auditory),
    )


def _check(where: str, response: np.ndarray, label: np.ndarray) -> None:
    if response.ndim != 2 or not response.size or response.dtype.kind not in "fiu":
        raise ValueError(
            f"{where} is {response.dtype} of shape {response.shape}: give a number for each sample "
            "and unit, as (samples, units)"
        )
    if label.shape != response.shape[:1]:
        raise ValueError(
            f"{where}_label has shape {label.shape} for {len(response)} samples: give one for each"
        )
    if label.dtype.kind not in "iu" or label.min() < 0:
        raise ValueError(f"{where}_label must be whole numbers from 0, the stimuli")


def _print(
    rows: Sequence[tuple[object, ...]],
    thresholds: Sequence[Thresholds],
    classes: Int64[Tensor, "normalisations units"],
) -> None:
    shown = min(SCREEN, classes.shape[1])
    lines = [("unit", "class", "seen", "bits", "heard", "bits")]
    for name, _, cell, seen, seen_bits, heard, heard_bits, *_ in rows[:shown]:
        lines.append(
            (str(name), str(cell), str(seen), f"{seen_bits:.3f}", str(heard), f"{heard_bits:.3f}")
        )
    print_columns(lines)
    if shown < classes.shape[1]:
        print(f"... and {classes.shape[1] - shown} units more")
    print("consistent: above both thresholds for at least one stimulus in common")
    for how, bounds, counts in zip(
        NORMALISATIONS, thresholds, count_classes(classes).tolist(), strict=True
    ):
        said = ", ".join(f"{n} {name}" for n, name in zip(counts, CELLS, strict=True))
        bits = f"{bounds.visual_threshold:.4f} and {bounds.auditory_threshold:.4f} bits"
        print(f"range of {how:4}  above {bits}: {said}")
