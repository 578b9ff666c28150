"""`modality_gate` of gates that are computed by hand, beside training, and on two ranks."""

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int64
from lightning.pytorch import Callback, Trainer
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmrep.batch import Batch
from mmrep.callbacks.checkpoints import Checkpoints
from mmrep.callbacks.modality_gate import GateStatistics
from mmrep.data.in_memory import InMemory, InMemoryDataModule
from mmrep.gates import read_corrupted, read_validated
from mmrep.loggers import MetricsFile
from mmrep.networks.gated import GatedFusion, NaiveFusion
from mmrep.runs import validate, what_ran
from mmrep.tasks.classification import Classification
from tests.ddp import on_ranks

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # data are in memory
    "ignore:.*LeafSpec.*deprecated",  # between Lightning and torch
)
SAMPLES, CLASSES, LEVELS = 61, ("cube", "cone", "ball"), (0, 0.5, 1)
GOLDEN = (5**0.5 - 1) / 2


class Pairs(InMemory):
    """Four channels become three modalities; a share of the samples loses one of them."""

    bad: tuple[str, float] | None = None

    def prepare(self, batch: Batch) -> Batch:
        assert isinstance(batch.inputs, Tensor)
        images = {"rgb": batch.inputs[:, :3], "depth": batch.inputs[:, 3:]}
        images["heat"] = images["depth"].flip(3) / 2
        if self.bad is not None:
            kind, level = self.bad
            kept = (batch.index * GOLDEN % 1 >= level).float()[:, None, None, None]
            images[kind.partition("_")[0]] = images[kind.partition("_")[0]] * kept
        return batch._replace(inputs=images)


class Solids(InMemoryDataModule):
    """Noise, brighter for some classes; sample numbers are in no order."""

    name, class_names = "solids", CLASSES
    corruptions = ("depth_missing", "rgb_missing", "sound_missing")

    def __init__(self, batch_size: int = 16, samples: int = SAMPLES) -> None:
        super().__init__(batch_size, seed=0)
        self.samples = samples
        self.simulated = True

    def setup(self, stage: str) -> None:
        generator = torch.Generator().manual_seed(1)
        label = torch.arange(self.samples) % 3
        inputs = torch.rand(self.samples, 4, 8, 8, generator=generator)
        inputs = (inputs + label[:, None, None, None]) / 3
        index = 1000 - 7 * torch.randperm(self.samples, generator=generator)
        self.train_set = self.val_set = Pairs(inputs, label, index)
        self.val_known = {"told": inputs[:, 3].mean(dim=(1, 2)), "alike": torch.ones(self.samples)}

    def corrupted_val_dataloader(self, kind: str, level: float) -> DataLoader[Batch]:
        val = Pairs(self.val_set.inputs, self.val_set.label, self.val_set.index)
        val.bad = (kind, level)
        return self._ordered(val)


