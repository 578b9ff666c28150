"""The bimodal autoencoders against the published sizes, and replicas against single networks."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from mmrep.networks.autoencoder import INPUTS, Dense, MixedInputAutoencoder, TwoStageAutoencoder

NETWORKS = [
    *(lambda depth=depth, **k: MixedInputAutoencoder(depth, **k) for depth in (1, 2, 3, 4)),
    TwoStageAutoencoder,
]


def inputs(*shape: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(*shape, size, generator=generator) for name, size in INPUTS.items()}


@pytest.mark.parametrize(
    ("depth", "hidden"), [(1, []), (2, [64]), (3, [64, 64]), (4, [64, 64]), (3, [64, 784])]
)
def test_layers_are_the_published_ones(depth: int, hidden: list[int]) -> None:
    net = MixedInputAutoencoder(depth, published_decoder=784 in hidden)
    encoder, decoder = [1568] + [64] * depth, [64, *hidden, 784]
    assert shapes(net.encoder) == layers(encoder)
    assert shapes(net.head) == layers(decoder) * 2
    assert all(isinstance(layer[1], nn.Sigmoid) for layer in net.encoder)


def test_the_published_third_network_is_much_larger() -> None:
    size = sum(p.numel() for p in MixedInputAutoencoder(3, published_decoder=True).parameters())
    assert size == 108_736 + 2 * 670_560  # about 1.45 million, as its weight files show


def test_two_stages_meet_in_one_layer() -> None:
    net = TwoStageAutoencoder()
    assert shapes(net.own) == layers([784, 64, 64, 64]) * 2
    assert shapes(net.encoder) == layers([128, 64])
    assert shapes(net.head) == layers([64, 64, 64, 784]) * 2


def test_other_decoders_can_be_asked_for() -> None:
    assert shapes(MixedInputAutoencoder(2, decoder_widths=[8]).head) == layers([64, 8, 784]) * 2
    assert shapes(TwoStageAutoencoder(decoder_widths=[]).head) == layers([64, 784]) * 2


@pytest.mark.parametrize(("before", "limit"), [(1568, 0.0606), (784, 0.0841)])
def test_weights_begin_as_in_keras(before: int, limit: float) -> None:
    layer = Dense(before, 64)
    assert float(layer.weight.detach().abs().max()) == pytest.approx(limit, abs=1e-4)
    assert float(layer.weight.detach().var()) == pytest.approx(2 / (before + 64), rel=0.05)
    assert not layer.bias.any()


@pytest.mark.parametrize("build", NETWORKS)
def test_features_are_logistic_and_lead_to_each_modality(build: type[nn.Module]) -> None:
    net = build()
    features = net.features(inputs(5))
    assert features.shape == (5, 64)
    assert 0 < features.min() < features.max() < 1
    assert_close(net.head(features), net(inputs(5)))
    assert {name: logits.shape for name, logits in net(inputs(5)).items()} == {
        "visual": (5, 784),
        "auditory": (5, 784),
    }


def test_the_first_layer_sees_before_it_hears() -> None:
    net, seen = MixedInputAutoencoder(1), inputs(3)
    weight, bias = net.encoder.layer1[0].weight, net.encoder.layer1[0].bias
    by_hand = seen["visual"] @ weight[:, :784].T + seen["auditory"] @ weight[:, 784:].T + bias
    assert_close(net.features(seen), by_hand.sigmoid())


def test_two_stages_do_not_mix_before_they_meet() -> None:
    net, seen = TwoStageAutoencoder(), inputs(3)
    blind = seen | {"visual": torch.zeros(3, 784)}
    heard = [net.own["auditory"](x["auditory"]) for x in (seen, blind)]
    assert torch.equal(*heard)
    by_hand = torch.cat([net.own["visual"](blind["visual"]), heard[0]], dim=1)
    assert_close(net.features(blind), net.encoder(by_hand))


@pytest.mark.parametrize("build", NETWORKS)
def test_replicas_are_as_many_networks(build: type[nn.Module]) -> None:
    several = build(replicas=3)
    states = several.state_dict()
    seen = inputs(3, 5)
    decoded = several(seen)
    for replica in range(3):
        one = build()
        one.load_state_dict({name: value[replica] for name, value in states.items()})
        alone = one({name: values[replica] for name, values in seen.items()})
        for name in decoded:
            assert_close(decoded[name][replica], alone[name])
    weight = next(iter(several.parameters())).detach()
    assert not torch.equal(weight[0], weight[1])  # each begins with its own
    assert float(weight[2].abs().max()) <= math.sqrt(6 / sum(weight.shape[1:]))


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.net\.depth=5 is not one of 1, 2, 3, 4"):
        MixedInputAutoencoder(5)
    with pytest.raises(ValueError, match=r"model\.net\.replicas=0 must be at least 1"):
        TwoStageAutoencoder(replicas=0)


def shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for name, p in module.named_parameters() if name.endswith("weight")]


def layers(sizes: list[int]) -> list[tuple[int, ...]]:
    return [(after, before) for before, after in pairwise(sizes)]
