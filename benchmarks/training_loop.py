"""Our training beside a plain torch loop over the same batches: images per CPU second, one thread.

    python -m benchmarks.training_loop

The spectrogram CNN with its recipe, loader and all default callbacks, against the same network,
optimizer and loss in a loop of four lines over batches that are at hand. Rounds are interleaved in
one process and the fastest of each are compared, since whatever else runs on a machine only adds.
What Lightning does before the first step and after the last is left out.

That ratio still moves with the machine's other users and with what the memory allocator makes of
each loop. So the overhead is measured by itself, too: both loops with a network that computes next
to nothing, whose difference is what ours adds to a step whatever the network.
"""

import json
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from mmrep import folders, screen
from mmrep.command_line import CONF
from mmrep.data.in_memory import InMemory, InMemoryDataModule
from mmrep.loggers import MetricsFile

ROUNDS, EPOCHS, IMAGES = 7, 1, 13_000  # an epoch of SHL
CNN, TRIVIAL = "mmrep.networks.shl_cnn.SpectrogramCNN", "benchmarks.training_loop.Trivial"
RESULTS = Path(__file__).parent / "results"
assert folders  # registers the resolver that names jobs


class Noise(InMemoryDataModule):
    """Random spectrograms and labels, of which one batch is for validation."""

    name = "noise"
    class_names = tuple("abcdefgh")

    def setup(self, stage: str) -> None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(IMAGES + 64, 1, 48, 48, generator=generator)
        label = torch.randint(8, (IMAGES + 64,), generator=generator)
        index = torch.arange(IMAGES + 64)
        self.train_set = InMemory(images[64:], label[64:], index[64:])
        self.val_set = InMemory(images[:64], label[:64], index[:64])


class Trivial(nn.Module):
    """A network in our form that computes next to nothing."""

    def __init__(self, num_classes: int, **sizes: float) -> None:
        super().__init__()
        self.head = nn.Linear(1, num_classes)

    def features(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, :1]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Clock(Callback):
    """CPU seconds between the first step and the end of the last epoch."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.process_time()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.process_time() - self.started


def chosen(net: str) -> list[str]:
    return ["model=shl_cnn", f"model.net._target_={net}"]


def ours(net: str) -> float:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [*chosen(net), f"trainer.max_epochs={EPOCHS}"])
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        callbacks = [clock, *instantiate(config.callbacks).values()]
        logger = MetricsFile(Path(folder))
        trainer = instantiate(
            config.trainer, logger=logger, callbacks=callbacks, default_root_dir=folder
        )
        trainer.fit(
            instantiate(config.model, num_classes=8, net={"num_classes": 8}),
            datamodule=Noise(64, seed=0),
        )
    return clock.seconds


def plain(net: str) -> float:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", chosen(net))
    module = instantiate(config.model.net, num_classes=8).to(memory_format=torch.channels_last)
    recipe = config.model.optimizer
    optimizer = torch.optim.Adam(
        module.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    data = Noise(64, seed=0)
    data.setup("fit")
    batches = list(data.train_dataloader())  # at hand, so that no loader can limit the loop
    weight = 1 / data.label_counts(with_val=True)
    started = time.process_time()
    for _ in range(EPOCHS):
        for batch in batches:
            optimizer.zero_grad()
            F.cross_entropy(module(batch.inputs), batch.label, weight).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return time.process_time() - started


def main() -> None:
    torch.set_num_threads(1)
    screen.hush()
    best = {}
    for net, rounds in ((CNN, ROUNDS), (TRIVIAL, ROUNDS)):
        seconds = [(ours(net), plain(net)) for _ in range(rounds)]
        best[net] = [min(column) for column in zip(*seconds, strict=True)]
    (our_seconds, plain_seconds), (our_trivial, plain_trivial) = best[CNN], best[TRIVIAL]
    overhead = our_trivial - plain_trivial
    steps = EPOCHS * -(-IMAGES // 64)
    result = {
        "workload": "training loop, spectrogram CNN, batch 64, float32, one thread",
        "mmrep_images_per_cpu_second": round(EPOCHS * IMAGES / our_seconds),
        "plain_torch_images_per_cpu_second": round(EPOCHS * IMAGES / plain_seconds),
        "ratio": round(plain_seconds / our_seconds, 3),
        "overhead_ms_per_step": round(1e3 * overhead / steps, 2),
        "ratio_by_overhead": round(plain_seconds / (plain_seconds + overhead), 3),
        "target": 0.95,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "training_loop.json").write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(f"{name}: {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