class Flat(nn.Module):
    """A branch of one layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body, self.num_features = nn.Linear(channels * 64, 5), 5

    def features(self, x: Float[Tensor, "batch _ 8 8"]) -> Float[Tensor, "batch features"]:
        return self.body(x.flatten(1)).relu()


def task_of(
    network: type[NaiveFusion] = GatedFusion, *modalities: str, **options: Any
) -> Classification:
    torch.manual_seed(0)
    branches = {name: Flat(3 if name == "rgb" else 1) for name in modalities or ("rgb", "depth")}
    net = network(branches, len(CLASSES), width=6, hidden=4, **options)
    return Classification(net, partial(torch.optim.SGD, lr=0.05), len(CLASSES))


def trainer_of(folder: Path, *callbacks: Callback, epochs: int = 2, steps: int = -1) -> Trainer:
    return Trainer(
        max_epochs=epochs, max_steps=steps, accelerator="cpu", logger=MetricsFile(folder),
        callbacks=[*callbacks], enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=any(isinstance(one, Checkpoints) for one in callbacks),
        default_root_dir=folder, num_sanity_val_steps=0, use_distributed_sampler=False,
        log_every_n_steps=1,
    )  # fmt: skip


def rows_of(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / "analysis" / "modality_gate" / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def by_hand(
    task: Classification, data: Solids, kind: str = "rgb_missing", level: float = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Gates and predictions of all samples at once."""
    val = Pairs(data.val_set.inputs, data.val_set.label, data.val_set.index)
    val.bad = (kind, level)
    inputs = val.prepare(val[[*range(len(val))]]).inputs
    net: Any = task.eval().net
    with torch.no_grad():
        depth = net.projections["depth"](net.branches["depth"].features(inputs["depth"]))
        linear = net.gates["depth"].linear
        gate = 1 / (1 + np.exp(-(depth.double() @ linear.weight.double().T + linear.bias).numpy()))
        return gate, net(inputs).argmax(dim=1).numpy()


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Classification, Solids]:
    """A training of two epochs, and the validation of what it came to."""
    folder, task, data = tmp_path_factory.mktemp("gated"), task_of(), Solids()
    trainer = trainer_of(folder, GateStatistics(levels=LEVELS, examples=3))
    trainer.fit(task, datamodule=data)
    trainer.validate(task, datamodule=data, verbose=False)
    return folder, task, data


def test_statistics_are_numpys_of_the_networks_own_gates(
    analysed: tuple[Path, Classification, Solids],
) -> None:
    folder, task, data = analysed
    gate, predicted = by_hand(task, data)
    kept = np.load(folder / "analysis" / "modality_gate" / "epoch=002.npz")
    assert_allclose(kept["gate_depth"], gate, atol=1e-6)
    assert kept["gate_depth"].nbytes == SAMPLES * 6 * 4  # as the recipe says
    assert_array_equal(kept["index"], data.val_set.index)
    assert_array_equal(kept["label"], data.val_set.label)
    assert_array_equal(kept["predicted"], predicted)
    rows = rows_of(folder, "gates")
    assert [row["epoch"] for row in rows] == ["1"] * 4 + ["2"] * 4
    label = data.val_set.label.numpy()
    for row, name in zip(rows[4:], ("all", *CLASSES), strict=True):
        of = gate if name == "all" else gate[label == CLASSES.index(name)]
        assert (row["class"], row["modality"]) == (name, "depth")
        found = [float(row[k]) for k in row if k.startswith(("mean", "deviation"))]
        assert_allclose(found, [of.mean(), of.mean(1).std(), of.mean(0).std()], atol=1e-6)
    units = rows_of(folder, "units")
    assert [row["unit"] for row in units] == [*"012345"] * 2
    units = units[6:]
    for name, values in (("mean", gate.mean(0)), ("deviation", gate.std(0))):
        assert_allclose([float(row[name]) for row in units], values, atol=1e-6)
    samples = rows_of(folder, "samples")
    assert [row["epoch"] for row in samples] == ["1"] * SAMPLES + ["2"] * SAMPLES
    last = samples[SAMPLES:]
    for name, values in (
        ("mean", gate.mean(1)), ("deviation", gate.std(1)), ("told", data.val_known["told"]),
        ("index", data.val_set.index), ("correct", predicted == label),
    ):  # fmt: skip
        assert_allclose([float(row[name]) for row in last], values, atol=1e-6)
    assert [row["predicted"] for row in last] == [CLASSES[number] for number in predicted]
    assert [row["class"] for row in last] == [CLASSES[number] for number in label]


def test_what_is_known_is_correlated_by_ranks(
    analysed: tuple[Path, Classification, Solids],
) -> None:
    folder, task, data = analysed
    gate, predicted = by_hand(task, data)
    correct, told, alike = rows_of(folder, "known")
    ranks = rankdata(gate.mean(1))
    for row, values in (
        (correct, predicted == data.val_set.label.numpy()), (told, data.val_known["told"])
    ):  # fmt: skip
        expected = np.corrcoef(ranks, rankdata(values))[0, 1]
        assert float(row["spearman"]) == pytest.approx(expected, abs=1e-5)
    assert (alike["of"], alike["spearman"], alike["samples"]) == ("alike", "", str(SAMPLES))


