"""Chowers & Weiss 2023, theorems 4.2 and 4.3, on the independent patches that their proof assumes.

Patches are Gaussian, in the coordinates of their axes; of an image only the mean patch is drawn,
which is all that a linear CNN learns from. What bounds call "elsewhere" was measured by an
independent program on other draws, of the energies that 2,000 images have.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from mmrep.files import write_table
from mmrep.plots.chowers2023_theorem import Curve
from mmrep.stats.energy import PatchAxes, profile_correlation, theoretical_profile
from mmrep.stats.linear_dynamics import (
    centred_one_hot,
    change_after,
    correlation_with,
    mean_patch_axes,
    root_mean_square,
)
from mmrep.studies.statements import Statement

CLASSES = 10
STEPS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 100_000_000)
DRAWN = (10, 1_000, 100_000)  # steps of which profiles are shown
MIDDLE, LAST = 1_000, STEPS[-1]
COVERED = 0.25  # of its way to the solution along the first axis, by one step
NUM_IMAGES, NUM_PATCHES, WIDTH = 4_000, 100, 64  # patches of an image, filters of an output
NUMBERS_OF_IMAGES = (250, 1_000, 4_000, 16_000, 64_000)
WIDTHS = {16: 0.83, 256: 0.74}  # correlation elsewhere, at the same rate
# By the deviation of the initial weights, correlations elsewhere: as is, with the start taken off.
NOISE = {0.001: (0.97, 0.98), 0.01: (0.49, 0.95), 0.1: (-0.12, 0.77)}
OF = "independent patches"


class Problem(NamedTuple):
    """Vectors of labels for images of independent patches, and the rate to learn them by."""

    energy: Float64[Tensor, "dimensions"]  # lambda of the patches
    patches: Float64[Tensor, "images dimensions"]  # the mean of each image's
    axes: PatchAxes
    correlation: Float64[Tensor, "draws dimensions"]  # with the labels, b
    rate: float

    def change(
        self, step: int, start: Float64[Tensor, "draws dimensions"] | None = None
    ) -> Float64[Tensor, "draws dimensions"]:
        return change_after(
            step, self.axes, self.correlation, rate=self.rate, width=WIDTH, start=start
        )

    def formula(self, step: int) -> Float64[Tensor, "dimensions"]:
        """Theorem 4.2 of the patches' lambda, at the clock of `WIDTH` filters."""
        return theoretical_profile(self.energy, step, 2 * self.rate * WIDTH / NUM_PATCHES)

    def correlations(
        self, profiles: Float64[Tensor, "profiles dimensions"], step: int
    ) -> Float64[Tensor, "profiles"]:
        formula = self.formula(step)
        return torch.tensor(
            [profile_correlation(profile, formula) for profile in profiles], dtype=torch.float64
        )


def draw_problem(
    energy: Float64[Tensor, "dimensions"],
    draws: int,
    random: torch.Generator,
    number: int = NUM_IMAGES,
) -> Problem:
    """Gaussian labels for `number` images of patches of these energies."""
    patches = normal(number, len(energy), random=random) * energy / math.sqrt(NUM_PATCHES)
    axes = mean_patch_axes(patches)
    correlation = correlation_with(patches, normal(number, draws, random=random))
    return Problem(energy, patches, axes, correlation, rate_of(axes, WIDTH))


def on_independent_patches(
    energy: Float64[Tensor, "dimensions"], out: Path, *, draws: int, seed: int
) -> tuple[list[Statement], dict[str, dict[str, Curve]]]:
    """Statements, and panels of a figure; tables go into the folder `out`."""
    random = torch.Generator().manual_seed(seed)
    problem = draw_problem(energy, draws, random)
    profiles = {step: root_mean_square(problem.change(step)) for step in STEPS}
    statements = [
        *_formula(problem, profiles, out, random),
        *_limit(problem, profiles[LAST]),
        *_one_vector(problem, out, random),
        *_widths(problem, out),
        *_initial_weights(problem, out, random),
    ]
    return statements, _panels(problem, profiles)


def _panels(problem: Problem, profiles: dict[int, Tensor]) -> dict[str, dict[str, Curve]]:
    """Profiles beside the formula: of all label vectors, of one, and in the limit."""
    of_all = {step: profiles[step] for step in DRAWN}
    of_one = {step: problem.change(step)[0].abs() for step in DRAWN}
    beside = [
        {
            f"t = {step:,}": Curve(profile.numpy(), {"formula": problem.formula(step).numpy()})
            for step, profile in panel.items()
        }
        for panel in (of_all, of_one)
    ]
    energy = problem.energy.numpy()
    limits = {"1 / lambda": 1 / energy, "1 / lambda^2 (main text)": 1 / energy**2}
    number = len(problem.correlation)
    return {
        f"{OF}: RMS over {number} label vectors": beside[0],
        f"{OF}: one label vector": beside[1],
        f"{OF}: the limit, RMS over {number}": {
            f"t = {LAST:.0e}": Curve(profiles[LAST].numpy(), limits)
        },
    }


def rate_of(axes: PatchAxes, width: int, covered: float = COVERED) -> float:
    """The learning rate that covers so much of the way along the first axis by a step."""
    return covered / (2 * width * axes.energy[0].item() ** 2)


