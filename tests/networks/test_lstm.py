"""`StackedLSTM`: PyTorch's own stack, in which the state is carried on and errors are not."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from mmrep.networks.lstm import StackedLSTM

WORDS, UNITS, DEPTH = 20, 6, 3


def network(**changes: object) -> StackedLSTM:
    torch.manual_seed(0)
    options = {"num_words": WORDS, "depth": DEPTH, "units": UNITS, "dropout": 0.0}
    return StackedLSTM(**options | changes)


def words(streams: int, time: int, seed: int = 0) -> Tensor:
    return torch.randint(WORDS, (streams, time), generator=torch.Generator().manual_seed(seed))


def inputs(tokens: Tensor, *, start: bool = True) -> dict[str, Tensor]:
    return {"tokens": tokens, "starts": torch.full((len(tokens),), start)}


def test_it_is_pytorchs_stack() -> None:
    net = network().double().eval()
    stack = nn.LSTM(UNITS, UNITS, num_layers=DEPTH, batch_first=True).double()
    with torch.no_grad():
        for number, layer in enumerate(net.layers):
            for name, weight in layer.named_parameters():
                getattr(stack, name.replace("l0", f"l{number}")).copy_(weight)
    tokens = words(4, 11)
    expected, _ = stack(net.embedding(tokens))
    features = net.features(inputs(tokens))
    assert_close(features, expected, atol=1e-14, rtol=0)
    assert_close(net(inputs(tokens)), net.head(expected), atol=1e-14, rtol=0)


@pytest.mark.parametrize(("double", "tolerance"), [(True, 1e-13), (False, 1e-6)])
def test_windows_with_carried_state_are_one_long_pass(double: bool, tolerance: float) -> None:
    net = network().double() if double else network()
    tokens = words(3, 50)
    whole = net(inputs(tokens))
    cuts = [0, 1, 20, 35, 50]
    windows = [net(inputs(tokens[:, a:b], start=a == 0)) for a, b in pairwise(cuts)]
    assert_close(torch.cat(windows, dim=1), whole, atol=tolerance, rtol=0)


def test_errors_go_back_to_the_start_of_the_window_and_no_further() -> None:
    net = network()
    first, second = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5]])
    net(inputs(first))
    net(inputs(second, start=False)).square().sum().backward()
    touched = net.embedding.weight.grad.abs().sum(dim=1).nonzero().flatten()
    assert touched.tolist() == [4, 5]
    net.zero_grad()
    net(inputs(torch.cat([first, second], dim=1)))[:, 3:].square().sum().backward()
    touched = net.embedding.weight.grad.abs().sum(dim=1).nonzero().flatten()
    assert touched.tolist() == [1, 2, 3, 4, 5]  # in one window they do


def test_evaluation_in_between_does_not_disturb_training() -> None:
    tokens = words(2, 10)
    undisturbed, disturbed = network(), network()
    undisturbed(inputs(tokens[:, :5]))
    disturbed(inputs(tokens[:, :5]))
    disturbed.eval()
    disturbed(inputs(words(7, 9)))
    disturbed(inputs(words(7, 9, seed=1), start=False))
    disturbed.train()
    rest = inputs(tokens[:, 5:], start=False)
    assert torch.equal(disturbed(rest), undisturbed(rest))


def test_only_streams_that_start_forget() -> None:
    net = network().double()
    net(inputs(words(3, 5)))
    tokens = words(3, 4, seed=1)
    starts = torch.tensor([False, True, False])
    mixed = net({"tokens": tokens, "starts": starts})
    fresh = network().double()
    assert_close(mixed[1:2], fresh(inputs(tokens[1:2])), atol=1e-14, rtol=0)
    again = network().double()
    again(inputs(words(3, 5)))
    going_on = again(inputs(tokens, start=False))
    assert_close(mixed[[0, 2]], going_on[[0, 2]], atol=1e-14, rtol=0)
    assert (mixed[1] - going_on[1]).abs().max() > 1e-3


def test_other_streams_must_start() -> None:
    net = network()
    with pytest.raises(ValueError, match="2 streams go on, and 0 were read before"):
        net(inputs(words(2, 4), start=False))
    net(inputs(words(2, 4)))
    with pytest.raises(ValueError, match="3 streams go on, and 2 were read before"):
        net(inputs(words(3, 4), start=False))
    assert net(inputs(words(3, 4))).shape == (3, 4, WORDS)


def test_the_state_is_no_weight() -> None:
    net = network()
    before = set(net.state_dict())
    net(inputs(words(2, 4)))
    assert {*net.state_dict()} == before
    assert [name for name, _ in net.layers.named_children()] == ["0", "1", "2"]


def test_tied_weights_are_one() -> None:
    net, apart = network(tied=True), network()
    assert net.head.weight is net.embedding.weight
    count = sum(p.numel() for p in apart.parameters()) - sum(p.numel() for p in net.parameters())
    assert count == WORDS * UNITS


def test_layers_hand_on_what_comes_in() -> None:
    units = 100
    net = network(units=units, depth=5)
    for layer in net.layers:
        for weight in (layer.weight_ih_l0, layer.weight_hh_l0):
            assert float(weight.detach().var()) == pytest.approx(1 / units, rel=0.05)
        gates = (layer.bias_ih_l0 + layer.bias_hh_l0).view(4, units)
        assert gates.tolist() == [[0] * units, [1] * units, [0] * units, [0] * units]

    def spread(layers: nn.ModuleList, scale: float) -> float:
        """How much the last layer's units vary from word to word."""
        hidden = scale * net.embedding(words(20, 30))
        for layer in layers:
            hidden, _ = layer(hidden)
        return float(hidden.flatten(0, 1).std(dim=0).mean())

    usual = nn.ModuleList(nn.LSTM(units, units, batch_first=True) for _ in range(5))
    with torch.no_grad():
        ours, pytorchs = spread(net.layers, 1.0), spread(usual, 0.1)
    assert ours > 0.1
    assert pytorchs < 0.02


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 0}, r"model\.net\.depth=0 must be at least 1"),
        ({"units": 0}, r"model\.net\.units=0 must be at least 1"),
        ({"dropout": 1.0}, r"model\.net\.dropout=1\.0 is no share"),
    ],
)
def test_what_means_nothing_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**changes)
