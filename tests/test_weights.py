"""Weights from files in their true formats, and published ones by name."""

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mmrep.networks.imagenet_resnet import ResNet
from mmrep.networks.resnet import CifarResNet
from mmrep.networks.vgg import VGG
from mmrep.weights import PUBLISHED, Published, filters_of, read_checkpoint, read_weights


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert not any(tensor.requires_grad for tensor in ours.values())


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".th"])
@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_files_of_torch_are_read(tmp_path: Path, suffix: str, within: bool, prefix: str) -> None:
    state = CifarResNet(8).state_dict()
    held: Any = {prefix + key: tensor for key, tensor in state.items()}
    path = tmp_path / f"net{suffix}"
    torch.save({"state_dict": held, "best_prec1": 93.62} if within else held, path)
    assert_same(read_weights(path), state)
    assert ("best_prec1" in read_checkpoint(path)) is within


def test_parameters_come_as_tensors(tmp_path: Path) -> None:
    net = CifarResNet(8)
    torch.save(dict(net.named_parameters()), tmp_path / "net.pth")
    assert_same(read_weights(tmp_path / "net.pth"), {k: v.data for k, v in net.named_parameters()})


def test_safetensors_bring_back_what_was_saved(tmp_path: Path) -> None:
    state = CifarResNet(8).state_dict() | {"half": torch.randn(3).to(torch.bfloat16)}
    save_file(state, tmp_path / "net.safetensors", metadata={"format": "pt"})
    assert_same(read_weights(tmp_path / "net.safetensors"), state)


def test_of_a_run_the_last_checkpoints_network_is_read(tmp_path: Path) -> None:
    first, last = CifarResNet(8).state_dict(), CifarResNet(8).state_dict()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name, state in (("init", first), ("last", last)):
        of_task: dict[str, Any] = {f"net.{key}": tensor for key, tensor in state.items()}
        held = {"state_dict": of_task | {"class_weight": torch.ones(10)}, "epoch": 3}
        torch.save(held, tmp_path / "run" / "checkpoints" / f"{name}.ckpt")
    assert_same(read_weights(tmp_path / "run"), last)
    assert_same(read_weights(str(tmp_path / "run" / "checkpoints" / "init.ckpt")), first)


def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("init", "best"):
        torch.save({}, tmp_path / "checkpoints" / f"{name}.ckpt")
    said = r"last\.ckpt is not there; checkpoints beside it: best, init; published .* vgg11, vgg11_"
    with pytest.raises(FileNotFoundError, match=said):
        read_weights(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"vgg12 is not there; .*beside it: none; publ"):
        read_weights("vgg12")


