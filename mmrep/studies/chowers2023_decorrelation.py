"""Chowers & Weiss 2023, Figures 5 and 6: patches beside labels, and what filters decorrelate.

Of networks with true labels, and of the training images that they have learnt. What the bounds call
"elsewhere" was measured on CIFAR-10 by an independent program with images of its own choice.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from mmrep.files import write_table
from mmrep.first_layer import Filters
from mmrep.first_layer_report import READINGS, Curves, Sample, autocorrelations, sample_of
from mmrep.loggers import write_figure
from mmrep.plots.energy_profile import plot_autocorrelation, plot_label_correlations
from mmrep.runs import load_run
from mmrep.stats.autocorrelation import DIRECTIONS
from mmrep.stats.energy import LabelCorrelations, label_correlations
from mmrep.studies.chowers2023 import (
    NUM_INITIALISATIONS,
    Network,
    networks,
    on_plain_images,
    require,
)
from mmrep.studies.pairs import common_folder
from mmrep.studies.statements import Statement, conclude

PIXELS, WHITENING = "RGB pixels", "perfectly whitening filters"
LEARNED, CHANGE = "learned filters", "their change since the start"
RANDOM = f"{NUM_INITIALISATIONS} random initialisations"
BOTH = "both averaged"  # directions: of square maps, the mean over all pairs of neighbours
INPUTS = ("normalised", "raw")
DISTANCE = 10  # pixels, at which the paper names values

# The paper's claims at that distance, and what we take its words for.
RGB_ABOVE = 0.5
NEARLY_EQUAL = 0.05
LEARNED_ABOUT, ABOUT = 0.2, 0.1
WHITENED, NO_CORRELATION = 0.0, 0.05
AROUND_0 = 0.15  # of labels; the reading that looks so in the figure reaches 0.10

# Measured elsewhere on CIFAR-10, horizontally on 1,000 images; of labels on 2,000.
ELSEWHERE = {
    ("normalised", PIXELS): 0.485,
    ("normalised", RANDOM): 0.465,
    ("normalised", WHITENING): 0.127,
    ("raw", PIXELS): 0.887,
}
LARGEST = {
    "image_coefficient": 0.33,
    "image_energy": 0.36,
    "patch_coefficient": 0.25,
    "patch_energy": 0.10,
}
RMS = {  # over classes, and the first so many components
    "image_coefficient": (4, 0.11),
    "patch_coefficient": (27, 0.034),
    "patch_energy": (27, 0.031),
}
# How far other images may take ours from those: three deviations of the difference of two
# correlations over 2,000 images, and as much less as averages over classes and axes deviate less.
OF_LARGEST, OF_RMS, OF_PIXELS = 0.1, 0.02, 0.05


class Spread(NamedTuple):
    """Mean curve of several, and their deviation, 0 of one."""

    mean: Float64[np.ndarray, "shifts"]
    deviation: Float64[np.ndarray, "shifts"]


Lines = dict[tuple[str, str], dict[str, Spread]]  # by input and direction; by what they are of


def report_decorrelation(folders: Sequence[Path], *, name: str, num_images: int, seed: int) -> None:
    """Both figures for each data set, tables, and what the paper claims of them."""
    if num_images < 2:
        raise ValueError(f"analysis.num_images={num_images} must be at least 2")
    found = [network for network in networks(folders) if network.labels == "true"]
    found = require(on_plain_images(found), "true labels", "experiment=chowers2023_decorrelation")
    study = common_folder(one.folder for one in found)
    statements: list[Statement] = []
    of_pixels: list[tuple[Any, ...]] = []
    of_labels: list[tuple[Any, ...]] = []
    for title, alike in by_patches(found).items():
        data: Any = load_run(alike[0].folder).data
        sample = sample_of(data, num_images)
        shown: dict[str, Any] = {
            "title": f"{title}: {len(sample.label):,} training images",
            "simulated": alike[0].simulated,
        }
        lines = lines_of(alike, sample, seed=seed)
        panels = {place: _labelled(lines, place) for place in lines}
        figure = plot_autocorrelation(panels, **shown)
        write_figure(study, f"{name}_{_slug(title)}", figure)
        labels = label_correlations(
            sample.normalised,
            sample.label,
            alike[0].axes.axes,
            num_classes=len(data.class_names),
        )
        noise = noise_of(labels, len(sample.label))
        _draw_labels(study, f"{name}_labels_{_slug(title)}", labels, noise, **shown)
        of_pixels += [(title, *row) for row in _rows_of_lines(lines)]
        of_labels += [(title, *row) for row in _rows_of_labels(labels, noise, data.class_names)]
        statements += [*on_pixels(title, lines), *on_labels(title, labels, data.class_names)]
    folder = study / "analysis" / name
    write_table(
        folder / "autocorrelation.csv",
        ("data", "input", "direction", "of", "shift", "mean", "deviation"),
        of_pixels,
    )
    write_table(
        folder / "label_correlations.csv",
        ("data", "reading", "component", "noise", "class", "correlation"),
        of_labels,
    )
    conclude(study, name, statements, units="correlations (Figures 5 and 6)")


def by_patches(found: Sequence[Network]) -> dict[str, list[Network]]:
    """Networks whose first layers read the same patches; ValueError: normalised differently."""
    sets: dict[str, list[Network]] = {}
    for network in found:
        size = network.history.filters[-1].shape[-1]
        title = network.data if size == 3 else f"{network.data}, patches of {size} x {size}"
        sets.setdefault(title, []).append(network)
    for title, (first, *others) in sets.items():
        for other in others:
            if not torch.allclose(other.axes.energy, first.axes.energy, rtol=1e-6):
                raise ValueError(
                    f"{first.folder} and {other.folder} read {title} normalised differently: give "
                    "runs with the same data.mean and data.std"
                )
    return sets


def lines_of(alike: Sequence[Network], sample: Sample, *, seed: int) -> Lines:
    """C(delta) of pixels and of what filters make of them, on either input.

    In each direction, and as the mean of both. Networks of one architecture are one line.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (NUM_INITIALISATIONS, *alike[0].history.filters[-1].shape)
    random = torch.randn(shape, generator=generator)  # their scale does not matter
    filters: dict[str, Filters] = {f"{RANDOM} {i}": one for i, one in enumerate(random)}
    members = {PIXELS: ["pixels"], RANDOM: [*filters]}
    for network in alike:
        learned, initial = network.history.filters[-1], network.history.initial
        read = {LEARNED: learned}
        if initial is not None and not learned.equal(initial):
            read[CHANGE] = learned - initial
        for of, one in read.items():
            filters[f"{of} {network.folder}"] = one
            line = members.setdefault(f"{of}, {network.architecture}", [])
            line.append(f"{of} {network.folder}")
    members[WHITENING] = ["whitening filters"]
    curves = autocorrelations(sample, alike[0].axes, filters)
    return {
        (given, direction): {
            name: _spread(curves, given, direction, of) for name, of in members.items()
        }
        for given in INPUTS
        for direction in (*DIRECTIONS, BOTH)
    }


