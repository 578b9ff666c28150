"""Reading a network's features: what every analysis stands on."""

import copy
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmrep.batch import Batch


class Reading(NamedTuple):
    """One batch, as the network saw it, and what each of the layers that were asked for gave."""

    batch: Batch
    layers: dict[str, Tensor]


@contextmanager
def read_features(
    task: LightningModule,
    loader: DataLoader[Batch],
    layers: Sequence[str] = ("features",),
    *,
    double: bool = False,
) -> Iterator[Iterable[Reading]]:
    """Batches of `loader` with the outputs of `layers`; training goes on as if none had been read.

    A layer is `features` (the input of the last linear layer), `logits`, or the name of any module
    of the network, such as `body.0`. Within the context the network is in evaluation mode and no
    gradients are recorded; mode of every module, random state (Python, NumPy, CPU and devices) and
    hooks are as before when it ends. Batches come to the task's device and are prepared there as
    the trainer would. Each rank reads its own shard.

    In float32 the last digits of a sample's features depend on the samples beside it in its batch,
    hence on the number of ranks. `double` reads a copy of the network in float64, where what counts
    features into bins finds the same counts however the samples were dealt out.

        with read_features(task, data.val_dataloader(), layers=["features"]) as readings:
            for batch, layers in readings:
                moments.update(layers["features"])
    """
    net: Any = copy.deepcopy(task.net).double() if double else task.net  # features, head
    with ExitStack() as restored:
        restored.enter_context(_random_state())
        restored.enter_context(_evaluation_mode(net if double else task))
        restored.enter_context(torch.no_grad())
        seen: dict[str, Tensor] = {}
        for name in set(layers) - {"features", "logits"}:
            module = _module(net, name)
            hook = module.register_forward_hook(
                lambda m, i, out, name=name: seen.update({name: out})
            )
            restored.callback(hook.remove)
        yield _readings(task, net, loader, layers, seen)


def _readings(
    task: LightningModule,
    net: Any,
    loader: DataLoader[Batch],
    layers: Sequence[str],
    seen: dict[str, Tensor],
) -> Iterator[Reading]:
    dataset: Any = loader.dataset  # one of ours: prepare
    dtype = next(net.parameters()).dtype
    for batch in loader:
        seen.clear()
        batch = dataset.prepare(Batch(*(_to(part, task.device) for part in batch)))
        features = net.features(_as(dtype, batch.inputs))
        seen |= {"features": features}
        if not set(layers) <= seen.keys():  # what the body alone does not give
            seen["logits"] = net.head(features)
        yield Reading(batch, {name: seen[name] for name in layers})


def require_same_samples(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Refuses two networks whose data, by their facts in `run.json`, are not the same samples."""
    different = [
        f"{name}: {ours[name]} here, {theirs[name]} there"
        for name in ("name", "source", "num_train", "num_val", "fingerprint")
        if ours[name] != theirs[name]
    ]
    if different:
        raise ValueError(
            f"the partner saw other samples ({'; '.join(different)}): features can only be "
            "compared on the same ones"
        )


def linear_head(net: Any) -> tuple[Float64[Tensor, "classes units"], Float64[Tensor, "classes"]]:
    """Weight and bias of the linear layer in a network's head, whose input the features are."""
    linear = [module for module in net.head.modules() if isinstance(module, nn.Linear)]
    if len(linear) != 1:
        raise ValueError(
            f"the head of {type(net).__name__} has {len(linear)} linear layers: give it one, and "
            "let `features` be what it reads"
        )
    weight = linear[0].weight.detach().double()
    bias = weight.new_zeros(len(weight)) if linear[0].bias is None else linear[0].bias
    return weight, bias.detach().double()


def _to(part: Any, device: torch.device) -> Any:
    if isinstance(part, dict):
        return {name: tensor.to(device) for name, tensor in part.items()}
    return None if part is None else part.to(device)


def _as(dtype: torch.dtype, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {name: tensor.to(dtype) for name, tensor in inputs.items()}
    return inputs.to(dtype) if inputs.is_floating_point() else inputs


def _module(net: nn.Module, name: str) -> nn.Module:
    modules = dict(net.named_modules())
    if name not in modules or not name:
        names = ["features", "logits", *filter(None, modules)]
        near = get_close_matches(name, names, n=3, cutoff=0) or names
        raise ValueError(f"layer {name!r} is not in {type(net).__name__}; near: {', '.join(near)}")
    return modules[name]


@contextmanager
def _evaluation_mode(task: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in task.modules()]  # may differ by module
    task.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _random_state() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):  # the CPU and every device
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
