"""CCA against an independent derivation, the published numbers, and its invariances."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from sklearn import cross_decomposition
from torch import Tensor
from torch.testing import assert_close

from mmrep.stats.cca import cca, cca_from_moments, components_of_variance, correlations_on
from mmrep.stats.covariance import moments_of

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
N, D = 4000, 32


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(size, size, seed=seed)).Q


SHARED = normal(N, D, seed=0)
STRENGTH = torch.linspace(0.05, 0.95, D, dtype=torch.float64)
X = SHARED @ orthogonal(D, 1)
Y = (SHARED * STRENGTH + (1 - STRENGTH**2).sqrt() * normal(N, D, seed=2)) @ orthogonal(D, 3)


def by_projectors(x: Tensor, y: Tensor) -> Tensor:
    """Cosines of the principal angles between the column spaces, by SciPy."""
    angles = scipy.linalg.subspace_angles((x - x.mean(0)).numpy(), (y - y.mean(0)).numpy())
    return torch.from_numpy(np.cos(angles)[::-1].copy())


def with_condition(v: Tensor, condition: float) -> Tensor:
    spectrum = torch.logspace(0, -np.log10(condition), D, dtype=torch.float64)
    return v @ (orthogonal(D, 4) * spectrum) @ orthogonal(D, 5)


INVERTIBLE: dict[str, Callable[[Tensor], Tensor]] = {
    "clean": lambda v: v @ (orthogonal(D, 6) + 0.1 * normal(D, D, seed=6)),
    "rank 32 of 64": lambda v: v @ normal(D, 64, seed=7),
    "16 dead": lambda v: torch.cat([v, torch.zeros(N, 16, dtype=torch.float64)], dim=1),
    "16 constant": lambda v: torch.cat([v, torch.full((N, 16), 0.37).double()], dim=1),
    "16 duplicated": lambda v: torch.cat([v, v[:, :16]], dim=1),
    "column scales": lambda v: v * torch.logspace(-6, 6, D, dtype=torch.float64),
    "global scale": lambda v: 1e-6 * v,
    "condition 1e6": lambda v: with_condition(v, 1e6),
    "condition 1e9": lambda v: with_condition(v, 1e9),
    "means of 1e3 deviations": lambda v: v + 1e3 * (1 + normal(D, seed=8).abs()),
    "float32": lambda v: v.float(),
    "all at once": lambda v: torch.cat(
        [1e-6 * v[:, :16] + 1e-3, 1e6 * v, torch.zeros(N, 3), torch.full((N, 2), 0.37)], dim=1
    ),
}


@pytest.mark.parametrize("both", [False, True], ids=["one side", "both sides"])
@pytest.mark.parametrize("kind", INVERTIBLE)
def test_no_invertible_map_moves_a_correlation(kind: str, both: bool) -> None:
    x, y = INVERTIBLE[kind](X), INVERTIBLE[kind](Y) if both else Y
    found = cca(x, y, variance_kept=1.0)
    assert (found.x.rank, found.y.rank, found.n) == (D, D, N)
    assert_close(found.correlations, by_projectors(X, Y), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", INVERTIBLE)
def test_scores_have_unit_variance_and_lead_back_to_the_input(kind: str) -> None:
    x = INVERTIBLE[kind](X)
    found = cca(x, INVERTIBLE[kind](Y), variance_kept=1.0)
    scores = (x.double() - found.x.mean) @ found.x.directions
    assert_close(scores.T @ scores / (N - 1), torch.eye(D).double(), rtol=0, atol=1e-6)
    back = scores @ found.x.inverse + found.x.mean
    assert_close(back, x.double(), rtol=1e-6, atol=1e-6 * float(x.abs().max()))
    identity = found.x.inverse @ found.x.directions
    assert_close(identity, torch.eye(D).double(), rtol=0, atol=1e-6)


LAYERS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "bottleneck": (lambda x: F.linear(x[:, :32], normal(64, 32, seed=15).to(x)), 32),
    "wide bottleneck": (lambda x: F.linear(x, normal(512, 256, seed=15).to(x)), 256),
    "softmax": (lambda x: x[:, :100].softmax(dim=1), 99),
    "layer norm": (lambda x: F.layer_norm(x[:, :64], (64,)), 63),
    "rectified": (lambda x: F.linear(x[:, :64], normal(64, 64, seed=16).to(x)).relu(), 64),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layers_arithmetic_adds_no_directions(name: str, dtype: torch.dtype) -> None:
    layer, rank = LAYERS[name]
    features = layer(normal(N, 256, seed=17).to(dtype))
    assert features.dtype == dtype
    assert cca(features, Y[:, :4], variance_kept=1.0).x.rank == rank


def test_float32_keeps_what_it_can_tell() -> None:
    assert cca(with_condition(X, 1e5).float(), Y, variance_kept=1.0).x.rank == D


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_of_the_input_is_no_direction(dtype: torch.dtype) -> None:
    # As a network gives it: 64 units of rank 32, each rounded on its own.
    x = (X @ normal(D, 64, seed=7)).to(dtype)
    y = (Y @ normal(D, 64, seed=14)).to(dtype)
    found = cca(x, y, variance_kept=1.0)
    assert (found.x.rank, found.y.rank) == (D, D)
    tolerance = 1e-6 if dtype == torch.float32 else 0.02
    assert_close(found.correlations, by_projectors(X, Y), rtol=0, atol=tolerance)
    constant = torch.full((N, 1), 0.37, dtype=dtype)
    assert cca(torch.cat([X.to(dtype), constant], dim=1), y, variance_kept=1.0).x.rank == D


def test_one_wild_sample_takes_no_direction_away() -> None:
    x = with_condition(X, 1e3)
    x[0] *= 1e6
    exact = cca(x, Y, variance_kept=1.0)
    assert_close(exact.correlations, by_projectors(x, Y), rtol=0, atol=1e-6)
    x[0] /= 1e3
    assert cca(x.float(), Y, variance_kept=1.0).x.rank == D


def test_scores_of_equal_number_correlate_and_others_do_not() -> None:
    found = cca(X, Y[:, :20], variance_kept=1.0)
    x = (X - found.x.mean) @ found.x.directions
    y = (Y[:, :20] - found.y.mean) @ found.y.directions
    expected = torch.zeros(D, 20, dtype=torch.float64)
    expected[:20].diagonal().copy_(found.correlations)
    assert_close(x.T @ y / (N - 1), expected)
    assert_close(correlations_on(found, moments_of(X, Y[:, :20])), found.correlations)


def test_first_components_are_scikit_learns() -> None:
    theirs = cross_decomposition.CCA(n_components=3, scale=False, tol=1e-12, max_iter=10000).fit(
        X, Y
    )
    x, y = theirs.transform(X.numpy(), Y.numpy())
    expected = [np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(3)]
    assert_close(cca(X, Y).correlations[:3], torch.tensor(expected), rtol=0, atol=1e-6)


def test_what_correlates_with_nothing_comes_by_decreasing_variance_and_the_same_each_time() -> None:
    x = X * torch.linspace(1, 3, D, dtype=torch.float64)
    found = cca(x, Y[:, :8], variance_kept=1.0)
    rest = found.x.inverse[8:]
    assert found.correlations.shape == (8,)
    assert found.x.rank == D
    energy = rest.square().sum(dim=1)
    assert (energy.diff() <= 0).all()
    assert_close(rest @ rest.T, energy.diag())
    # Another basis of the same null space, from rows in another order, is turned to the same.
    again = cca(x.flip(0), Y[:, :8].flip(0) @ orthogonal(8, 9), variance_kept=1.0)
    assert_close(again.x.inverse, found.x.inverse, rtol=1e-7, atol=1e-9)


def test_equal_logits_give_correlations_of_one_and_are_left_alone_by_those_components() -> None:
    rank = 8
    w, v = normal(rank, D, seed=10), normal(rank, 24, seed=11)
    x = X
    y = normal(N, 24, seed=12)
    y = y - y @ torch.linalg.pinv(v) @ v + x @ w.T @ torch.linalg.pinv(v).T  # y v^T = x w^T
    assert_close(y @ v.T, x @ w.T)
    found = cca(x, y, variance_kept=1.0)
    assert_close(found.correlations[:rank], torch.ones(rank).double())
    assert found.correlations[rank] < 0.5
    projected = (x - found.x.mean) @ found.x.directions[:, :rank] @ found.x.inverse[:rank]
    assert_close((projected + found.x.mean) @ w.T, x @ w.T)


def test_the_cut_keeps_the_fewest_components_with_strictly_more_of_the_variance() -> None:
    values = torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0]).double()  # half of the variance is the first's
    kept = [components_of_variance(values, share) for share in (0.49, 0.5, 0.62, 0.63, 0.99, 1.0)]
    assert kept == [1, 2, 2, 3, 5, 5]
    columns = torch.tensor(scipy.linalg.hadamard(64)[:, 1:6].copy()).double()
    ranks = [cca(columns * values, X[:64, :3], variance_kept=v).x.rank for v in (0.49, 0.62, 1.0)]
    assert ranks == [1, 2, 5]


@pytest.mark.parametrize(("n", "units"), [(20, 32), (32, 32), (33, 32)])
def test_too_few_samples_are_refused_by_rank(n: int, units: int) -> None:
    with pytest.raises(ValueError, match=rf"{n} samples do not exceed the rank of x, which has 32"):
        cca(X[:n, :units], Y[:n, :2])
    with pytest.raises(ValueError, match=r"rank of y, .*Take more samples than units"):
        cca(X[:n, :2], Y[:n, :units], variance_kept=1.0)


def test_wrong_input_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no unit of x varies over the 4000 samples"):
        cca(torch.ones(N, 3), Y)
    with pytest.raises(ValueError, match="y holds NaN or infinite values, or some too large"):
        cca(X, torch.where(Y > 2, torch.nan, Y))
    with pytest.raises(ValueError, match="y holds NaN or infinite values"):
        cca(1e-9 * X + X[:, :1], torch.where(Y > 2, torch.inf, Y))
    with pytest.raises(ValueError, match=r"variance_kept=1.5 is not above 0 and at most 1"):
        cca(X, Y, variance_kept=1.5)
    with pytest.raises(ValueError, match=r"ridge=-1.0 must be 0, which means none, or more"):
        cca(X, Y, ridge=-1.0)
    with pytest.raises(ValueError, match="1 samples have no covariance"):
        cca(X[:1], Y[:1])
    with pytest.raises(ValueError, match=r"widths \(32, 32, 32\): for more, see `similarities`"):
        cca_from_moments(moments_of(X, Y, X))
    with pytest.raises(ValueError, match=r"two views are compared, .* widths \(32,\)"):
        cca_from_moments(moments_of(X))


def reference(name: str) -> Path:
    path = REFERENCE / name
    if not path.exists():
        pytest.skip(f"no {path.name}: the reference numbers are not beside this project")
    return path


@pytest.mark.reference
@pytest.mark.parametrize(
    ("key", "x", "y", "tolerance"),
    [
        ("A_indep", "A_x", "A_y", 1e-10),
        ("B_planted8", "B_x", "B_y", 1e-10),
        ("B_planted8_swapped", "B_y", "B_x", 1e-10),
        ("C_dead_eps1e-10", "C_x", "C_y", 3e-8),
    ],
)
def test_published_programs_correlations(key: str, x: str, y: str, tolerance: float) -> None:
    arrays = np.load(reference("cca_synthetic.npz"))
    epsilon = json.loads(reference("cca_synthetic.json").read_text())[key]["epsilon"]
    a, b = (torch.from_numpy(arrays[f"in/{name}"].T.copy()) for name in (x, y))
    found = cca(a, b, variance_kept=1.0, ridge=epsilon).correlations
    expected = torch.from_numpy(arrays[f"{key}/cca"])
    assert_close(found, expected[: len(found)], rtol=0, atol=tolerance)
    assert (expected[len(found) :] < 1e-3).all()  # the ridge keeps directions that are not there


@pytest.mark.reference
def test_published_programs_correlations_of_all_layers_of_two_networks() -> None:
    inputs = np.load(reference("cca_digits_mlp_inputs.npz"))
    outputs = np.load(reference("cca_digits_mlp_outputs.npz"))
    pairs = {key.rsplit("/", 1)[0] for key in outputs.files}
    assert len(pairs) == 36
    for pair in pairs:
        a, b = (torch.from_numpy(inputs[name].T.copy()) for name in pair.split("|"))
        found = cca(a, b, variance_kept=1.0, ridge=1e-10).correlations
        expected = torch.from_numpy(outputs[f"{pair}/cca"])
        assert_close(found, expected, rtol=0, atol=1e-7)
