"""Moreau et al. 2021: Figures 4 and 5, and every statement that the paper makes of them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.plots.cca_projection import plot_cca_projection
from mmrep.plots.moreau2021 import plot_correlations, plot_sensor_matrix
from mmrep.stats.curves import TITLES, grid, table
from mmrep.stats.subspaces import CCA_METHODS
from mmrep.studies.comparison import Comparison, kept_comparison
from mmrep.studies.lines import Lines, at, combined, whole
from mmrep.studies.moreau2021_statements import (
    cross_sensor_statements,
    same_sensor_statements,
)
from mmrep.studies.pairs import common_folder, folders_of, networks_of, pairs_of
from mmrep.studies.recorded import Recorded, record
from mmrep.studies.statements import conclude

UNITS = "in percent and points, mean and deviation over pairs"


def report_same_sensor(
    folders: Sequence[Path], *, name: str, checkpoint: str, offset: int, **options: Any
) -> None:
    """Networks of one sensor in pairs: Figure 4, canonical correlations, statements."""
    networks = networks_of(folders)
    study = common_folder(folders_of(networks))
    pairs = {
        sensor: pairs_of(by_seed, by_seed, offset, names=sensor)
        for sensor, by_seed in networks.items()
    }
    records = _records(pairs.values(), checkpoint)
    print_table_1(next(iter(records.values())))
    found = _compared(pairs, records, study / "analysis" / name / "pairs", **options)
    first = records[next(iter(pairs.values()))[0][0]]
    lines = {
        head: {sensor: combined(found[sensor], first.score, head) for sensor in found}
        for head in ("original", *options["retrain"])
    }
    figure = plot_cca_projection(
        {TITLES[head]: by_sensor for head, by_sensor in lines.items()},
        num_classes=first.num_classes,
        score=first.score.replace("_f1", " F1"),
        title=title_of(first, "networks in pairs", found),
        simulated=is_simulated(first),
    )
    write_figure(study, name, figure)
    _write_comparisons(study, name, found, first)
    write_summary(study, name, lines, first)
    conclude(study, name, same_sensor_statements(lines, found, first), units=UNITS)


def report_cross_sensor(
    folders: Sequence[Path], *, name: str, checkpoint: str, offset: int, **options: Any
) -> None:
    """Networks of every sensor against those of every other: Figure 5, a matrix, statements."""
    networks = networks_of(folders)
    study = common_folder(folders_of(networks))
    pairs = {
        (partner, tested): pairs_of(
            networks[tested], networks[partner], offset, names=f"{tested} with {partner}"
        )
        for partner, tested in product(networks, networks)
    }
    records = _records(pairs.values(), checkpoint)
    print_table_1(next(iter(records.values())))
    by_pair = _compared(
        {f"{tested} with {partner}": pairs[partner, tested] for partner, tested in pairs},
        records,
        study / "analysis" / name / "pairs",
        methods=CCA_METHODS,
        **options,
    )
    found = {(partner, tested): by_pair[f"{tested} with {partner}"] for partner, tested in pairs}
    first = records[next(iter(pairs.values()))[0][0]]
    lines = {place: combined(of_pair, first.score, "original") for place, of_pair in found.items()}
    figure = plot_cca_projection(
        {f"with {p}": {t: lines[p, t] for t in networks} for p in networks},
        num_classes=first.num_classes,
        score=first.score.replace("_f1", " F1"),
        title=title_of(
            first, "networks of one sensor (column) with those of another (row)", by_pair
        ),
        simulated=is_simulated(first),
    )
    write_figure(study, name, figure)
    classes = first.num_classes
    lost = {
        place: (whole(of_pair) - at(of_pair, "cca_highest", classes))
        for place, of_pair in lines.items()
    }
    shared = {
        place: np.array([one.held_out[:classes].mean() for one in of_pair])
        for place, of_pair in found.items()
    }
    matrix = plot_sensor_matrix(
        {
            f"points lost on {classes} components": lost,
            f"mean of {classes} canonical correlations, held out": shared,
        },
        title=title_of(first, "tested sensor (column) and partner (row)", by_pair),
        simulated=is_simulated(first),
    )
    write_figure(study, f"{name}_matrix", matrix)
    _write_comparisons(study, name, by_pair, first)
    by_name = {f"{tested} with {partner}": lines[partner, tested] for partner, tested in lines}
    write_summary(study, name, {"original": by_name}, first)
    conclude(study, name, cross_sensor_statements(lines, found, first), units=UNITS)


def print_table_1(first: Recorded) -> None:
    """The paper's Table 1, of the data at hand: how many samples, of which classes."""
    data = first.facts["data"]
    source = " (simulated)" if is_simulated(first) else ""
    counts = Table(title=f"Table 1: {data['name']}{source}", title_justify="left")
    for column in ("", "training", "validation"):
        counts.add_column(column, justify="right" if column else "left")
    splits = (first.train, first.validation)
    for number, class_name in enumerate(data["class_names"]):
        counts.add_row(class_name, *(str(int((s.label == number).sum())) for s in splits))
    counts.add_section()
    counts.add_row("samples", *(str(len(split.label)) for split in splits))
    Console().print(counts)
    units, classes = first.train.features.shape[1], first.num_classes
    print(f"{units} features, {classes} classes, components kept: {grid(classes, units)}")


