"""`load_checkpoint` on weights that other programs have published."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from mmrep.data.in_memory import InMemory
from mmrep.data.sampling import ShardBatches, loader
from mmrep.features import read_features
from mmrep.networks.branches import Branch
from mmrep.networks.gated import GatedFusion
from mmrep.networks.imagenet_resnet import ResNet
from mmrep.networks.resnet import CifarResNet
from mmrep.runs import epochs_of, load_checkpoint, start_from
from mmrep.tasks.classification import Classification
from mmrep.weights import PUBLISHED, Published


def task(depth: int = 8) -> Classification:
    return Classification(CifarResNet(depth), partial(torch.optim.SGD, lr=0.1), 10)


def published(prefix: str = "module.") -> dict[str, Any]:
    """As the CIFAR ResNets are published: no counters, accuracy beside the weights."""
    state = CifarResNet(8).state_dict()
    kept = {prefix + k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    return {"state_dict": kept, "best_prec1": 93.62}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("as_zip", [True, False])  # PyTorch wrote no zip before 1.6
def test_published_weights_are_read_and_analysed(tmp_path: Path, prefix: str, as_zip: bool) -> None:
    file, ours, theirs = published(prefix), task(), CifarResNet(8).eval()
    path = tmp_path / "resnet.th"
    torch.save(file, path, _use_new_zipfile_serialization=as_zip)
    assert load_checkpoint(ours, path)["best_prec1"] == 93.62
    theirs.load_state_dict(file["state_dict"])
    images = torch.randn(5, 3, 32, 32)
    data = InMemory(images, torch.arange(5), torch.arange(5))
    names = ["features", "logits", "layer2.0"]
    with read_features(ours, loader(data, ShardBatches(5, 5)), layers=names) as readings:
        ((_, layers),) = readings
    with torch.no_grad():
        assert_close(layers["features"], theirs.features(images))
        assert_close(layers["logits"], theirs(images))
    assert layers["layer2.0"].shape == (5, 32, 16, 16)


def changed(state: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    one = {"module.fc.bias": torch.zeros(10)}
    without = {key: tensor for key, tensor in state.items() if key != "module.conv1.weight"}
    return {
        "missing": without,
        "unexpected": state | one,
        "both": without | one,
        "misshapen": state | {"module.linear.bias": torch.zeros(100)},
    }[what]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", r"1 tensors differ, first conv1\.weight \(absent there, \(16, 3, 3, 3\) here"),
        ("unexpected", r"1 tensors differ, first fc\.bias \(\(10,\) there, absent here\);"),
        ("both", r"2 tensors differ, first conv1\.weight \(absent.*, fc\.bias \(\(10,\) there"),
        ("misshapen", r"1 tensors differ, first linear\.bias \(\(100,\) there, \(10,\) here\)"),
    ],
)
def test_another_layout_is_refused_and_changes_nothing(
    tmp_path: Path, what: str, said: str
) -> None:
    file, ours = published(), task()
    before = {key: tensor.clone() for key, tensor in ours.state_dict().items()}
    torch.save({"state_dict": changed(file["state_dict"], what)}, tmp_path / "other.th")
    with pytest.raises(ValueError, match=said):
        load_checkpoint(ours, tmp_path / "other.th")
    assert all(torch.equal(before[key], tensor) for key, tensor in ours.state_dict().items())


def test_another_depth_is_refused(tmp_path: Path) -> None:
    torch.save(published(), tmp_path / "resnet8.th")
    said = r"another network: 30 tensors differ, first layer1\.1\.bn1\.bias \(absent there, \(16,\)"
    with pytest.raises(ValueError, match=said):
        load_checkpoint(task(14), tmp_path / "resnet8.th")


@pytest.mark.parametrize("form", [".pth", ".safetensors"])
def test_a_bare_state_is_taken_as_a_networks(tmp_path: Path, form: str) -> None:
    state, ours = published()["state_dict"], task()
    path = tmp_path / f"bare{form}"
    save_file(state, path) if form == ".safetensors" else torch.save(state, path)
    assert load_checkpoint(ours, path)["state_dict"].keys() == state.keys()
    for key, tensor in state.items():
        assert torch.equal(ours.net.state_dict()[key.removeprefix("module.")], tensor)


def test_a_published_name_is_taken_from_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(published(), tmp_path / "new.pth")
    digits = hashlib.sha256((tmp_path / "new.pth").read_bytes()).hexdigest()[:8]
    (tmp_path / "weights").mkdir()
    path = (tmp_path / "new.pth").rename(tmp_path / "weights" / f"tiny-{digits}.pth")
    monkeypatch.setitem(PUBLISHED, "tiny", Published(f"file:///nowhere/{path.name}", "conv1"))
    ours, state = task(), torch.load(path, weights_only=True)["state_dict"]
    load_checkpoint(ours, "tiny", data_dir=str(tmp_path))
    assert torch.equal(ours.net.conv1.weight, state["module.conv1.weight"])
    with pytest.raises(ValueError, match="tiny is a checkpoint of another network: 30 tensors"):
        load_checkpoint(task(14), "tiny", data_dir=str(tmp_path))


def test_a_checkpoint_of_ours_brings_the_whole_task_and_its_progress(tmp_path: Path) -> None:
    source, ours = task(), task()
    source.class_weight.copy_(torch.arange(10.0))
    progress = {"epoch_progress": {"current": {"processed": 7}}}
    held = {"state_dict": source.state_dict(), "loops": {"fit_loop": progress}}
    (tmp_path / "checkpoints").mkdir()
    torch.save(held, tmp_path / "checkpoints" / "last.ckpt")
    assert epochs_of(load_checkpoint(ours, tmp_path)) == 7
    for key, tensor in source.state_dict().items():
        assert torch.equal(ours.state_dict()[key], tensor)


def test_a_file_without_a_state_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    torch.save({"best_prec1": 93.62}, tmp_path / "none.th")
    with pytest.raises(ValueError, match=r"\(0 of 1 are tensors\): give .* as its 'state_dict'"):
        load_checkpoint(task(), tmp_path / "none.th")


def fusion(colour: str = "small_vgg") -> Classification:
    branches = {
        name: Branch(network, width=4)
        for name, network in (("rgb", colour), ("depth", "depth_scratch"))
    }
    return Classification(GatedFusion(branches, 3), partial(torch.optim.SGD, lr=0.1), 3)


def test_a_branch_starts_from_a_branch_of_another_run(tmp_path: Path) -> None:
    theirs, ours, fresh = fusion(), fusion(), fusion()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "last.ckpt")
    fresh.load_state_dict(ours.state_dict())
    start_from(ours, {"rgb": str(tmp_path / "last.ckpt"), "depth": None}, data_dir=None)
    for key, tensor in ours.state_dict().items():
        there = theirs if key.startswith("net.branches.rgb.") else fresh
        assert torch.equal(tensor, there.state_dict()[key]), key
    start_from(ours, str(tmp_path / "last.ckpt"), data_dir=None)  # all of it
    assert all(torch.equal(ours.state_dict()[k], t) for k, t in theirs.state_dict().items())


def test_imagenet_means_the_published_weights_of_a_branch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    published = ResNet(50, num_classes=1000, stem=7)
    torch.save(published.state_dict(), tmp_path / "new.pth")
    digits = hashlib.sha256((tmp_path / "new.pth").read_bytes()).hexdigest()[:8]
    name = f"resnet50-{digits}.pth"
    (tmp_path / "new.pth").rename(tmp_path / "weights" / name)
    monkeypatch.setitem(PUBLISHED, "resnet50", Published(f"file:///nowhere/{name}", "conv1"))
    ours = fusion("resnet50")
    start_from(ours, "imagenet", data_dir=str(tmp_path))
    weight = ours.net.branches["rgb"].net.layer4[2].conv3.weight
    assert torch.equal(weight, published.layer4[2].conv3.weight)
    (tmp_path / "weights" / name).write_bytes(b"no weights")
    with pytest.raises(ValueError, match=rf"weights\.rgb=imagenet: .*sha256 .*instead of {digits}"):
        start_from(ours, {"rgb": "imagenet"}, data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("imagenet", ValueError, "no branch of a published one; choose backbones=imagenet"),
        ({"rgb": "imagenet"}, ValueError, "none are published of small_vgg; choose backbones="),
        ({"heat": "resnet50"}, ValueError, r"weights\.heat=resnet50: the network has .*rgb, depth"),
        ({"rgb": "resnet51"}, FileNotFoundError, "resnet51 is not there; .*names|named vgg11"),
    ],
)
def test_unknown_weights_of_branches(source: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        start_from(fusion(), source, data_dir=None)


def test_weights_of_another_branch_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": fusion("small_resnet").state_dict()}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"weights\.rgb=.*last\.ckpt: .* not those of small_vgg"):
        start_from(fusion(), {"rgb": str(tmp_path / "last.ckpt")}, data_dir=None)
