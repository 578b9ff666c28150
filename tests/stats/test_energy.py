"""Patch axes, energy profiles and their theory: NumPy, gradient descent, the authors' numbers."""

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.decomposition import PCA
from torch import Tensor
from torch.testing import assert_close

from mmrep.stats import energy as module
from mmrep.stats.energy import (
    PUBLISHED_RATE,
    axes_from_sums,
    energy_profile,
    fit_theoretical_profile,
    label_correlations,
    patch_axes,
    patch_sums,
    theoretical_profile,
)

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
SETS = [
    ("energy_profile", "synth"),
    ("energy_profile", "cifar"),
    ("energy_profile_cifar300", "cifar300"),
]


def stored(name: str) -> Any:
    if not (REFERENCE / f"{name}.npz").exists():
        pytest.skip(f"{REFERENCE / name}.npz is absent: the numbers come beside the project")
    return np.load(REFERENCE / f"{name}.npz")


def images(count: int, *shape: int, seed: int = 0) -> Float[Tensor, "images channels h w"]:
    """Random, with neighbours and channels alike, and with means that differ."""
    noise = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
    smooth = noise + 2 * noise.roll(1, dims=2) + 3 * noise.roll(1, dims=3)
    return smooth + noise.mean(dim=1, keepdim=True) + torch.arange(shape[0])[:, None, None]


def patches(
    x: Float[Tensor, "images channels h w"], size: int, stride: int = 1
) -> Float64[Tensor, "images positions dimensions"]:
    """Every window written out by NumPy."""
    windows = sliding_window_view(x.double().numpy(), (size, size), axis=(2, 3))
    some = windows[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5).copy()
    return torch.from_numpy(some).flatten(3).flatten(1, 2)


def cifar300() -> Float64[Tensor, "300 3 32 32"]:
    pixels = stored("energy_profile_cifar300")["cifar300_images_uint8"] / 255
    mean, std = np.array([[0.4914, 0.4822, 0.4465], [0.2471, 0.2435, 0.2616]])[..., None, None]
    return torch.from_numpy((pixels - mean) / std)


def correlation(x: Tensor, y: Tensor) -> float:
    return np.corrcoef(x.numpy(), y.numpy())[0, 1]


# Patch axes