def _records(pairs: Iterable[Sequence[tuple[Path, Path]]], checkpoint: str) -> dict[Path, Recorded]:
    """Each network once, read now or kept from earlier."""
    folders = sorted({folder for of_group in pairs for pair in of_group for folder in pair})
    progress = track(folders, description="features")
    return {folder: record(folder, checkpoint=checkpoint) for folder in progress}


def _compared(
    pairs: Mapping[str, Sequence[tuple[Path, Path]]],
    records: Mapping[Path, Recorded],
    kept: Path,
    **options: Any,
) -> dict[str, list[Comparison]]:
    every = [(group, x, y) for group, of_group in pairs.items() for x, y in of_group]
    found: dict[str, list[Comparison]] = {group: [] for group in pairs}
    for group, x, y in track(every, description="pairs of networks"):
        found[group].append(kept_comparison(kept, records[x], records[y], **options))
    return found


def _write_comparisons(
    study: Path, name: str, found: Mapping[str, Sequence[Comparison]], first: Recorded
) -> None:
    """Tables of all numbers, and the figure of the correlations."""
    folder = study / "analysis" / name
    each = [
        (group, number, one)
        for group, of_group in found.items()
        for number, one in enumerate(of_group)
    ]
    source = first.facts["data"]["source"]
    header = table(each[0][2].curves)[0]
    write_table(
        folder / f"{name}.csv",
        ("source", "of", "pair", *header),
        ((source, group, i, *row) for group, i, one in each for row in table(one.curves)[1:]),
    )
    by_number = ("correlations", "held_out", "floor", "floor_held_out", "explained",
                 "explained_differences")  # fmt: skip
    write_table(
        folder / "correlations.csv",
        ("source", "of", "pair", "n", *by_number),
        (
            (source, group, i, n, *values)
            for group, i, one in each
            for n, values in enumerate(
                zip(*(getattr(one, column) for column in by_number), strict=True), start=1
            )
        ),
    )
    write_table(
        folder / "predictions.csv",
        ("source", "of", "pair", "agreement", "implied_agreement", "rank", "partners_rank",
         *(f"logit_correlation/{c}" for c in first.facts["data"]["class_names"])),
        (
            (source, group, i, one.agreement, one.implied_agreement, *one.ranks,
             *one.logit_correlations)
            for group, i, one in each
        ),
    )  # fmt: skip
    figure = plot_correlations(
        {
            group: {column: np.stack(_equally_long([getattr(one, column) for one in of_group]))
                    for column in by_number}
            for group, of_group in found.items()
        },
        num_classes=first.num_classes,
        title=title_of(first, "canonical correlations and what they hold of the logits", found),
        simulated=is_simulated(first),
    )  # fmt: skip
    write_figure(study, f"{name}_correlations", figure)


def write_summary(
    study: Path, name: str, lines: Mapping[str, Mapping[str, Lines]], first: Recorded
) -> None:
    """What the curves show, by head and group: mean and deviation (ddof 0) over repetitions."""
    header = ("source", "of", "head", "method", "n", "repetitions", first.score, "deviation")
    rows = (
        (first.facts["data"]["source"], group, head, method, n, len(scores), mean, deviation)
        for head, by_group in lines.items()
        for group, of_group in by_group.items()
        for method, (components, scores) in of_group.items()
        for n, mean, deviation in zip(components, scores.mean(0), scores.std(0), strict=True)
    )
    write_table(study / "analysis" / name / "summary.csv", header, rows)


def _equally_long(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    shortest = min(map(len, arrays))
    return [array[:shortest] for array in arrays]


def is_simulated(first: Recorded) -> bool:
    return bool(first.facts["data"]["source"] == "simulated")


def title_of(first: Recorded, what: str, found: Mapping[Any, Sequence[Any]]) -> str:
    """The data set, what is shown, and how many repetitions there are."""
    counts = {len(of_group) for of_group in found.values()}
    number = "-".join(map(str, sorted({min(counts), max(counts)})))
    return f"{first.facts['data']['name']}: {what}; repetitions: {number}"
