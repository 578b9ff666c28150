"""`energy_profile` beside a training, resumed, of a finished run, and on two ranks."""

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from numpy.testing import assert_allclose
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.testing import assert_close

from mmrep.callbacks.energy_profile import EnergyProfile
from mmrep.data.images import ImageDataModule
from mmrep.data.in_memory import InMemory
from mmrep.first_layer import (
    FOLDER,
    History,
    axes_of_training,
    best_fit,
    first_layer,
    kept_axes,
    patch_stride,
    read_axes,
)
from mmrep.loggers import MetricsFile
from mmrep.stats.energy import energy_profile, patch_axes
from mmrep.tasks.classification import Classification
from tests.ddp import on_ranks
from tests.scripts import TINY, run

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # data are in memory
    "ignore:.*LeafSpec.*deprecated",  # between Lightning and torch
)


class Blots(ImageDataModule):
    """Smooth random images, 61 to train on, whose class is which colour is brighter."""

    name, set_title = "blots", "Blots"

    def __init__(self, **changes: Any) -> None:
        arguments: dict[str, Any] = {
            "num_classes": 2, "augment": False, "mean": [0.5] * 3, "std": [0.2] * 3,
            "batch_size": 25, "seed": 0,
        }  # fmt: skip
        super().__init__(**arguments | changes)

    def setup(self, stage: str) -> None:
        generator = torch.Generator().manual_seed(0)

        def blots(first: int, count: int) -> InMemory:
            noise = torch.rand(count, 3, 5, 5, generator=generator)
            pixels = (255 * F.interpolate(noise, 14, mode="bilinear")).byte()
            label = (noise[:, 0].mean((1, 2)) > noise[:, 2].mean((1, 2))).long()
            return InMemory(pixels, label, torch.arange(first, first + count))

        self.use_images(blots(0, 61), blots(61, 20), ("red", "blue"))


