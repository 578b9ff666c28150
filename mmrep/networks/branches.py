"""Branches of a network that sees and measures depth: one for each modality.

Oyedotun et al. 2019 take ResNet-50 and VGG19, trained on ImageNet, for colour, and a CNN "from
scratch" for depth, of which the paper tells nothing more: `PlainCNN` is ours.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmrep.networks.imagenet_resnet import BasicBlock, ResNet
from mmrep.networks.vgg import VGG

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STAGES = (1, 2, 4, 4)  # a plain network's filters, stage by stage, in multiples of its width


class PlainCNN(nn.Module):
    """Four stages of a 3 x 3 convolution, batch norm, a rectifier and a pool; then the mean.

    The stages have 1, 2, 4 and 4 times `width` filters, the features are the last ones' means over
    all pixels. Images need 16 pixels a side.
    """

    def __init__(self, channels: int, width: int, *, batch_norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for factor in STAGES:
            out = factor * width
            norm = [nn.BatchNorm2d(out)] if batch_norm else []
            conv = nn.Conv2d(channels, out, 3, padding=1)
            layers += [conv, *norm, nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            channels = out
        self.body = nn.Sequential(*layers)

    def features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        return self.body(x).mean(dim=(2, 3))


class SmallResNet(nn.Module):
    """A convolution and three residual blocks with 1, 2 and 4 times `width` channels; the mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks = [BasicBlock(width, width, 1)]
        blocks += [BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 4 * width, 2)]
        self.blocks = nn.Sequential(*blocks)

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch features"]:
        return self.blocks(self.bn1(self.conv1(x)).relu()).mean(dim=(2, 3))


NETWORKS = ("resnet50", "vgg19", "small_resnet", "small_vgg", "depth_scratch")
LAST_LAYERS = {"resnet50": "fc", "vgg19": "classifier.6"}  # of published networks: of no use here


class Branch(nn.Module):
    """One modality's network without its last layer.

    `resnet50` and `vgg19` are torchvision's, by its names, with 2,048 and 4,096 features;
    `small_resnet` and `small_vgg` hold their places where images are small, with 4 `width`
    features. All four read three channels, from pixels between 0 and 1 normalised as ImageNet's;
    one channel, which a depth map has, is repeated. `depth_scratch` reads one channel as it is.
    `width` is of no meaning for the published two. A `frozen` branch learns nothing, and its batch
    norms stay as they are.

    ValueError: an unknown network, a width below 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: str, *, width: int = 16, frozen: bool = False) -> None:
        super().__init__()
        if network not in NETWORKS:
            raise ValueError(f"network={network!r} is not one of {', '.join(NETWORKS)}")
        if width < 1:
            raise ValueError(f"width={width} must be at least 1 filter")
        self.network, self.frozen = network, frozen
        self.net: Any
        if network == "resnet50":
            self.net = ResNet(50, num_classes=1000, stem=7)
            self.net.fc, self.num_features = nn.Identity(), 2048
        elif network == "vgg19":
            self.net = VGG(19, num_classes=1000, batch_norm=False, head="imagenet")
            self.net.classifier[6], self.num_features = nn.Identity(), 4096
        elif network == "small_resnet":
            self.net, self.num_features = SmallResNet(width), 4 * width
        elif network == "small_vgg":
            self.net, self.num_features = PlainCNN(3, width, batch_norm=False), 4 * width
        else:
            self.net, self.num_features = PlainCNN(1, width), 4 * width
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> "Branch":
        return super().train(mode and not self.frozen)

    def features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        if self.network != "depth_scratch":
            x = (x - self.mean) / self.std  # one channel becomes three here
        return self.net.features(x)

    def load(self, state: Mapping[str, Tensor], modality: str = "") -> None:
        """Takes weights over: a published network's, or those of a branch in a network of ours.

        Of a network of ours with several branches it is the one of the same `modality`, or else the
        first whose tensors are this one's in name and shape. The batch norms of files from before
        PyTorch 0.4.1 have no counters. ValueError: the weights are of another network.
        """
        wanted = self.net.state_dict()
        counters = {k: t for k, t in wanted.items() if k.endswith(".num_batches_tracked")}
        last = LAST_LAYERS.get(self.network, "-")
        parts: dict[str, dict[str, Tensor]] = {}
        for key in [key for key in state if key.startswith("branches.")]:
            _, of, _, inside = key.split(".", 3)
            parts.setdefault(of, dict(counters))[inside] = state[key]
        parts = parts or {"": counters | dict(state)}
        in_turn = [
            {k: t for k, t in parts[of].items() if not k.startswith(f"{last}.")}
            for of in sorted(parts, key=lambda of: of != modality)
        ]
        shapes = {key: tensor.shape for key, tensor in wanted.items()}
        for part in in_turn:
            if {key: tensor.shape for key, tensor in part.items()} == shapes:
                self.net.load_state_dict(part)
                return
        found = next(iter(in_turn), {})
        differing = sorted(
            key
            for key in shapes.keys() | found.keys()
            if key not in found or key not in shapes or found[key].shape != shapes[key]
        )
        raise ValueError(
            f"the weights are not those of {self.network}: {len(differing)} tensors "
            f"differ, first {', '.join(differing[:2])}; choose weights of that network"
        )
