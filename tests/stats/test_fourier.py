"""`dft_cca` against CCA in NumPy at each frequency, the theorem, and the program's numbers."""

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.dft_cca import published_dft_cca
from mmrep.stats.fourier import dft_cca

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "dft_ccas.npz"


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(x: Tensor, channels: int, seed: int = 1) -> Tensor:
    """A second layer: the first one's channels mixed and shifted, as much noise, and a mean."""
    mixing = maps(channels, x.shape[1], seed=seed)
    mixed = torch.einsum("dc,nchw->ndhw", mixing, x.roll((1, 2), (2, 3)))
    return mixed + 2 * maps(*mixed.shape, seed=seed + 1) + 3


def mixed(x: Tensor, condition: float) -> Tensor:
    """Channels by an invertible map of the given condition number."""
    channels = x.shape[1]
    left, _ = torch.linalg.qr(maps(channels, channels, seed=7))
    right, _ = torch.linalg.qr(maps(channels, channels, seed=8))
    values = torch.logspace(0, -np.log10(condition), channels, dtype=torch.float64)
    return torch.einsum("cd,ndhw->nchw", left * values @ right, x)


def numpy_cca(
    x: NDArray[np.complexfloating], y: NDArray[np.complexfloating]
) -> NDArray[np.float64]:
    """Correlations of two views of full rank, by QR."""
    left, _ = np.linalg.qr(x - x.mean(axis=0))
    right, _ = np.linalg.qr(y - y.mean(axis=0))
    return np.linalg.svd(left.conj().T @ right, compute_uv=False)


def numpy_dft_cca(x: Tensor, y: Tensor) -> NDArray[np.float64]:
    """Every frequency of the smaller layer, none taken from its conjugate."""
    spectra = [np.fft.fft2(layer.double().numpy()) for layer in (x, y)]
    height, width = (min(x.shape[axis], y.shape[axis]) for axis in (2, 3))
    rows = [round(k) for k in np.fft.fftfreq(height, 1 / height)]  # negative from the end
    columns = [round(k) for k in np.fft.fftfreq(width, 1 / width)]
    return np.array([[numpy_cca(*(z[:, :, k, j] for z in spectra)) for j in columns] for k in rows])


def assert_close(found: Tensor, expected: Tensor | NDArray[np.float64], by: float = 1e-12) -> None:
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.as_tensor(expected), atol=by, rtol=0)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("plain_l1_vs_l2", "plain_l1", "plain_l2"),
        ("plain_l1_vs_other", "plain_l1", "plain_other"),
        ("big_l1_vs_l2", "big_l1", "big_l2"),
        ("resize_8x8_vs_4x4", "u8", "w4"),
        ("resize_7x7_vs_3x3", "u7", "w3"),
        ("aug_l1_vs_l2", "plain_l1", "plain_l2"),
        ("aug_l1_vs_other", "plain_l1", "plain_other"),
        ("vector_vs_aug_l1", "vec", "plain_l1"),
    ],
)
def test_equals_the_published_program(name: str, x: str, y: str) -> None:
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE} is absent: the program's numbers come beside the project")
    reference = np.load(REFERENCE)
    layers = [torch.from_numpy(reference[f"in/{key}"]).permute(0, 3, 1, 2) for key in (x, y)]
    if "aug" in name:
        layers = [layer if len(layer) == 2160 else shifts(layer) for layer in layers]
    assert_close(dft_cca(*layers), reference[f"dft/{name}"], by=1e-10)


def shifts(x: Tensor) -> Tensor:
    """All cyclic shifts of all maps."""
    height, width = x.shape[2:]
    return torch.cat([x.roll((i, j), (2, 3)) for i in range(height) for j in range(width)])


@pytest.mark.parametrize(
    ("x_size", "y_size"),
    [
        ((6, 6), (6, 6)),
        ((5, 7), (5, 7)),
        ((4, 7), (4, 7)),
        ((1, 1), (1, 1)),
        ((8, 8), (4, 4)),
        ((3, 3), (7, 7)),
        ((8, 4), (4, 8)),  # each axis has its own smaller side
        ((6, 5), (4, 5)),
        ((1, 6), (5, 4)),
    ],
)
def test_equals_cca_at_each_frequency(x_size: tuple[int, int], y_size: tuple[int, int]) -> None:
    x, y = maps(120, 4, *x_size), maps(120, 3, *y_size, seed=1)
    y[:, :, :1, :1] += x.mean((2, 3), keepdim=True)[:, :3]
    assert_close(dft_cca(x, y), numpy_dft_cca(x, y))
    assert_close(dft_cca(y, x), numpy_dft_cca(x, y))