class AsksForCode:
    """Whose unpickling makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (Path.touch, (self.trace,))


def test_a_pickle_that_asks_for_code_is_refused_and_not_obeyed(tmp_path: Path) -> None:
    path, trace = tmp_path / "net.pth", tmp_path / "trace"
    torch.save({"state_dict": {"a.weight": torch.ones(1)}, "more": AsksForCode(trace)}, path)
    with pytest.raises(ValueError, match=r"net\.pth holds no weights .*code \(UnpicklingError\)"):
        read_weights(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # it does ask
    assert trace.exists()


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ({"accuracy": 0.9}, "0 of 1 are tensors"),
        ({"state_dict": {"a": torch.ones(1), "b": 2}}, "1 of 2 are tensors"),
        ({"state_dict": {0: torch.ones(1)}}, "0 of 1 are tensors"),
        ({"state_dict": {}}, "0 of 0 are tensors"),
        ({"state_dict": None}, "AttributeError"),
        ([torch.ones(1)], "AttributeError"),
        (nn.Linear(1, 1), "UnpicklingError"),
    ],
)
def test_what_is_no_state_is_refused_with_what_is_allowed(
    tmp_path: Path, held: Any, reason: str
) -> None:
    torch.save(held, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=rf"\({reason}\): give .* alone or as its 'state_dict'"):
        read_weights(tmp_path / "other.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=rf"net\{suffix} holds no weights"):
        read_weights(path)


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch, digits: str | None = None) -> Path:
    """A file under the name `tiny`, in the true format; the digits in its name perhaps wrong."""
    folder.mkdir()
    torch.save(CifarResNet(8).state_dict(), folder / "new.pth")
    digits = digits or hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()[:8]
    path = (folder / "new.pth").rename(folder / f"tiny-{digits}.pth")
    monkeypatch.setitem(PUBLISHED, "tiny", Published(path.as_uri(), "conv1"))
    return path


def test_a_published_name_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = publish(tmp_path / "server", monkeypatch)
    state = torch.load(published, weights_only=True)
    assert_same(read_weights("tiny", data_dir=str(tmp_path)), state)
    published.unlink()
    assert_same(read_weights("tiny", data_dir=str(tmp_path)), state)
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [published.name]


def test_a_published_file_with_another_checksum_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = publish(tmp_path / "server", monkeypatch, digits="01234567")
    found = hashlib.sha256(published.read_bytes()).hexdigest()[:8]
    path = re.escape(str(tmp_path / "weights" / published.name))
    said = rf"{path} has the sha256 {found}\.\.\. instead of 01234567\.\.\., .* is not kept"
    with pytest.raises(ValueError, match=said):
        read_weights("tiny", data_dir=str(tmp_path))
    assert not list((tmp_path / "weights").iterdir())
    shutil.copy(published, tmp_path / "weights")  # put there by hand, it is nobody else's to delete
    with pytest.raises(ValueError, match=rf"{path} has the sha256 .*says: delete it"):
        read_weights("tiny", data_dir=str(tmp_path))


def test_without_a_network_one_sentence_says_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = publish(tmp_path / "server", monkeypatch)
    aside = published.rename(tmp_path / "aside.pth")
    with pytest.raises(ConnectionError, match=rf"{published.name} could not be fetched") as raised:
        read_weights("tiny", data_dir=str(tmp_path))
    assert str(raised.value).endswith(f"put it into {tmp_path / 'weights'}")
    (tmp_path / "weights").mkdir()
    aside.rename(tmp_path / "weights" / published.name)
    assert_same(
        read_weights("tiny", data_dir=str(tmp_path)),
        read_weights(tmp_path / "weights" / published.name),
    )


def test_published_names_are_the_files_and_say_what_is_right() -> None:
    for name, published in PUBLISHED.items():
        file = rf"https://download\.pytorch\.org/models/{name}-[0-9a-f]{{8}}\.pth"
        assert re.fullmatch(file, published.url)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name[:3] in ("vgg", "res")])
def test_published_networks_have_their_first_layer_where_ours_have(name: str) -> None:
    depth = int(re.findall(r"\d+", name)[0])
    with torch.device("meta"):
        net = (
            ResNet(depth, 1000, stem=7)
            if name.startswith("resnet")
            else VGG(depth, 1000, batch_norm=name.endswith("_bn"), head="imagenet")
        )
    layer, filters = filters_of(net.state_dict())
    assert layer == PUBLISHED[name].layer
    assert filters.shape == (64, 3, *([7, 7] if name.startswith("resnet") else [3, 3]))


def test_filters_are_those_of_the_named_layer() -> None:
    state = CifarResNet(8).state_dict()
    name, filters = filters_of(state)
    assert name == "conv1"
    assert torch.equal(filters, state["conv1.weight"])
    name, filters = filters_of(state, "layer2.0.conv2")
    assert (name, filters.shape) == ("layer2.0.conv2", (32, 32, 3, 3))


@pytest.mark.parametrize("layer", ["layer2.0.conv", "linear", "conv1.weight"])
def test_unknown_layers_are_refused_with_near_ones(layer: str) -> None:
    near = {"layer2.0.conv": r"layer2\.0\.conv[12]", "linear": "layer", "conv1.weight": "conv1"}
    said = rf"layer='{layer}' is no convolution of these weights; near: {near[layer]}"
    with pytest.raises(ValueError, match=said):
        filters_of(CifarResNet(8).state_dict(), layer)


def test_weights_without_a_convolution_are_refused() -> None:
    with pytest.raises(ValueError, match="none of 2 tensors is the weight of a convolution"):
        filters_of(nn.Linear(3, 2).state_dict())
