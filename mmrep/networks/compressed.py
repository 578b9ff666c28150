"""Late layers that pass on a few directions of what they say, and the smaller network it makes.

Behind a layer that is projected on k directions, batch norm in evaluation, more projections and the
next linear layer are together one affine map of rank k or less. As two thin linear layers it has
k (inputs + outputs) weights, as one inputs x outputs: it becomes what has fewer. The units between
such maps all stay, since a ReLU is of single units.
"""

import copy
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from mmrep.networks.convnet import FullyConnected

LATE = (nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout, nn.Identity)  # what may lie behind


class Projection(nn.Module):
    """(z - mean) @ directions @ inverse + mean of a layer's outputs z, a map's flattened.

    In float64, since whitened directions are of very different lengths.
    """

    directions: Float64[Tensor, "units components"]
    inverse: Float64[Tensor, "components units"]
    mean: Float64[Tensor, "units"]

    def __init__(
        self,
        directions: Float64[Tensor, "units components"],
        inverse: Float64[Tensor, "components units"],
        mean: Float64[Tensor, "units"],
    ) -> None:
        super().__init__()
        self.register_buffer("directions", directions)
        self.register_buffer("inverse", inverse)
        self.register_buffer("mean", mean)

    def forward(self, z: Float[Tensor, "batch *unit"]) -> Float[Tensor, "batch *unit"]:
        scores = (z.flatten(1).double() - self.mean) @ self.directions
        return (scores @ self.inverse + self.mean).to(z.dtype).view_as(z)


def projected(net: nn.Module, projections: Mapping[str, Projection]) -> nn.Module:
    """A copy of the network with projections behind the layers of these names."""
    copied = copy.deepcopy(net)
    for name, projection in projections.items():
        _replace(copied, name, _modules(copied)[name], projection)
    return copied


def compressed(net: nn.Module, projections: Mapping[str, Projection]) -> nn.Module:
    """A copy, in evaluation mode, that gives what `projected` does, with no projection left in it.

    Behind the first projected layer, all that is affine is merged, from one ReLU to the next.

    ValueError: something else follows, as `behind` says.
    """
    copied = copy.deepcopy(net).eval()
    dtype = next(net.parameters()).dtype
    modules = _modules(copied)
    first, *later = names_from(copied, projections)
    behind(copied, first)
    pending: _Affine | None = _of_projection(projections[first])
    for name in later:
        module = modules[name]
        if isinstance(module, nn.Linear | nn.BatchNorm1d):
            pending = _joined(pending, _affine(module))
            _replace(copied, name, nn.Identity())
        if pending is not None and isinstance(module, FullyConnected | nn.ReLU):
            _replace(copied, name, *_linear(pending, dtype), nn.ReLU())
            pending = None
        if name in projections:
            pending = _joined(pending, _of_projection(projections[name]))
    if pending is not None:
        last = [first, *later][-1]
        place = _modules(copied)[last]
        before = [] if isinstance(place, nn.Identity) else [place]
        _replace(copied, last, *before, *_linear(pending, dtype))
    return copied


def names_from(net: nn.Module, layers: Collection[str]) -> list[str]:
    """The modules without modules of their own from the first of `layers` on, in order.

    ValueError: a layer that is none of them.
    """
    names = [name for name, module in _modules(net).items() if not [*module.children()]]
    if missing := [layer for layer in layers if layer not in names]:
        raise ValueError(
            f"{', '.join(missing)}: no layer of {type(net).__name__} without layers of its own, "
            f"which are {', '.join(names)}"
        )
    return names[min(names.index(layer) for layer in layers) :]


def behind(net: nn.Module, layer: str) -> nn.Sequential:
    """What follows a layer, to be run on its flattened outputs where each follows the one before.

    ValueError: there is something but linear layers, batch norm, dropout and ReLU.
    """
    modules, chosen = _modules(net), nn.Sequential()
    for name in names_from(net, [layer])[1:]:
        module = modules[name]
        if not isinstance(module, LATE):
            raise ValueError(
                f"layer {name!r} behind {layer!r} is a {type(module).__name__}, which merges with "
                "no linear layer: name layers behind it"
            )
        chosen.append(module)
    return chosen


class _Affine(NamedTuple):
    """x -> outer @ inner @ x + bias."""

    outer: Float64[Tensor, "outputs rank"]
    inner: Float64[Tensor, "rank inputs"]
    bias: Float64[Tensor, "outputs"]


def _of_projection(projection: Projection) -> _Affine:
    outer, inner, mean = projection.inverse.T, projection.directions.T, projection.mean
    return _Affine(outer, inner, mean - outer @ (inner @ mean))


def _affine(module: nn.Linear | nn.BatchNorm1d) -> _Affine:
    """What a module does in evaluation, before the ReLU that may be part of it."""
    if isinstance(module, nn.Linear):
        weight = module.weight.detach().double()
        bias = torch.zeros_like(weight[:, 0]) if module.bias is None else module.bias.detach()
        return _Affine(torch.eye(len(weight)).to(weight), weight, bias.double())
    mean, variance = module.running_mean, module.running_var
    if mean is None or variance is None:
        raise ValueError("batch norm without running statistics is no affine map: train with them")
    ones = torch.ones_like(variance)
    weight, bias = (ones, 0 * ones) if not module.affine else (module.weight, module.bias)
    scale = weight.detach().double() / (variance.double() + module.eps).sqrt()
    shift = bias.detach().double() - mean.double() * scale
    return _Affine(torch.eye(len(scale)).to(scale), scale.diag(), shift)


def _joined(first: _Affine | None, second: _Affine) -> _Affine:
    """One map after the other, at the lower of their ranks."""
    if first is None:
        return second
    middle = second.inner @ first.outer
    bias = second.outer @ (second.inner @ first.bias) + second.bias
    if len(second.inner) < len(first.inner):
        return _Affine(second.outer, middle @ first.inner, bias)
    return _Affine(second.outer @ middle, first.inner, bias)


def _linear(affine: _Affine, dtype: torch.dtype) -> list[nn.Linear]:
    """The map as one linear layer or as two, whichever has fewer weights."""
    outer, inner, bias = affine
    (outputs, rank), inputs = outer.shape, inner.shape[1]
    if rank * (inputs + outputs) >= inputs * outputs:
        return [_with_weight(outer @ inner, bias, dtype)]
    # Orthonormal coordinates between the two, so that few digits suffice.
    axes, turn = torch.linalg.qr(inner.T)
    return [_with_weight(axes.T, None, dtype), _with_weight(outer @ turn.T, bias, dtype)]


def _with_weight(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> nn.Linear:
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")  # nothing is drawn
    linear.weight = nn.Parameter(weight.to(dtype))
    if bias is not None:
        linear.bias = nn.Parameter(bias.to(dtype))
    return linear


def _modules(net: nn.Module) -> dict[str, nn.Module]:
    """By name; `get_submodule` finds a method where a network has one of a module's name."""
    return dict(net.named_modules())


def _replace(net: nn.Module, name: str, *modules: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    one = modules[0] if len(modules) == 1 else nn.Sequential(*modules)
    _modules(net)[parent]._modules[child] = one