def test_equals_flattened_cca_where_all_shifts_are_there() -> None:
    """Theorem 1: the second layer is a circular convolution of the first, plus noise."""
    x = maps(9, 2, 4, 4)
    y = sum(
        x.roll((i, j), (2, 3)) * weight for i, j, weight in ((0, 0, 1.0), (0, 1, -2.0), (1, 0, 0.5))
    )
    layers = [shifts(layer) for layer in (x, y + maps(9, 2, 4, 4, seed=1))]
    flat = numpy_cca(*(layer.flatten(1).numpy() for layer in layers))
    assert_close(dft_cca(*layers).flatten().sort(descending=True).values, flat)


def test_a_vector_is_compared_with_the_means_over_pixels() -> None:
    x = maps(80, 5, 6, 7)
    vector = x.mean((2, 3)) @ maps(5, 2, seed=2) + 0.1 * maps(80, 2, seed=3)
    expected = numpy_cca(x.mean((2, 3)).numpy(), vector.numpy())
    assert_close(dft_cca(x, vector[:, :, None, None])[0, 0], expected)


def test_invertible_channel_maps_and_shifts_change_nothing() -> None:
    x = maps(90, 4, 6, 5)
    y = related(x, 3)
    shifted = (mixed(x, 10.0) + 5).roll((2, 3), (2, 3)), mixed(y, 10.0).roll((2, 3), (2, 3))
    assert_close(dft_cca(*shifted), dft_cca(x, y))
    # One layer shifted alone turns phases, by which correlations do not change either.
    assert_close(dft_cca(x.roll((1, 2), (2, 3)), y), dft_cca(x, y))


@pytest.mark.parametrize("condition", [1e3, 1e6, 1e8])
def test_ill_conditioned_channels_keep_their_correlations(condition: float) -> None:
    x = maps(90, 4, 5, 4)
    y = related(x, 3)
    expected = dft_cca(x, y)
    # Products are believed up to 1e-10; rounding of the mixed maps is multiplied by the condition.
    by = max(1e-10, 1e-14 * condition)
    assert_close(dft_cca(mixed(x, condition), y), expected, by)
    assert_close(dft_cca(mixed(x, condition), mixed(y, condition)), expected, by)


def test_faint_frequencies_keep_their_correlations() -> None:
    """Maps of 1 / f^4 spectra: the highest frequencies are 1e-4 of the lowest."""
    x = maps(90, 3, 8, 8)
    y = related(x, 3)
    across = torch.fft.fftfreq(8, 1 / 8, dtype=torch.float64)
    filters = 1 / (1 + across.square()[:, None] + across.square()).square()
    smooth = [torch.fft.ifft2(torch.fft.fft2(layer) * filters).real for layer in (x, y)]
    assert_close(dft_cca(*smooth), dft_cca(x, y), by=1e-10)


def test_scales_of_channels_change_nothing() -> None:
    x = maps(90, 4, 5, 4)
    y = related(x, 3)
    scale = torch.tensor([1e-6, 1.0, 1e6, 1e3], dtype=torch.float64)[:, None, None]
    assert_close(dft_cca(x * scale, y * 1e-6), dft_cca(x, y), by=1e-11)


