"""Similarities of layers against those of matrices, the definitions, theory, published numbers."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from mmrep.stats.blocks import decompose, first_components, mean_correlation
from mmrep.stats.cca import cca
from mmrep.stats.representations import (
    MEASURES,
    REDUCTIONS,
    Representation,
    assessed,
    decomposed,
    floor_between,
    reduced_to_directions,
    represent,
    similarity,
    similarity_between,
)
from mmrep.stats.similarity import assess, cka, dft_cca, mean_cca, pwcca, svcca

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
OF_MATRICES: dict[str, Callable[..., float]] = {
    "svcca": svcca,
    "cca": mean_cca,
    "pwcca": pwcca,
    "cka": cka,
}


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def related(x: Tensor, channels: int, seed: int = 1) -> Tensor:
    """A second layer: the first one's channels mixed, as much noise, and a mean."""
    y = torch.einsum("nc...,dc->nd...", x, normal(channels, x.shape[1], seed=seed))
    return y + 2 * normal(*y.shape, seed=seed + 1) + 3


def channels_by(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("nchw,cd->ndhw", x, matrix)


def turn(units: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(units, units, seed=seed)).Q


def cca_at_full_rank(x: Representation, y: Representation) -> float:
    return similarity_between(decomposed("cca", x, kept=1.0), decomposed("cca", y, kept=1.0))


# Vectors with what layers have: dead, constant, duplicated and badly scaled units.
UNITS = normal(200, 12, seed=0) @ normal(12, 12, seed=1)
X = torch.cat([UNITS, 0 * UNITS[:, :2], UNITS[:, :1] * 0 + 5, 1e-6 * UNITS[:, :3]], dim=1)
X[:, -2:] += 1e-6 * normal(200, 2, seed=2)
Y = related(UNITS, 9)
MAPS = normal(90, 4, 6, 5, seed=3) + normal(90, 4, 1, 1, seed=4)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_vectors_are_compared_as_matrices_are(measure: str, reduction: str) -> None:
    for x, y in ((X, Y), (Y, X), (X[:, :5], X)):
        found = similarity(measure, represent(x, reduction), represent(y, reduction))
        assert found == pytest.approx(OF_MATRICES[measure](x, y), abs=1e-11)


@pytest.mark.parametrize("measure", MEASURES)
def test_maps_are_compared_as_their_means_their_numbers_or_their_positions(measure: str) -> None:
    x, y = MAPS[:, :, :2, :3], related(MAPS, 3)[:, :, :2, :3]
    reduced = {
        "pooled": lambda maps: maps.mean((2, 3)),
        "flat": lambda maps: maps.flatten(1),
        "pixels": lambda maps: maps.permute(0, 2, 3, 1).flatten(0, 2),
    }
    for reduction, matrix in reduced.items():
        found = similarity(measure, represent(x, reduction), represent(y, reduction))
        assert found == pytest.approx(OF_MATRICES[measure](matrix(x), matrix(y)), abs=1e-11)


@pytest.mark.parametrize(
    ("x_size", "y_size"),
    [
        ((6, 6), (6, 6)),
        ((5, 7), (5, 7)),
        ((4, 7), (4, 7)),
        ((8, 8), (4, 4)),
        ((7, 7), (3, 3)),
        ((8, 4), (4, 8)),
        ((6, 5), (4, 5)),
        ((5, 6), (1, 1)),
    ],
)
def test_dft_at_full_rank_is_the_mean_of_dft_cca(
    x_size: tuple[int, int], y_size: tuple[int, int]
) -> None:
    x, y = normal(60, 4, *x_size, seed=0), normal(60, 3, *y_size, seed=1)
    y[:, :, :1, :1] += x.mean((2, 3), keepdim=True)[:, :3]
    expected = float(dft_cca(x, y).mean())
    assert cca_at_full_rank(represent(x, "dft"), represent(y, "dft")) == pytest.approx(
        expected, abs=1e-12
    )
    assert cca_at_full_rank(represent(y, "dft"), represent(x, "dft")) == pytest.approx(
        expected, abs=1e-12
    )


def spectra(x: Tensor, frequencies: int) -> list[Tensor]:
    """Centred, of each frequency in [-f/2, f/2) of each axis, none taken from its conjugate."""
    found = torch.fft.fft2(x - x.mean(dim=0), norm="ortho")
    span = range(-(frequencies // 2), (frequencies + 1) // 2)
    return [found[:, :, k, j] for k in span for j in span]


def kept_directions(block: Tensor, share: float, power: int) -> Tensor:
    left, values, _ = torch.linalg.svd(block, full_matrices=False)
    sums = (values**power).cumsum(0) / (values**power).sum()
    return left[:, : int((sums < share).sum()) + 1]


@pytest.mark.parametrize("frequencies", [1, 3, 4, 5])
def test_frequencies_are_compared_one_by_one_by_definition(frequencies: int) -> None:
    # The last channel is faint but at frequency zero, so the cuts differ from block to block.
    x, y = MAPS[..., :5, :].clone(), related(MAPS[..., :5, :], 5)
    x[:, 3] = 1e-3 * x[:, 3] + normal(90, 1, 1, seed=8)
    blocks = list(zip(spectra(x, frequencies), spectra(y, frequencies), strict=True))
    expected = {}
    for measure, share, power in (("svcca", 0.99, 1), ("cca", 0.9999, 2)):
        bases = [[kept_directions(side, share, power) for side in pair] for pair in blocks]
        correlations = [torch.linalg.svdvals(of_x.mH @ of_y) for of_x, of_y in bases]
        assert len({len(one) for one in correlations}) > (frequencies > 1)
        expected[measure] = float(torch.cat(correlations).mean())
    weighted, weights = 0.0, 0.0
    for of_x, of_y in blocks:
        basis = torch.linalg.qr(of_x).Q
        left, rho, _ = torch.linalg.svd(basis.mH @ torch.linalg.qr(of_y).Q, full_matrices=False)
        alpha = ((basis @ left).mH @ of_x).abs().sum(dim=1)
        weighted, weights = weighted + float(alpha @ rho), weights + float(alpha.sum())
    expected["pwcca"] = weighted / weights
    real = [[torch.cat([side.real, side.imag], dim=1) for side in pair] for pair in blocks]
    expected["cka"] = float(np.mean([cka(of_x, of_y) for of_x, of_y in real]))
    layers = [represent(layer, "dft", frequencies=frequencies) for layer in (x, y)]
    for measure in MEASURES:
        assert similarity(measure, *layers) == pytest.approx(expected[measure], abs=1e-12)


def test_what_a_layer_keeps_of_its_frequencies_may_differ_from_what_the_other_does() -> None:
    x, y = normal(60, 3, 8, 8, seed=0), related(normal(60, 3, 8, 8, seed=0), 3)
    least = [represent(layer, "dft", frequencies=4) for layer in (x, y)]
    more = [represent(x, "dft", frequencies=6), represent(y, "dft")]
    for measure in MEASURES:
        expected = similarity(measure, *least)
        assert similarity(measure, least[0], more[1]) == pytest.approx(expected, abs=1e-13)
        assert similarity(measure, more[0], least[1]) == pytest.approx(expected, abs=1e-13)
        assert abs(similarity(measure, *more) - expected) > 1e-4


def test_smaller_maps_are_interpolated_to_the_larger_and_vectors_are_everywhere() -> None:
    x, y, vector = normal(50, 3, 6, 4, seed=0), normal(50, 2, 3, 5, seed=1), normal(50, 4, seed=2)
    vector[:, :3] += x.mean((2, 3))
    coordinates = [
        # Centres of pixels; beyond the outermost centres the map goes on as it is there.
        np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        for old, new in ((3, 6), (5, 5))
    ]
    grid = np.meshgrid(*coordinates, indexing="ij")
    large_y = np.array([[map_coordinates(m, grid, order=1) for m in maps] for maps in y.numpy()])
    wide = [np.clip((np.arange(5) + 0.5) * 4 / 5 - 0.5, 0, 3), np.arange(6)]
    grid = np.meshgrid(wide[1], wide[0], indexing="ij")
    large_x = np.array([[map_coordinates(m, grid, order=1) for m in maps] for maps in x.numpy()])
    rows = [torch.from_numpy(m).permute(0, 2, 3, 1).flatten(0, 2) for m in (large_x, large_y)]
    everywhere = vector.repeat_interleave(24, dim=0)
    x_rows = x.permute(0, 2, 3, 1).flatten(0, 2)
    layers = [represent(layer, "pixels") for layer in (x, y, vector)]
    for measure, of_matrices in OF_MATRICES.items():
        found = similarity(measure, *layers[:2])
        assert found == pytest.approx(of_matrices(*rows), abs=1e-10)
        found = similarity(measure, layers[0], layers[2])
        assert found == pytest.approx(of_matrices(x_rows, everywhere), abs=1e-10)


def shifts(x: Tensor) -> Tensor:
    """All cyclic shifts of all maps."""
    height, width = x.shape[2:]
    return torch.cat([x.roll((i, j), (2, 3)) for i in range(height) for j in range(width)])


def test_frequencies_are_the_flattened_maps_where_all_shifts_are_there() -> None:
    """Theorem 1: two layers of circular convolutions of the same images, on all their shifts."""
    images = shifts(normal(9, 2, 4, 4, seed=0))
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="circular")
    first = torch.nn.functional.conv2d(padded, normal(3, 2, 3, 3, seed=1))
    padded = torch.nn.functional.pad(first.relu(), (1, 1, 1, 1), mode="circular")
    second = torch.nn.functional.conv2d(padded, normal(2, 3, 3, 3, seed=2)).relu()
    blocks = cca_at_full_rank(represent(first, "dft"), represent(second, "dft"))
    flat = cca_at_full_rank(represent(first, "flat"), represent(second, "flat"))
    assert blocks == pytest.approx(flat, abs=1e-10)
    assert flat == pytest.approx(mean_cca(first.flatten(1), second.flatten(1), variance_kept=1.0))
    # In general they are not: of 144 images the flattened maps' 32 dimensions overfit.
    one, two = normal(144, 2, 4, 4, seed=3), normal(144, 2, 4, 4, seed=4)
    blocks = cca_at_full_rank(represent(one, "dft"), represent(two, "dft"))
    assert cca_at_full_rank(represent(one, "flat"), represent(two, "flat")) > blocks + 0.2


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("measure", MEASURES)
def test_rotations_scales_and_means_change_nothing(measure: str, reduction: str) -> None:
    x, y = MAPS[..., :2, :2], related(MAPS, 3)[..., :2, :2]
    before = similarity(measure, represent(x, reduction), represent(y, reduction))
    own = turn(4, seed=5) if measure != "pwcca" else torch.eye(4).double()  # weighs x's own units
    changed = 1e-4 * channels_by(x, own) + 7, 1e3 * channels_by(y, turn(3, seed=6)) - 1
    found = similarity(measure, *(represent(layer, reduction) for layer in changed))
    assert found == pytest.approx(before, abs=1e-9)
    assert 0 < before < 1
    itself = represent(x, reduction)
    assert similarity(measure, itself, itself) == pytest.approx(1, abs=1e-12)
    if reduction == "dft":  # phases turn
        shifted = represent(y.roll((1, 1), (2, 3)), reduction)
        assert similarity(measure, represent(x, reduction), shifted) == pytest.approx(
            before, abs=1e-9
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_invertible_maps_change_cca_at_full_rank_not_at_all_and_cka(reduction: str) -> None:
    x, y = MAPS[..., :2, :2], related(MAPS, 3)[..., :2, :2]
    stretched = represent(channels_by(x, normal(4, 4, seed=7)), reduction)
    x_layer, y_layer = represent(x, reduction), represent(y, reduction)
    assert cca_at_full_rank(stretched, y_layer) == pytest.approx(cca_at_full_rank(x_layer, y_layer))
    before = similarity("pwcca", y_layer, x_layer)  # whose weights are of y's units
    assert similarity("pwcca", y_layer, stretched) == pytest.approx(before)
    assert abs(similarity("cka", stretched, y_layer) - similarity("cka", x_layer, y_layer)) > 1e-3


@pytest.mark.parametrize("condition", [1e3, 1e6, 1e8])
def test_ill_conditioned_channels_keep_their_correlations(condition: float) -> None:
    y = represent(related(MAPS, 3), "dft")
    values = torch.logspace(0, -float(np.log10(condition)), 4, dtype=torch.float64)
    mixed = represent(channels_by(MAPS, turn(4, 5) * values @ turn(4, 6)), "dft")
    expected = cca_at_full_rank(represent(MAPS, "dft"), y)
    # Rounding of the mixed maps is itself multiplied by their condition.
    by = max(1e-12, 1e-14 * condition)
    assert cca_at_full_rank(mixed, y) == pytest.approx(expected, abs=by)
    assert cca_at_full_rank(y, mixed) == pytest.approx(expected, abs=by)


@pytest.mark.parametrize(
    "more",
    [
        lambda x: torch.zeros_like(x[:, :2]),  # dead
        lambda x: torch.full_like(x[:, :2], 0.1),  # constant
        lambda x: x[:1].expand_as(x)[:, :2],  # constant over samples, not over pixels
        lambda x: x[:, 1:3],  # duplicated
        lambda x: x[:, :1] * 0.3 + x[:, 1:2] * 1e-5,
    ],
)
@pytest.mark.parametrize("reduction", ["dft", "pixels", "pooled", "flat"])
def test_channels_that_add_no_dimension_change_nothing(
    more: Callable[[Tensor], Tensor], reduction: str
) -> None:
    x, y = MAPS[..., :3, :2], related(MAPS, 3)[..., :3, :2]
    if reduction == "pixels":  # where what is constant over samples does vary
        x, y = x - x[:1], y - y[:1]
    wider, layer, other = (
        represent(maps, reduction) for maps in (torch.cat([x, more(x)], dim=1), x, y)
    )
    expected = cca_at_full_rank(layer, other)
    assert cca_at_full_rank(wider, other) == pytest.approx(expected, abs=1e-11)
    assert cca_at_full_rank(other, wider) == pytest.approx(expected, abs=1e-11)
    assert decomposed("cca", wider, kept=1.0).rank == decomposed("cca", layer, kept=1.0).rank


def test_a_frequency_that_does_not_vary_has_no_correlations() -> None:
    flat = normal(60, 2, 1, 1, seed=0).expand(60, 2, 4, 6)
    y = normal(60, 3, 4, 6, seed=1) + flat[:, :1]
    for measure in MEASURES:
        found = similarity(measure, represent(flat, "dft"), represent(y, "dft"))
        expected = OF_MATRICES[measure](flat.mean((2, 3)), y.mean((2, 3)))
        assert found == pytest.approx(expected, abs=1e-11)
    waves = torch.tensor([1.0, -1.0]).double().repeat(3) * flat  # of the highest frequency alone
    for measure in MEASURES:
        with pytest.raises(ValueError, match="do not vary at a common frequency"):
            similarity(measure, represent(flat, "dft"), represent(waves, "dft"))
        for reduction in REDUCTIONS:
            with pytest.raises(ValueError, match=r"does not vary|no unit of x varies"):
                similarity(
                    measure,
                    represent(torch.ones(60, 2, 4, 6), reduction),
                    represent(y, reduction),
                )


def test_ranks_are_what_is_kept_of_all_frequencies() -> None:
    layer = represent(MAPS, "dft")
    assert decomposed("cca", layer, kept=1.0).rank == 4 * 6 * 5
    assert decomposed("cka", layer).rank == 4 * 6 * 5
    faint = MAPS * torch.tensor([1, 1, 1, 1e-3])[:, None, None]
    assert decomposed("svcca", represent(faint, "dft")).rank == 3 * 6 * 5
    assert decomposed("svcca", represent(faint, "pixels")).rank == 3
    assert decomposed("svcca", represent(faint[:, :, 0, 0], "flat")).rank == 3


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_kept_directions_alone_give_the_same_svcca_in_half_the_precision(reduction: str) -> None:
    faint = torch.tensor([1, 1, 1e-2, 1e-3], dtype=torch.float64)[:, None, None]
    layers = [MAPS[..., :2, :2] * faint, (related(MAPS, 4) * faint)[..., :2, :2]]
    x, y = (represent(layer, reduction) for layer in layers)
    reduced = reduced_to_directions(x)
    assert reduced.values.shape[2] < x.values.shape[2]
    single = torch.complex64 if reduced.values.is_complex() else torch.float32
    stored = reduced._replace(values=reduced.values.to(single))
    expected = similarity("svcca", x, y)
    assert similarity("svcca", reduced, y) == pytest.approx(expected, abs=1e-12)
    assert similarity("svcca", y, reduced) == pytest.approx(expected, abs=1e-12)
    assert similarity("svcca", stored, reduced_to_directions(y)) == pytest.approx(
        expected, abs=1e-6
    )
    with pytest.raises(ValueError, match="cka of the singular directions that svcca keeps"):
        similarity("cka", reduced, y)


def test_batches_joined_are_the_whole() -> None:
    for reduction in REDUCTIONS:
        whole = represent(MAPS, reduction)
        parts = [represent(part, reduction) for part in (MAPS[:7], MAPS[7:])]
        assert all(part[1:] == whole[1:] for part in parts)
        torch.testing.assert_close(torch.cat([part.values for part in parts]), whole.values)


@pytest.mark.parametrize("measure", MEASURES)
def test_an_assessment_is_that_of_the_matrices(measure: str) -> None:
    x, y = UNITS, Y
    layers = [represent(layer, "flat") for layer in (x, y)]
    found = assessed(measure, *layers, permutations=5, resamples=20, generator=generator())
    matrices = OF_MATRICES[measure]
    expected = assess(matrices, x, y, permutations=5, resamples=20, generator=generator())
    assert found[:5] == pytest.approx(expected[:5], abs=1e-10)
    assert found.ranks == expected.ranks
    views = [decomposed(measure, layer) for layer in layers]
    floor = floor_between(*views, permutations=5, generator=generator())
    assert floor == pytest.approx(expected.floor, abs=1e-10)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("reduction", ["dft", "pixels"])
def test_noise_is_at_its_floor_and_a_relation_above(measure: str, reduction: str) -> None:
    x = normal(150, 4, 4, 4, seed=0)
    noise, relation = normal(150, 3, 4, 4, seed=1), related(x, 3)
    layers = [represent(layer, reduction) for layer in (x, noise, relation)]
    found = [
        assessed(measure, layers[0], other, permutations=5, resamples=12, generator=generator())
        for other in layers[1:]
    ]
    assert found[0].value == pytest.approx(found[0].floor, abs=0.01)
    assert found[1].low > found[1].floor + 0.1
    assert found[1].low < found[1].value < found[1].high
    ranks = (64, 48) if reduction == "dft" else (4, 3)
    assert found[0].ranks == ranks
    if reduction == "dft":
        assert np.isnan([one.held_out for one in found]).all()
    else:
        assert abs(found[0].held_out) < 0.03
        assert found[1].held_out == pytest.approx(found[1].value, abs=0.05)
    again = assessed(
        measure, layers[0], layers[2], permutations=5, resamples=12, generator=generator()
    )
    assert again[:4] == found[1][:4]


def test_pixels_are_shuffled_by_samples_and_not_by_positions() -> None:
    """Maps that only differ in position: samples shuffled, they are as alike as before."""
    place = normal(1, 2, 4, 4, seed=0)
    x, y = (place + 1e-3 * normal(50, 2, 4, 4, seed=seed) for seed in (1, 2))
    views = [decomposed("cca", represent(layer, "pixels")) for layer in (x, y)]
    assert floor_between(*views, permutations=3, generator=generator()) > 0.99


def test_the_thought_experiment_on_noise_and_use() -> None:
    # Raghu et al. 2017, B.0.1: A of 50 dimensions, B = A and 150 of noise, C = A and 150 of use.
    a = normal(4000, 50, seed=7)
    b = torch.cat([a, 1e-2 * normal(4000, 150, seed=8)], dim=1)
    c = torch.cat([a, normal(4000, 150, seed=9)], dim=1)
    layers = [represent(layer, "flat") for layer in (a, b, c)]
    # What the mean over the smaller rank says of both is the same ...
    for other in layers[1:]:
        assert cca_at_full_rank(layers[0], other) == pytest.approx(1, abs=1e-12)
        assert similarity("pwcca", layers[0], other) == pytest.approx(1, abs=1e-12)
        assert similarity("pwcca", other, layers[0]) == pytest.approx(1, abs=1e-12)
        assert similarity("svcca", layers[0], other) > 0.98
    # ... and 0.99 of the sum of singular values keeps most of B's noise, which makes up 1.5 parts
    # of 51.5 there; of the variance it is 3 of 10,000, and ranks tell.
    kept = [decomposed("svcca", layer).rank for layer in layers]
    assert kept[0] == 50
    assert 130 < kept[1] < 150 < 195 < kept[2]
    kept = [decomposed("cca", layer, kept=0.99).rank for layer in layers]
    assert kept[0] == kept[1] == 50
    assert kept[2] > 190
    # CKA weighs directions by their variance: |A'A| / |C'C| is (50 / 200) ** 0.5.
    assert similarity("cka", layers[0], layers[1]) > 0.99
    assert similarity("cka", layers[0], layers[2]) == pytest.approx(0.5, abs=0.02)


def test_random_baselines_of_the_tutorials() -> None:
    """Their recorded numbers are of one draw; ours differ by the draw, and one by definition."""
    g = generator()
    x, y = (torch.randn(10_000, 500, generator=g).double() for _ in range(2))
    layers = represent(x, "flat"), represent(y, "flat")
    assert cca_at_full_rank(*layers) == pytest.approx(0.1906, abs=5e-4)
    assert float(cca(x, y).correlations[:20].mean()) == pytest.approx(0.4115, abs=3e-3)
    views = [first_components(decompose(v.values, unit_norms=False), lambda _: 20) for v in layers]
    crossed = views[0].left.mT @ views[1].left
    top = mean_correlation(crossed, torch.tensor([20]), torch.tensor([1]))
    assert top == pytest.approx(0.035, abs=0.005)  # 0.0377 with a spread of 0.0014
    # PWCCA by its definition weighs noise evenly; 0.192 is what the published program makes of it.
    assert similarity("pwcca", *layers) == pytest.approx(0.1906, abs=5e-4)
    assert pwcca(x, y, weights="google") == pytest.approx(0.192, abs=1e-3)
    few = [torch.randn(2000, units, generator=g) for units in (100, 50)]
    found = similarity("cca", *(represent(v, "flat") for v in few))
    assert found == pytest.approx(0.2074, abs=0.007)  # 0.2089 with a spread of 0.002


def reference(name: str) -> Path:
    path = REFERENCE / name
    if not path.exists():
        pytest.skip(f"no {path.name}: the reference numbers are not beside this project")
    return path


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("plain_l1_vs_l2", "plain_l1", "plain_l2"),
        ("plain_l1_vs_other", "plain_l1", "plain_other"),
        ("big_l1_vs_l2", "big_l1", "big_l2"),
        ("aug_l1_vs_l2", "plain_l1", "plain_l2"),
        ("aug_l1_vs_other", "plain_l1", "plain_other"),
        ("resize_8x8_vs_4x4", "u8", "w4"),
        ("resize_7x7_vs_3x3", "u7", "w3"),
        ("vector_vs_aug_l1", "vec", "plain_l1"),
    ],
)
def test_published_numbers_of_maps(name: str, x: str, y: str) -> None:
    numbers = np.load(reference("dft_ccas.npz"))
    keys = {"dft": "dft", "pixels": "spatial_as_data", "pooled": "avgpool", "flat": "naive"}
    layers = [torch.from_numpy(numbers[f"in/{key}"]).permute(0, 3, 1, 2) for key in (x, y)]
    if "aug" in name:
        layers = [layer if len(layer) == 2160 else shifts(layer) for layer in layers]
    there = [reduction for reduction, key in keys.items() if f"{key}/{name}" in numbers]
    assert "dft" in there
    for reduction in there:
        found = cca_at_full_rank(*(represent(layer, reduction) for layer in layers))
        expected = float(numbers[f"{keys[reduction]}/{name}"].mean())
        by = 1e-7 if reduction == "pooled" else 1e-10  # theirs are means in float32
        assert found == pytest.approx(expected, abs=by), reduction
    if name == "vector_vs_aug_l1":
        means = layers[0].flatten(1), layers[1].mean((2, 3))
        for reduction in ("dft", "pooled", "flat"):
            found = cca_at_full_rank(*(represent(layer, reduction) for layer in means))
            assert found == pytest.approx(0.9801877932597595, abs=1e-9)


@pytest.mark.reference
def test_published_numbers_of_vectors_and_where_they_are_not_right() -> None:
    arrays = np.load(reference("cca_synthetic.npz"))
    numbers = json.loads(reference("cca_synthetic.json").read_text())
    layers = {
        name: represent(torch.from_numpy(arrays[f"in/{name}"].T.copy()), "flat")
        for name in ("A_x", "A_y", "B_x", "B_y", "C_x", "C_y")
    }
    for key, x, y in (("A_indep", "A_x", "A_y"), ("B_planted8", "B_x", "B_y")):
        expected = numbers[key]
        pair = layers[x], layers[y]
        assert cca_at_full_rank(*pair) == pytest.approx(expected["mean_all"], abs=1e-10)
        found = similarity("svcca", *pair)
        assert found == pytest.approx(expected["sv99_abs"]["mean_all"], abs=1e-10)
        ranks = [decomposed("svcca", layer).rank for layer in pair]
        assert ranks == [expected["sv99_abs"]["m1"], expected["sv99_abs"]["m2"]]
        found = similarity("pwcca", *pair)
        assert found == pytest.approx(expected["pwcca_paper_x"], abs=1e-10)
        # The program's own `mean` leaves out the last correlations, those beyond 0.98 of the sum.
        assert expected["mean_thr0.98"] > expected["mean_all"] + 0.01
    # With dead and nearly dead units its ridge moves correlations, and a constant one counts.
    ridged = numbers["C_dead_eps1e-10"]["mean_all"]
    exact = cca_at_full_rank(layers["C_x"], layers["C_y"])
    assert 1e-4 < abs(exact - ridged) < 0.05
    assert cca_at_full_rank(layers["C_x"], layers["C_x"]) == pytest.approx(1, abs=1e-12)


@pytest.mark.reference
def test_published_numbers_of_all_layers_of_two_networks() -> None:
    inputs = np.load(reference("cca_digits_mlp_inputs.npz"))
    numbers = json.loads(reference("cca_digits_mlp.json").read_text())
    layers = {
        name: represent(torch.from_numpy(inputs[name].T.copy()), "flat")
        for name in {side for pair in numbers if "|" in pair for side in pair.split("|")}
    }
    found = {
        measure: {name: decomposed(measure, layer) for name, layer in layers.items()}
        for measure in ("svcca", "pwcca")
    }
    away = []
    for pair, expected in ((pair, numbers[pair]) for pair in numbers if "|" in pair):
        x, y = pair.split("|")
        svcca_found = similarity_between(found["svcca"][x], found["svcca"][y])
        assert svcca_found == pytest.approx(expected["svcca99_abs"], abs=3e-7), pair
        pwcca_found = similarity_between(found["pwcca"][x], found["pwcca"][y])
        assert pwcca_found == pytest.approx(expected["pwcca_paper_x"], abs=1e-3), pair
        if x == y:
            assert pwcca_found == pytest.approx(1, abs=1e-9)
            away.append(1 - expected["mean_all"])
    assert max(away) > 3e-4  # their ridge makes a layer differ from itself


def test_too_few_samples_are_refused_with_a_remedy() -> None:
    x, y = normal(40, 3, 4, 4, seed=0), normal(40, 2, seed=1)
    with pytest.raises(
        ValueError,
        match=r"40 samples do not exceed the rank of a layer of 48 dimensions \(rank 39 once "
        r"centred\): .* Take more samples than dimensions, .* or reduction=dft or pooled",
    ):
        similarity("svcca", represent(x, "flat"), represent(y, "flat"))
    assert similarity("cka", represent(x, "flat"), represent(y, "flat")) == pytest.approx(
        cka(x.flatten(1), y)  # which asks for no more samples than dimensions
    )
    few = normal(4, 3, 4, 4, seed=0)
    with pytest.raises(ValueError, match=r"4 samples do not exceed .* 3 dimensions at one freq"):
        decomposed("cca", represent(few, "dft"))
    with pytest.raises(ValueError, match="cka of 3 samples: give at least 4"):
        decomposed("cka", represent(few[:3], "dft"))
    with pytest.raises(ValueError, match="svcca of 1 samples: give at least 2"):
        decomposed("svcca", represent(few[:1], "dft"))


def test_wrong_input_is_refused_by_name() -> None:
    x = represent(MAPS, "dft")
    with pytest.raises(ValueError, match="reduction='mean' is not one of dft, pixels, pooled, fla"):
        represent(MAPS, "mean")
    with pytest.raises(ValueError, match="frequencies=4 with reduction='flat': give 1 or more"):
        represent(MAPS, "flat", frequencies=4)
    with pytest.raises(ValueError, match="frequencies=0 with reduction='dft': give 1 or more"):
        represent(MAPS, "dft", frequencies=0)
    with pytest.raises(ValueError, match=r"outputs of shape \(90, 4, 6\): give vectors"):
        represent(MAPS[..., 0], "flat")
    with pytest.raises(ValueError, match="measure='cosine' is not one of svcca, cca, pwcca, cka"):
        similarity("cosine", x, x)
    with pytest.raises(ValueError, match=r"kept=0\.5: pwcca takes a layer whole"):
        decomposed("pwcca", x, kept=0.5)
    with pytest.raises(ValueError, match=r"kept=2\.0 is not above 0 and at most 1"):
        decomposed("svcca", x, kept=2.0)
    with pytest.raises(ValueError, match="different reductions, dft and flat"):
        similarity("svcca", x, represent(MAPS[:, :, 0, 0], "flat"))
    with pytest.raises(ValueError, match="different numbers of samples, 90 and 89"):
        similarity("svcca", x, represent(MAPS[:89], "dft"))
    with pytest.raises(ValueError, match="different measures, cca and cka"):
        similarity_between(decomposed("cca", x), decomposed("cka", x))
    with pytest.raises(ValueError, match="16 blocks are not those of reduction='dft' of maps of 6"):
        decomposed("cca", x._replace(frequencies=3))
    for broken in (torch.nan, torch.inf, 1e200):
        maps = MAPS.clone()
        maps[3, 1, 2, 2] = broken
        with pytest.raises(ValueError, match="NaN or infinite values, or some too large"):
            decomposed("svcca", represent(maps, "dft"))
    with pytest.raises(ValueError, match="permutations=0: give at least 1"):
        floor_between(*[decomposed("cca", x)] * 2, permutations=0, generator=generator())
    with pytest.raises(ValueError, match="resamples=1: give at least 2"):
        inspect.unwrap(assessed)("cca", x, x, permutations=2, resamples=1, generator=generator())
