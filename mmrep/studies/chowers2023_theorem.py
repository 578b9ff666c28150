"""Chowers & Weiss 2023, theorems 4.2 and 4.3: a linear CNN's energy profile, checked by numbers.

On independent patches, as the proof assumes them, and on images, whose patches overlap. The paper
calls explained what correlates by more than 0.9; what bounds call "elsewhere" was measured by an
independent program on other draws, or on 2,000 images.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mmrep.files import write_table
from mmrep.loggers import write_figure
from mmrep.networks.linear_cnn import LinearCNN
from mmrep.plots.chowers2023_theorem import Curve, plot_theorem
from mmrep.stats.energy import (
    PatchAxes,
    energy_profile,
    fit_theoretical_profile,
    patch_axes,
    profile_correlation,
    theoretical_profile,
)
from mmrep.stats.linear_dynamics import (
    centred_one_hot,
    change_after,
    correlation_with,
    mean_patch_axes,
    mean_patches,
)
from mmrep.studies.chowers2023_independent import (
    CLASSES,
    COVERED,
    NUM_PATCHES,
    STEPS,
    WIDTH,
    asked,
    normal,
    on_independent_patches,
    rate_of,
)
from mmrep.studies.statements import Statement, conclude

IMAGES = ("auto", "real", "simulated")
SIZE = 3  # pixels, height and width of a patch
LATE = 10_000  # steps, of the profiles that are shown
SHUFFLED = "shuffled classes"
# Elsewhere, on 2,000 images of CIFAR-10: the largest ratios of variances, and how well the formula
# of mean patches' and of patches' eigenvalues is followed.
RATIOS, FOLLOWED = (0.57, 0.55, 0.29, 0.036), (0.94, 0.53)
# Gradient descent through a convolution: images, filters of an output, steps, of which some to see
# whether it converges; and the deviation of what it starts from.
FEW_IMAGES, FEW_FILTERS, MANY_STEPS, SOME_STEPS, START = 32, 4, 300, 100, 0.01
# Energies of simulated patches: the first, and how many times the one before each other is. About
# as those of CIFAR-10 fall.
FIRST, FALL = 3.0, 0.82


class Images(NamedTuple):
    """Images as a network sees them, and the stride with which it does."""

    title: str
    simulated: bool
    stride: int
    inputs: Float[Tensor, "images 3 height width"]
    label: Int64[Tensor, "images"]


def report_theorem(
    folders: Sequence[Path],
    *,
    name: str,
    folder: str,
    data: Any,
    images: str,
    num_images: int,
    draws: int,
    seed: int,
) -> None:
    """Statements, tables and a figure, written into `folder`.

    `images` are those of the data module `data`, or simulated, or the latter only where the former
    cannot be had (auto). Profiles are root mean squares over `draws` vectors of labels.
    """
    if folders:
        raise ValueError(f"analysis={name} trains its own networks and no run: leave out runs")
    if images not in IMAGES:
        raise ValueError(f"images={images!r} is not one of {', '.join(IMAGES)}")
    if num_images < FEW_IMAGES or draws < 2 * CLASSES or draws % CLASSES:
        raise ValueError(
            f"analysis.num_images={num_images}, analysis.draws={draws}: take at least {FEW_IMAGES} "
            f"images and {2 * CLASSES} draws, a multiple of {CLASSES}"
        )
    seen = _images(data, images, num_images, seed)
    out = Path(folder, "analysis", name)
    patch = patch_axes(seen.inputs, SIZE, stride=seen.stride, centred=False)
    statements, curves = on_independent_patches(patch.energy, out, draws=draws, seed=seed)
    more, curve = on_images(seen, patch, out, draws=draws, seed=seed)
    figure = plot_theorem(
        curves | curve, title=f"{seen.title}: filters of a linear CNN", simulated=seen.simulated
    )
    write_figure(Path(folder), name, figure)
    every = [*through_a_convolution(seen, seed=seed), *statements, *more]
    conclude(Path(folder), name, every, units="RMS over outputs where nothing else is said")


def _images(data: Any, images: str, num_images: int, seed: int) -> Images:
    if images != "simulated":
        try:
            data.prepare_data()
        except OSError as error:
            if images == "real":
                raise
            print(f"images are simulated: {error}")
        else:
            data.setup("fit")
            plain = data.plain_train_set
            if num_images > len(plain):
                raise ValueError(
                    f"analysis.num_images={num_images}: {data.title} has {len(plain)} for training"
                )
            batch = plain.prepare(plain[list(range(num_images))])
            return Images(data.title, data.simulated, 1, batch.inputs, batch.label)
    generator = torch.Generator().manual_seed(seed)
    side, dimensions = math.isqrt(NUM_PATCHES), 3 * SIZE**2
    energy = FIRST * FALL ** torch.arange(dimensions)
    axes = torch.linalg.qr(torch.randn(dimensions, dimensions, generator=generator)).Q
    patches = torch.randn(num_images, NUM_PATCHES, dimensions, generator=generator) * energy
    patches = (patches @ axes.T).view(num_images, side, side, 3, SIZE, SIZE)
    inputs = patches.permute(0, 3, 1, 4, 2, 5).reshape(num_images, 3, side * SIZE, side * SIZE)
    label = torch.randint(CLASSES, (num_images,), generator=generator)
    return Images("independent patches side by side", True, SIZE, inputs, label)


def through_a_convolution(seen: Images, *, seed: int) -> Iterator[Statement]:
    """Gradient descent by autograd beside the exact solution, and where it converges.

    The theorem's lambda^2 is an eigenvalue of A times the filters of an output, and its rate twice
    that of the descent: a squared error's gradient has a 2 that it leaves out.
    """
    images = seen.inputs[:FEW_IMAGES].double()
    label = centred_one_hot(seen.label[:FEW_IMAGES])[:, :CLASSES]
    patches = mean_patches(images, SIZE, stride=seen.stride)
    axes, b = mean_patch_axes(patches), correlation_with(patches, label)
    steep = FEW_FILTERS * axes.energy.square()

    def descend(covered: float, steps: int) -> list[Tensor]:
        torch.manual_seed(seed)
        net = LinearCNN(
            label.shape[1], FEW_FILTERS, SIZE, seen.stride, initial_deviation=START
        ).double()
        rate = rate_of(axes, FEW_FILTERS, covered)
        return list(gradient_descent(net, images, label, rate=rate, steps=steps))

    def way_left(filters: Tensor) -> Tensor:
        return b @ axes.axes - steep * (filters.mean(dim=1) @ axes.axes)

    of = f"{seen.title}, {FEW_IMAGES} images"
    first, *later = descend(COVERED, MANY_STEPS)
    rate, apart = rate_of(axes, FEW_FILTERS), 0.0
    for step, filters in enumerate(later, start=1):
        start = first.mean(dim=1)
        change = change_after(step, axes, b, rate=rate, width=FEW_FILTERS, start=start)
        apart = max(apart, (filters - first - change[:, None]).abs().max().item())
    yield asked("4.2: filters of gradient descent through a convolution, from the exact ones", of,
                apart, high=1e-10, elsewhere=4e-14)  # fmt: skip
    factor = way_left(later[0]) / way_left(first)
    for says, shrinks in (("lambda^2", steep), ("lambda, as the proof writes", steep.sqrt())):
        off = (factor - (1 - 2 * rate * shrinks)).abs().max().item()
        yield asked(f"4.2: what a step leaves of the way, from 1 - rate {says}", of, off, high=1e-6)
    for covered in (1.0, 1.99, 2.01):
        first, *_, last = descend(covered, SOME_STEPS)
        left = (way_left(last) / way_left(first))[:, 0].abs().max().item()
        about = f"4.2: way left after {SOME_STEPS} steps, rate {covered:g} / largest lambda^2"
        if covered < 2:
            yield asked(about, of, left, high=1.0)
        else:
            yield asked(about, of, left, low=1.0)


def gradient_descent(
    net: LinearCNN,
    images: Float64[Tensor, "images channels height width"],
    label: Float64[Tensor, "images outputs"],
    *,
    rate: float,
    steps: int,
) -> Iterator[Float64[Tensor, "outputs filters dimensions"]]:
    """The filters before the first step and after each, on the squared error of every output."""
    weight = net.conv.weight
    for step in range(steps + 1):
        yield weight.detach().clone().view(label.shape[1], -1, weight[0].numel())
        if step < steps:
            loss = (net(images) - label).square().mean(dim=0).sum()
            (gradient,) = torch.autograd.grad(loss, weight)
            with torch.no_grad():
                weight -= rate * gradient


def on_images(
    seen: Images, patch: PatchAxes, out: Path, *, draws: int, seed: int
) -> tuple[list[Statement], dict[str, dict[str, Curve]]]:
    """Which eigenvalues a linear CNN follows: those of mean patches, or of `patch`."""
    random = torch.Generator().manual_seed(seed)
    patches = mean_patches(seen.inputs, SIZE, stride=seen.stride)
    axes = mean_patch_axes(patches)
    ratio = (patches @ patch.axes).square().mean(dim=0) / patch.energy.square()
    numbers = torch.arange(1, len(ratio) + 1)
    header = ("component", "patch_energy", "mean_patch_energy", "mean_patch_over_patch_variance")
    columns = (v.tolist() for v in (numbers, patch.energy, axes.energy, ratio))
    write_table(out / "axes.csv", header, zip(*columns, strict=True))
    shuffled = seen.label[torch.randperm(len(seen.label), generator=random)]
    labels = {
        "true classes": centred_one_hot(seen.label),
        SHUFFLED: centred_one_hot(shuffled),
        f"{draws} random vectors": normal(len(seen.label), draws, random=random),
    }
    rows, rate = [], rate_of(axes, WIDTH)
    curves, late = {}, []
    for says, label in labels.items():
        b = correlation_with(patches, label)
        for step in STEPS:
            change = change_after(step, axes, b, rate=rate, width=WIDTH)[..., None, None]
            along_mean, along_patch = (energy_profile(change, of.axes) for of in (axes, patch))
            formula = theoretical_profile(axes.energy, step, 2 * rate * WIDTH)
            by_mean = fit_theoretical_profile(along_mean, axes.energy, rate=2 * rate * WIDTH)
            own_rate = COVERED / patch.energy[0].item() ** 2
            by_patch = fit_theoretical_profile(along_patch, patch.energy, rate=own_rate)
            at_step = profile_correlation(along_mean, formula)
            rows.append((says, step, at_step, *by_mean[:2], *by_patch[:2]))
            if step == LATE:
                late.append((says, by_mean.correlation, by_patch.correlation))
                curves = {
                    "mean patches' axes": Curve(along_mean.numpy(), {"formula": formula.numpy()}),
                    "patches' axes": Curve(
                        along_patch.numpy(), {"formula, best t": by_patch.profile.numpy()}
                    ),
                }
    names = ("labels", "step", "mean_patches", "mean_patches_best_step", "mean_patches_at_best",
             "patches_best_step", "patches_at_best")  # fmt: skip
    write_table(out / "images.csv", names, rows)
    return (
        [*_of_ratio(seen, ratio), *_of_formula(seen, late)],
        {f"{seen.title}: {says}, t = {LATE:,}": curves},
    )


def _of_ratio(seen: Images, ratio: Float64[Tensor, "dimensions"]) -> Iterator[Statement]:
    """What is left of the patches' variance in their mean, where the theorem asks for 1 / J."""
    number = ((seen.inputs.shape[-1] - SIZE) // seen.stride + 1) ** 2
    ranked = ratio.sort(descending=True).values.tolist()
    for place, (ours, elsewhere) in enumerate(zip(ranked, RATIOS, strict=False), start=1):
        about = f"variance of mean patches over patches', 1/{number} if independent: rank {place}"
        known = None if seen.simulated else elsewhere
        yield asked(about, seen.title, ours, high=2 / number, elsewhere=known)


def _of_formula(seen: Images, late: Sequence[tuple[str, float, float]]) -> Iterator[Statement]:
    for says, *found in late:
        for of, ours, elsewhere in zip(("mean patches", "patches"), found, FOLLOWED, strict=True):
            about = f"{says}, t = {LATE}: best correlation with the formula of {of}"
            known = elsewhere if says == SHUFFLED and not seen.simulated else None
            yield asked(about, seen.title, ours, low=0.9, elsewhere=known)
