"""CCA of convolutional maps, one spatial frequency at a time (Raghu et al. 2017, Theorem 1).

Two layers of circular convolutions and poolings, on data that hold every cyclic shift of their
images, covary only within a spatial frequency: the correlations of all frequencies' blocks, each
block as large as the number of channels, are those of the flattened maps. For other networks and
data this is an approximation, which still needs samples by the channel and not by the pixel.

The Fourier transform is two matrix products. These write the frequency first, as the blocks need
it, and compute only what is kept: one of each conjugate pair, and of the larger layer only the
frequencies that the smaller one has too.
"""

import math
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Complex128, Float, Float64, Int64
from torch import Tensor

EPS = torch.finfo(torch.float64).eps
SAMPLES = 48  # transformed at once: enough for the processor, few enough for its cache
BLOCKS = 16  # concluded from at once, for the same reason
RANK = 1e-10  # least amplitude, of a channel's root mean square, that counts as a dimension
TRUSTED = 1e6  # greatest trace of an inverted block for which products are believed
LOST = 1e-6  # an error of correlations that is worth a warning


class Waves(NamedTuple):
    """Cosines and sines that turn one layer's maps into the blocks' frequencies.

    `across` holds, over the width, cosine and negative sine of one horizontal frequency after the
    other; `down` holds, for each of these, what to multiply its real and its imaginary part by to
    have real and imaginary parts of all blocks that have it.
    """

    across: Float64[Tensor, "parts width"]
    down: list[tuple[Float64[Tensor, "parts height"], Float64[Tensor, "parts height"]]]


class Frequencies(NamedTuple):
    """The spatial frequencies that two layers share; of a conjugate pair, one is a block.

    `x` and `y` transform the layers' maps, `block` is the block of each frequency in FFT order.
    """

    x: Waves
    y: Waves
    block: Int64[Tensor, "height width"]


class FourierSums(NamedTuple):
    """What batches and ranks add up; units are the channels of x, then those of y.

    With a + ib the transformed maps: `total` holds the sums of a and of b over samples, `product`
    is (a - b)^T (a + b) and `square` is b^T b: two real products where a^T a + b^T b and a^T b are
    three. `power` is the sum of squares over samples and pixels.
    """

    n: Int64[Tensor, ""]
    power: Float64[Tensor, "units"]
    total: Float64[Tensor, "blocks 2 units"]
    product: Float64[Tensor, "blocks units units"]
    square: Float64[Tensor, "blocks units units"]


def dft_cca(
    x: Float[Tensor, "x_samples x_channels x_height x_width"],
    y: Float[Tensor, "y_samples y_channels y_height y_width"],
) -> Float64[Tensor, "height width channels"]:
    """Canonical correlations of two layers' maps at each spatial frequency, in FFT order.

    Each frequency has min(channels) correlations, decreasing, 0 beyond the smaller rank; `[0, 0]`
    is that of the channels' means over pixels. The number that sums them up is the mean over all
    correlations of all frequencies. They are the flattened layers' own where convolutions are
    circular and the data hold all shifts, and an approximation for ordinary networks (Raghu et al.
    2017, Theorem 1).

    Of layers of different sizes s < S the frequencies in [-s/2, s/2) are kept, axis by axis. So a
    vector or a logit, given as a map of 1 x 1, is compared with the means over pixels.

    Products decide where these are well conditioned, the maps themselves elsewhere. A channel, or a
    combination of channels, that varies at a frequency by less than 1e-10 of the channels' size, or
    less than the input's own precision (1e-7 for float32), is rounding and no dimension.

    Raises:
        ValueError: where the samples do not exceed a layer's rank at some frequency, which makes
            every correlation 1.
    """
    if x.ndim != 4 or y.ndim != 4:
        raise ValueError(
            f"maps of shape {tuple(x.shape)} and {tuple(y.shape)}: give samples x channels x "
            "height x width, and vectors or logits as vectors[..., None, None]"
        )
    if len(x) != len(y):
        raise ValueError(
            f"x has {len(x)} samples and y has {len(y)}: row i of both must be the same sample"
        )
    if 0 in (*x.shape, *y.shape):
        raise ValueError(f"maps of shape {tuple(x.shape)} and {tuple(y.shape)} hold nothing")
    x, y = x.detach(), y.detach()
    x_size, y_size = (x.shape[2], x.shape[3]), (y.shape[2], y.shape[3])
    frequencies = shared_frequencies(x_size, y_size, x.device)
    sums = no_sums(x.shape[1], y.shape[1], frequencies)
    # Seen from one of the samples, a large mean costs no digits and a constant is exactly 0.
    x_origin, y_origin = x[0].double(), y[0].double()
    add_maps(sums, x, y, frequencies, x_origin, y_origin)
    correlations, trusted = _by_products(sums, x.shape[1])
    if not trusted.all():
        least = [max(RANK, torch.finfo(maps.dtype).eps) for maps in (x, y)]
        x, y = x - x_origin, y - y_origin
        x, y = x - x.mean(0), y - y.mean(0)
        correlations[~trusted] = _by_maps(x, y, frequencies, ~trusted, least)
    return correlations[frequencies.block]


