"""Branches: torchvision's names, normalisation, weights from elsewhere, and those that stay."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mmrep.networks.branches import IMAGENET_MEAN, IMAGENET_STD, Branch, PlainCNN
from mmrep.networks.gated import GatedFusion, NaiveFusion
from mmrep.networks.imagenet_resnet import ResNet

SMALL = ("small_resnet", "small_vgg")


@pytest.mark.parametrize(("network", "channels"), [*((n, 3) for n in SMALL), ("depth_scratch", 1)])
def test_features_are_as_many_as_announced(network: str, channels: int) -> None:
    branch = Branch(network, width=4)
    for size in (16, 33):
        assert branch.features(torch.rand(2, channels, size, size)).shape == (2, 16)
    assert branch.num_features == 16


@pytest.mark.parametrize("network", SMALL)
def test_depth_enters_a_network_for_colour_as_three_equal_channels(network: str) -> None:
    branch, depth = Branch(network, width=4).eval(), torch.rand(2, 1, 16, 16)
    assert_close(branch.features(depth), branch.features(depth.expand(-1, 3, -1, -1)))
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    assert_close(branch.features(depth), branch.net.features((depth - mean) / std))


def test_depth_from_scratch_reads_depth_as_it_is() -> None:
    branch, depth = Branch("depth_scratch", width=4).eval(), torch.rand(2, 1, 16, 16)
    assert_close(branch.features(depth), branch.net.features(depth))


@pytest.mark.parametrize("counters", [True, False])  # which PyTorch 0.4.1 brought
def test_published_weights_fit_by_torchvision_s_names(counters: bool) -> None:
    published = ResNet(50, num_classes=1000, stem=7)
    branch, state = Branch("resnet50"), published.state_dict()
    branch.load({k: t for k, t in state.items() if counters or not k.endswith("batches_tracked")})
    images = torch.rand(1, 3, 64, 64)
    normalised = (images - branch.mean) / branch.std
    assert_close(branch.eval().features(images), published.eval().features(normalised))
    assert branch.num_features == 2048
    assert not [key for key in branch.state_dict() if "fc" in key]


def test_vgg19_is_torchvision_s_without_its_last_layer() -> None:
    with torch.device("meta"):
        branch = Branch("vgg19")
    shapes = {key: tuple(tensor.shape) for key, tensor in branch.net.state_dict().items()}
    assert shapes["features.34.weight"] == (512, 512, 3, 3)
    assert shapes["classifier.0.weight"] == (4096, 25088)
    assert shapes["classifier.3.weight"] == (4096, branch.num_features)
    assert not [key for key in shapes if key.startswith("classifier.6")]
    assert sum(p.numel() for p in branch.parameters()) == 143_667_240 - 4_097_000  # torchvision's


@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_weights_of_a_branch_in_another_network(modality: str) -> None:
    one = NaiveFusion({modality: Branch("small_vgg", width=4)}, 3)
    branch = Branch("small_vgg", width=4)
    branch.load(one.state_dict())
    images = torch.rand(2, 3, 16, 16)
    assert_close(branch.features(images), one.branches[modality].features(images))


def test_the_branch_of_two_that_fits() -> None:
    branches = {"rgb": Branch("small_resnet", width=4), "depth": Branch("depth_scratch", width=4)}
    both = GatedFusion(branches, 3)
    branch = Branch("depth_scratch", width=4)
    branch.load(both.state_dict())
    assert_close(branch.net.body[0].weight, both.branches["depth"].net.body[0].weight)
    with pytest.raises(ValueError, match=r"not those of small_vgg: .* tensors differ, first bl"):
        Branch("small_vgg", width=8).load(both.state_dict())


def test_of_two_alike_the_one_of_the_same_modality() -> None:
    branches = {name: Branch("small_vgg", width=4) for name in ("rgb", "depth")}
    state, branch = NaiveFusion(branches, 3).state_dict(), Branch("small_vgg", width=4)
    for name in ("depth", "rgb"):
        branch.load(state, name)
        assert torch.equal(branch.net.body[0].weight, branches[name].net.body[0].weight)


def test_a_frozen_branch_stays_as_it_is() -> None:
    branches: dict[str, nn.Module] = {
        "rgb": Branch("small_resnet", width=4, frozen=True),
        "depth": Branch("depth_scratch", width=4),
    }
    net = NaiveFusion(branches, 3).train()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net({"rgb": torch.rand(4, 3, 16, 16), "depth": torch.rand(4, 1, 16, 16)}).sum().backward()
    optimizer.step()
    for key, tensor in net.state_dict().items():
        if key.startswith("branches.rgb"):
            assert torch.equal(tensor, before[key]), key
    assert not torch.equal(
        net.branches["depth"].net.body[0].weight, before["branches.depth.net.body.0.weight"]
    )


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="network='resnet51' is not one of resnet50, vgg19"):
        Branch("resnet51")
    with pytest.raises(ValueError, match="width=0 must be at least 1"):
        Branch("small_vgg", width=0)
    assert isinstance(Branch("small_vgg").net, PlainCNN)