def _spread(curves: Curves, given: str, direction: str, of: Sequence[str]) -> Spread:
    directions = DIRECTIONS if direction == BOTH else (direction,)
    every = np.array([[curves[given, one][name] for one in directions] for name in of])
    several = every.mean(axis=1)
    return Spread(several.mean(axis=0), several.std(axis=0, ddof=min(1, len(several) - 1)))


def noise_of(
    labels: LabelCorrelations, num_images: int
) -> dict[str, Float64[np.ndarray, "dimensions"]]:
    """By reading: the root mean square of correlations that chance leaves of unrelated labels.

    Over images that is 1 / sqrt(n). A patch has its image's label, so its covariance with it is the
    image's: chance leaves as much less as patches vary more than images' means of them.
    """
    readings = {name: _rms(part.numpy()) for name, part in labels._asdict().items()}
    chance = 1 / np.sqrt(num_images)
    return {
        name: chance * rms / readings[name.replace("patch", "image")]
        for name, rms in readings.items()
    }


def _rms(correlations: Float64[np.ndarray, "dimensions classes"]) -> np.ndarray:
    """Over the classes that there are."""
    found: np.ndarray = np.sqrt(np.nanmean(np.square(correlations), axis=1))
    return found


def _labelled(lines: Lines, place: tuple[str, str]) -> dict[str, np.ndarray]:
    """Means, by names that say how far single curves of any panel deviate."""
    named = {}
    for name, spread in lines[place].items():
        largest = max(of[name].deviation.max() for of in lines.values())
        named[f"{name} (± {largest:.3f} at most)" if largest else name] = spread.mean
    return named


