"""How alike pixels some way apart are: by NumPy, by convolution, and the authors' numbers."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from mmrep.stats import autocorrelation as module
from mmrep.stats.autocorrelation import (
    autocorrelation,
    filter_autocorrelation,
    lagged_moments,
)
from tests.stats.test_energy import cifar300, images, stored


def test_stripes_change_sign_across_and_not_along() -> None:
    stripes = torch.tensor([1.0, -1.0]).repeat(5).expand(2, 3, 7, 10)
    across, along = (autocorrelation(stripes, 4, d) for d in ("horizontal", "vertical"))
    assert_close(across, torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]).double())
    assert_close(along, torch.ones(5).double())


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_autocorrelation_is_the_mean_inner_product_of_pairs(direction: str) -> None:
    x = images(4, 3, 6, 9)
    maps = x.double().numpy() if direction == "horizontal" else x.double().numpy().swapaxes(2, 3)
    width = maps.shape[3]
    means = [
        np.mean([(maps[..., i] * maps[..., i + d]).sum(axis=1) for i in range(width - d)])
        for d in range(width)
    ]
    curve = autocorrelation(x, width - 1, direction)
    assert_close(curve, torch.tensor(means) / means[0], rtol=1e-12, atol=1e-12)
    assert_close(autocorrelation(-1e3 * x, width - 1, direction), curve, rtol=1e-5, atol=1e-5)


@pytest.mark.reference
@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_autocorrelation_of_cifar_is_the_stored_one(direction: str) -> None:
    z = stored("label_statistics_cifar300")
    expected = z[f"C_rgb_normalised_{direction}"]
    curve = autocorrelation(cifar300(), 15, direction)
    assert_close(curve, torch.from_numpy(expected / expected[0]), rtol=0, atol=1e-6)


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="direction='both' is not one of horizontal, vertical"):
        autocorrelation(torch.ones(1, 1, 4, 4), 1, "both")


@pytest.mark.parametrize("max_shift", [-1, 4])
def test_a_shift_beyond_the_map_is_refused(max_shift: int) -> None:
    with pytest.raises(ValueError, match=f"max_shift={max_shift} does not fit into 4 pixels: .* 3"):
        autocorrelation(torch.ones(1, 1, 4, 5), max_shift, "vertical")


@pytest.mark.parametrize(
    "maps", [torch.empty(0, 1, 4, 4), torch.zeros(2, 1, 4, 4), torch.full((1, 1, 4, 4), math.nan)]
)
def test_maps_without_power_are_refused(maps: Tensor) -> None:
    with pytest.raises(ValueError, match="give at least one map that is finite and not 0"):
        autocorrelation(maps, 2, "vertical")


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
@pytest.mark.parametrize("size", [1, 3])
def test_filters_have_the_autocorrelation_of_their_maps(size: int, direction: str) -> None:
    x = images(4, 3, 9, 11)
    filters = torch.randn(40, 3, size, size, generator=torch.Generator().manual_seed(1))
    moments = lagged_moments(x, size, 4, direction)
    maps = F.conv2d(x.double(), filters.double())
    expected = autocorrelation(maps, 4, direction)
    assert_close(filter_autocorrelation(filters, moments), expected, rtol=1e-10, atol=1e-10)


def test_the_chunk_of_images_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(5, 2, 9, 13)
    moments = lagged_moments(x, 3, 4, "vertical")
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    assert_close(lagged_moments(x, 3, 4, "vertical"), moments)


def test_filters_of_another_size_are_refused() -> None:
    moments = lagged_moments(images(2, 3, 9, 9), 3, 2, "vertical")
    with pytest.raises(ValueError, match=r"filters of \(3, 5, 5\) have 75 dimensions .* 27"):
        filter_autocorrelation(torch.ones(2, 3, 5, 5), moments)