@pytest.mark.parametrize(
    ("shape", "size", "stride"),
    [
        ((3, 32, 32), 3, 1),  # CIFAR: five strips of six windows
        ((2, 9, 13), 3, 1),  # a strip and a narrower one
        ((1, 6, 5), 5, 1),  # windows of 2 x 1
        ((3, 3, 3), 3, 1),  # a single window
        ((2, 4, 7), 1, 1),
        ((3, 33, 40), 7, 2),  # the stem of an ImageNet network
        ((3, 18, 21), 3, 3),  # side by side
        ((2, 11, 10), 3, 4),  # pixels between windows that none reads
        ((2, 17, 12), 4, 3),
    ],
)
def test_sums_are_those_of_all_windows(shape: tuple[int, int, int], size: int, stride: int) -> None:
    x = images(5, *shape)
    rows = patches(x, size, stride).flatten(0, 1)
    n, total, outer = patch_sums(x, size, stride=stride)
    assert n == len(rows)
    assert_close(total, rows.sum(dim=0), rtol=1e-12, atol=1e-9)
    assert_close(outer, rows.T @ rows, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("bytes_", [1, 2 * 8 * 2 * 9 * 13, 2**30])
def test_the_chunk_makes_no_difference(bytes_: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(5, 2, 9, 13)
    label = torch.tensor([0, 1, 1, 0, 2])
    axes = patch_axes(x, 3)
    labelled = label_correlations(x, label, axes.axes, num_classes=3)
    monkeypatch.setattr(module, "CHUNK_BYTES", bytes_)
    assert_close(patch_axes(x, 3), axes)
    assert_close(label_correlations(x, label, axes.axes, num_classes=3), labelled)


def test_centred_axes_are_those_of_sklearn() -> None:
    x = images(40, 2, 9, 13)
    axes, energy = patch_axes(x, 3)
    rows = patches(x, 3).flatten(0, 1).numpy()
    pca = PCA().fit(rows)
    variance = pca.explained_variance_ * (len(rows) - 1) / len(rows)
    assert_close(energy.square(), torch.from_numpy(variance), rtol=1e-10, atol=0)
    assert_close(
        (axes.T * torch.from_numpy(pca.components_)).sum(dim=1).abs(), torch.ones(18).double()
    )


def test_uncentred_axes_are_right_singular_vectors() -> None:
    x = images(40, 2, 9, 13)
    axes, energy = patch_axes(x, 3, centred=False)
    rows = patches(x, 3).flatten(0, 1)
    _, singular, vectors = torch.linalg.svd(rows, full_matrices=False)
    assert_close(energy, singular / math.sqrt(len(rows)), rtol=1e-10, atol=0)
    assert_close((axes * vectors.T).sum(dim=0).abs(), torch.ones(18).double())


def test_an_axis_used_as_a_filter_responds_with_its_energy() -> None:
    x = images(10, 3, 12, 15).double()
    axes, energy = patch_axes(x, 5, stride=2)
    response = F.conv2d(x, axes.T.reshape(75, 3, 5, 5), stride=2).transpose(0, 1).flatten(1)
    assert_close(response.std(dim=1, correction=0), energy)
    assert_close(response.cov(correction=0), energy.square().diag())


def test_each_axis_points_to_where_its_largest_entry_is_positive() -> None:
    axes = patch_axes(images(10, 2, 9, 9), 3).axes
    assert_close(axes.max(dim=0).values, axes.abs().max(dim=0).values)
    assert_close(patch_axes(-images(10, 2, 9, 9), 3).axes, axes)


def test_a_large_mean_costs_nothing() -> None:
    x = images(40, 2, 9, 13).double()
    far = patch_axes(x + torch.tensor([1e5, -1e3])[:, None, None], 3)
    assert_close(far, patch_axes(x, 3), rtol=1e-8, atol=1e-8)


def test_a_large_mean_costs_unshifted_sums_what_the_docstring_says() -> None:
    x = images(40, 2, 9, 13).double()
    variance = patch_axes(x, 3).energy.square()
    far = x + 1e3 * variance[0].sqrt()
    lost = axes_from_sums(*patch_sums(far, 3)).energy.square() - variance
    assert lost.abs().max() < 4e-15 * 1e6 * 18 * variance[0]


def test_dead_channels_and_few_patches_leave_energies_of_exactly_zero() -> None:
    x = images(10, 3, 9, 9).double()
    x[:, 1] = 0.1
    axes, energy = patch_axes(x, 3)
    assert (energy > 0).tolist() == [True] * 18 + [False] * 9
    assert_close(axes.T @ axes, torch.eye(27).double())
    assert_close(axes[9:18, :18], torch.zeros(9, 18).double(), atol=1e-12, rtol=0)
    assert (patch_axes(x, 3, centred=False).energy > 0).sum() == 19
    assert (patch_axes(images(5, 3, 3, 3), 3).energy > 0).sum() == 4  # 5 patches about their mean


def test_a_faint_channel_keeps_its_energies() -> None:
    x = images(40, 2, 9, 9).double()
    faint = patch_axes(x * torch.tensor([1.0, 1e-5])[:, None, None], 3).energy[9:]
    alone = patch_axes(x[:, 1:], 3).energy
    assert 0.5e-5 * alone[-1] < faint[-1] <= faint[0] < 1e-5 * alone[0]  # what the first explains


def test_images_are_left_alone_and_may_lie_in_memory_as_they_like() -> None:
    x = images(10, 3, 9, 9).double()
    before = x.clone()
    axes = patch_axes(x, 3)
    assert torch.equal(x, before)
    assert_close(patch_axes(x.to(memory_format=torch.channels_last), 3), axes)
    assert_close(patch_axes(x.float(), 3).energy, axes.energy, rtol=1e-6, atol=0)


@pytest.mark.parametrize("centred", [True, False])
def test_patches_that_do_not_vary_are_refused(centred: bool) -> None:
    value = 0.1 if centred else 0.0
    what = "equal" if centred else "0"
    with pytest.raises(ValueError, match=f"all 98 patches are {what}, and what does not vary"):
        patch_axes(torch.full((2, 3, 9, 9), value), 3, centred=centred)


@pytest.mark.parametrize("centred", [True, False])
def test_no_image_is_refused(centred: bool) -> None:
    with pytest.raises(ValueError, match="there are no patches: give at least one image"):
        patch_axes(torch.empty(0, 3, 9, 9), 3, centred=centred)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("image", [0, 1])
def test_images_that_are_not_finite_are_refused(value: float, image: int) -> None:
    x = images(2, 3, 9, 9)
    x[image, 0, 4, 4] = value
    with pytest.raises(ValueError, match="not finite: look for NaN or infinity in the images"):
        patch_axes(x, 3)
    with pytest.raises(ValueError, match="not finite: look for NaN or infinity in the images"):
        label_correlations(x, torch.tensor([0, 1]), torch.eye(27).double(), num_classes=2)


@pytest.mark.parametrize("size", [0, 10])
def test_a_size_that_does_not_fit_is_refused(size: int) -> None:
    with pytest.raises(
        ValueError, match=f"size={size} is no window in images of 9 x 12: .* 1 to 9"
    ):
        patch_axes(torch.zeros(1, 3, 9, 12), size)


def test_a_stride_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match="stride=0 is not positive: take 1 for every window"):
        patch_axes(torch.zeros(1, 3, 9, 9), 3, stride=0)


@pytest.mark.reference
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("which", ["synth", "cifar300"])
def test_axes_are_the_authors(which: str, centred: bool) -> None:
    if which == "synth":
        z = stored("energy_profile")
        x = torch.from_numpy(z["synth_images"])
    else:
        z, x = stored("energy_profile_cifar300"), cifar300()
    kind = "centred" if centred else "uncentred"
    axes, energy = patch_axes(x, 3, centred=centred)
    n = int(z[f"{which}_n_patches"])
    expected = torch.from_numpy(z[f"{which}_lambda_{kind}"]) / math.sqrt(n)
    assert_close(energy, expected, rtol=1e-7, atol=0)
    cosine = (axes * torch.from_numpy(z[f"{which}_components_{kind}"])).sum(dim=0).abs()
    assert_close(cosine, torch.ones(27).double(), rtol=0, atol=1e-6)


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["centred", "uncentred"])
def test_axes_from_the_sums_of_2000_images_are_the_authors(kind: str) -> None:
    z = stored("energy_profile")
    n = torch.tensor(int(z["cifar_n_patches"]))
    total, outer = (torch.from_numpy(z[f"cifar_patch_{part}"]) for part in ("sum", "outer_sum"))
    axes, energy = axes_from_sums(n, total, outer, centred=kind == "centred")
    expected = torch.from_numpy(z[f"cifar_lambda_{kind}"]) / n.sqrt()
    assert_close(energy, expected, rtol=1e-7, atol=0)
    cosine = (axes * torch.from_numpy(z[f"cifar_components_{kind}"])).sum(dim=0).abs()
    assert_close(cosine, torch.ones(27).double(), rtol=0, atol=1e-6)