def correlations_from_sums(
    sums: FourierSums, x_channels: int, frequencies: Frequencies
) -> Float64[Tensor, "height width channels"]:
    """The correlations of `dft_cca` from what was summed over batches and ranks.

    Sums of products cannot tell combinations of channels that vary by less than about 1e-7 of their
    size, means included, from absent ones: such are taken as absent. A warning says where what is
    left rests on few digits.
    """
    correlations, trusted = _by_products(sums, x_channels)
    if not trusted.all():
        correlations[~trusted] = _by_eigenvalues(sums, x_channels, ~trusted)
    return correlations[frequencies.block]


def shared_frequencies(
    x_size: tuple[int, int], y_size: tuple[int, int], device: torch.device | None = None
) -> Frequencies:
    """The frequencies in [-s/2, s/2) of the smaller size s on each axis, as blocks."""
    height, width = (min(pair) for pair in zip(x_size, y_size, strict=True))
    vertical = torch.fft.fftfreq(height, 1 / height).round().long()
    horizontal = torch.fft.fftfreq(width, 1 / width).round().long()
    kept = torch.cartesian_prod(vertical, horizontal)
    # A code for each frequency, horizontal first: two that both layers alias have the same one.
    sizes = torch.tensor([x_size[1], y_size[1], x_size[0], y_size[0]])
    weight = sizes.flip(0).cumprod(0).flip(0) // sizes
    codes = [((sign * kept.flip(1)).repeat_interleave(2, 1) % sizes) @ weight for sign in (1, -1)]
    code, block = torch.unique(torch.minimum(*codes), return_inverse=True)
    x_across, y_across, x_down, y_down = (code[:, None] // weight % sizes).unbind(1)
    x = _waves(x_down, x_across, x_size, device)
    y = _waves(y_down, y_across, y_size, device)
    return Frequencies(x, y, block.view(height, width).to(device))


def _waves(
    vertical: Int64[Tensor, "blocks"],
    horizontal: Int64[Tensor, "blocks"],
    size: tuple[int, int],
    device: torch.device | None,
) -> Waves:
    across, rows = torch.unique_consecutive(horizontal, return_counts=True)
    cosine, sine = _cosine_and_sine(across, size[1], device)
    down = []
    for frequencies in torch.split(vertical, rows.tolist()):
        real, imaginary = _cosine_and_sine(frequencies, size[0], device)
        down.append((_by_turns(real, -imaginary), _by_turns(imaginary, real)))
    return Waves(_by_turns(cosine, -sine), down)


def _by_turns(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([first, second], dim=1).flatten(0, 1)


def _cosine_and_sine(
    frequencies: Int64[Tensor, "waves"], size: int, device: torch.device | None
) -> tuple[Float64[Tensor, "waves {size}"], Float64[Tensor, "waves {size}"]]:
    """Over a side of `size` pixels; whole turns go while that is exact."""
    turns = frequencies[:, None] * torch.arange(size) % size
    angle = (turns.double() * (2 * math.pi / size)).to(device)
    return angle.cos(), angle.sin()


def no_sums(x_channels: int, y_channels: int, frequencies: Frequencies) -> FourierSums:
    """The sums over no samples."""
    device = frequencies.block.device
    blocks, units = int(frequencies.block.max()) + 1, x_channels + y_channels
    shapes = [(units,), (blocks, 2, units), (blocks, units, units), (blocks, units, units)]
    sums = (torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes)
    return FourierSums(torch.tensor(0, device=device), *sums)


def add_maps(
    sums: FourierSums,
    x: Float[Tensor, "samples x_channels x_height x_width"],
    y: Float[Tensor, "samples y_channels y_height y_width"],
    frequencies: Frequencies,
    x_origin: Float64[Tensor, "x_channels x_height x_width"],
    y_origin: Float64[Tensor, "y_channels y_height y_width"],
) -> None:
    """Adds samples, less an origin that is the same for all of them, to the sums, in place."""
    sums.n.add_(len(x))
    x_memory = _memory(x_origin, frequencies.x, SAMPLES)
    y_memory = _memory(y_origin, frequencies.y, SAMPLES)
    for some_x, some_y in zip(_shifted(x, x_origin), _shifted(y, y_origin), strict=True):
        sums.power.add_(torch.cat([_power(some_x), _power(some_y)]))
        x_spectra = _spectra(some_x, frequencies.x, x_memory)
        y_spectra = _spectra(some_y, frequencies.y, y_memory)
        for (column, x_part), (_, y_part) in zip(x_spectra, y_spectra, strict=True):
            part = torch.cat([x_part, y_part], dim=3)
            sums.total[column] += part.sum(2)
            real, imaginary = part.unbind(1)
            sums.product[column].baddbmm_((real - imaginary).mT, real + imaginary)
            sums.square[column].baddbmm_(imaginary.mT, imaginary)


def _shifted(
    maps: Float[Tensor, "samples channels height width"],
    origin: Float64[Tensor, "channels height width"],
) -> Iterator[Float64[Tensor, "some channels height width"]]:
    """Some samples at a time, in the same memory: fresh memory costs as much as the transform."""
    memory = origin.new_empty(SAMPLES, *origin.shape)
    for some in torch.split(maps, SAMPLES):
        yield torch.sub(some, origin, out=memory[: len(some)])


def _memory(
    origin: Float64[Tensor, "channels height width"], waves: Waves, samples: int
) -> Float64[Tensor, "numbers"]:
    """Room for maps that are transformed over their width."""
    return origin.new_empty(len(waves.across) * samples * origin[..., 0].numel())


def _power(maps: Float64[Tensor, "samples channels _ _"]) -> Float64[Tensor, "channels"]:
    by_sample = torch.linalg.vector_norm(maps.flatten(2), dim=2)  # far faster than all at once
    return by_sample.square().sum(0)


def _spectra(
    maps: Float64[Tensor, "samples channels height width"],
    waves: Waves,
    memory: Float64[Tensor, "numbers"],
) -> Iterator[tuple[slice, Float64[Tensor, "rows 2 samples channels"]]]:
    """Real and imaginary parts at the blocks of one horizontal frequency after the other."""
    samples, channels, height, width = maps.shape
    rows = maps.reshape(-1, width)
    half = memory[: len(waves.across) * len(rows)].view(-1, len(rows))
    half = torch.mm(waves.across, rows.T, out=half).view(-1, 2, samples * channels, height)
    first = 0
    for (real, imaginary), (by_real, by_imaginary) in zip(half, waves.down, strict=True):
        part = (by_real @ real.T).addmm_(by_imaginary, imaginary.T)
        part = part.view(-1, 2, samples, channels)
        yield slice(first, first + len(part)), part
        first += len(part)


def _by_products(
    sums: FourierSums, x_channels: int
) -> tuple[Float64[Tensor, "blocks channels"], Bool[Tensor, "blocks"]]:
    """Correlations of all blocks that are conditioned well enough, and which these are."""
    _check(sums)
    blocks, _, units = sums.total.shape
    correlations = sums.power.new_zeros(blocks, min(x_channels, units - x_channels))
    trusted = torch.zeros(blocks, dtype=torch.bool, device=correlations.device)
    # Some blocks at a time, as many as fit the cache.
    for some in torch.split(torch.arange(blocks, device=correlations.device), BLOCKS):
        gram, live = _gram(sums, some)
        # Whatever varies with nothing correlates with nothing.
        gram.diagonal(dim1=1, dim2=2)[~live] = 1
        x_root, x_trusted = _inverse_root(gram[:, :x_channels, :x_channels])
        y_root, y_trusted = _inverse_root(gram[:, x_channels:, x_channels:])
        good = x_trusted & y_trusted
        _check_rank(live[good, :x_channels].sum(1), sums.n, "x")
        _check_rank(live[good, x_channels:].sum(1), sums.n, "y")
        whitened = x_root[good] @ gram[good, :x_channels, x_channels:] @ y_root[good].mH
        correlations[some[good]] = _singular_values(whitened)
        trusted[some] = good
    return correlations, trusted


def _gram(
    sums: FourierSums, blocks: Tensor
) -> tuple[Complex128[Tensor, "blocks units units"], Bool[Tensor, "blocks units"]]:
    """Products of centred channels of uncentred unit power, and which channels vary at all."""
    product, square = sums.product[blocks], sums.square[blocks]
    real = (product + product.mT).div_(2).add_(square, alpha=2)
    gram = torch.complex(real, (product - product.mT).div_(2))
    power = real.diagonal(dim1=1, dim2=2).clone()
    live = power > RANK**2 * sums.power
    scale = torch.where(live, power, torch.inf).rsqrt()[:, :, None]
    mean = torch.complex(*sums.total[blocks].unbind(1))[:, :, None] / sums.n.double().sqrt()
    gram.baddbmm_(mean.conj(), mean.mT, alpha=-1)
    return gram.mul_(scale).mul_(scale.mT), live


def _inverse_root(
    gram: Complex128[Tensor, "blocks channels channels"],
) -> tuple[Complex128[Tensor, "blocks channels channels"], Bool[Tensor, "blocks"]]:
    """Inverted Cholesky factors L^-1, and where they can be trusted.

    The squares of L^-1 sum to the trace of the inverse, which is at least the inverse of the least
    eigenvalue, and by that rounding is multiplied. Uncentred power is 1: means count as well.
    """
    factor, failed = torch.linalg.cholesky_ex(gram)
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    root = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    trace = torch.view_as_real(root).square().sum((1, 2, 3))
    return root, (failed == 0) & (trace < TRUSTED)


def _by_maps(
    x: Float64[Tensor, "samples x_channels x_height x_width"],
    y: Float64[Tensor, "samples y_channels y_height y_width"],
    frequencies: Frequencies,
    wanted: Bool[Tensor, "blocks"],
    least: list[float],
) -> Float64[Tensor, "wanted channels"]:
    """Correlations of the wanted blocks from centred maps, by their singular vectors.

    `least` is, for x and for y, the amplitude of a channel's size from which a dimension counts.
    """
    n = torch.tensor(len(x))
    correlations = x.new_zeros(int(wanted.sum()), min(x.shape[1], y.shape[1]))
    done = 0
    x_spectra = _spectra(x, frequencies.x, _memory(x[0], frequencies.x, len(x)))
    y_spectra = _spectra(y, frequencies.y, _memory(y[0], frequencies.y, len(y)))
    for (column, x_part), (_, y_part) in zip(x_spectra, y_spectra, strict=True):
        if not wanted[column].any():
            continue
        bases = []
        for name, maps, part, floor in zip("xy", (x, y), (x_part, y_part), least, strict=True):
            spectrum = torch.complex(*part[wanted[column]].unbind(1))
            # One size for what rounding left in each channel: that of its mean over frequencies,
            # but not below its own here.
            size = _power(maps) + spectrum.abs().square().sum(1)
            scaled = spectrum / torch.where(size > 0, size, torch.inf).sqrt()[:, None]
            vectors, values, _ = torch.linalg.svd(scaled, full_matrices=False)
            present = values > floor
            _check_rank(present.sum(1), n, name)
            bases.append(vectors * present[:, None])
        found = _singular_values(bases[0].mH @ bases[1])
        correlations[done : done + len(found), : found.shape[1]] = found
        done += len(found)
    return correlations


def _by_eigenvalues(
    sums: FourierSums, x_channels: int, wanted: Bool[Tensor, "blocks"]
) -> Float64[Tensor, "wanted channels"]:
    """Correlations of the wanted blocks from their products, as far as these go."""
    gram, _ = _gram(sums, wanted.nonzero()[:, 0])
    roots, least = [], 1.0
    for name, part in (("x", slice(x_channels)), ("y", slice(x_channels, None))):
        values, vectors = torch.linalg.eigh(gram[:, part, part])
        present = values > 64 * EPS * values.shape[1]
        _check_rank(present.sum(1), sums.n, name)
        least = min([least, *values[present].tolist()])
        roots.append(vectors * torch.where(present, values, torch.inf).rsqrt()[:, None])
    error = EPS * gram.shape[1] / least
    if error > LOST:
        warnings.warn(
            "at some frequencies channels are so nearly dependent, or their means so large, that "
            f"correlations from sums of products may be off by {error:.0e}: "
            "use dft_cca on maps in memory, or subtract a mean map before the sums",
            stacklevel=3,
        )
    return _singular_values(roots[0].mH @ gram[:, :x_channels, x_channels:] @ roots[1])


def _singular_values(
    products: Complex128[Tensor, "blocks rows columns"],
) -> Float64[Tensor, "blocks values"]:
    return torch.linalg.svdvals(products).clamp(max=1.0)  # above by rounding alone


def _check(sums: FourierSums) -> None:
    if sums.n < 2:
        raise ValueError(f"{int(sums.n)} samples have no covariance: give at least 2")
    bad = (~sums.power.isfinite()).nonzero()[:, 0].tolist()
    if bad:
        raise ValueError(
            f"channels {bad} (those of x, then those of y) hold NaN, infinite values or values "
            "whose squares are infinite"
        )


def _check_rank(rank: Int64[Tensor, "blocks"], n: Int64[Tensor, ""], name: str) -> None:
    """Centred, n samples have n - 1 dimensions, complex ones where a frequency has a conjugate."""
    most = max(rank.tolist(), default=0)
    if n - 1 <= most:
        raise ValueError(
            f"{int(n)} samples do not exceed the rank of {name} at one frequency ({most} once "
            "centred): every correlation would be 1. Take more samples than channels, 5 to 10 for "
            "each."
        )
