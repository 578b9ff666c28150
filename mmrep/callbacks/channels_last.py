"""The memory layout in which convolutions are fastest."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class ChannelsLast(Callback):
    """Lays the weights of convolutions out channels last; inputs follow them through the network.

    The numbers are the same but for the order of sums. On one core the spectrogram CNN trains 1.1
    times as fast with 32 bits, and twice as fast with bf16 (benchmarks/precision.py).
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        pl_module.to(memory_format=torch.channels_last)