# Energy profiles


def orthogonal(size: int, seed: int = 0) -> Float64[Tensor, "size size"]:
    noise = torch.randn(size, size, generator=torch.Generator().manual_seed(seed)).double()
    return torch.linalg.qr(noise).Q


def test_a_filter_along_one_axis_has_all_its_energy_there() -> None:
    axes = orthogonal(12)
    filters = (axes[:, [3, 7]].T * torch.tensor([[3.0], [4.0]])).reshape(2, 3, 2, 2)
    expected = torch.zeros(12).double()
    expected[3], expected[7] = 3 / math.sqrt(2), 4 / math.sqrt(2)
    assert_close(energy_profile(filters, axes), expected)
    assert_close(energy_profile(filters, axes, scale="program") * 2, expected * math.sqrt(2))


def test_squared_profile_sums_to_the_filters_mean_square_norm() -> None:
    filters = images(7, 3, 2, 2)
    profile = energy_profile(filters, orthogonal(12))
    assert_close(profile.square().sum(), filters.double().square().sum() / 7)


def test_profile_does_not_see_rotations_among_filters_nor_signs_of_axes() -> None:
    filters, axes = images(7, 3, 2, 2).double(), orthogonal(12)
    profile = energy_profile(filters, axes)
    rotated = (orthogonal(7, seed=1) @ filters.flatten(1)).view_as(filters)
    assert_close(energy_profile(rotated, axes), profile)
    assert_close(energy_profile(filters.flip(0), -axes), profile)
    assert_close(energy_profile(-2 * filters, axes), 2 * profile)