def test_accuracy_and_gates_under_corruption(
    analysed: tuple[Path, Classification, Solids],
) -> None:
    folder, task, data = analysed
    rows = rows_of(folder, "corruption")
    assert next(iter(rows[0])) == "epoch"
    assert {row["epoch"] for row in rows} == {"2"}
    keys = [(row["kind"], float(row["level"])) for row in rows]
    assert keys == [(k, level) for k in ("depth_missing", "rgb_missing") for level in LEVELS]
    for row, (kind, level) in zip(rows, keys, strict=True):
        gate, predicted = by_hand(task, data, kind, level)
        assert int(row["correct"]) == (predicted == data.val_set.label.numpy()).sum()
        assert float(row["accuracy"]) == int(row["correct"]) / int(row["samples"])
        mean, deviation = float(row["gate_depth"]), float(row["gate_depth_deviation"])
        assert_allclose([mean, deviation], [gate.mean(), gate.mean(1).std()], atol=1e-6)
    with (folder / "metrics.csv").open(newline="") as file:
        logged = [row for row in csv.DictReader(file) if row["val/accuracy"]]
    for clean in rows[0], rows[3]:
        assert float(clean["accuracy"]) == pytest.approx(float(logged[-1]["val/accuracy"]))
    # The published gate sees depth alone: whatever becomes of colour, it stays.
    assert len({row["gate_depth"] for row in rows if row["kind"] == "rgb_missing"}) == 1
    # Where no sample has depth, all gates are alike.
    assert float(rows[2]["gate_depth_deviation"]) < 1e-6 < float(rows[0]["gate_depth_deviation"])


def test_means_are_logged_and_figures_drawn(
    analysed: tuple[Path, Classification, Solids],
) -> None:
    folder = analysed[0]
    with (folder / "metrics.csv").open(newline="") as file:
        logged = [row for row in csv.DictReader(file) if row["train/loss"]]
    rows = rows_of(folder, "gates")
    for epoch, row in enumerate(logged):
        for of in rows[4 * epoch : 4 * epoch + 4]:
            name = "mean" if of["class"] == "all" else f"mean/{of['class']}"
            assert float(row[f"analysis/modality_gate/depth/{name}"]) == float(of["mean"])
        deviation = float(row["analysis/modality_gate/depth/deviation"])
        assert deviation == float(rows[4 * epoch]["deviation_over_samples"])
    for name in ("", "_units", "_samples", "_corruption", "_images"):
        drawn = (folder / "figures" / f"modality_gate{name}.svg").read_text()
        assert "simulated data" in drawn
        assert "solids, validation; GatedFusion" in drawn


def test_a_gate_without_weights_is_its_bias_for_all() -> None:
    task, data = task_of(), Solids()
    data.setup("validate")
    linear = task.net.gates["depth"].linear
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.linspace(-2, 2, 6))
    gate = read_validated(task, data, data.val_dataloader()).gates["depth"]
    expected = 1 / (1 + np.exp(-np.linspace(-2, 2, 6)))
    assert_allclose(gate, np.broadcast_to(expected, (SAMPLES, 6)), atol=1e-7)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_neither_batches_nor_order_matter(batch_size: int) -> None:
    task, data, other = task_of(), Solids(), Solids(batch_size)
    data.setup("validate")
    other.setup("validate")
    turned = other.val_set
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(2))
    shown = Pairs(turned.inputs[order], turned.label[order], turned.index[order])
    one = read_validated(task, data, data.val_dataloader())
    two = read_validated(task, data, other._ordered(shown))
    assert_allclose(two.gates["depth"], one.gates["depth"], atol=1e-6)
    assert_array_equal(two.predicted, one.predicted)


