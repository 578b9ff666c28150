"""Lemma 1 and Theorems 1 and 2 of Raghu et al. 2017, appendix C, on sets of all cyclic shifts."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from mmrep.stats.cca import cca
from mmrep.stats.covariance import add_to_scatter
from mmrep.stats.fourier import dft_cca
from mmrep.stats.translations import (
    cyclic_shifts,
    fourier_covariance,
    map_covariance,
    no_products,
    off_diagonal_share,
    pixel_covariance,
)

EXACT = 1e-10  # of the largest entry

Conv = partial(nn.Conv2d, dtype=torch.float64, padding_mode="circular")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def layers_with_strides(*, padding_mode: str = "circular") -> list[nn.Module]:
    """Convolutions and poolings, of which three move by 2, 2 and 3 pixels: 36, 18, 9, 3."""
    torch.manual_seed(0)
    conv = partial(nn.Conv2d, dtype=torch.float64, padding_mode=padding_mode)
    return [
        nn.Sequential(conv(2, 3, 3, padding=1), nn.Tanh()),
        nn.Sequential(conv(3, 4, 3, padding=1, stride=2), nn.ReLU()),
        nn.Sequential(conv(4, 3, 5, padding=2), nn.MaxPool2d(2)),
        nn.Sequential(conv(3, 3, 5, padding=2, stride=3), nn.Softplus()),
    ]


@torch.no_grad()
def outputs(layers: list[nn.Module], images: Tensor) -> list[Tensor]:
    found = []
    for layer in layers:
        images = layer(images)
        found.append(images)
    return found


def circulant_error(covariance: Tensor, channels: int, size: int) -> float:
    """How far entries of equal distance differ, on the torus, of the largest entry.

    Between two channels an entry depends on the two pixels' distance alone just where moving both
    by one pixel, down or to the right, changes nothing.
    """
    of_pixels = covariance.view(channels, size, size, channels, size, size)
    moved = [of_pixels.roll((1, 1), axes) for axes in ((1, 4), (2, 5))]
    return max(float((of_pixels - other).abs().max() / covariance.abs().max()) for other in moved)


def off_block_error(covariance: Tensor, channels: int, size: int) -> float:
    """The largest entry of two frequencies that differ, of the largest of all."""
    fourier = fourier_covariance(covariance, (size, size)).abs()
    blocks = fourier.view(channels, size**2, channels, size**2)
    largest = blocks.max()
    blocks.diagonal(dim1=1, dim2=3).zero_()
    return float(blocks.max() / largest)


def test_all_shifts_are_those_of_roll() -> None:
    images = noise(2, 3, 4, 5)
    every = cyclic_shifts(images).view(2, 4, 5, 3, 4, 5)
    for down in range(4):
        for right in range(5):
            assert torch.equal(every[:, down, right], images.roll((down, right), (2, 3)))
    some = cyclic_shifts(images, 2)
    assert torch.equal(some, every[:, :2, :2].reshape(-1, 3, 4, 5))
    assert torch.equal(cyclic_shifts(images, 1), images)
    whole = (100 * images).to(torch.uint8)
    assert cyclic_shifts(whole).dtype == torch.uint8
    with pytest.raises(ValueError, match="first=5 shifts on each axis: give 1 to 4, or None"):
        cyclic_shifts(images, 5)


def test_covariances_are_numpys_in_both_bases() -> None:
    """Of pixels, and of the transformed maps themselves."""
    maps = noise(50, 2, 4, 3) @ noise(3, 3, seed=1) + 7
    pixels = map_covariance(maps)
    flat = maps.flatten(1).numpy()
    assert_close(pixels, torch.from_numpy(np.cov(flat.T)))
    spectra = np.fft.fft2(maps.numpy(), norm="ortho").reshape(50, -1)
    centred = spectra - spectra.mean(axis=0)
    expected = centred.T @ centred.conj() / 49
    found = fourier_covariance(pixels, (4, 3))
    assert_close(found, torch.from_numpy(expected))
    assert_close(found.abs().square().sum(), pixels.square().sum())
    scatter = no_products(24)
    for batch in maps.float().flatten(1).split(7):
        scatter = add_to_scatter(scatter, (batch,))
    assert_close(pixel_covariance(scatter), pixels, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="a covariance of 24 columns is not of channels of 5 x 3"):
        fourier_covariance(pixels, (5, 3))
    with pytest.raises(ValueError, match="0 samples have no covariance"):
        pixel_covariance(no_products(2))


def test_the_share_off_the_diagonal() -> None:
    d = 6
    diagonal = torch.diag(noise(d).abs())
    assert off_diagonal_share(diagonal) == 0
    assert off_diagonal_share(torch.ones(d, d).double()) == pytest.approx((d - 1) / d)
    given = torch.tensor([[3, 4j], [-4j, 0]], dtype=torch.complex128)
    kept = given.clone()
    assert off_diagonal_share(given) == pytest.approx(32 / 41)
    assert torch.equal(given, kept)
    with pytest.raises(ValueError, match="maps that do not vary have no covariance"):
        off_diagonal_share(torch.zeros(2, 2).double())


def test_covariances_are_circulant_behind_every_stride() -> None:
    """Lemma 1, and Theorem 2 within a channel and across channels, with strides of 2, 2 and 3."""
    images = noise(1, 2, 36, 36)
    layers = layers_with_strides()
    for maps, size in zip(outputs(layers, cyclic_shifts(images)), (36, 18, 9, 3), strict=True):
        assert maps.shape[2:] == (size, size)
        maps = maps[:, :1] if size == 36 else maps  # enough, and a ninth of the time
        channels = maps.shape[1]
        covariance = map_covariance(maps)
        assert circulant_error(covariance, channels, size) < EXACT
        assert off_block_error(covariance, channels, size) < EXACT
        one = covariance[: size**2, : size**2]
        assert off_diagonal_share(one) > 0.01
        assert off_diagonal_share(fourier_covariance(one, (size, size))) < EXACT**2


def test_neither_holds_without_all_of_its_conditions() -> None:
    """Zeros round the images, images that stand still, a stride that does not divide the side."""
    images = noise(2, 2, 18, 18)
    circular, zeros = layers_with_strides(), layers_with_strides(padding_mode="zeros")
    moved = cyclic_shifts(images)
    for layers, seen, last in (
        (zeros, moved, 3),
        (circular, noise(324, 2, 18, 18, seed=2), 3),
        (circular, moved[:, :, :16, :16], 3),
        (circular, cyclic_shifts(noise(2, 2, 16, 16)), 4),  # 16, 8, 4, and 3 does not divide 4
    ):
        maps = outputs(layers[:last], seen)[-1]
        channels, size = maps.shape[1], maps.shape[2]
        covariance = map_covariance(maps)
        assert circulant_error(covariance, channels, size) > 1e-3
        assert off_block_error(covariance, channels, size) > 1e-3


def test_two_layers_covary_within_a_frequency_alone() -> None:
    """Theorem 2 for two layers, and where sizes differ: at frequencies that are one when coarse."""
    images = noise(3, 2, 12, 12)
    _, fine, coarse, _ = outputs(layers_with_strides(), cyclic_shifts(images))
    fine, coarse = fine[:, :2], coarse[:, :2]
    assert (fine.shape[2], coarse.shape[2]) == (6, 3)
    spectra = [torch.fft.fft2(maps - maps.mean(0)).flatten(2) for maps in (fine, coarse)]
    products = torch.einsum("sap,sbq->abpq", spectra[0], spectra[1].conj())
    rows, columns = (torch.cartesian_prod(torch.arange(n), torch.arange(n)) for n in (6, 3))
    same = (rows[:, None] % 3 == columns).all(dim=2)
    assert products[..., ~same].abs().max() < EXACT * products.abs().max()
    assert products[..., same].abs().min() > 0


def test_shifted_maps_are_maps_of_shifted_images() -> None:
    """What a layer of stride t gives for all shifts: all shifts of its maps of the first t * t."""
    images = noise(2, 2, 12, 12)
    layers = layers_with_strides()
    whole, few = cyclic_shifts(images), {step: cyclic_shifts(images, step) for step in (1, 2, 4)}
    for place, step in ((0, 1), (1, 2), (2, 4)):
        every = outputs(layers, whole)[place]
        fewer = cyclic_shifts(outputs(layers, few[step])[place])
        assert every.shape == fewer.shape
        assert_close(map_covariance(fewer), map_covariance(every), rtol=0, atol=EXACT)
        place_of = noise(every[0].numel(), seed=3)  # another number for each map
        ordered = [maps[(maps.flatten(1) @ place_of).argsort()] for maps in (every, fewer)]
        assert_close(*ordered, rtol=0, atol=EXACT)


def test_correlations_of_all_frequencies_are_the_flattened_layers_own() -> None:
    """Theorem 1; on images as they are it does not hold."""
    images = noise(5, 2, 12, 12)
    torch.manual_seed(1)
    layers = [
        nn.Sequential(Conv(2, 3, 3, padding=1, stride=2), nn.ReLU()),
        nn.Sequential(Conv(3, 2, 3, padding=1), nn.ReLU()),
    ]

    def difference(seen: Tensor) -> float:
        x, y = outputs(layers, seen)
        by_frequency = dft_cca(x, y).flatten().sort(descending=True).values
        flat = cca(x.flatten(1), y.flatten(1), variance_kept=1.0).correlations
        assert by_frequency.shape == flat.shape == (72,)
        return float((by_frequency - flat).abs().max())

    assert difference(cyclic_shifts(images)) < 1e-12
    assert difference(noise(720, 2, 12, 12)) > 1e-2


def test_lemma_2_fourier_diagonalises_what_is_circulant_by_blocks() -> None:
    """Any such matrix, a covariance or not; its eigenvalues are the transform of its first row."""
    first = noise(4, 6)
    moved = [
        first.roll((down, across), (0, 1)).flatten() for down in range(4) for across in range(6)
    ]
    over_frequencies = fourier_covariance(torch.stack(moved), (4, 6))
    assert off_diagonal_share(over_frequencies) < 1e-28
    eigenvalues = torch.fft.fft2(first).flatten().conj()  # of rows that move to the right
    assert_close(over_frequencies.diagonal(), eigenvalues, atol=EXACT, rtol=0)


def test_lemma_3_correlations_of_flattened_maps_are_those_of_all_their_frequencies() -> None:
    """Of any maps: the transform is unitary, so a layer spans what it spanned."""
    x, y = noise(200, 2, 3, 3), noise(200, 3, 3, 3, seed=1)
    y[:, :2] += x
    flat = cca(x.flatten(1), y.flatten(1), variance_kept=1.0).correlations
    whole = [torch.fft.fft2(maps, norm="ortho").flatten(1) for maps in (x, y)]
    bases = [torch.linalg.qr(maps - maps.mean(0)).Q for maps in whole]
    by_frequencies = torch.linalg.svdvals(bases[0].mH @ bases[1])
    assert_close(by_frequencies, flat, atol=1e-12, rtol=0)
