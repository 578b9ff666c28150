"""Merged maps against the projections they stand for, and how many weights they need."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from mmrep.networks.compressed import Projection, behind, compressed, names_from, projected
from mmrep.networks.convnet import ConvNet
from mmrep.networks.vgg import VGG
from mmrep.stats.cca import cca
from mmrep.stats.subspaces import project

UNITS = {"p2": 128, "fc1": 12, "bn3": 12, "fc2": 8, "bn4": 8}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def used(net: nn.Module) -> nn.Module:
    """With batch norms that have seen something: weights and statistics that matter."""
    for number, module in enumerate(net.modules()):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            random, size = seeded(number), len(module.weight)
            module.weight.data = torch.rand(size, generator=random) + 0.5
            module.bias.data = torch.randn(size, generator=random)
            module.running_mean = torch.randn(size, generator=random) / 4
            module.running_var = torch.rand(size, generator=random) + 0.5
    return net.eval()


def convnet() -> nn.Module:
    torch.manual_seed(0)
    return used(ConvNet(widths=(4, 4, 4, 4, 2), hidden=(12, 8)))


def images(number: int) -> Tensor:
    return torch.randn(number, 3, 32, 32, generator=seeded(1))


def oblique(units: int, components: int, seed: int) -> Projection:
    """(a^T d)^-1 a^T behind d: idempotent and not symmetric."""
    random = seeded(seed)
    directions, other = torch.randn(2, units, components, generator=random, dtype=torch.float64)
    inverse = torch.linalg.solve(other.T @ directions, other.T)
    return Projection(directions, inverse, torch.randn(units, generator=random).double())


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layers", [["p2"], ["fc1"], ["bn3"], ["fc2"], ["bn4"], [*UNITS]])
@pytest.mark.parametrize("components", [1, 3, 7])
def test_merged_maps_give_what_projections_give(
    dtype: torch.dtype, layers: list[str], components: int
) -> None:
    net, x = convnet().to(dtype), images(5).to(dtype)
    before = copy.deepcopy(net.state_dict())
    projections = {
        layer: oblique(UNITS[layer], components, seed) for seed, layer in enumerate(layers)
    }
    with torch.no_grad():
        wanted, untouched = projected(net, projections)(x), net(x)
        smaller = compressed(net, projections)
        given = smaller(x)
    scale = float(wanted.abs().max())
    assert_close(
        given / scale, wanted / scale, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12
    )
    assert not torch.allclose(wanted, untouched, atol=1e-3)
    assert not any(isinstance(module, Projection) for module in smaller.modules())
    assert_close(net.state_dict(), before)


def test_all_directions_leave_a_network_as_it_was() -> None:
    net, x = convnet().double(), images(5).double()
    projections = {layer: oblique(units, units, seed=0) for layer, units in UNITS.items()}
    with torch.no_grad():
        assert_close(projected(net, projections)(x), net(x))
        assert_close(compressed(net, projections)(x), net(x))
    batch_norm = 2 * (12 + 8)  # is merged
    assert parameters(compressed(net, projections)) == parameters(net) - batch_norm


def test_maps_are_thin_where_that_takes_fewer_weights() -> None:
    net = convnet()

    def behind_p2(**components: int) -> list[tuple[int, ...]]:
        chosen = {layer: oblique(UNITS[layer], k, seed=0) for layer, k in components.items()}
        layers = behind(compressed(net, chosen), "p2")
        return [tuple(p.shape) for layer in layers for p in layer.parameters() if p.ndim == 2]

    whole = [(12, 128), (8, 12), (10, 8)]
    assert behind_p2(p2=10) == [(10, 128), (12, 10), *whole[1:]]  # 10 (128 + 12) < 128 * 12
    assert behind_p2(p2=11) == whole  # 11 (128 + 12) > 128 * 12
    # Two projections on either side of batch norm are one map of the lower rank.
    for k in ({"fc1": 3, "bn3": 7}, {"fc1": 7, "bn3": 3}):
        assert behind_p2(p2=1, **k)[2:4] == [(3, 12), (8, 3)]


def test_a_projection_is_that_of_the_subspace() -> None:
    x = torch.randn(200, 12, generator=seeded(0)) + 3
    y = x[:, :4] @ torch.randn(4, 4, generator=seeded(1)) + torch.rand(200, 4, generator=seeded(2))
    basis = cca(x, y).x
    for k in (1, 4, 7):
        projection = Projection(basis.directions[:, :k], basis.inverse[:k], basis.mean)
        wanted = project(x, basis, k)
        assert_close(projection(x.double()), wanted)
        assert_close(projection(x.view(200, 3, 2, 2)), wanted.float().view(200, 3, 2, 2))
        assert_close(projection(projection(x.double())), wanted)


def test_layers_of_a_vgg_merge_too() -> None:
    torch.manual_seed(0)
    net, x = used(VGG(width=4)), images(3)
    projections = {
        name: oblique(512, k, seed)
        for seed, (name, k) in enumerate(
            {"avgpool": 20, "classifier.0": 30, "classifier.1": 40, "classifier.4": 10}.items()
        )
    }
    with torch.no_grad():
        wanted = projected(net, projections)(x)
        given = compressed(net, projections)(x)
    scale = float(wanted.abs().max())
    assert_close(given / scale, wanted / scale, rtol=0, atol=1e-5)


def test_what_merges_with_nothing_is_refused() -> None:
    net = convnet()
    with pytest.raises(ValueError, match=r"layer 'bn2' behind 'c5' is a BatchNorm2d, which merges"):
        compressed(net, {"c5": oblique(512, 1, seed=0)})
    with pytest.raises(ValueError, match=r"fc3, pool: no layer of ConvNet .* which are c1, c2,"):
        names_from(net, ["fc3", "pool"])
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4, track_running_stats=False))
    with pytest.raises(ValueError, match=r"batch norm without running statistics is no affine map"):
        compressed(nn.Sequential(plain, nn.Linear(4, 2)), {"0.0": oblique(4, 1, seed=0)})


def test_what_follows_a_layer_runs_on_its_flattened_outputs() -> None:
    net, x = convnet(), images(4)
    assert names_from(net, ["bn3", "fc1"]) == ["fc1", "bn3", "fc2", "bn4", "logits"]
    assert isinstance(net, ConvNet)
    with torch.no_grad():
        assert_close(behind(net, "bn4")(net.features(x)), net(x))
