"""Reading a network's features: what every analysis stands on."""

import copy
import fnmatch
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmrep.batch import Batch

WHOLE = ("features", "logits")  # names of what is not one module
LISTED = 20  # layers in an error, where none has a name like the one that was given


class Reading(NamedTuple):
    """One batch, as the network saw it, and what each of the layers that were asked for gave."""

    batch: Batch
    layers: dict[str, Tensor]


@contextmanager
def read_features(
    task: LightningModule,
    loader: DataLoader[Batch],
    layers: Sequence[str] | None = ("features",),
    *,
    double: bool = False,
) -> Iterator[Iterable[Reading]]:
    """Batches of `loader` with the outputs of `layers`; training goes on as if none had been read.

    A layer is `features` (the input of the last linear layer), `logits` (what the network gives),
    or any module of the network, by name or pattern, as `layer_names` says; in a network that has
    modules of these two names, they are meant. Layers come in the order of the forward pass, and
    of several outputs the first. None are all modules without modules of
    their own. Within the context the network is in evaluation mode and no gradients are recorded;
    mode of every module, random state (Python, NumPy, CPU and devices) and hooks are as before when
    it ends. Batches come to the task's device and are prepared there as the trainer would. Each
    rank reads its own shard.

    In float32 the last digits of a sample's features depend on the samples beside it in its batch,
    hence on the number of ranks. `double` reads a copy of the network in float64, where what counts
    features into bins finds the same counts however the samples were dealt out.

        with read_features(task, data.val_dataloader(), layers=["features"]) as readings:
            for batch, layers in readings:
                moments.update(layers["features"])
    """
    net: Any = copy.deepcopy(task.net).double() if double else task.net
    names = layer_names(net, layers)
    modules = dict(net.named_modules())
    with ExitStack() as restored:
        restored.enter_context(_random_state())
        restored.enter_context(_evaluation_mode(net if double else task))
        restored.enter_context(torch.no_grad())
        seen: dict[str, Tensor] = {}
        for name in {*names} - _whole(net):
            hook = modules[name].register_forward_hook(partial(_keep_output, seen, name))
            restored.callback(hook.remove)
        if "features" in {*names} & _whole(net) and not _has_features(net):
            *_, last = (m for m in net.modules() if isinstance(m, nn.Linear))
            hook = last.register_forward_pre_hook(partial(_keep_input, seen))
            restored.callback(hook.remove)
        yield _readings(task, net, loader, names, seen, all_must_run=layers is not None)


def layer_names(net: nn.Module, patterns: Sequence[str] | None) -> list[str]:
    """The layers that are meant, by the names of their modules, in the order of their definition.

    A pattern holds for each part of a name: of a ResNet `layer*.*` are the blocks and
    `layer1.*.conv1` their first convolutions. None are all modules without modules of their own.

    ValueError: what fits nothing, with the nearest names.
    """
    modules = {name: module for name, module in net.named_modules() if name}
    if patterns is None:
        return [name for name, module in modules.items() if not [*module.children()]]
    names = [*modules, *sorted(_whole(net) - modules.keys())]
    meant: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if _fits(name, pattern)]
        if not found:
            near = get_close_matches(pattern, names, n=3, cutoff=0.5) or names[:LISTED]
            raise ValueError(
                f"layer {pattern!r} is not in {type(net).__name__}; near: {', '.join(near)}"
            )
        meant |= {*found}
    return [name for name in names if name in meant]


def _fits(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return name == pattern or (
        len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
    )


def _whole(net: nn.Module) -> set[str]:
    """Which of `WHOLE` are no names of modules here; a network of ours gives both."""
    if _has_features(net):
        return {*WHOLE}
    linear = any(isinstance(module, nn.Linear) for module in net.modules())
    return {*(WHOLE if linear else WHOLE[1:])} - {name for name, _ in net.named_modules()}


def _has_features(net: nn.Module) -> bool:
    """Whether a network is of ours: its `features` then are a method and not a module's name."""
    return hasattr(type(net), "features") and hasattr(net, "head")


def _keep_output(
    seen: dict[str, Tensor], name: str, module: nn.Module, inputs: Any, outputs: Any
) -> None:
    while isinstance(outputs, tuple | list) and outputs:  # a recurrent layer adds its state
        outputs = outputs[0]
    if isinstance(outputs, Tensor):
        seen.pop(name, None)  # of a module that runs twice the second time counts, also in order
        seen[name] = outputs.clone()  # what follows may write over it


def _keep_input(seen: dict[str, Tensor], module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    seen["features"] = inputs[0].clone()


def _readings(
    task: LightningModule,
    net: Any,
    loader: DataLoader[Batch],
    names: Sequence[str],
    seen: dict[str, Tensor],
    *,
    all_must_run: bool,
) -> Iterator[Reading]:
    dataset: Any = loader.dataset  # one of ours: prepare
    dtype = next(net.parameters()).dtype
    for batch in loader:
        seen.clear()
        batch = dataset.prepare(Batch(*(_to(part, task.device) for part in batch)))
        inputs = _as(dtype, batch.inputs)
        if not _has_features(net):
            logits = net(inputs)
            seen |= {"logits": logits} if "logits" in _whole(net) else {}
        else:
            seen["features"] = features = net.features(inputs)
            if not {*names} <= seen.keys():  # what the body alone does not give
                seen["logits"] = net.head(features)
        if all_must_run and (absent := {*names} - seen.keys()):
            raise ValueError(
                f"layers {', '.join(sorted(absent))} of {type(net).__name__} give no tensor when "
                f"it runs; these do: {', '.join(seen)}"
            )
        yield Reading(batch, {name: seen[name] for name in seen if name in names})


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
        return {name: _as(dtype, tensor) for name, tensor in inputs.items()}
    return inputs.to(dtype) if inputs.is_floating_point() else inputs  # words are numbers


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