@pytest.mark.parametrize(
    ("modalities", "kinds"),
    [(("rgb", "depth"), ["depth_missing", "rgb_missing"]), (("depth",), ["depth_missing"])],
)
def test_networks_without_gates_have_corruptions_alone(
    tmp_path: Path, modalities: tuple[str, ...], kinds: list[str]
) -> None:
    task = task_of(NaiveFusion, *modalities)
    trainer = trainer_of(tmp_path, GateStatistics(levels=LEVELS), epochs=1)
    trainer.validate(task, datamodule=Solids(), verbose=False)
    written = [path.name for path in (tmp_path / "analysis" / "modality_gate").iterdir()]
    assert written == ["corruption.csv"]
    rows = rows_of(tmp_path, "corruption")
    assert [*rows[0]] == ["epoch", "kind", "level", "accuracy", "correct", "samples"]
    assert [row["kind"] for row in rows] == [kind for kind in kinds for _ in LEVELS]
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"modality_gate_corruption.png", "modality_gate_corruption.svg"}


def test_each_gated_modality_has_its_own_numbers(tmp_path: Path) -> None:
    task, data = task_of(GatedFusion, "rgb", "depth", "heat"), Solids()
    trainer_of(tmp_path, GateStatistics(levels=(0, 1))).validate(
        task, datamodule=data, verbose=False
    )
    kept = np.load(tmp_path / "analysis" / "modality_gate" / "epoch=000.npz")
    assert_allclose(kept["gate_depth"], by_hand(task, data)[0], atol=1e-6)
    rows = rows_of(tmp_path, "gates")
    assert [row["modality"] for row in rows] == ["depth"] * 4 + ["heat"] * 4
    assert float(rows[4]["mean"]) == pytest.approx(kept["gate_heat"].mean(), abs=1e-6)
    columns = [*rows_of(tmp_path, "corruption")[0]]
    assert columns[6:8] == ["gate_depth", "gate_depth_deviation"]
    assert columns[8:] == ["gate_heat", "gate_heat_deviation"]
    for modality in ("depth", "heat"):
        drawn = (tmp_path / "figures" / f"modality_gate_images_{modality}.svg").read_text()
        assert f"gate of {modality}, mean over units" in drawn


def test_gates_of_the_carried_modality_are_not_followed(tmp_path: Path) -> None:
    task, data = task_of(separate_gates=True), Solids()
    assert set(task.net.carried_gates.keys()) == {"depth"}
    trainer = trainer_of(tmp_path, GateStatistics(levels=(0, 1)))
    trainer.validate(task, datamodule=data, verbose=False)
    kept = np.load(tmp_path / "analysis" / "modality_gate" / "epoch=000.npz")
    assert [name for name in kept if name.startswith("gate")] == ["gate_depth"]
    assert_allclose(kept["gate_depth"], by_hand(task, data)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "epochs"),
    [({"epochs": 3}, 3), ({"epochs": 3, "steps": 6}, 2), ({"epochs": 3, "steps": 8}, 2)],
)  # a whole training, and two that end in the middle and at the end of an epoch of four steps
def test_corruptions_say_of_which_epoch_they_are(
    tmp_path: Path, asked: dict[str, int], epochs: int
) -> None:
    task, data = task_of(), Solids()
    statistics = GateStatistics(levels=(0, 1))
    trainer = trainer_of(tmp_path, statistics, Checkpoints("val/accuracy", "max"), **asked)
    trainer.fit(task, datamodule=data)
    assert what_ran(trainer, task)["epochs"] == epochs
    for checkpoint, expected in (("last", epochs), ("init", 0)):
        validate(trainer, task, data, tmp_path, checkpoint)
        assert {row["epoch"] for row in rows_of(tmp_path, "corruption")} == {str(expected)}


