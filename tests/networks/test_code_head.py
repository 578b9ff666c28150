"""The head on codes by hand, and that heads side by side are heads alone."""

import pytest
import torch
from torch import Generator, Tensor
from torch.testing import assert_close

from mmrep.networks.code_head import CodeHead


def generators(*seeds: int) -> list[Generator]:
    return [Generator().manual_seed(seed) for seed in seeds]


def test_it_is_the_published_one() -> None:
    head = CodeHead().eval()
    layers = (*head.hidden, head.last)
    assert [tuple(layer.weight.shape) for layer in layers] == [(64, 64), (64, 64), (10, 64)]
    assert sum(p.numel() for p in head.parameters()) == 2 * (64 * 64 + 64) + 64 * 10 + 10
    assert head.dropout == 0.2
    x = torch.rand(5, 64)
    a, b, c = ((layer.weight.T, layer.bias) for layer in layers)
    hidden = (x @ a[0] + a[1]).clamp(min=0)
    hidden = (hidden @ b[0] + b[1]).clamp(min=0)
    assert_close(head(x), hidden @ c[0] + c[1])


def test_heads_side_by_side_are_heads_alone() -> None:
    both = CodeHead(8, 3, 16, replicas=2)
    both.draw_weights(generators(1, 2))
    x = torch.randn(2, 20, 8)
    dropped = both(x, generators(3, 4))
    for i, (seed, own_seed) in enumerate(((1, 3), (2, 4))):
        alone = CodeHead(8, 3, 16)
        alone.draw_weights(generators(seed))
        for ours, theirs in zip(both.parameters(), alone.parameters(), strict=True):
            assert torch.equal(ours[i], theirs)
        assert_close(dropped[i], alone(x[i], generators(own_seed)))
        assert_close(both.eval()(x)[i], alone.eval()(x[i]))
        both.train()


def test_weights_are_uniform_with_glorots_bound() -> None:
    head = CodeHead(replicas=2)
    head.draw_weights(generators(5, 6))
    for layer, bound in ((head.hidden[1], (6 / 128) ** 0.5), (head.last, (6 / 74) ** 0.5)):
        assert 0.98 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert float(layer.weight.detach().square().mean()) == pytest.approx(bound**2 / 3, rel=0.05)
        assert not layer.bias.any()
    assert not torch.equal(head.last.weight[0], head.last.weight[1])


def test_dropout_drops_a_fifth_and_keeps_the_mean() -> None:
    head = CodeHead(4, 2, 4)
    ones: Tensor = torch.ones(50_000, 4)
    dropped = head._dropped(ones, generators(7))
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert float((dropped == 0).double().mean()) == pytest.approx(0.2, abs=0.005)
    assert head.eval()._dropped(ones, ()) is ones


def test_what_it_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dropout=1\.0 must be at least 0 and less than 1"):
        CodeHead(dropout=1.0)
    with pytest.raises(ValueError, match="replicas=0 must be at least 1"):
        CodeHead(replicas=0)
    with pytest.raises(ValueError, match="1 generators for 2 heads"):
        CodeHead(replicas=2)(torch.rand(2, 3, 64), generators(0))