class Tiny(nn.Module):
    """One convolution and a mean."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride), nn.ReLU())
        self.head = nn.Linear(6, 2)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def task_of(net: nn.Module | None = None, seed: int = 0) -> Classification:
    torch.manual_seed(seed)
    return Classification(net or Tiny(), partial(torch.optim.SGD, lr=0.5), num_classes=2)


def trainer_of(folder: Path, *callbacks: EnergyProfile, epochs: int = 2) -> Trainer:
    return Trainer(
        max_epochs=epochs, accelerator="cpu", logger=MetricsFile(folder), callbacks=[*callbacks],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        default_root_dir=folder, num_sanity_val_steps=0, use_distributed_sampler=False,
        log_every_n_steps=1,
    )  # fmt: skip


def rows_of(folder: Path, name: str = "correlations") -> list[dict[str, str]]:
    with (folder / FOLDER / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Classification]:
    """A training of two epochs, then validated, as train.py does."""
    folder, task, data = tmp_path_factory.mktemp("trained"), task_of(), Blots()
    trainer = trainer_of(folder, EnergyProfile(num_images=20))
    trainer.fit(task, datamodule=data)
    trainer.validate(task, datamodule=data, verbose=False)
    return folder, task


def test_axes_are_those_of_all_training_patches() -> None:
    data = Blots()
    data.setup("fit")
    axes = axes_of_training(data, 3, 1, torch.device("cpu"))
    images = data.train_set.normalise(data.train_set.inputs).double()
    patches = images.unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 27)
    pca = PCA().fit(patches.numpy())
    n = len(patches)
    assert_allclose(axes.energy, np.sqrt(pca.explained_variance_ * (n - 1) / n), rtol=1e-9)


def test_what_is_written_is_what_the_statistics_say(trained: tuple[Path, Classification]) -> None:
    folder, task = trained
    history, axes = History.read(folder / FOLDER / "filters.npz"), read_axes(folder)
    assert history.epochs == (0, 1, 2)
    initial = task_of().net.body[0].weight
    assert torch.equal(history.filters[0], initial)
    last = task.net.body[0].weight.detach()
    assert torch.equal(history.filters[-1], last)
    rows = rows_of(folder)
    assert [(row["epoch"], row["of"]) for row in rows] == [
        ("0", "weights"), ("1", "weights"), ("2", "weights"), ("1", "change"), ("2", "change")
    ]  # fmt: skip
    start = energy_profile(initial.detach(), axes.axes)
    for row, filters in ((rows[2], last), (rows[4], last - initial)):
        profile = energy_profile(filters, axes.axes)
        assert_allclose(float(row["with_initial"]), np.corrcoef(profile, start)[0, 1], rtol=1e-9)
        assert_allclose([float(row["with_formula"]), float(row["step"])], best_fit(profile, axes))
        assert row["with_partner"] == "nan"
    profiles = rows_of(folder, "profiles")
    assert_allclose(
        [float(row["change"]) for row in profiles if row["epoch"] == "2"],
        energy_profile(last - initial, axes.axes),
        rtol=1e-9,
    )
    for name in ("", "_epochs", "_filters", "_autocorrelation", "_labels"):
        assert (folder / "figures" / f"energy_profile{name}.png").exists()
    with (folder / "metrics.csv").open() as file:
        logged = [row for row in csv.DictReader(file) if row["train/loss"]]
    key = "analysis/energy_profile/change/with_formula"
    assert_allclose([float(row[key]) for row in logged],
                    [float(row["with_formula"]) for row in rows[3:]])  # fmt: skip


def test_it_leaves_the_training_as_it_is(
    trained: tuple[Path, Classification], tmp_path: Path
) -> None:
    undisturbed = task_of()
    trainer_of(tmp_path).fit(undisturbed, datamodule=Blots())
    for one, other in zip(trained[1].parameters(), undisturbed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_resumed_training_has_the_history_of_an_undisturbed_one(tmp_path: Path) -> None:
    data = Blots()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainer_of(whole, EnergyProfile(), epochs=3).fit(task_of(), datamodule=data)
    trainer = trainer_of(parts, EnergyProfile(), epochs=2)
    trainer.fit(task_of(), datamodule=data)
    trainer.save_checkpoint(parts / "last.ckpt")
    for _ in range(2):  # epoch 3 has been seen once before, when the training was cut off
        again = trainer_of(parts, EnergyProfile(), epochs=3)
        again.fit(task_of(seed=1), datamodule=data, ckpt_path=parts / "last.ckpt",
                  weights_only=True)  # fmt: skip
    one, other = (History.read(folder / FOLDER / "filters.npz") for folder in (whole, parts))
    assert one.epochs == other.epochs == (0, 1, 2, 3)
    assert_close(one.filters, other.filters, rtol=0, atol=0)


def test_a_finished_run_is_read_from_its_checkpoints(
    trained: tuple[Path, Classification], tmp_path: Path
) -> None:
    folder, task = trained
    kept = History.read(folder / FOLDER / "filters.npz")
    trainer = trainer_of(tmp_path, epochs=2)
    trainer.fit(task_of(), datamodule=Blots())
    trainer.save_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    initial = trainer_of(tmp_path / "other", epochs=0)
    initial.fit(task_of(), datamodule=Blots())
    initial.save_checkpoint(tmp_path / "checkpoints" / "init.ckpt")
    found = History.of_run(tmp_path, "body.0")
    assert found.epochs == (0, 2)
    assert_close(found.filters, (kept.filters[0], kept.filters[2]), rtol=0, atol=0)
    # The same weights, validated as after no epoch, have the profile of the partner's last.
    callback = EnergyProfile(partner=str(tmp_path), num_images=20)
    trainer_of(folder, callback).validate(task, datamodule=Blots(), verbose=False)
    assert History.read(folder / FOLDER / "filters.npz").epochs == kept.epochs
    last = next(row for row in rows_of(folder) if row["epoch"] == "0")
    assert_allclose(float(last["with_partner"]), 1)


def test_a_run_that_was_not_followed_gets_its_history_from_its_checkpoints(tmp_path: Path) -> None:
    for name, epochs in (("init", 0), ("last", 2)):
        trainer = trainer_of(tmp_path / name, epochs=epochs)
        trainer.fit(task := task_of(), datamodule=Blots())
        trainer.save_checkpoint(tmp_path / "run" / "checkpoints" / f"{name}.ckpt")
    trainer = trainer_of(tmp_path / "run", EnergyProfile(num_images=20))
    trainer.fit_loop.epoch_progress.current.completed = 2  # as analyze.py does
    trainer.validate(task, datamodule=Blots(), verbose=False)
    history = History.read(tmp_path / "run" / FOLDER / "filters.npz")
    assert history.epochs == (0, 2)
    assert torch.equal(history.filters[1], task.net.body[0].weight)


def test_axes_are_kept_for_the_same_data_and_windows_alone(
    trained: tuple[Path, Classification],
) -> None:
    folder, data = trained[0], Blots()
    data.setup("fit")
    kept = kept_axes(folder, data, 3, 1)
    assert kept is not None
    assert_close(kept, axes_of_training(data, 3, 1, torch.device("cpu")), rtol=1e-12, atol=1e-12)
    assert kept_axes(folder, data, 3, 3) is None
    assert kept_axes(folder, data, 5, 1) is None
    other = Blots(std=[0.3] * 3)
    other.setup("fit")
    assert kept_axes(folder, other, 3, 1) is None


def test_patches_side_by_side_have_their_own_axes_and_no_autocorrelation(tmp_path: Path) -> None:
    data = Blots(component=2, alpha=3.0)
    task = task_of(Tiny(stride=3))
    trainer_of(tmp_path, EnergyProfile(num_images=20)).validate(
        task, datamodule=data, verbose=False
    )
    plain = Blots()
    plain.setup("fit")
    before = patch_axes(plain.train_set.normalise(plain.train_set.inputs), 3).energy
    before[2] *= 3
    energy = read_axes(tmp_path).energy
    assert_close(energy, before.sort(descending=True).values, rtol=1e-4, atol=1e-5)
    assert not (tmp_path / FOLDER / "autocorrelation.csv").exists()
    assert patch_stride(nn.Conv2d(3, 8, 7, stride=2)) == 1


def test_a_frozen_layer_has_no_change(tmp_path: Path) -> None:
    net = Tiny()
    net.body.requires_grad_(False)
    task, trainer = task_of(net), trainer_of(tmp_path, EnergyProfile(num_images=20))
    trainer.fit(task, datamodule=Blots())
    trainer.validate(task, datamodule=Blots(), verbose=False)
    changes = [row for row in rows_of(tmp_path) if row["of"] == "change"]
    assert {row["with_formula"] for row in changes} == {"nan"}
    assert_allclose([float(row["with_initial"]) for row in rows_of(tmp_path)[:3]], 1)


@pytest.mark.filterwarnings("ignore:Encountered `nan` values")  # of the loss
def test_weights_that_are_nan_end_no_training(tmp_path: Path) -> None:
    task = task_of()
    with torch.no_grad():
        task.net.body[0].weight[0] = torch.nan
    trainer = trainer_of(tmp_path, EnergyProfile(), epochs=1)
    with pytest.warns(UserWarning, match="leaves out epoch 1: filters hold NaN"):
        trainer.fit(task, datamodule=Blots())
    with pytest.warns(UserWarning, match="leaves out the report: filters hold NaN"):
        trainer.validate(task, datamodule=Blots(), verbose=False)
    with pytest.raises(ValueError, match="filters hold NaN"):
        trainer_of(tmp_path, EnergyProfile()).validate(task, datamodule=Blots(), verbose=False)


def test_what_cannot_be_analysed_is_refused(tmp_path: Path) -> None:
    def validate(net: nn.Module, **options: Any) -> None:
        trainer_of(tmp_path, EnergyProfile(**options)).validate(task_of(net), datamodule=Blots())

    with pytest.raises(ValueError, match=r"layer='body.1' is no convolution of Tiny; .* body.0"):
        validate(Tiny(), layer="body.1")
    with pytest.raises(ValueError, match=r"Linear has no convolution: .* such as model=vgg11"):
        first_layer(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="num_images=1 must be at least 2"):
        EnergyProfile(num_images=1)
    wide = Tiny()
    wide.body[0] = nn.Conv2d(3, 6, (3, 5))
    with pytest.raises(
        ValueError, match=r"'body.0' has filters of \(3, 3, 5\) in 1 groups: choose"
    ):
        validate(wide)
    with pytest.raises(FileNotFoundError, match=r"nowhere holds neither .*filters.npz nor check"):
        validate(Tiny(), partner=str(tmp_path / "nowhere"))
    deep = Tiny()
    deep.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.ReLU())
    with pytest.raises(ValueError, match=r"'body.1' has filters of \(6, 3, 3\), which are no patc"):
        trainer_of(tmp_path / "deep", EnergyProfile(layer="body.1")).fit(
            task_of(deep), datamodule=Blots()
        )
    large = Tiny()
    large.body[0] = nn.Conv2d(3, 6, 5)
    trainer = trainer_of(tmp_path / "large", EnergyProfile(), epochs=1)
    trainer.fit(task_of(large), datamodule=Blots())
    with pytest.raises(ValueError, match=r"partner=.*large has filters of \(3, 5, 5\) and this"):
        validate(Tiny(), partner=str(tmp_path / "large"))


def axes_and_profile(rank: int) -> dict[str, Tensor]:
    data = Blots()  # 61 images: 31 and 30
    data.setup("fit")
    axes = axes_of_training(data, 3, 1, torch.device("cpu"))
    return {**axes._asdict(), "profile": energy_profile(task_of().net.body[0].weight, axes.axes)}


@pytest.mark.ddp
def test_two_ranks_have_the_axes_and_profiles_of_one(tmp_path: Path) -> None:
    alone = axes_and_profile(0)
    for together in on_ranks(axes_and_profile, world_size=2, folder=tmp_path):
        assert_close(together, alone, rtol=0, atol=1e-10)


@pytest.mark.ddp
@pytest.mark.slow
def test_the_command_keeps_the_same_axes_on_two_ranks(store: Path) -> None:
    asked = (*TINY, "callbacks=energy_profile", "trainer.max_epochs=1", "logger=none")
    run(store, "train.py", *asked, "hydra.run.dir=outputs/profile/1")
    run(store, "train.py", *asked, "hydra.run.dir=outputs/profile/2", "trainer=ddp",
        "trainer.devices=2")  # fmt: skip
    one, two = (store / "outputs" / "profile" / ranks for ranks in "12")
    assert_close(read_axes(one), read_axes(two), rtol=0, atol=1e-10)
    initial, same = (History.read(f / FOLDER / "filters.npz").filters[0] for f in (one, two))
    assert torch.equal(initial, same)
    assert (two / "figures" / "energy_profile.png").exists()