@pytest.mark.reference
@pytest.mark.parametrize("subtract", [0, 1])
@pytest.mark.parametrize(("file", "which"), SETS)
def test_profiles_are_the_authors(file: str, which: str, subtract: int) -> None:
    z = stored(file)
    filters = torch.from_numpy(z[f"{which}_W"] - subtract * z[f"{which}_W_init"])
    axes = torch.from_numpy(z[f"{which}_components_centred"])
    paper = torch.from_numpy(z[f"{which}_profile_paper_eq1_subtract{subtract}"])
    program = torch.from_numpy(z[f"{which}_profile_authors_subtract{subtract}_norm0"])
    assert_close(energy_profile(filters, axes), paper, rtol=1e-6, atol=0)
    assert_close(energy_profile(filters, axes, scale="program"), program, rtol=1e-6, atol=0)


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="scale='code' is not one of paper, program"):
        energy_profile(torch.zeros(1, 3, 2, 2), orthogonal(12), scale="code")


def test_filters_of_another_size_are_refused() -> None:
    message = r"filters of \(3, 3, 3\) have 27 dimensions and the axes 12: take axes of patches"
    with pytest.raises(ValueError, match=message):
        energy_profile(torch.zeros(1, 3, 3, 3), orthogonal(12))


def test_no_filters_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no filters"):
        energy_profile(torch.zeros(0, 3, 2, 2), orthogonal(12))


# The formula


@pytest.mark.parametrize("rate", [1e-3, 0.05, 0.3, 0.6])  # rate * 4: below 1, above 1, above 2
@pytest.mark.parametrize("step", [1, 2, 7, 40])
def test_formula_is_gradient_descent_from_zero(rate: float, step: int) -> None:
    energy = torch.tensor([2.0, 1.0, 0.5, 0.0]).double()
    filters = torch.zeros(4).double()
    for _ in range(step):  # on filters^2 energy^2 / 2 - filters energy: a label along each axis
        filters -= rate * (energy.square() * filters - energy)
    assert_close(theoretical_profile(energy, step, rate), filters.abs())


@pytest.mark.parametrize("share", [1e-4, 1e-9, 1e-14, 1e-30])
@pytest.mark.parametrize("step", [1, 3, 50])
def test_formula_is_exact_for_shares_that_a_double_cannot_add_to_1(share: float, step: int) -> None:
    exact = 1 - (1 - Fraction(share)) ** step
    profile = theoretical_profile(torch.tensor([1.0]), step, share)
    assert profile.item() == pytest.approx(float(exact), rel=1e-14, abs=0)


def test_formula_runs_from_energy_to_its_inverse() -> None:
    energy = torch.tensor([3.0, 1.0, 0.1, 1e-3]).double()
    assert_close(theoretical_profile(energy, 1, 1e-4), 1e-4 * energy)
    assert_close(theoretical_profile(energy, 1e-9, 1e-12), 1e-21 * energy)
    assert_close(theoretical_profile(energy, 1e300, 1e-4), 1 / energy)
    assert_close(theoretical_profile(energy, 5, 1 / 9)[0], torch.tensor(1 / 3).double())


def test_formula_is_zero_where_there_is_no_energy() -> None:
    profile = theoretical_profile(torch.tensor([1.0, 1e-200, 0.0]).double(), 1e6, 1e-4)
    assert profile[1:].tolist() == [0, 0]


@pytest.mark.parametrize("step", [1e4, 1e6, 1e8])
def test_peak_moves_to_weaker_axes_with_time(step: float) -> None:
    energy = torch.logspace(1, -2, 3001)
    peak = energy[theoretical_profile(energy, step, 1e-5).argmax()]
    # (1 - exp(-x)) / sqrt(x), with x = step * rate * energy^2, is largest where exp(x) = 1 + 2 x.
    assert step * 1e-5 * peak.item() ** 2 == pytest.approx(1.2564, rel=0.01)


