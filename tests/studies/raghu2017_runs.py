"""Finished runs of a small convolutional network whose last layer alone has learnt, on squares."""

import json
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mmrep.data.images import ImageDataModule
from mmrep.data.in_memory import InMemory
from mmrep.features import read_features

CLASSES, TRAIN, TEST, SIZE = 4, 400, 120, 32
HIDDEN = (16, 12)


class Squares(ImageDataModule):
    """A bright square in one of four corners, by class, on noise: images as CIFAR's."""

    name, set_title = "squares", "Squares"

    def prepare_data(self) -> None:
        """Nothing is on disk."""

    def setup(self, stage: str) -> None:
        random = torch.Generator().manual_seed(7)
        label = torch.randint(CLASSES, (TRAIN + TEST,), generator=random)
        pixels = torch.randint(0, 120, (TRAIN + TEST, 3, SIZE, SIZE), generator=random)
        half = SIZE // 2
        for image, corner in zip(pixels, label.tolist(), strict=True):
            row, column = divmod(corner, 2)
            image[:, row * half : (row + 1) * half, column * half : (column + 1) * half] += 130
        whole = InMemory(pixels.to(torch.uint8), label, torch.arange(len(label)))
        train, test = (
            InMemory(whole.inputs[part], whole.label[part], whole.index[part])
            for part in (slice(TRAIN), slice(TRAIN, None))
        )
        self.use_images(train, test, tuple(f"corner {i}" for i in range(CLASSES)))


def write_run(folder: Path, seed: int, **net: Any) -> Path:
    """A run as train.py leaves it; the head fits the classes of the training images."""
    config = OmegaConf.create(
        {
            "model": {
                "_target_": "mmrep.tasks.classification.Classification",
                "num_classes": CLASSES,
                "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1},
                "net": {
                    "_target_": "mmrep.networks.convnet.ConvNet",
                    "widths": [4, 4, 4, 4, 1],
                    "hidden": [*HIDDEN],
                    "num_classes": CLASSES,
                }
                | net,
            },
            "data": {
                "_target_": f"{__name__}.Squares",
                "num_classes": CLASSES,
                "augment": False,
                "mean": [0.3, 0.3, 0.3],
                "std": [0.2, 0.2, 0.2],
                "batch_size": 64,
                "seed": 0,
            },
            "trainer": {"max_epochs": 1},
        }
    )
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    torch.manual_seed(seed)
    task, data = instantiate(config.model), instantiate(config.data)
    data.setup("fit")
    images = data.train_set.prepare(data.train_set[[*range(TRAIN)]]).inputs
    with torch.no_grad():
        for _ in range(60):  # batch norm's running statistics
            task.net(images[:64])
    with read_features(task, data.plain_train_dataloader()) as readings:
        parts = [(layers["features"], batch.label) for batch, layers in readings]
    features, label = (torch.cat(part) for part in zip(*parts, strict=True))
    wanted = 10 * torch.nn.functional.one_hot(label, CLASSES).float() - 2.5
    ones = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    solution = torch.linalg.lstsq(ones, wanted).solution
    with torch.no_grad():
        task.net.head.weight.copy_(solution[:-1].T)
        task.net.head.bias.copy_(solution[-1])
    (folder / "checkpoints").mkdir()
    torch.save({"state_dict": task.state_dict()}, folder / "checkpoints" / "last.ckpt")
    facts = {
        "seed": seed,
        "sensor": None,
        "monitor": "val/accuracy",
        "config": OmegaConf.to_container(config) | {"seed": seed},
        "data": data.facts(),
    }
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "DONE").touch()
    return folder
