"""Weights of trained networks: from a run, from files of other programs, or published, by name."""

import hashlib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from mmrep.data.download import download
from mmrep.data.in_memory import data_folder


class Published(NamedTuple):
    """A file whose name holds the first digits of its sha256, and the network's first layer."""

    url: str
    layer: str


# torchvision's networks, trained on ImageNet.
PUBLISHED = {
    file.partition("-")[0]: Published(f"https://download.pytorch.org/models/{file}", layer)
    for file, layer in (
        ("vgg11-8a719046.pth", "features.0"),
        ("vgg11_bn-6002323d.pth", "features.0"),
        ("vgg13-19584684.pth", "features.0"),
        ("vgg13_bn-abd245e5.pth", "features.0"),
        ("vgg16-397923af.pth", "features.0"),
        ("vgg16_bn-6c64b313.pth", "features.0"),
        ("vgg19-dcbb9e9d.pth", "features.0"),
        ("vgg19_bn-c79401a0.pth", "features.0"),
        ("resnet18-f37072fd.pth", "conv1"),
        ("resnet34-b627a593.pth", "conv1"),
        ("resnet50-0676ba61.pth", "conv1"),
        ("googlenet-1378be20.pth", "conv1.conv"),
        ("densenet121-a639ec97.pth", "features.conv0"),
    )
}


def read_weights(source: Path | str, *, data_dir: str | None = None) -> dict[str, Tensor]:
    """The state of a network, on the CPU, by the names that its layers have in it.

    `source` is one of `PUBLISHED`, a run's folder (its last checkpoint is meant), or a file: a
    checkpoint of train.py, `.safetensors`, or anything that torch.save wrote of tensors alone. Put
    ./ before a file or folder that has a published name.

    FileNotFoundError: it is not there. ConnectionError: it is published and did not come.
    ValueError: what is there is no network's state, or asks for code to be run.
    """
    return network_state(read_checkpoint(source, data_dir=data_dir)["state_dict"])


def read_checkpoint(source: Path | str, *, data_dir: str | None = None) -> dict[str, Any]:
    """All that a source of `read_weights` holds, its `state_dict` by the names that it has there.

    A file of nothing but a state gets that one key.
    """
    path = _path_of(source, data_folder(data_dir) / "weights")
    try:
        if path.suffix == ".safetensors":
            held: Any = load_file(path)
        else:
            held = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint: dict[str, Any] = held if "state_dict" in held else {"state_dict": held}
        state = checkpoint["state_dict"].items()
        tensors = [isinstance(key, str) and isinstance(value, Tensor) for key, value in state]
    except Exception as error:  # unpickling raises whatever it meets
        raise ValueError(_no_weights(path, type(error).__name__)) from None
    if not tensors or not all(tensors):
        raise ValueError(_no_weights(path, f"{sum(tensors)} of {len(tensors)} are tensors"))
    return checkpoint


def network_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A stored state's part that is the network's, without what stands before the names.

    That is the `net.` of a task of ours, or the `module.` of `DataParallel`.
    """
    if is_of_task(state):
        state = {key: tensor for key, tensor in state.items() if key.startswith("net.")}
    return {
        key.removeprefix("net.").removeprefix("module."): tensor.detach()
        for key, tensor in state.items()
    }


def is_of_task(state: dict[str, Tensor]) -> bool:
    """Whether a stored state is that of a task of ours, rather than that of a network alone."""
    return any(key.startswith("net.") for key in state)


def load_branch(branch: Any, modality: str, source: str, *, data_dir: str | None = None) -> None:
    """Puts weights into one branch of a network, from a source of `read_weights` or "imagenet".

    ValueError: they are another network's, or ImageNet's are asked for where none are published.
    """
    if source == "imagenet" and branch.network not in PUBLISHED:
        raise ValueError(
            f"weights.{modality}=imagenet: none are published of {branch.network}; choose "
            "backbones=imagenet, a file or a run, or null"
        )
    name = branch.network if source == "imagenet" else source
    try:
        branch.load(read_weights(name, data_dir=data_dir), modality)
    except ValueError as error:
        raise ValueError(f"weights.{modality}={source}: {error}") from None
    except FileNotFoundError as error:
        if branch.network in PUBLISHED:
            raise
        raise FileNotFoundError(
            f"weights.{modality}={source}: {error}; small networks get theirs by python train.py "
            "experiment=oyedotun2019_backbones, in outputs/oyedotun2019_backbones if nothing else "
            "is asked for (else add hydra.sweep.dir=outputs/oyedotun2019_backbones)"
        ) from None


def filters_of(
    state: dict[str, Tensor], layer: str | None = None
) -> tuple[str, Float[Tensor, "filters channels rows columns"]]:
    """A convolution's name and weight, from a network's state; by default the first one's.

    The first is the one that stands first. In `.safetensors` that is the first by alphabet, which
    need not be the network's: compare the name.
    """
    convolutions = {
        key.removesuffix(".weight"): tensor
        for key, tensor in state.items()
        if key.endswith(".weight") and tensor.ndim == 4
    }
    if not convolutions:
        raise ValueError(
            f"none of {len(state)} tensors is the weight of a convolution: give the weights of a "
            "network that reads images"
        )
    name = next(iter(convolutions)) if layer is None else layer
    if name not in convolutions:
        near = ", ".join(get_close_matches(name, convolutions, n=3, cutoff=0))
        raise ValueError(f"layer={name!r} is no convolution of these weights; near: {near}")
    return name, convolutions[name]


def _path_of(source: Path | str, folder: Path) -> Path:
    if isinstance(source, str) and source in PUBLISHED:
        return _fetched(PUBLISHED[source].url, folder)
    path = Path(source)
    path = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not path.exists():
        there = sorted(p.stem for p in path.parent.glob("*.ckpt") if p.stem[0] != ".")
        raise FileNotFoundError(
            f"{path} is not there; checkpoints beside it: {', '.join(there) or 'none'}; published "
            f"weights are named {', '.join(PUBLISHED)}"
        )
    return path


def _fetched(url: str, folder: Path) -> Path:
    """The published file, in `folder`, put there by hand perhaps; its name says what is right."""
    brought = (folder / url.rpartition("/")[2]).exists()
    path = download(url, None, folder)
    digits = path.stem.rpartition("-")[2]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found.startswith(digits):
        return path
    if not brought:
        path.unlink()
    remedy = f"delete it, then it is fetched again from {url}"
    raise ValueError(
        f"{path} has the sha256 {found[: len(digits)]}... instead of {digits}..., which its name "
        f"says: {remedy if brought else f'it was fetched from {url} and is not kept; try again'}"
    )


def _no_weights(path: Path, reason: str) -> str:
    return (
        f"{path} holds no weights that are read without running code ({reason}): give a file of a "
        "run's checkpoints/, the run's folder, or a file with a network's tensors by name, alone "
        "or as its 'state_dict'"
    )
