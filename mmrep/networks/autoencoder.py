"""Autoencoders of several modalities, and the layer in which these meet (Eguchi et al. 2019).

A picture of a digit and the spectrogram of a spoken one go in, often one of them as zeros, and both
are to come out: what is missing must be told from what is there. The published constants are the
defaults; where the article and its program disagree, the article's.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

INPUTS = {"visual": 28 * 28, "auditory": 14 * 56}  # modalities in the order of concatenation
HIDDEN = {1: 0, 2: 1, 3: 2, 4: 2}  # layers of a decoder before its last, by depth of the encoder
UNIMODAL = 3  # layers of each modality's own encoder, of the two-stage network

Inputs = Mapping[str, Float[Tensor, "*replicas batch _"]]  # pixels of each modality: its own number


class Dense(nn.Module):
    """A linear layer, or `replicas` of them side by side, each with inputs of its own.

    Weights are uniform with variance 2 / (inputs + outputs) and biases 0 (Glorot & Bengio 2010), as
    in the Keras of the program. One layer has the parameters' shapes of `nn.Linear`; of several,
    replicas are the first axis.
    """

    def __init__(self, inputs: int, outputs: int, replicas: int = 1) -> None:
        super().__init__()
        several = (replicas,) if replicas > 1 else ()
        self.weight = nn.Parameter(torch.empty(*several, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(*several, outputs))
        for weight in self.weight if several else [self.weight]:
            nn.init.xavier_uniform_(weight)

    def forward(
        self, x: Float[Tensor, "*replicas batch inputs"]
    ) -> Float[Tensor, "*replicas batch outputs"]:
        if self.weight.ndim == 2:
            return nn.functional.linear(x, self.weight, self.bias)
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)


class Decoders(nn.Module):
    """One decoder for each modality, from the shared features to the logits of its pixels."""

    def __init__(
        self, inputs: Mapping[str, int], width: int, hidden: Sequence[int], replicas: int
    ) -> None:
        super().__init__()
        self.of = nn.ModuleDict(
            {name: _decoder(width, hidden, size, replicas) for name, size in inputs.items()}
        )

    def forward(
        self, features: Float[Tensor, "*replicas batch features"]
    ) -> dict[str, Float[Tensor, "*replicas batch _"]]:
        return {name: decoder(features) for name, decoder in self.of.items()}


class MixedInputAutoencoder(nn.Module):
    """All modalities enter one encoder of `depth` sigmoid layers, from which each is decoded.

    `features` is the last of the layers `encoder.layer1` to `encoder.layer4`; `head` decodes it.
    The decoders' hidden layers are rectified, `width` wide and as many as published: 0, 1, 2, 2 for
    depths 1 to 4. `published_decoder` gives the depth 3 the 784 units that its program has in the
    second of them; `decoder_widths` says any others. `replicas` networks side by side, with their
    own inputs and weights, have a first axis more than one.
    """

    def __init__(
        self,
        depth: int = 4,
        width: int = 64,
        inputs: Mapping[str, int] = INPUTS,
        published_decoder: bool = False,
        decoder_widths: Sequence[int] | None = None,
        replicas: int = 1,
    ) -> None:
        super().__init__()
        if depth not in HIDDEN:
            raise ValueError(f"model.net.depth={depth} is not one of {', '.join(map(str, HIDDEN))}")
        _check_replicas(replicas)
        hidden = [width] * HIDDEN[depth]
        if published_decoder and depth == 3:
            hidden[-1] = inputs["visual"]
        self.modalities = tuple(inputs)
        self.encoder = _encoder(sum(inputs.values()), width, depth, replicas)
        widths = hidden if decoder_widths is None else decoder_widths
        self.head = Decoders(inputs, width, widths, replicas)

    def features(self, inputs: Inputs) -> Float[Tensor, "*replicas batch features"]:
        return self.encoder(torch.cat([inputs[name] for name in self.modalities], dim=-1))

    def forward(self, inputs: Inputs) -> dict[str, Float[Tensor, "*replicas batch _"]]:
        return self.head(self.features(inputs))


class TwoStageAutoencoder(nn.Module):
    """Each modality has three sigmoid layers of its own before one that they share.

    After Ngiam et al. 2011; trained as one network, as in the published program. `features` is the
    shared layer, `encoder.layer1`; those before are `own.visual.layer1` and so on. `decoder_widths`
    and `replicas` are as in `MixedInputAutoencoder`.
    """

    def __init__(
        self,
        width: int = 64,
        inputs: Mapping[str, int] = INPUTS,
        decoder_widths: Sequence[int] | None = None,
        replicas: int = 1,
    ) -> None:
        super().__init__()
        _check_replicas(replicas)
        self.own = nn.ModuleDict(
            {name: _encoder(size, width, UNIMODAL, replicas) for name, size in inputs.items()}
        )
        self.encoder = _encoder(len(inputs) * width, width, 1, replicas)
        widths = [width, width] if decoder_widths is None else decoder_widths
        self.head = Decoders(inputs, width, widths, replicas)

    def features(self, inputs: Inputs) -> Float[Tensor, "*replicas batch features"]:
        own = [encoder(inputs[name]) for name, encoder in self.own.items()]
        return self.encoder(torch.cat(own, dim=-1))

    def forward(self, inputs: Inputs) -> dict[str, Float[Tensor, "*replicas batch _"]]:
        return self.head(self.features(inputs))


def _encoder(inputs: int, width: int, depth: int, replicas: int) -> nn.Sequential:
    sizes = [inputs, *[width] * depth]
    return nn.Sequential(
        OrderedDict(
            (f"layer{i}", nn.Sequential(Dense(before, after, replicas), nn.Sigmoid()))
            for i, (before, after) in enumerate(pairwise(sizes), start=1)
        )
    )


def _decoder(width: int, hidden: Sequence[int], outputs: int, replicas: int) -> nn.Sequential:
    sizes = [width, *hidden]
    rectified: list[nn.Module] = []
    for before, after in pairwise(sizes):
        rectified += [Dense(before, after, replicas), nn.ReLU()]
    return nn.Sequential(*rectified, Dense(sizes[-1], outputs, replicas))


def _check_replicas(replicas: int) -> None:
    if replicas < 1:
        raise ValueError(f"model.net.replicas={replicas} must be at least 1")