@pytest.mark.parametrize("mean", [1e3, 1e6])
def test_means_change_nothing(mean: float) -> None:
    x = maps(90, 4, 5, 4)
    y = related(x, 3)
    offset = mean * maps(4, 5, 4, seed=5)
    assert_close(dft_cca(x + offset, y), dft_cca(x, y), by=1e-14 * mean)
    x[0] *= mean  # the map that sums are seen from is itself far off
    assert_close(dft_cca(x, y), numpy_dft_cca(x, y), by=1e-14 * mean)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "more",
    [
        lambda x: torch.zeros_like(x[:, :2]),  # dead
        lambda x: torch.full_like(x[:, :2], 0.1),  # constant
        lambda x: x[:1].expand_as(x)[:, :2],  # constant over samples, not over pixels
        lambda x: x[:, 1:3],  # duplicated
        lambda x: x[:, :2] * -4,
        lambda x: x[:, :1] * 0.5 + x[:, 1:2] * 0.25,
    ],
)
def test_channels_that_add_no_dimension_change_nothing(
    more: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    x = (maps(90, 3, 6, 5) * 256).round().to(dtype)  # sums of such are exact
    y = related(x.double(), 4).to(dtype)
    expected = torch.cat([dft_cca(x, y), torch.zeros(6, 5, 1, dtype=torch.float64)], dim=2)
    wider = torch.cat([x, more(x)], dim=1)
    assert_close(dft_cca(wider, y), expected)
    assert_close(dft_cca(y, wider), expected)


def test_a_layer_of_low_rank_has_that_many_correlations() -> None:
    x = maps(90, 3, 4, 4)
    y = related(x, 6)
    wide = torch.einsum("dc,nchw->ndhw", maps(6, 3, seed=4), x)
    found = dft_cca(wide, y)
    assert_close(found[..., :3], dft_cca(x, y))
    assert torch.equal(found[..., 3:], torch.zeros_like(found[..., 3:]))


def test_rounding_of_the_input_is_no_dimension() -> None:
    x = torch.einsum("cd,ndhw->nchw", maps(6, 3, seed=5), maps(80, 3, 4, 4)).float()  # of rank 3
    found = dft_cca(x, related(x.double(), 4))
    assert ((found > 0).sum(dim=2) == 3).all()


def test_a_channel_without_a_frequency_is_absent_there() -> None:
    """A channel that is constant over each map has one frequency; rounding is no other."""
    x = maps(60, 2, 4, 6)
    flat = maps(60, 1, 1, 1, seed=1).expand(60, 1, 4, 6)
    y = related(x, 3) + flat
    found = dft_cca(torch.cat([x, flat], dim=1), y)
    elsewhere = torch.ones(4, 6, dtype=torch.bool)
    elsewhere[0, 0] = False
    assert_close(found[elsewhere][:, :2], dft_cca(x, y)[elsewhere])
    assert torch.equal(found[elsewhere][:, 2], torch.zeros(23, dtype=torch.float64))
    assert found[0, 0, 2] > 0.01


def test_a_layer_without_variation_correlates_with_nothing() -> None:
    y = maps(20, 3, 4, 4)
    assert torch.equal(
        dft_cca(torch.ones(20, 2, 4, 4), y), torch.zeros(4, 4, 2, dtype=torch.float64)
    )


def test_a_layer_correlates_perfectly_with_itself() -> None:
    x = maps(50, 4, 5, 5).float()
    found = dft_cca(x, x)
    assert_close(found, torch.ones(5, 5, 4, dtype=torch.float64))
    assert found.max() <= 1


def test_conjugate_frequencies_are_equal() -> None:
    x = maps(50, 3, 5, 6)
    found = dft_cca(x, related(x, 2))
    mirrored = found.flip(0, 1).roll((1, 1), (0, 1))
    assert torch.equal(found, mirrored)


def test_input_is_left_alone_and_may_need_gradients() -> None:
    x, y = maps(200, 3, 4, 4).requires_grad_(), maps(200, 2, 4, 4, seed=1)
    before = x.detach().clone(), y.clone()
    assert not dft_cca(x, y).requires_grad
    assert torch.equal(x.detach(), before[0])
    assert torch.equal(y, before[1])


def test_float32_is_computed_in_float64() -> None:
    x = maps(90, 4, 5, 4).float()
    y = related(x.double(), 3).float()
    assert torch.equal(dft_cca(x, y), dft_cca(x.double(), y.double()))


def test_equals_the_published_program_transcribed() -> None:
    x = maps(90, 4, 6, 6)
    y = related(x, 3)
    published = published_dft_cca(x.permute(0, 2, 3, 1).numpy(), y.permute(0, 2, 3, 1).numpy())
    assert_close(dft_cca(x, y), published, by=1e-6)  # which rounds spectra to complex64


@pytest.mark.parametrize("samples", [5, 6, 7])
def test_too_few_samples_are_refused(samples: int) -> None:
    """Samples span one dimension fewer than they are, and complex ones at most frequencies."""
    x, y = maps(samples, 6, 4, 4), maps(samples, 2, 4, 4, seed=1)
    for layers, name in (((x, y), "x"), ((y, x), "y")):
        message = f"{samples} samples do not exceed the rank of {name} .*{samples - 1} once centred"
        with pytest.raises(ValueError, match=message):
            dft_cca(*layers)
    assert dft_cca(maps(8, 6, 4, 4), maps(8, 2, 4, 4, seed=1)).max() <= 1


def test_rank_counts_and_not_channels() -> None:
    """Six channels of rank two need four samples."""
    x, y = maps(5, 2, 4, 4), maps(5, 2, 4, 4, seed=1)
    wide = x.repeat(1, 3, 1, 1)
    assert_close(dft_cca(wide, y), dft_cca(x, y))
    assert_close(dft_cca(wide, wide)[..., :2], torch.ones(4, 4, 2, dtype=torch.float64))


def test_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="1 samples have no covariance: give at least 2"):
        dft_cca(maps(1, 2, 4, 4), maps(1, 2, 4, 4))


def test_unequal_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="x has 9 samples and y has 8: row i of both"):
        dft_cca(maps(9, 2, 4, 4), maps(8, 2, 4, 4))


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (9, 0, 4, 4), (9, 2, 0, 4)])
def test_empty_maps_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="hold nothing"):
        dft_cca(maps(*shape), maps(shape[0], 2, 4, 4))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    x = maps(9, 2, 4, 4)
    x[3, 1, 2, 2] = value
    with pytest.raises(ValueError, match=r"channels \[1\] .* hold NaN, infinite values"):
        dft_cca(x, maps(9, 2, 4, 4))


def test_vectors_are_to_be_given_as_maps() -> None:
    with pytest.raises(ValueError, match=r"logits as vectors\[..., None, None\]"):
        inspect.unwrap(dft_cca)(maps(60, 3, 4, 4), maps(60, 2))