def _draw_labels(
    study: Path,
    name: str,
    labels: LabelCorrelations,
    noise: Mapping[str, np.ndarray],
    *,
    title: str,
    simulated: bool,
) -> None:
    figure = plot_label_correlations(
        {READINGS[reading]: part.numpy() for reading, part in labels._asdict().items()},
        title=title,
        simulated=simulated,
        noise={READINGS[reading]: level for reading, level in noise.items()},
    )
    write_figure(study, name, figure)


def _rows_of_lines(lines: Lines) -> Iterator[tuple[Any, ...]]:
    for place, of in lines.items():
        for name, spread in of.items():
            for shift, values in enumerate(zip(*spread, strict=True)):
                yield (*place, name, shift, *values)


def _rows_of_labels(
    labels: LabelCorrelations, noise: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    for reading, part in labels._asdict().items():
        for component, of_classes in enumerate(part.tolist()):
            for class_name, correlation in zip(class_names, of_classes, strict=True):
                yield reading, component, noise[reading][component], class_name, correlation


def on_pixels(title: str, lines: Lines) -> Iterator[Statement]:
    """The paper's claims on either input, then what was measured elsewhere."""
    for given in INPUTS:
        of = f"{title}, {given} input"
        at = {name: _at_distance(spread) for name, spread in lines[given, BOTH].items()}
        rgb, random = at[PIXELS][0], at[RANDOM]
        about = f"{PIXELS}, {DISTANCE} pixels apart"
        yield Statement(about, of, None, rgb, None, f"above {RGB_ABOVE:g}", rgb > RGB_ABOVE)
        apart = abs(random[0] - rgb)
        about = f"{RANDOM}: from {PIXELS}"
        yield _at_most(about, of, None, apart, random[1], NEARLY_EQUAL)
        for name, (ours, spread) in at.items():
            if name.startswith((LEARNED, CHANGE)):
                bound = f"{LEARNED_ABOUT - ABOUT:g} to {LEARNED_ABOUT + ABOUT:g}"
                holds = abs(ours - LEARNED_ABOUT) <= ABOUT
                yield Statement(name, of, LEARNED_ABOUT, ours, spread, bound, holds)
        yield _at_most(WHITENING, of, WHITENED, at[WHITENING][0], None, NO_CORRELATION)
    if title == "CIFAR-10":
        for (given, name), elsewhere in ELSEWHERE.items():
            ours, spread = _at_distance(lines[given, "horizontal"][name])
            of = f"{title}, {given} input"
            yield _beside(f"{name}, horizontal", of, ours, spread, elsewhere, OF_PIXELS)


def on_labels(
    title: str, labels: LabelCorrelations, class_names: Sequence[str]
) -> Iterator[Statement]:
    """Whether correlations are "all around 0", then what was measured elsewhere."""
    for reading, part in labels._asdict().items():
        sizes = part.abs().nan_to_num().numpy()
        component, number = np.unravel_index(sizes.argmax(), sizes.shape)
        largest, of = float(sizes.max()), f"{title}, {reading.replace('_', ', ')}"
        about = f"largest correlation with a label (axis {component}, {class_names[number]})"
        yield _at_most(about, of, 0.0, largest, None, AROUND_0)
        if title == "CIFAR-10":
            about = "largest correlation with a label"
            yield _beside(about, of, largest, None, LARGEST[reading], OF_LARGEST)
        if title == "CIFAR-10" and reading in RMS:
            first, elsewhere = RMS[reading]
            rms = float(np.sqrt(np.nanmean(part[:first].square().numpy())))
            about = f"root mean square over classes and the first {first} axes"
            yield _beside(about, of, rms, None, elsewhere, OF_RMS)


def _at_distance(spread: Spread) -> tuple[float, float | None]:
    """Value and deviation, at the last distance that there is where images are smaller."""
    shift = min(DISTANCE, len(spread.mean) - 1)
    return float(spread.mean[shift]), float(spread.deviation[shift]) or None


def _at_most(
    about: str, of: str, paper: float | None, ours: float, spread: float | None, bound: float
) -> Statement:
    return Statement(about, of, paper, ours, spread, f"at most {bound:g}", abs(ours) <= bound)


def _beside(
    about: str, of: str, ours: float, spread: float | None, elsewhere: float, within: float
) -> Statement:
    bound = f"elsewhere {elsewhere:g}, within {within:g}"
    return Statement(about, of, None, ours, spread, bound, abs(ours - elsewhere) <= within)


def _slug(title: str) -> str:
    """As a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower())
