"""Training a small autoencoder: updates per CPU second, one thread, beside plain loops.

    python -m benchmarks.reconstruction_loop

The 4-layer network, batch 50, an epoch of 15,000 samples (300 updates) with validation, checkpoint
and all default callbacks, against the same network in a plain torch loop over batches that are at
hand (with sigmoid and cross-entropy, as published, and with logits) and in plain Lightning, one
batch a step. Rounds are interleaved in one process; the fastest of each are compared, since
whatever else runs on a machine only adds. Compilation itself is timed apart.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from benchmarks.training_loop import RESULTS, Clock
from mmrep import folders, screen
from mmrep.batch import Batch
from mmrep.command_line import CONF
from mmrep.data.mnist_fsdd import MNISTFSDD, Pairs
from mmrep.loggers import MetricsFile
from mmrep.networks.autoencoder import MixedInputAutoencoder

ROUNDS, UPDATES = 5, 300
assert folders  # registers the resolver that names jobs
Loss = Callable[[MixedInputAutoencoder, Batch], Tensor]


class Noise(MNISTFSDD):
    """As many pairs as the real set has, of noise."""

    def setup(self, stage: str) -> None:
        generator = torch.Generator().manual_seed(0)
        sizes, first = {"train_set": 5000, "val_set": 500}, 0
        for name, size in sizes.items():
            label = torch.randint(10, (size,), generator=generator)
            pairs = Pairs(
                torch.rand(size, 784, generator=generator),
                torch.rand(size, 784, generator=generator),
                visual_label=label,
                auditory_label=label,
                take=torch.arange(size),
                first=first,
            )
            setattr(self, name, pairs)
            first += len(pairs)


def with_logits(net: MixedInputAutoencoder, batch: Batch) -> Tensor:
    assert batch.target is not None
    decoded = net(batch.inputs)
    seen, heard = (
        F.binary_cross_entropy_with_logits(decoded[name], batch.target[name]) for name in decoded
    )
    return seen + heard


def with_sigmoid(net: MixedInputAutoencoder, batch: Batch) -> Tensor:
    assert batch.target is not None
    decoded = {name: logits.sigmoid() for name, logits in net(batch.inputs).items()}
    seen, heard = (F.binary_cross_entropy(decoded[name], batch.target[name]) for name in decoded)
    return seen + heard


def optimizer_of(net: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adadelta(net.parameters(), lr=1.0, rho=0.95, eps=1e-8)


class PlainLightning(LightningModule):
    """What one writes first."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MixedInputAutoencoder()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = with_logits(self.net, batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=50)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer_of(self.net)


def noise(steps_per_execution: int) -> Noise:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", ["model=av_mixed", "data.source=simulated"])
    options = {key: value for key, value in config.data.items() if key != "_target_"}
    return Noise(**(options | {"steps_per_execution": steps_per_execution, "data_dir": None}))


def plain(loss: Loss) -> float:
    net, data = MixedInputAutoencoder(), noise(1)
    data.setup("fit")
    batches = [data.train_set.prepare(batch) for batch in data.train_dataloader()]
    optimizer = optimizer_of(net)
    started = time.process_time()
    for batch in batches:
        optimizer.zero_grad()
        loss(net, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return time.process_time() - started


def plain_lightning() -> float:
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        trainer = Trainer(
            accelerator="cpu", max_epochs=1, limit_val_batches=0, default_root_dir=folder,
            logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[clock],
        )  # fmt: skip
        trainer.fit(PlainLightning(), datamodule=noise(1))
    return clock.seconds


def ours(*, compiled: bool) -> tuple[float, float]:
    """CPU seconds of the second epoch, and wall seconds of the first, which compiles."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", ["model=av_mixed", "trainer.max_epochs=2", f"compile={compiled}"])
    with tempfile.TemporaryDirectory() as folder:
        clock = Epochs()
        callbacks = [clock, *instantiate(config.callbacks).values()]
        logger = MetricsFile(Path(folder))
        trainer = instantiate(
            config.trainer, logger=logger, callbacks=callbacks, default_root_dir=folder
        )
        trainer.fit(instantiate(config.model), datamodule=noise(config.data.steps_per_execution))
    return clock.cpu[-1], clock.wall[0]


class Epochs(Clock):
    """CPU and wall seconds of each epoch, with its validation and checkpoint."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        now = time.process_time(), time.perf_counter()
        if trainer.current_epoch:
            self._add(now)
        self.began = now

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._add((time.process_time(), time.perf_counter()))

    def _add(self, now: tuple[float, float]) -> None:
        self.cpu.append(now[0] - self.began[0])
        self.wall.append(now[1] - self.began[1])


def main() -> None:
    torch.set_num_threads(1)
    screen.hush()
    ways: dict[str, Callable[[], float]] = {
        "plain_torch_with_sigmoid": lambda: plain(with_sigmoid),
        "plain_torch_with_logits": lambda: plain(with_logits),
        "plain_lightning_with_logits": plain_lightning,
        "mmrep": lambda: ours(compiled=False)[0],
        "mmrep_compiled": lambda: ours(compiled=True)[0],
    }
    compilation = ours(compiled=True)[1]
    seconds = [[way() for way in ways.values()] for _ in range(ROUNDS)]
    speed = {
        name: round(UPDATES / min(column))
        for name, column in zip(ways, zip(*seconds, strict=True), strict=True)
    }
    plain_speed = speed["plain_torch_with_sigmoid"]
    result = {
        "workload": "4-layer autoencoder, batch 50, updates per CPU second, float32, one thread",
        **speed,
        **{f"{name}_ratio": round(x / plain_speed, 2) for name, x in speed.items()},
        "first_compiled_epoch_seconds": round(compilation, 1),
        "target": {"mmrep": 350, "mmrep_compiled": 521, "where plain_torch_with_sigmoid": 297},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "reconstruction_loop.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(f"{name}: {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
