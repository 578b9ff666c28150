"""Similarities against slow transcriptions of their definitions, the published numbers, theory."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mmrep.stats.covariance import moments_of
from mmrep.stats.similarity import (
    cka,
    mean_cca,
    pwcca,
    similarities,
    svcca,
    svcca_components,
    with_norms,
)

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SHARED = normal(200, 5, seed=0) + 3
X = torch.cat([SHARED, normal(200, 3, seed=1)], dim=1) @ normal(8, 8, seed=2) + 5
Y = SHARED @ normal(5, 6, seed=3) + normal(200, 6, seed=4)

MEASURES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "mean_cca": mean_cca,
    "svcca": svcca,
    "svcca of variance": partial(svcca, of="variance"),
    "pwcca": pwcca,
    "pwcca by y": partial(pwcca, weights="y"),
    "cka": cka,
    "biased cka": partial(cka, unbiased=False),
}


def correlations(x: Tensor, y: Tensor) -> Tensor:
    """Singular values of Q_x^T Q_y for centred columns."""
    bases = (torch.linalg.qr(v - v.mean(dim=0)).Q for v in (x, y))
    return torch.linalg.svdvals(next(bases).T @ next(bases))


@pytest.mark.parametrize("of", ["singular_values", "variance"])
def test_svcca_is_the_mean_correlation_of_kept_singular_directions(of: str) -> None:
    kept = []
    for view in (X, Y):
        left, values, _ = torch.linalg.svd(view - view.mean(dim=0), full_matrices=False)
        sizes = values if of == "singular_values" else values**2
        count = next(m for m in range(1, 9) if sizes[:m].sum() >= 0.9 * sizes.sum())
        kept.append(left[:, :count])
    found = svcca_components(moments_of(X, Y), kept=0.9, of=of)
    assert (found.x.rank, found.y.rank) == tuple(basis.shape[1] for basis in kept)
    assert svcca(X, Y, kept=0.9, of=of) == pytest.approx(float(correlations(*kept).mean()))


@pytest.mark.parametrize("weights", ["x", "y"])
def test_pwcca_weighs_variates_by_what_they_say_of_a_views_units(weights: str) -> None:
    own, other = (X, Y) if weights == "x" else (Y, X)
    own, other = own - own.mean(dim=0), other - other.mean(dim=0)
    basis, other_basis = torch.linalg.qr(own).Q, torch.linalg.qr(other).Q
    left, rho, _ = torch.linalg.svd(basis.T @ other_basis, full_matrices=False)
    variates = basis @ left  # h_i: orthonormal over samples
    alpha = torch.stack([sum(abs(h @ unit) for unit in own.T) for h in variates.T])
    assert pwcca(X, Y, weights=weights) == pytest.approx(float(alpha @ rho / alpha.sum()))


def hsic(k: Tensor, m: Tensor) -> Tensor:
    """Unbiased HSIC of two kernel matrices (Song et al. 2012, equation 5)."""
    n = len(k)
    k, m = k - k.diag().diag(), m - m.diag().diag()
    ends = k.sum() * m.sum() / (n - 1) / (n - 2) - 2 / (n - 2) * (k @ m).sum()
    return ((k @ m).trace() + ends) / (n * (n - 3))


@pytest.mark.parametrize("centre", [0.0, 1e3])
def test_cka_is_hsics_of_the_samples_kernels(centre: float) -> None:
    x, y = X + centre, Y - centre
    k, m = X @ X.T, Y @ Y.T
    expected = hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt()
    assert cka(x, y) == pytest.approx(float(expected), rel=1e-8)
    centring = torch.eye(200).double() - 1 / 200
    k, m = centring @ k @ centring, centring @ m @ centring
    expected = (k * m).sum() / (k.norm() * m.norm())
    assert cka(x, y, unbiased=False) == pytest.approx(float(expected), rel=1e-8)


def test_unbiased_cka_of_noise_is_around_zero_at_any_size_and_biased_is_not() -> None:
    for n in (4, 8, 20):
        pairs = [(normal(n, 30, seed=i), normal(n, 30, seed=1000 + i)) for i in range(100)]
        values = torch.tensor([cka(x, y) for x, y in pairs])
        assert values.isfinite().all()
        assert values.min() < 0
        assert abs(float(values.mean())) < 4 * float(values.std()) / 10
        assert all(cka(x, y, unbiased=False) > 0.4 for x, y in pairs[:10])


@pytest.mark.parametrize("name", MEASURES)
def test_a_view_is_wholly_similar_to_itself_and_measures_do_not_see_shifts(name: str) -> None:
    measure = MEASURES[name]
    assert measure(X, X) == pytest.approx(1, abs=1e-12)
    value = measure(X, Y)
    rotation = torch.linalg.qr(normal(8, 8, seed=5)).Q
    assert measure(X + 100, 1e-4 * Y) == pytest.approx(value, rel=1e-8)
    assert measure(X.flip(0), Y.flip(0)) == pytest.approx(value, rel=1e-8)
    if name not in ("pwcca",):  # its weights are of the units themselves
        assert measure(X @ rotation, Y) == pytest.approx(value, rel=1e-8)
    assert 0 < value < 1


def test_cca_does_not_see_invertible_maps_and_cka_does() -> None:
    stretch = normal(8, 8, seed=6)
    assert mean_cca(X @ stretch, Y, variance_kept=1.0) == pytest.approx(
        mean_cca(X, Y, variance_kept=1.0)
    )
    assert abs(cka(X @ stretch, Y) - cka(X, Y)) > 1e-3


def test_the_thought_experiment_on_noise_and_use_needs_the_ranks() -> None:
    # Raghu et al. 2017, B.0.1: A of 50 dimensions, B = A and 150 more of noise or of use.
    a = normal(4000, 50, seed=7)
    more = torch.cat([a, 1e-2 * normal(4000, 150, seed=8)], dim=1)
    useful = torch.cat([a, normal(4000, 150, seed=9)], dim=1)
    assert svcca(a, more, kept=1.0) == pytest.approx(1)
    assert svcca(a, useful, kept=1.0) == pytest.approx(1)
    ranks = [svcca_components(moments_of(a, b), of="variance").y.rank for b in (more, useful)]
    assert ranks[0] <= 50 < 190 < ranks[1]


def test_what_was_fitted_is_evaluated_on_other_samples() -> None:
    # Noise is fitted, not held out; a relation is both.
    x, y = normal(400, 20, seed=10), normal(400, 20, seed=11)
    first, second = slice(0, 200), slice(200, 400)
    for measure in (mean_cca, svcca, pwcca):
        assert measure(x[first], y[first]) > 0.2
        assert abs(measure(x[first], y[first], on=(x[second], y[second]))) < 0.08
        assert measure(x[first], x[first], on=(x[second], x[second])) == pytest.approx(1)
    assert cka(x[first], y[first], on=(X, Y)) == cka(X, Y)
    with pytest.raises(ValueError, match=r"fitted on views of \(20, 20\) units, evaluated on"):
        mean_cca(x, y, on=(X, Y))
    with pytest.raises(ValueError, match="1 samples to correlate on must be 2 or more"):
        svcca(x, y, on=(x[:1], y[:1]))
    with pytest.raises(ValueError, match="without NaN or infinity"):
        pwcca(x, y, on=(x * torch.nan, y))
    with pytest.raises(ValueError, match="weights='google' has no value on other samples"):
        pwcca(x, y, weights="google", on=(x, y))


def test_all_pairs_are_the_pairs() -> None:
    noisy = (X + normal(200, 8, seed=13)).relu()  # equal correlations would leave PWCCA open
    layers = [X, Y, torch.cat([noisy, torch.zeros(200, 2)], dim=1), Y @ normal(6, 12, seed=12)]
    found = similarities(moments_of(*with_norms(*layers)), rows=[0, 1], columns=[1, 2, 3])
    for r, i in enumerate((0, 1)):
        for c, j in enumerate((1, 2, 3)):
            x, y = layers[i], layers[j]
            assert float(found.cca[r, c]) == pytest.approx(mean_cca(x, y))
            assert float(found.svcca[r, c]) == pytest.approx(svcca(x, y))
            assert float(found.pwcca[r, c]) == pytest.approx(pwcca(x, y))
            assert float(found.cka[r, c]) == pytest.approx(cka(x, y))
    centred = [view - view.mean(dim=0) for view in layers]
    ranks = [int(torch.linalg.matrix_rank(view)) for view in centred]
    assert found.ranks == dict(enumerate(ranks))
    assert found.kept == {
        i: svcca_components(moments_of(v, v)).x.rank for i, v in enumerate(layers)
    }
    with pytest.raises(ValueError, match=r"rows \[4\] and columns \[0\] .* take some of 0 to 3"):
        similarities(moments_of(*with_norms(*layers)), [4], [0])


def test_wrong_input_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"kept=0.0 is not above 0 and at most 1"):
        svcca(X, Y, kept=0.0)
    with pytest.raises(ValueError, match=r"of='sums' is neither 'singular_values' nor 'variance'"):
        svcca(X, Y, of="sums")
    with pytest.raises(ValueError, match=r"weights='z' is none of 'x', 'y', 'google'"):
        pwcca(X, Y, weights="z")
    with pytest.raises(ValueError, match="CKA of 3 samples: give at least 4"):
        cka(X[:3], Y[:3])
    with pytest.raises(
        ValueError, match="x does not vary over the 200 samples: CKA has no meaning"
    ):
        cka(torch.ones(200, 2), Y)
    with pytest.raises(ValueError, match="8 samples do not exceed the rank of x"):
        svcca(X[:8], Y[:8])
    with pytest.raises(ValueError, match="8 samples do not exceed the rank of layer 0"):
        similarities(moments_of(*with_norms(X[:8], Y[:8])), [0], [1])
    with pytest.raises(ValueError, match="x holds NaN or infinite values"):
        cka(X * torch.inf, Y)
    with pytest.raises(ValueError, match="no unit of x varies"):
        pwcca(torch.ones(200, 2), Y, weights="google")
    with pytest.raises(ValueError, match=r"CKA needs moments of with_norms"):
        similarities(moments_of(X, Y), [0], [0])


def reference(name: str) -> Path:
    path = REFERENCE / name
    if not path.exists():
        pytest.skip(f"no {path.name}: the reference numbers are not beside this project")
    return path


def reference_pairs() -> list[tuple[str, dict[str, float], Tensor, Tensor]]:
    arrays = np.load(reference("cca_synthetic.npz"))
    numbers = json.loads(reference("cca_synthetic.json").read_text())
    names = {"A_indep": ("A_x", "A_y"), "B_planted8": ("B_x", "B_y")}
    names["B_planted8_swapped"] = ("B_y", "B_x")
    return [
        (key, numbers[key], *(torch.from_numpy(arrays[f"in/{v}"].T.copy()) for v in views))
        for key, views in names.items()
    ]


@pytest.mark.reference
def test_published_numbers_of_synthetic_pairs() -> None:
    for key, numbers, x, y in reference_pairs():
        assert svcca(x, y) == pytest.approx(numbers["sv99_abs"]["mean_all"], abs=1e-10), key
        variance = svcca(x, y, of="variance")
        assert variance == pytest.approx(numbers["sv99_var"]["mean_all"], abs=1e-10), key
        kept = svcca_components(moments_of(x, y))
        assert (kept.x.rank, kept.y.rank) == tuple(numbers["sv99_abs"][m] for m in ("m1", "m2"))
        assert pwcca(x, y) == pytest.approx(numbers["pwcca_paper_x"], abs=1e-10), key
        assert pwcca(x, y, weights="y") == pytest.approx(numbers["pwcca_paper_y"], abs=1e-10), key
        if not isinstance(numbers["pwcca_repo"], str):  # the published one raises on the others
            google = pwcca(x, y, weights="google")
            assert google == pytest.approx(numbers["pwcca_repo"], abs=1e-8), key


@pytest.mark.reference
def test_published_numbers_of_all_layers_of_two_networks() -> None:
    inputs = np.load(reference("cca_digits_mlp_inputs.npz"))
    numbers = json.loads(reference("cca_digits_mlp.json").read_text())
    pairs = [key for key in numbers if "|" in key]
    assert len(pairs) == 36
    exact = 0
    for pair in pairs:
        x, y = (torch.from_numpy(inputs[name].T.copy()) for name in pair.split("|"))
        expected = numbers[pair]
        assert svcca(x, y) == pytest.approx(expected["svcca99_abs"], abs=3e-7), pair
        assert svcca(x, y, of="variance") == pytest.approx(expected["svcca99_var"], abs=3e-7)
        # Theirs has the ridge, which moves faint units.
        assert pwcca(x, y) == pytest.approx(expected["pwcca_paper_x"], abs=1e-3), pair
        if expected["n_x"] <= expected["n_y"] and not isinstance(expected["pwcca_repo"], str):
            # Where the second layer keeps fewer units theirs takes the first layer's by mistake.
            difference = abs(pwcca(x, y, weights="google") - expected["pwcca_repo"])
            assert difference < 3e-3, pair  # a variate's sign is arbitrary, and counts there
            exact += difference < 5e-6
    assert exact >= 18  # of 22
