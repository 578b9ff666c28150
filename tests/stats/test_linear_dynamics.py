"""The exact solution: autograd through a convolution, limits, and the reference numbers."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mmrep.networks.linear_cnn import LinearCNN
from mmrep.stats.energy import PatchAxes, energy_profile, patch_axes, theoretical_profile
from mmrep.stats.linear_dynamics import (
    change_after,
    correlation_with,
    mean_patch_axes,
    mean_patches,
)

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "theorem42.npz"


def some_images(count: int, stride: int) -> Tensor:
    """Smooth, with a mean, so that axes differ much and A is not diagonal."""
    generator = torch.Generator().manual_seed(stride)
    noise = torch.randn(count, 2, 9, 9, dtype=torch.float64, generator=generator)
    return 0.5 + noise + 2 * noise.roll(1, dims=2) + 3 * noise.roll(1, dims=3)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 3), (2, 4), (9, 1)])
def test_mean_patches_are_those_of_all_windows(size: int, stride: int) -> None:
    images = some_images(4, 1)
    windows = [
        images[:, :, i : i + size, j : j + size].flatten(1)
        for i in range(0, 10 - size, stride)
        for j in range(0, 10 - size, stride)
    ]
    assert_close(mean_patches(images, size, stride=stride), torch.stack(windows).mean(dim=0))
    single = mean_patches(images.float(), size, stride=stride)  # float64 before it is summed
    assert_close(single, mean_patches(images.float().double(), size, stride=stride))


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("fastest", [0.25, 1.5])
def test_gradient_descent_through_a_convolution_is_the_solution(
    stride: int, fastest: float
) -> None:
    images = some_images(12, stride)  # fewer than dimensions: some eigenvalues are 0
    label = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    net = LinearCNN(3, width=5, stride=stride, in_channels=2, initial_deviation=0.1).double()
    patches = mean_patches(images, 3, stride=stride)
    axes, b = mean_patch_axes(patches), correlation_with(patches, label)
    rate = fastest / (2 * 5 * axes.energy[0].item() ** 2)
    weight = net.conv.weight
    initial = weight.detach().clone().view(3, 5, 18)
    for step in range(1, 401):
        loss = (net(images) - label).square().mean(dim=0).sum()
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight -= rate * gradient
        if step in (1, 2, 3, 30, 400):
            start = initial.mean(dim=1)
            change = change_after(step, axes, b, rate=rate, width=5, start=start)
            assert_close(weight.view(3, 5, 18), initial + change[:, None], rtol=0, atol=1e-10)
    assert (weight.view(3, 5, 18) - initial).abs().max() > 0.05  # it has gone somewhere


@pytest.mark.parametrize("covered", [0.0, 2.0**-60, 2.0**-30, 0.25, 1.0, 1.5, 2.0, 2.5])
@pytest.mark.parametrize("step", [0, 1, 2, 7, 100])
def test_each_axis_sums_a_geometric_series(covered: float, step: int) -> None:
    """Beside fractions, which are exact however little of the way a step covers."""
    axes = PatchAxes(torch.eye(1).double(), torch.tensor([covered]).double().sqrt())
    b = torch.ones(1, 1, dtype=torch.float64)
    change = change_after(step, axes, b, rate=0.5, width=1)
    series = sum((1 - Fraction(axes.energy.item()) ** 2) ** i for i in range(step))
    assert change.item() == pytest.approx(float(series), rel=1e-12)


def test_the_change_from_zero_is_the_formula_of_the_profile() -> None:
    """Where labels correlate with each axis as its energy does: random ones do on average."""
    patches = mean_patches(some_images(40, 1), 3)
    axes = mean_patch_axes(patches)
    rate = 0.5 / axes.energy[0].item() ** 2
    b = (axes.axes * axes.energy).sum(dim=1)[None]
    for step in (1, 50, 10_000):
        change = change_after(step, axes, b, rate=rate, width=1)
        formula = theoretical_profile(axes.energy, step, 2 * rate)
        assert_close(energy_profile(change.view(1, 2, 3, 3), axes.axes), formula)


def test_axes_are_those_of_images_of_a_single_patch() -> None:
    images = some_images(50, 1)[:, :, :3, :3]
    ours, theirs = mean_patch_axes(mean_patches(images, 3)), patch_axes(images, 3, centred=False)
    assert_close(ours.energy, theirs.energy)
    assert_close(ours.axes, theirs.axes)


def test_impossible_choices_are_refused() -> None:
    axes, b = mean_patch_axes(torch.eye(2).double()), torch.ones(1, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"step=-1, rate=0.1, width=1: take a step from 0"):
        change_after(-1, axes, b, rate=0.1, width=1)
    with pytest.raises(ValueError, match=r"rate=0.0, width=1: take a step from 0, a positive rate"):
        change_after(1, axes, b, rate=0.0, width=1)
    with pytest.raises(ValueError, match=r"size=4, stride=1: images of 3 x 9 take a size of 1 to"):
        mean_patches(torch.zeros(1, 1, 3, 9), 4)
    with pytest.raises(ValueError, match=r"size=3, stride=0: .* a stride of at least 1"):
        mean_patches(torch.zeros(1, 1, 3, 9), 3, stride=0)


@pytest.mark.reference
def test_equals_the_independent_derivation() -> None:
    """Of gradient descent through a convolution, and of the solution."""
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE.name} is not beside the project")
    stored = np.load(REFERENCE)
    random = np.random.RandomState(42)
    g = random.randn(4000, 100, 27)
    g *= stored["lambda_true"]
    mean = torch.from_numpy(g.mean(axis=1) @ stored["U"].T)
    label = torch.from_numpy(random.randn(4000, 1))
    filters = torch.from_numpy(random.randn(1, 64, 27) * 1e-3)
    axes = mean_patch_axes(mean)
    assert_close(axes.energy.square(), torch.from_numpy(stored["A_eigenvalues"]), rtol=1e-8, atol=0)
    b, start, true_axes = (
        correlation_with(mean, label),
        filters.mean(1),
        torch.from_numpy(stored["U"]),
    )
    for step in (1, 5, 20, 40):
        change = change_after(step, axes, b, rate=float(stored["eta"]), width=64, start=start)
        after = (filters + change[:, None]).view(64, 3, 3, 3)
        profile = energy_profile(after, true_axes)
        for name in (f"gd_conv_profile_t{step}", f"gd_closed_profile_t{step}"):
            assert_close(profile, torch.from_numpy(stored[name]), rtol=1e-8, atol=0)