def _formula(
    problem: Problem, profiles: dict[int, Tensor], out: Path, random: torch.Generator
) -> Iterator[Statement]:
    draws = len(problem.correlation)
    classes = torch.randint(CLASSES, (draws // CLASSES, len(problem.patches)), generator=random)
    of_classes = problem._replace(
        correlation=torch.cat(
            [correlation_with(problem.patches, centred_one_hot(label)) for label in classes]
        )
    )
    rows = []
    for step in STEPS:
        single = problem.correlations(problem.change(step).abs(), step)
        ten = problem.correlations(root_mean_square(tens(of_classes.change(step))), step)
        every = problem.correlations(profiles[step][None], step)
        rows.append((step, *spread(single), *spread(ten), every.item()))
    header = ("step", "one_vector", "one_vector_deviation", "ten_outputs",
              "ten_outputs_deviation", "all_vectors")  # fmt: skip
    write_table(out / "independent_patches.csv", header, rows)
    worst = min(rows, key=lambda row: row[3])
    about = "4.2: correlation with the formula, lowest over t"
    yield asked(f"{about}, {CLASSES} one-hot outputs", OF, worst[3], worst[4],
                low=0.9, elsewhere=0.94)  # fmt: skip
    yield asked(f"{about}, {draws} label vectors", OF, min(row[5] for row in rows),
                low=0.99, elsewhere=0.998)  # fmt: skip


def _limit(problem: Problem, last: Float64[Tensor, "dimensions"]) -> Iterator[Statement]:
    white = last * problem.energy
    about = f"4.3: profile times lambda at t = {LAST:.0e}, deviation over mean"
    sampling = 1 / math.sqrt(2 * len(problem.correlation))  # of a root mean square of Gaussians
    yield asked(about, OF, (white.std() / white.mean()).item(), high=2 * sampling, elsewhere=0.048)
    x, y = problem.energy.log(), last.log()
    power = ((x - x.mean()) @ y / (x - x.mean()).square().sum()).item()
    for where, paper in (("appendix", -1.0), ("main text", -2.0)):
        about = f"4.3: power of lambda in the limit, by the {where}"
        yield asked(about, OF, power, paper=paper, low=paper - 0.05, high=paper + 0.05)


def _one_vector(problem: Problem, out: Path, random: torch.Generator) -> Iterator[Statement]:
    size = (problem.correlation @ problem.axes.axes).abs()
    noise = (size.std(dim=0) / size.mean(dim=0)).mean().item()
    folded = math.sqrt(math.pi / 2 - 1)  # of the absolute value of a Gaussian, for every N
    yield asked("one label vector: |u.b|, deviation over mean", OF, noise,
                low=folded - 0.03, high=folded + 0.03, elsewhere=0.747)  # fmt: skip
    rows = []
    for number in NUMBERS_OF_IMAGES:
        other = draw_problem(problem.energy, len(problem.correlation), random, number)
        found = spread(other.correlations(other.change(MIDDLE).abs(), MIDDLE))
        rows.append((number, *found))
        if number in (NUMBERS_OF_IMAGES[0], NUMBERS_OF_IMAGES[-1]):
            about = f"one label vector, N = {number}, t = {MIDDLE}: correlation with the formula"
            yield asked(about, OF, *found, low=0.9, elsewhere=0.67)
    write_table(out / "numbers_of_images.csv", ("images", "one_vector", "deviation"), rows)


def _widths(problem: Problem, out: Path) -> Iterator[Statement]:
    rows = []
    for width, elsewhere in WIDTHS.items():
        for same, rate, known in (
            ("rate", problem.rate, elsewhere),
            ("rate times K", problem.rate * WIDTH / width, 0.998),
        ):
            change = change_after(MIDDLE, problem.axes, problem.correlation, rate=rate, width=width)
            (found,) = problem.correlations(root_mean_square(change)[None], MIDDLE).tolist()
            rows.append((width, same, found))
            about = (
                f"K = {width}, same {same}, t = {MIDDLE}: correlation with K = {WIDTH}'s formula"
            )
            yield asked(about, OF, found, low=0.95, elsewhere=known)
    write_table(out / "widths.csv", ("width", "same", "correlation"), rows)


def _initial_weights(problem: Problem, out: Path, random: torch.Generator) -> Iterator[Statement]:
    rows = []
    noise = normal(len(problem.correlation), WIDTH, len(problem.energy), random=random)
    for sigma, elsewhere in NOISE.items():
        start = sigma * noise
        change = problem.change(MIDDLE, start.mean(dim=1))
        after = tens(start + change[:, None]).flatten(1, 2)
        for says, filters, known in zip(
            ("as is", "start taken off"), (after, tens(change)), elsewhere, strict=True
        ):
            found = spread(problem.correlations(root_mean_square(filters), MIDDLE))
            rows.append((sigma, says, *found))
            about = f"start of deviation {sigma:g}, {says}, t = {MIDDLE}: correlation"
            yield asked(about, OF, *found, low=0.9, elsewhere=known)
    write_table(out / "initial_weights.csv", ("sigma", "profile", "correlation", "deviation"), rows)


def tens(of_draws: Float64[Tensor, "draws *rest"]) -> Float64[Tensor, "groups 10 *rest"]:
    """As many networks of ten outputs as there are."""
    return of_draws.view(-1, CLASSES, *of_draws.shape[1:])


def spread(values: Float64[Tensor, "values"]) -> tuple[float, float]:
    """Mean and deviation."""
    return values.mean().item(), values.std().item()


def normal(*shape: int, random: torch.Generator) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=random)


def asked(
    about: str,
    of: str,
    ours: float,
    spread: float | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    elsewhere: float | None = None,
    paper: float | None = None,
) -> Statement:
    """The claim that our number is at least `low` and at most `high`."""
    bounds = [
        f"{says} {b:.3g}" for says, b in (("at least", low), ("at most", high)) if b is not None
    ]
    known = [] if elsewhere is None else [f"elsewhere {elsewhere:g}"]
    holds = (low is None or ours >= low) and (high is None or ours <= high)
    return Statement(about, of, paper, ours, spread, ", ".join(bounds + known), holds)