@pytest.mark.reference
@pytest.mark.parametrize(("file", "which"), SETS)
def test_formula_is_the_programs(file: str, which: str) -> None:
    z = stored(file)
    energy = torch.from_numpy(z[f"{which}_lambda_centred"]) / math.sqrt(
        900 * z[f"{which}_n_images"]
    )
    for step, expected in zip(
        z[f"{which}_formula_t"], z[f"{which}_formula_profiles_normalised"], strict=True
    ):
        profile = theoretical_profile(energy, int(step), PUBLISHED_RATE)
        # The program subtracts shares down to 3e-9 from 1, which leaves eps / 3e-9 of precision.
        assert_close(profile / profile.max(), torch.from_numpy(expected), rtol=5e-8, atol=0)


@pytest.mark.reference
def test_formula_is_theorem_42s() -> None:
    z = stored("theorem42")
    energy = torch.from_numpy(z["lambda_patches"])
    for step, expected in zip(z["t"], z["formula"], strict=True):
        profile = theoretical_profile(energy, int(step), float(z["effective_eta"]))
        assert_close(profile, torch.from_numpy(expected), rtol=1e-9, atol=0)


@pytest.mark.parametrize("step", [0, -1, math.inf, math.nan])
def test_a_step_that_is_not_positive_is_refused(step: float) -> None:
    with pytest.raises(ValueError, match=f"step={step} is not a positive number; the limits are"):
        theoretical_profile(torch.ones(3), step, 1e-3)


def test_a_fraction_of_a_step_is_refused_where_steps_overshoot() -> None:
    with pytest.raises(ValueError, match=r"step=2.5 is not whole, and at rate=0.5 .* reaches 4.5"):
        theoretical_profile(torch.tensor([3.0, 0.1]), 2.5, 0.5)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_that_is_not_positive_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=f"rate={rate} is not a positive .* published is 4.5e-05"):
        theoretical_profile(torch.ones(3), 1, rate)


@pytest.mark.parametrize("values", [[], [1.0, -0.5], [1.0, math.nan], [math.inf, 1.0]])
def test_energies_that_are_none_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"energy=\[.*\] must be finite and not negative"):
        theoretical_profile(torch.tensor(values), 1, 1e-3)


# The fit

NATURAL = torch.logspace(0.65, -2, 27, dtype=torch.float64)  # CIFAR's run from 4.4 to 0.008


