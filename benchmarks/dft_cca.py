"""CCA by spatial frequency, beside the published program: `python -m benchmarks.dft_cca`.

Two layers of 500 maps each. The published program (Raghu et al. 2017) is written out from its
formula: complex64 spectra, and for each frequency a covariance, its inverted square roots and an
SVD. The floor is the arithmetic of the transforms and of the products of the blocks, each conjugate
pair once.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.side_by_side import Contender, Target, compare, one_thread, product_speed
from mmrep.stats.fourier import dft_cca

SAMPLES = 500
SHAPES = ((16, 32), (64, 14))  # channels and side of the maps


def published_dft_cca(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float64]:
    """Maps of equal size, channels last, to (height, width, min channels) correlations."""
    x_spectra = np.fft.fft2(x, axes=(1, 2)).astype(np.complex64)
    y_spectra = np.fft.fft2(y, axes=(1, 2)).astype(np.complex64)
    _, height, width, channels = x.shape
    correlations = np.empty((height, width, min(channels, y.shape[3])))
    for row in range(height):
        for column in range(width):
            both = np.cov(x_spectra[:, row, column].T, y_spectra[:, row, column].T)
            x_scale = np.abs(both[:channels, :channels]).max()
            y_scale = np.abs(both[channels:, channels:]).max()
            x_root = inverse_root(both[:channels, :channels] / x_scale)
            y_root = inverse_root(both[channels:, channels:] / y_scale)
            between = both[:channels, channels:] / np.sqrt(x_scale * y_scale)
            whitened = x_root @ between @ y_root
            correlations[row, column] = np.abs(np.linalg.svd(whitened)[1])
    return correlations


def inverse_root(matrix: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    values, vectors = np.linalg.eigh(np.linalg.pinv(matrix))
    return vectors * np.sqrt(values) @ vectors.conj().T


def exact_dft_cca(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float64]:
    """By orthonormal bases of complex128 spectra: maps, channels last, to correlations."""
    bases = []
    for maps in (x, y):
        spectra = np.fft.fft2(maps.astype(np.float64), axes=(1, 2)).transpose(1, 2, 0, 3)
        bases.append(np.linalg.qr(spectra - spectra.mean(axis=2, keepdims=True))[0])
    return np.linalg.svd(bases[0].conj().swapaxes(2, 3) @ bases[1], compute_uv=False)


def multiplications(channels: int, side: int) -> float:
    """Real ones, of two layers: transforms by fast ones would have fewer, products have not."""
    blocks = (side**2 + (4 if side % 2 == 0 else 1)) // 2
    across = 2 * SAMPLES * channels * side**2 * (side + 2)
    down = 2 * SAMPLES * channels * blocks * 2 * 2 * side
    # a^T a + b^T b is symmetric; a^T b is not
    products = blocks * SAMPLES * (2 * channels) ** 2 * 2
    return float(across + down + products)


def main() -> None:
    one_thread()
    speed = product_speed()
    for channels, side in SHAPES:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(SAMPLES, channels, side, side, generator=generator)
        y = 0.5 * x.roll(1, 1) + torch.randn(x.shape, generator=generator)
        layers = [layer.permute(0, 2, 3, 1).contiguous().numpy() for layer in (x, y)]
        expected = exact_dft_cca(*layers)

        def error(result: Any, expected: NDArray[np.float64] = expected) -> float:
            return float(np.abs(np.asarray(result) - expected).max())

        def targets(
            seconds: dict[str, float], memory: dict[str, float], floor: float
        ) -> list[tuple[Target, float]]:
            return [(Target("time", "<=", 200, "ms"), 1e3 * seconds["mmrep"])]

        compare(
            f"dft cca {SAMPLES} x {side} x {side} x {channels}",
            [
                Contender("mmrep", lambda x=x, y=y: dft_cca(x, y)),  # type: ignore[misc]
                Contender("published", lambda layers=layers: published_dft_cca(*layers), rounds=3),  # type: ignore[misc]
            ],
            floor=2 * multiplications(channels, side) / speed,
            floor_is="float64 products of the transforms and the blocks",
            error=error,
            error_is="error",
            targets=targets,
        )


if __name__ == "__main__":
    main()
