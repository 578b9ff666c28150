"""The gate's identities (equations 6 and 7), its forms, and three modalities."""

from collections.abc import Mapping

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.testing import assert_close

from mmrep.features import linear_head
from mmrep.networks.gated import GatedFusion, ModalityGate, NaiveFusion

WIDTH = 6


class Means(nn.Module):
    """A branch of which the features are known: the means of an image's channels."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def features(self, x: Float[Tensor, "batch channels height width"]) -> Tensor:
        return x.mean(dim=(2, 3))


BRANCHES: Mapping[str, nn.Module] = {"rgb": Means(3), "depth": Means(1)}
THREE: Mapping[str, nn.Module] = {**BRANCHES, "heat": Means(2)}


def images(batch: int = 5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(batch, channels, 4, 4, generator=generator)
        for name, channels in (("depth", 1), ("heat", 2), ("rgb", 3))  # any order
    }


def gated(branches: Mapping[str, nn.Module] = BRANCHES, **options: object) -> GatedFusion:
    torch.manual_seed(0)
    return GatedFusion(branches, 4, width=WIDTH, hidden=7, **options)


def without_weights(net: GatedFusion, bias: float) -> GatedFusion:
    for gate in net.gates.values():
        nn.init.zeros_(gate.linear.weight)
        nn.init.constant_(gate.linear.bias, bias)
    return net


def test_gate_is_the_logistic_function_of_a_linear_map() -> None:
    gate, x = ModalityGate(3, 2, bias=-1), torch.randn(5, 3)
    assert_close(gate.linear.bias, torch.full((2,), -1.0))
    expected = 1 / (1 + (-(x @ gate.linear.weight.T - 1)).exp())
    assert_close(gate(x), expected)
    literal = ModalityGate(3, 2, activation="logsigmoid")
    literal.load_state_dict(gate.state_dict())
    assert_close(literal(x), expected.log())
    assert (literal(x) < 0).all()


@pytest.mark.parametrize(("bias", "kept", "passed"), [(-40.0, 1, 0), (40.0, 0, 1), (0.0, 0.5, 0.5)])
@pytest.mark.parametrize("branches", [BRANCHES, THREE])
def test_identities_of_a_gate_without_weights(
    branches: Mapping[str, nn.Module], bias: float, kept: float, passed: float
) -> None:
    net = without_weights(gated(branches), bias)
    projected = net.project(images())
    first, *others = (projected[name] for name in branches)
    expected = torch.cat([kept * first, *(passed * other for other in others)], dim=1)
    assert_close(net.fuse(projected), expected)
    if bias == 0:  # naive fusion up to scale
        assert_close(2 * net.fuse(projected), NaiveFusion.fuse(net, projected))


def test_fusion_is_equation_7() -> None:
    net = gated()
    projected = net.project(images())
    a, b = projected["rgb"], projected["depth"]
    linear = net.gates["depth"].linear
    g = torch.sigmoid(b @ linear.weight.T + linear.bias)
    assert_close(net.fuse(projected), torch.cat([a * (1 - g), b * g], dim=1))


def test_gradient_reaches_colour_through_one_minus_the_gate_alone() -> None:
    net = gated()
    a, b = (torch.rand(5, WIDTH, requires_grad=True) for _ in range(2))
    net.fuse({"rgb": a, "depth": b}).sum().backward()
    assert_close(a.grad, 1 - net.gates["depth"](b))


def test_published_gate_does_not_see_colour() -> None:
    net, seen = gated(), images()
    other = seen | {"rgb": 1 - seen["rgb"]}
    for reads, equal in ((None, True), (["rgb", "depth"], False), (["rgb"], False)):
        net = gated(gate_reads=reads)
        gates: list[Tensor] = []
        net.gates["depth"].register_forward_hook(lambda m, i, out, to=gates: to.append(out))
        net(seen), net(other)
        assert torch.equal(*gates) is equal


def test_separate_gates_share_nothing() -> None:
    net = gated(separate_gates=True)
    projected = net.project(images())
    a, b = projected["rgb"], projected["depth"]
    expected = torch.cat([a * (1 - net.carried_gates["depth"](b)), b * net.gates["depth"](b)], 1)
    assert_close(net.fuse(projected), expected)
    assert not torch.equal(net.carried_gates["depth"](b), net.gates["depth"](b))


def test_naive_fusion_has_the_gated_network_s_parameters_but_the_gate_s() -> None:
    count = {
        cls: {name: tuple(p.shape) for name, p in net.named_parameters()}
        for cls, net in (("gated", gated()), ("naive", NaiveFusion(BRANCHES, 4, width=6, hidden=7)))
    }
    more = count["gated"].keys() - count["naive"].keys()
    assert more == {"gates.depth.linear.weight", "gates.depth.linear.bias"}
    assert {k: v for k, v in count["gated"].items() if k not in more} == count["naive"]


@pytest.mark.parametrize("branches", [{"depth": Means(1)}, BRANCHES, THREE])
def test_networks_take_what_they_have_branches_for(branches: Mapping[str, nn.Module]) -> None:
    net = NaiveFusion(branches, 4, width=WIDTH)
    assert net(images()).shape == (5, 4)
    assert_close(net(images()), net.head(net.features(images())))
    assert linear_head(net)[0].shape == (4, 64)


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="activation='tanh' is not one of sigmoid, logsigmoid"):
        gated(gate_activation="tanh")
    with pytest.raises(ValueError, match=r"gate_reads=\['heat'\] must name some of rgb, depth"):
        gated(gate_reads=["heat"])
    with pytest.raises(ValueError, match=r"gate_reads=depth is one name: write \[depth\], a list"):
        gated(gate_reads="depth")
    with pytest.raises(ValueError, match=r"branches=\['rgb'\]: a gate decides between two"):
        GatedFusion({"rgb": Means(3)}, 4)
    with pytest.raises(ValueError, match="nothing to train"):
        NaiveFusion({}, 4)
    with pytest.raises(ValueError, match="images of rgb and none of depth"):
        gated()({"rgb": torch.rand(2, 3, 4, 4)})