def test_training_goes_on_as_if_nothing_were_read_also_when_resumed(
    tmp_path: Path, analysed: tuple[Path, Classification, Solids]
) -> None:
    undisturbed = task_of()
    trainer_of(tmp_path / "without").fit(undisturbed, datamodule=Solids())
    for one, two in zip(analysed[1].parameters(), undisturbed.parameters(), strict=True):
        assert torch.equal(one, two)
    task, data = task_of(), Solids()
    trainer = trainer_of(tmp_path, GateStatistics())
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    earlier = rows_of(tmp_path, "gates"), rows_of(tmp_path, "units")
    for _ in range(2):  # epoch 3 has been analysed once before, when the training was cut off
        again = trainer_of(tmp_path, GateStatistics(), epochs=3)
        again.fit(task, datamodule=data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    rows = rows_of(tmp_path, "gates")
    assert rows[:8] == earlier[0]
    assert [row["epoch"] for row in rows[8:]] == ["3"] * 4
    assert rows_of(tmp_path, "units")[:12] == earlier[1]


@pytest.mark.filterwarnings("ignore:Encountered `nan` values")  # of the loss
def test_gates_that_are_nan_end_no_training(tmp_path: Path) -> None:
    task = task_of()
    with torch.no_grad():
        task.net.gates["depth"].linear.weight[0] = torch.nan
    with pytest.warns(UserWarning, match="out epoch 1: the logits are not finite for 61 of 61"):
        trainer_of(tmp_path, GateStatistics(), epochs=1).fit(task, datamodule=Solids())
    assert not (tmp_path / "analysis").exists()
    with pytest.raises(ValueError, match="the logits are not finite"):
        trainer_of(tmp_path, GateStatistics()).validate(task, datamodule=Solids())


def test_epochs_that_are_not_due_are_left_out(tmp_path: Path) -> None:
    trainer_of(tmp_path, GateStatistics(every=None)).fit(task_of(), datamodule=Solids())
    assert not (tmp_path / "analysis").exists()
    trainer_of(tmp_path, GateStatistics(every=2), epochs=3).fit(task_of(), datamodule=Solids())
    assert {row["epoch"] for row in rows_of(tmp_path, "gates")} == {"2"}


def test_what_cannot_be_analysed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="every=0 must be at least 1 epoch"):
        GateStatistics(every=0)
    for levels in ((), (0.5, 1), (0, 0.5, 0.5), (0, 2)):
        with pytest.raises(ValueError, match="must rise from 0, an intact image, to at most 1"):
            GateStatistics(levels=levels)
    with pytest.raises(ValueError, match="examples=0 must be at least 1 sample"):
        GateStatistics(examples=0)
    data = Solids()
    without = task_of()
    without.net = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="no branches in Linear: choose a network of modalities"):
        trainer_of(tmp_path, GateStatistics()).fit(without, datamodule=data)
    data.corruptions = ("sound_missing",)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"none of sound_missing is of a modality .* rgb, depth: "):
        trainer_of(tmp_path, GateStatistics()).fit(task_of(), datamodule=data)
    data.corruptions = ()  # type: ignore[assignment]
    with pytest.raises(ValueError, match="no corruptions in solids: choose data with them"):
        trainer_of(tmp_path, GateStatistics()).fit(task_of(), datamodule=data)


def read_on(rank: int) -> dict[str, Int64[Tensor, "_"] | Tensor]:
    """All that is read of the validation samples; of two ranks one has one sample more."""
    task, data = task_of(), Solids()
    data.setup("validate")
    clean = read_validated(task, data, data.val_dataloader())
    corrupted = read_corrupted(task, data, clean, LEVELS)
    return {
        "gates": clean.gates["depth"],
        "predicted": clean.predicted,
        "correct": torch.tensor([of.correct for of in corrupted]),
        "corrupted gates": torch.tensor([of.gates["depth"] for of in corrupted]),
    }


@pytest.mark.ddp
def test_two_ranks_read_as_one(tmp_path: Path) -> None:
    alone = read_on(0)
    for together in on_ranks(read_on, world_size=2, folder=tmp_path):
        assert torch.equal(together["predicted"], alone["predicted"])
        assert torch.equal(together["correct"], alone["correct"])
        assert_allclose(together["gates"], alone["gates"], atol=1e-6)
        assert_allclose(together["corrupted gates"], alone["corrupted gates"], atol=1e-6)
