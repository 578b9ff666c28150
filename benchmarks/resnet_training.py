"""Training of the CIFAR ResNets beside plain torch loops: images per CPU second, one thread.

    python -m benchmarks.resnet_training

ResNet-20 and ResNet-56 with their recipe, loader, augmentation and all default callbacks, in 32
bits and in bf16, against the same network, optimizer and loss in a loop over batches that are at
hand, augmented and normalised. Plain loops are in both memory layouts: `ratio` is ours over the one
that has ours, channels last; `speed-up` is ours over the plain loop of 32 bits in torch's layout.

Contenders take turns in one process; medians over the steps of all rounds. A whole epoch has 391
steps; here it is a few, of which the first warms up. What an epoch's end costs besides (scores of
one batch, checkpoints, figures) has a column of its own, and `whole epoch` is the ratio with that
cost spread over 391 steps.
"""

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.side_by_side import RESULTS, one_thread
from mmrep import folders, screen
from mmrep.batch import Batch
from mmrep.command_line import CONF
from mmrep.data.images import Images
from mmrep.data.in_memory import InMemoryDataModule
from mmrep.loggers import MetricsFile

BATCH, EPOCH_STEPS = 128, 391  # of 50,000 images
STEPS = {20: 7, 56: 4}  # the first is not counted
ROUNDS = 5
TARGETS = {"ratio": 0.95, "speed_up": 2.0}
assert folders  # registers the resolver that names jobs


class Spent(NamedTuple):
    """CPU seconds of each step but the first, and of what follows the last one."""

    steps: list[float]
    epoch_end: float


class Noise(InMemoryDataModule):
    """Random bytes and labels, augmented and normalised as CIFAR; one batch is for validation."""

    name = "noise"
    class_names = tuple("abcdefghij")

    def __init__(self, steps: int) -> None:
        super().__init__(BATCH, seed=0)
        self.steps = steps

    def setup(self, stage: str) -> None:
        size = (self.steps + 1) * BATCH
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(256, (size, 3, 32, 32), dtype=torch.uint8, generator=generator)
        label = torch.randint(10, (size,), generator=generator)
        colours: dict[str, Any] = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
        train, val = slice(BATCH, None), slice(BATCH)
        index = torch.arange(size)
        self.train_set = Images(images[train], label[train], index[train], augment=True, **colours)
        self.val_set = Images(images[val], label[val], index[val], augment=False, **colours)


class Clock(Callback):
    """CPU time at the end of every step and of the training."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, out: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.ends.append(time.process_time())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.end = time.process_time()


def spent(ends: list[float], end: float) -> Spent:
    return Spent([later - earlier for earlier, later in pairwise(ends)], end - ends[-1])


def ours(depth: int, precision: str) -> Spent:
    choices = ["model=resnet56", f"model.net.depth={depth}", f"precision='{precision}'"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [*choices, "trainer.max_epochs=1"])
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        trainer = instantiate(
            config.trainer,
            logger=MetricsFile(Path(folder)),
            callbacks=[*instantiate(config.callbacks).values(), clock],
            default_root_dir=folder,
        )
        trainer.fit(instantiate(config.model), datamodule=Noise(STEPS[depth]))
    return spent(clock.ends, clock.end)


def plain(depth: int, precision: str, layout: torch.memory_format) -> Spent:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", ["model=resnet56", f"model.net.depth={depth}"])
    net = instantiate(config.model.net).to(memory_format=layout)
    recipe = config.model.optimizer
    optimizer = torch.optim.SGD(
        net.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    data = Noise(STEPS[depth])
    data.setup("fit")
    batches = [data.train_set.prepare(batch) for batch in data.train_dataloader()]
    ends = []
    for batch in batches:
        optimizer.zero_grad()
        with autocast(precision):
            assert isinstance(batch.inputs, Tensor)
            loss = F.cross_entropy(net(batch.inputs), batch.label)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        ends.append(time.process_time())
    return spent(ends, ends[-1])


def autocast(precision: str) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()


def measure(depth: int) -> list[dict[str, Any]]:
    """One row for each precision."""
    layouts = {"last": torch.channels_last, "first": torch.contiguous_format}
    contenders: dict[tuple[str, str], Callable[[], Spent]] = {}
    for precision in ("32", "bf16"):
        contenders["ours", precision] = lambda p=precision: ours(depth, p)  # type: ignore[misc]
        for name, layout in layouts.items():
            contenders[name, precision] = lambda p=precision, f=layout: plain(depth, p, f)  # type: ignore[misc]
    rounds = [{key: run() for key, run in contenders.items()} for _ in range(ROUNDS)]
    step = {key: median(s for turn in rounds for s in turn[key].steps) for key in contenders}
    rows = []
    for precision in ("32", "bf16"):
        own, last = step["ours", precision], step["last", precision]
        epoch_end = median(turn["ours", precision].epoch_end for turn in rounds)
        rows.append(
            {
                "depth": depth,
                "precision": precision,
                "mmrep": BATCH / own,
                "plain_channels_last": BATCH / last,
                "plain_contiguous": BATCH / step["first", precision],
                "ratio": last / own,
                "epoch_end_seconds": epoch_end,
                "whole_epoch": last / (own + epoch_end / EPOCH_STEPS),
                "speed_up": step["first", "32"] / own,
            }
        )
    return rows


def main() -> None:
    one_thread()
    screen.hush()
    rows = [row for depth in STEPS for row in measure(depth)]
    columns = ("ours", "plain, channels last", "plain", "ratio", "whole epoch", "epoch end s")
    table = Table("ResNet", "precision", *columns, "speed-up", title="images per CPU second")
    for row in rows:
        speeds = (f"{row[k]:.0f}" for k in ("mmrep", "plain_channels_last", "plain_contiguous"))
        ratios = (f"{row['ratio']:.3f}", f"{row['whole_epoch']:.3f}")
        end = (f"{row['epoch_end_seconds']:.2f}", f"{row['speed_up']:.2f}")
        table.add_row(str(row["depth"]), row["precision"], *speeds, *ratios, *end)
    Console(width=120).print(table)
    reached = {
        "ratio": min(row["ratio"] for row in rows),
        "whole_epoch": min(row["whole_epoch"] for row in rows),
        "speed_up": min(row["speed_up"] for row in rows if row["precision"] == "bf16"),
    }
    for name, bound in TARGETS.items():
        verdict = "met" if reached[name] >= bound else "NOT met"
        print(f"{name}: at least {reached[name]:.3f} (>= {bound}): {verdict}")
    record = {"workload": "training of CIFAR ResNets, batch 128, one thread", "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record | {"reached": reached, "targets": TARGETS}, indent=1)
    (RESULTS / "resnet_training.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