@pytest.mark.parametrize("step", [100, 57_000, 171_602.4, 4_999_750, 2.5e7, 1e9])
def test_fit_finds_the_step_that_made_the_profile(step: float) -> None:
    planted = theoretical_profile(NATURAL, step, PUBLISHED_RATE)
    fit = fit_theoretical_profile(1e3 * planted.float(), NATURAL, rate=PUBLISHED_RATE)
    assert fit.step == pytest.approx(step, rel=1e-4)
    assert fit.correlation == pytest.approx(1, abs=1e-9)
    assert_close(fit.profile, planted / planted.max(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("seed", range(5))
def test_no_step_of_a_dense_search_correlates_better(seed: int) -> None:
    profile = torch.rand(27, generator=torch.Generator().manual_seed(seed))
    fit = fit_theoretical_profile(profile, NATURAL, rate=PUBLISHED_RATE)
    steps = np.geomspace(1e-3, 1e13, 3001)
    dense = max(
        correlation(profile, theoretical_profile(NATURAL, t, PUBLISHED_RATE)) for t in steps
    )
    assert dense <= fit.correlation + 1e-12
    assert correlation(profile, fit.profile) == pytest.approx(fit.correlation, abs=1e-12)
    best = theoretical_profile(NATURAL, fit.step, PUBLISHED_RATE)
    assert_close(fit.profile, best / best.max())


@pytest.mark.parametrize("balance", [0.9, 0.95, 1.0, 1.05])
def test_the_higher_of_two_peaks_is_found(balance: float) -> None:
    profile = torch.tensor([0.0, 1.0, 0.0, 0.0, balance, 0.0])  # strong axes early, weak ones late
    energy = torch.tensor([100.0, 80.0, 60.0, 1.0, 0.8, 0.6])
    fit = fit_theoretical_profile(profile, energy, rate=1e-5)
    early, late = (
        max(correlation(profile, theoretical_profile(energy, t, 1e-5)) for t in steps)
        for steps in (np.geomspace(1, 1e3, 500), np.geomspace(1e4, 1e6, 500))
    )
    assert max(early, late) <= fit.correlation + 1e-12
    assert (fit.step < 1e3) == (early > late)


def test_fit_takes_energies_of_zero_and_any_scale() -> None:
    energy = torch.cat([NATURAL, torch.zeros(3).double()])
    planted = theoretical_profile(energy, 3e5, PUBLISHED_RATE)
    fit = fit_theoretical_profile(planted, 1e-3 * energy, rate=1e6 * PUBLISHED_RATE)
    assert fit.step == pytest.approx(3e5, rel=1e-4)
    assert fit.profile[-3:].tolist() == [0, 0, 0]


def test_profiles_at_a_limit_are_fitted_by_the_limit() -> None:
    before = fit_theoretical_profile(NATURAL, NATURAL, rate=PUBLISHED_RATE)
    after = fit_theoretical_profile(1 / NATURAL, NATURAL, rate=PUBLISHED_RATE)
    assert_close(before.profile, NATURAL / NATURAL.max(), rtol=1e-5, atol=0)
    assert_close(after.profile, NATURAL.min() / NATURAL)
    assert before.step == pytest.approx(1, rel=1e-2)  # the first step is along energy exactly
    assert after.step > 10 / (PUBLISHED_RATE * NATURAL.min() ** 2)


def test_a_profile_that_the_formula_cannot_make_gets_its_low_correlation() -> None:
    zigzag = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    fit = fit_theoretical_profile(zigzag, torch.arange(6, 0, -1).double(), rate=1e-3)
    assert fit.correlation < 0.5


@pytest.mark.reference
@pytest.mark.parametrize(("file", "which"), SETS)
def test_fit_reaches_the_published_grid(file: str, which: str) -> None:
    z = stored(file)
    energy = torch.from_numpy(z[f"{which}_lambda_centred"]) / math.sqrt(
        900 * z[f"{which}_n_images"]
    )
    for subtract in (0, 1):
        profile = torch.from_numpy(z[f"{which}_profile_authors_subtract{subtract}_norm1"])
        fit = fit_theoretical_profile(profile, energy, rate=PUBLISHED_RATE)
        published = float(z[f"{which}_fit_corr_subtract{subtract}"])
        assert published <= fit.correlation <= published + 1e-6
        assert abs(fit.step - z[f"{which}_fit_t_subtract{subtract}"]) < 250
        theirs = torch.from_numpy(z[f"{which}_fit_profile_subtract{subtract}"])
        assert_close(fit.profile, theirs, rtol=0, atol=2e-3)
    untrained = torch.from_numpy(z[f"{which}_init_profile"])
    fit = fit_theoretical_profile(untrained, energy, rate=PUBLISHED_RATE)
    assert fit.correlation >= z[f"{which}_init_fit_corr"]


@pytest.mark.reference
def test_fit_reads_the_clock_of_theorem_42() -> None:
    z = stored("theorem42")
    energy = torch.from_numpy(z["lambda_patches"])
    for step, profile, corr in zip(
        z["t"][:-1], z["profile_rms_400_draws"], z["corr_rms400"], strict=False
    ):
        fit = fit_theoretical_profile(
            torch.from_numpy(profile), energy, rate=float(z["effective_eta"])
        )
        assert fit.correlation >= corr
        assert fit.step == pytest.approx(step, rel=0.12)  # 400 draws


@pytest.mark.parametrize(
    ("profile", "energy", "message"),
    [
        ([1.0, 2.0, 3.0], [2.0, 1.0], "3 values and there are 2 energies: give as many of both"),
        ([1.0, 2.0], [2.0, 1.0], "2 values and there are 2 energies: .* at least 3"),
        ([1.0, 1.0, 1.0], [3.0, 2.0, 1.0], "profile is 1 along all axes: nothing to correlate"),
        ([3.0, 2.0, 1.0], [2.0, 2.0, 2.0], "energy is 2 along all axes: nothing to correlate"),
        ([3.0, 2.0, 1.0], [0.0, 0.0, 0.0], "energy is 0 along all axes: nothing to correlate"),
        ([3.0, math.nan, 1.0], [3.0, 2.0, 1.0], r"profile=\[3.0, nan, 1.0\] is not finite"),
        ([3.0, 2.0, 1.0], [3.0, 2.0, -1.0], r"energy=\[3.0, 2.0, -1.0\] must be finite and not"),
        ([3.0, 2.0, 1.0], [10.0, 2.0, 1.0], "reaches 2 at rate=0.02, .* take at most 0.01"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    profile: list[float], energy: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_theoretical_profile(torch.tensor(profile), torch.tensor(energy), rate=0.02)


# Labels

LABEL = torch.tensor([0, 1, 2, 0, 1, 2, 2, 0])


@pytest.mark.parametrize("stride", [1, 2])
def test_label_correlations_are_numpys(stride: int) -> None:
    x = images(8, 2, 7, 8)
    axes = patch_axes(x, 3, stride=stride).axes
    coefficient = patches(x, 3, stride) @ axes
    found = label_correlations(x, LABEL, axes, num_classes=3, stride=stride)
    ours = [
        [found.image_coefficient, found.image_energy],
        [found.patch_coefficient, found.patch_energy],
    ]
    for column, quantity in enumerate((coefficient, coefficient.square())):
        for component in range(18):
            for kind in range(3):
                is_kind = LABEL.eq(kind).double()
                each = quantity[..., component]
                of_image = correlation(each.mean(dim=1), is_kind)
                of_patch = correlation(each.flatten(), is_kind[:, None].expand_as(each).flatten())
                assert ours[0][column][component, kind].item() == pytest.approx(of_image, abs=1e-10)
                assert ours[1][column][component, kind].item() == pytest.approx(of_patch, abs=1e-10)


@pytest.mark.parametrize("doubled", [True, False])
def test_what_cannot_vary_has_no_correlation(doubled: bool) -> None:
    x = images(8, 3, 7, 8)
    x[:, 1] = x[:, 0] if doubled else 0.5  # or dead: 9 axes along which nothing varies
    axes = patch_axes(x, 3).axes
    found = label_correlations(x, LABEL, axes, num_classes=4)
    for one in found:
        assert one[:18, :3].isfinite().all()
        assert one[18:].isnan().all()
        assert one[:, 3].isnan().all()  # no image is of class 3
    alone = label_correlations(x, torch.zeros(8).long(), axes, num_classes=1)
    assert all(one.isnan().all() for one in alone)
    signs = images(8, 1, 5, 5).sign()  # every energy along an axis of one pixel is 1
    found = label_correlations(signs, LABEL, torch.eye(1).double(), num_classes=3)
    assert found.patch_coefficient.isfinite().all()
    assert found.image_energy.isnan().all()
    assert found.patch_energy.isnan().all()


@pytest.mark.reference
def test_label_correlations_of_cifar_are_the_stored_ones() -> None:
    z, s = stored("energy_profile_cifar300"), stored("label_statistics_cifar300")
    axes = torch.from_numpy(z["cifar300_components_centred"])
    label = torch.from_numpy(z["cifar300_labels"])
    found = label_correlations(cifar300(), label, axes, num_classes=10)
    names = ("coefficient", "energy", "patch_coefficient", "patch_energy")
    for one, name in zip(found, names, strict=True):
        assert_close(one, torch.from_numpy(s[f"corr_{name}_label"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("label", [[0, 1, 3], [-1, 0, 1]])
def test_labels_out_of_range_are_refused(label: list[int]) -> None:
    message = rf"labels run from {min(label)} to {max(label)}, not within 0 to 2: set num_classes"
    with pytest.raises(ValueError, match=message):
        label_correlations(
            images(3, 2, 7, 8), torch.tensor(label), torch.eye(18).double(), num_classes=3
        )


@pytest.mark.parametrize("channels", [1, 3, 19])
def test_axes_of_other_patches_are_refused(channels: int) -> None:
    message = f"axes of 18 dimensions do not belong to square patches of {channels} channels"
    with pytest.raises(ValueError, match=message):
        label_correlations(images(8, channels, 7, 8), LABEL, torch.eye(18).double(), num_classes=3)


def test_labels_without_images_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no images: give at least two"):
        label_correlations(
            torch.empty(0, 2, 7, 8), LABEL[:0], torch.eye(18).double(), num_classes=3
        )


def test_filters_that_are_not_finite_are_refused_and_gradients_do_not_matter() -> None:
    filters = torch.randn(5, 1, 2, 2, requires_grad=True)
    axes = torch.eye(4, dtype=torch.float64)
    assert not energy_profile(filters, axes).requires_grad
    with pytest.raises(ValueError, match="filters hold NaN or infinite values"):
        energy_profile(filters * torch.nan, axes)
