"""Fusion of modalities, gated or not (Oyedotun et al. 2019).

Each modality has a branch of its own; what the branches tell is brought to one width, joined, and
classified. The paper names neither widths nor how unequal branches meet: a linear layer and a
rectifier for each are our reading, the same in every network here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ACTIVATIONS = {"sigmoid": torch.sigmoid, "logsigmoid": F.logsigmoid}

Inputs = Mapping[str, Float[Tensor, "batch _ height width"]]  # images of each modality
Projected = Mapping[str, Float[Tensor, "batch units"]]


class ModalityGate(nn.Module):
    """G = phi(W x + theta), the share of a modality that is passed on (equation 6).

    The paper's "log-sigmoid" is MATLAB's `logsig`, the logistic function: shares lie between 0 and
    1. `activation="logsigmoid"` reads it to the letter, and passes on negative shares without
    bound. The bias theta starts at `bias`, which the paper does not give.

    ValueError: an unknown activation.
    """

    def __init__(
        self, inputs: int, outputs: int, *, activation: str = "sigmoid", bias: float | int = 0.0
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r} is not one of {', '.join(ACTIVATIONS)}")
        self.activation = activation
        self.linear = nn.Linear(inputs, outputs)
        nn.init.constant_(self.linear.bias, bias)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        return ACTIVATIONS[self.activation](self.linear(x))


class NaiveFusion(nn.Module):
    """What the branches tell, side by side (the paper's naive fusion); of one branch, that alone.

    `branches` are networks by modality, each with `features(images)` and `num_features`; a batch's
    dict must hold images for each of them, and may hold more. Projections have `width` units, and
    two hidden layers of `hidden` units stand before the classes. What the analyses read is the
    second of these.

    ValueError: no branch, or a batch without the images of one.
    """

    def __init__(
        self,
        branches: Mapping[str, Any],
        num_classes: int,
        *,
        width: int = 64,
        hidden: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not branches:
            raise ValueError("branches={} leaves nothing to train: give a network by modality")
        self.branches = nn.ModuleDict(dict(branches))
        self.projections = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(branch.num_features, width), nn.ReLU())
                for name, branch in branches.items()
            }
        )
        self.hidden = nn.Sequential(
            nn.Linear(width * len(branches), hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, num_classes))

    def project(self, inputs: Inputs) -> dict[str, Float[Tensor, "batch units"]]:
        """F of each modality, by the branches' names and in their order."""
        there = [*inputs] if isinstance(inputs, Mapping) else ["one modality, without a name"]
        if absent := [name for name in self.branches if name not in there]:
            raise ValueError(
                f"the batch has images of {', '.join(there) or 'nothing'} and none of "
                f"{', '.join(absent)}: choose data with them, such as data=rgbd, or a network "
                "without that branch"
            )
        branches: Mapping[str, Any] = dict(self.branches.items())
        return {
            name: self.projections[name](branch.features(inputs[name]))
            for name, branch in branches.items()
        }

    def fuse(self, projected: Projected) -> Float[Tensor, "batch fused"]:
        """One vector of all modalities, in the branches' order."""
        return torch.cat([*projected.values()], dim=1)

    def features(self, inputs: Inputs) -> Float[Tensor, "batch hidden"]:
        return self.hidden(self.fuse(self.project(inputs)))

    def forward(self, inputs: Inputs) -> Float[Tensor, "batch classes"]:
        return self.head(self.features(inputs))


class GatedFusion(NaiveFusion):
    """concat(F_A (1 - G), F_B G), where B's gate decides how much of either counts (equation 7).

    A is the first branch; every other modality has a gate, and with several of them A is multiplied
    by 1 less their mean. As published each gate reads the modality that it passes on and no other,
    so it cannot react to a bad image of A. `gate_reads` names the modalities that all gates read
    instead, such as [rgb, depth]. With `separate_gates` A's share has a gate with weights of its
    own (the paper's W does not fit two widths).

    ValueError: fewer than two branches, an unknown modality or activation.
    """

    def __init__(
        self,
        branches: Mapping[str, Any],
        num_classes: int,
        *,
        width: int = 64,
        hidden: int = 64,
        dropout: float = 0.0,
        gate_activation: str = "sigmoid",
        gate_bias: float | int = 0.0,
        gate_reads: Sequence[str] | None = None,
        separate_gates: bool = False,
    ) -> None:
        super().__init__(branches, num_classes, width=width, hidden=hidden, dropout=dropout)
        carried, *gated = branches
        if not gated:
            raise ValueError(
                f"branches={[*branches]}: a gate decides between two modalities or more; choose "
                "NaiveFusion (model=rgbd_rgb, rgbd_depth) for one"
            )
        if isinstance(gate_reads, str):
            raise ValueError(f"gate_reads={gate_reads} is one name: write [{gate_reads}], a list")
        if gate_reads is not None and not 0 < len({*gate_reads} & {*branches}) == len(gate_reads):
            raise ValueError(
                f"gate_reads={[*gate_reads]} must name some of {', '.join(branches)}, each once"
            )
        self.carried = carried
        self.gate_reads = {
            name: (name,) if gate_reads is None else tuple(gate_reads) for name in gated
        }

        def gates() -> nn.ModuleDict:
            return nn.ModuleDict(
                {
                    name: ModalityGate(
                        width * len(reads), width, activation=gate_activation, bias=gate_bias
                    )
                    for name, reads in self.gate_reads.items()
                }
            )

        self.gates = gates()
        self.carried_gates = gates() if separate_gates else None

    def fuse(self, projected: Projected) -> Float[Tensor, "batch fused"]:
        seen = {
            name: torch.cat([projected[one] for one in reads], dim=1)
            for name, reads in self.gate_reads.items()
        }
        passed = {name: gate(seen[name]) for name, gate in self.gates.items()}
        kept = passed
        if self.carried_gates is not None:
            kept = {name: gate(seen[name]) for name, gate in self.carried_gates.items()}
        share = 1 - torch.stack([*kept.values()]).mean(dim=0)
        parts = [projected[name] * gate for name, gate in passed.items()]
        return torch.cat([projected[self.carried] * share, *parts], dim=1)
