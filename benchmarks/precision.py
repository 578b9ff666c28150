"""What layout and precision do to the spectrogram CNN's training, in images per CPU second.

    python -m benchmarks.precision

Forward, backward and step on batches of 64; rounds interleaved, the fastest of each.
"""

import itertools
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from mmrep.networks.shl_cnn import SpectrogramCNN

ROUNDS, STEPS, BATCH = 12, 8, 64


def training(*, channels_last: bool, bf16: bool) -> Callable[[], float]:
    """A function that trains for some steps and returns images per CPU second."""
    torch.manual_seed(0)
    net = SpectrogramCNN()
    if channels_last:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-3)
    # Anew each time: a batch that is learnt by heart leaves denormal numbers, which are slow.
    images, labels = torch.randn(STEPS, BATCH, 1, 48, 48), torch.randint(8, (STEPS, BATCH))

    def run() -> float:
        images.normal_()
        labels.random_(8)
        started = time.process_time()
        for x, label in zip(images, labels, strict=True):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = F.cross_entropy(net(x), label)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return STEPS * BATCH / (time.process_time() - started)

    return run


def main() -> None:
    torch.set_num_threads(1)
    kinds = list(itertools.product((False, True), repeat=2))
    runs = [training(channels_last=layout, bf16=bf16) for layout, bf16 in kinds]
    rounds = [[run() for run in runs] for _ in range(ROUNDS)]
    best = [max(column) for column in zip(*rounds, strict=True)]
    table = Table("layout", "precision", "images / CPU s", "ratio")
    for (layout, bf16), speed in zip(kinds, best, strict=True):
        names = ("channels last" if layout else "contiguous", "bf16" if bf16 else "32")
        table.add_row(*names, f"{speed:.0f}", f"{speed / best[0]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
