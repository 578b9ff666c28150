"""The classifier that Eguchi et al. 2019 put on a finished encoder's codes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from mmrep.networks.autoencoder import Dense


class CodeHead(nn.Module):
    """Two rectified layers, dropout after each, and the classes' logits: 64-64-64-10 as published.

    `replicas` heads side by side, with their own codes and weights, have a first axis more than
    one. In training each draws what it drops from a generator of its own, so that a head becomes
    the same whichever stand beside it.
    """

    def __init__(
        self,
        inputs: int = 64,
        num_classes: int = 10,
        width: int = 64,
        dropout: float = 0.2,
        replicas: int = 1,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} must be at least 0 and less than 1")
        if replicas < 1:
            raise ValueError(f"replicas={replicas} must be at least 1")
        self.hidden = nn.ModuleList([Dense(inputs, width, replicas), Dense(width, width, replicas)])
        self.last = Dense(width, num_classes, replicas)
        self.dropout, self.replicas = dropout, replicas

    def draw_weights(self, generators: Sequence[Generator]) -> None:
        """Initial weights anew, those of each replica from its own generator."""
        self._check(generators)
        for layer in (*self.hidden, self.last):
            weight = layer.weight if self.replicas > 1 else layer.weight[None]
            for of_replica, generator in zip(weight, generators, strict=True):
                nn.init.xavier_uniform_(of_replica, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(
        self, codes: Float[Tensor, "*replicas batch inputs"], generators: Sequence[Generator] = ()
    ) -> Float[Tensor, "*replicas batch classes"]:
        """Logits; `generators`, one of each replica, are needed in training alone."""
        x = codes
        for layer in self.hidden:
            x = self._dropped(layer(x).relu(), generators)
        return self.last(x)

    def _dropped(
        self, x: Float[Tensor, "*replicas batch units"], generators: Sequence[Generator]
    ) -> Float[Tensor, "*replicas batch units"]:
        if not self.training or self.dropout == 0:
            return x
        self._check(generators)
        noise = torch.empty_like(x)
        for of_replica, generator in zip(
            noise if self.replicas > 1 else noise[None], generators, strict=True
        ):
            of_replica.uniform_(generator=generator)  # a third of the time of bernoulli_
        return x * (noise >= self.dropout).to(x.dtype).div_(1 - self.dropout)

    def _check(self, generators: Sequence[Generator]) -> None:
        if len(generators) != self.replicas:
            raise ValueError(
                f"{len(generators)} generators for {self.replicas} heads: each draws from its own"
            )
