"""`cell_selectivity` of cells that are known, beside training, resumed, and on two ranks."""

import csv
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Int64
from lightning.pytorch import Trainer
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn

from mmrep.batch import Batch
from mmrep.callbacks.cell_selectivity import CellSelectivity
from mmrep.cells import measure, responses_of
from mmrep.data.in_memory import InMemory, InMemoryDataModule
from mmrep.features import read_features
from mmrep.loggers import MetricsFile
from mmrep.networks.autoencoder import Dense, MixedInputAutoencoder
from mmrep.runs import Run
from mmrep.stats.cells import CONSTANTS, SELECTIVE, cell_classes, own_thresholds
from mmrep.stats.information import CELLS, single_cell_information
from mmrep.tasks.reconstruction import Reconstruction
from tests.ddp import on_ranks

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # data are in memory
    "ignore:.*LeafSpec.*deprecated",  # between Lightning and torch
)
CONDITIONS = ("visual", "auditory", "both")
SIZES = {"visual": 4, "auditory": 4}


class Pairs(InMemory):
    """Inputs of two modalities, each pair shown three times."""

    def __getitem__(self, samples: list[int]) -> Batch:
        chosen = torch.tensor(samples)
        visual, auditory = self.inputs[chosen].split(4, dim=1)
        return Batch(
            {"visual": visual, "auditory": auditory}, self.label[chosen], self.index[chosen]
        )

    def condition(self, index: Int64[Tensor, "batch"]) -> Int64[Tensor, "batch"]:
        return (index - int(self.index[0])) // (len(self) // 3)

    def prepare(self, batch: Batch) -> Batch:
        condition = self.condition(batch.index)[:, None]
        shown = {
            name: values * ((condition == code) | (condition == 2)).to(values)
            for code, (name, values) in enumerate(batch.inputs.items())
        }
        return batch._replace(inputs=shown, target=batch.inputs)


class Senses(InMemoryDataModule):
    """Four stimuli, of which each modality lights up one value, as far as `noise` lets it."""

    name = "senses"
    class_names = ("a", "b", "c", "d")
    conditions = CONDITIONS

    def __init__(self, noise: float = 0.0, pairs: int = 61) -> None:
        super().__init__(batch_size=25, seed=0)
        self.noise, self.pairs = noise, pairs

    def setup(self, stage: str) -> None:
        generator = torch.Generator().manual_seed(0)
        sets = []
        for first in (0, 3 * self.pairs):
            label = torch.arange(self.pairs) % 4
            inputs = torch.eye(4)[label].repeat(1, 2)
            inputs = inputs + self.noise * torch.rand(self.pairs, 8, generator=generator)
            index = torch.arange(first, first + 3 * self.pairs)
            sets.append(Pairs(inputs.repeat(3, 1), label.repeat(3), index))
        self.train_set, self.val_set = sets

    def condition(self, index: Int64[Tensor, "batch"]) -> Int64[Tensor, "batch"]:
        return self.val_set.condition(index)


KNOWN = {  # units by the stimuli that they respond to, seen and heard
    "visual": [("a", "")],
    "auditory": [("", "b")],
    "none": [("", "")],
    "consistent": [("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")],
    "inconsistent": [("a", "b"), ("b", "c"), ("c", "d")],
}


def known_network() -> MixedInputAutoencoder:
    """Its last layer has the cells of `KNOWN`; the first has another one, that hardly responds."""
    cells = [cell for of in KNOWN.values() for cell in of]
    weight = torch.zeros(11, 8)
    for unit, (seen, heard) in enumerate(cells):
        for offset, stimulus in ((0, seen), (4, heard)):
            if stimulus:
                weight[unit, offset + "abcd".index(stimulus)] = 4
    weight[10, 0] = 0.01
    net = MixedInputAutoencoder(2, width=10, inputs=SIZES)
    first, second = Dense(8, 11), Dense(11, 10)
    net.encoder = nn.Sequential(
        OrderedDict(
            layer1=nn.Sequential(first, nn.Sigmoid()), layer2=nn.Sequential(second, nn.Sigmoid())
        )
    )
    with torch.no_grad():
        first.weight.copy_(weight)
        second.weight.copy_(4 * torch.eye(10, 11))
    return net


def task_of(net: nn.Module) -> Reconstruction:
    adadelta = partial(torch.optim.Adadelta, lr=1.0, rho=0.95, eps=1e-8)
    return Reconstruction(net, adadelta, batch_size=25)


def noisy_task(seed: int = 0) -> Reconstruction:
    torch.manual_seed(seed)
    return task_of(MixedInputAutoencoder(2, width=6, inputs=SIZES))


def trainer_of(folder: Path, *callbacks: CellSelectivity, epochs: int = 1) -> Trainer:
    return Trainer(
        max_epochs=epochs, accelerator="cpu", logger=MetricsFile(folder), callbacks=[*callbacks],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        default_root_dir=folder, num_sanity_val_steps=0, use_distributed_sampler=False,
        log_every_n_steps=1,
    )  # fmt: skip


def arrays_of(folder: Path, epoch: int = 0) -> dict[str, Any]:
    return dict(np.load(folder / "analysis" / "cell_selectivity" / f"epoch={epoch:03d}.npz"))


def validate(folder: Path, task: Reconstruction, data: Senses, **options: Any) -> None:
    trainer = trainer_of(folder, CellSelectivity(**options))
    trainer.validate(task, datamodule=data, verbose=False)


def trained(folder: Path, data: Senses, **options: Any) -> dict[str, Any]:
    """What is written beside a training of one epoch, in which nothing is drawn."""
    trainer_of(folder, CellSelectivity(every=1, **options)).fit(noisy_task(), datamodule=data)
    return arrays_of(folder, 1)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the known network, analysed where another epoch has been before."""
    folder = tmp_path_factory.mktemp("known")
    trained(folder, Senses(noise=2))
    validate(folder, task_of(known_network()), Senses())
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "analysis" / "cell_selectivity" / "cell_selectivity.csv").open() as file:
        return list(csv.DictReader(file))


def test_known_cells_are_found(known: Path) -> None:
    found = arrays_of(known)
    names = [name for name, of in KNOWN.items() for _ in of]
    assert found["layers"].tolist() == ["encoder.layer1", "encoder.layer2"]
    assert (found["kinds"].tolist(), str(found["kind"])) == (["self"], "self")
    for normalisation in (0, 1):
        classes = found["classes"][0, 1, normalisation]
        assert [CELLS[code] for code in classes[:10]] == names
        assert classes[10] == -1  # where the layer has no such unit
        assert found["counts"][0, 1, normalisation].tolist() == [1, 1, 1, 3, 4]
    # One stimulus apart from three tells log2(4) bits of itself, log2(4/3) of each other.
    visual = found["information"][1, 1, 0, :, 0]
    assert_allclose(visual, [2, *[np.log2(4 / 3)] * 3], atol=1e-12)
    assert np.isnan(found["information"][1, ..., 10]).all()
    # The cell that hardly responds tells nothing in the others' range, and all in its own.
    shown = found["information"][0, 1, :, 0, 10]
    assert_allclose(shown, [0, 2], atol=1e-12)
    # Means: sigmoid(4 x) of the first layer's 1/2, or of its sigmoid(4) where it sees stimulus a.
    low, high = torch.tensor([0.5, torch.tensor(4.0).sigmoid()]).mul(4).sigmoid().tolist()
    assert_allclose(found["mean_response"][1, 1, :, 0], [high, low, low, low], atol=1e-6)
    assert_allclose(found["mean_response"][1, 0, 0, 0], (2 * high + low) / 3, atol=1e-6)
    for name in ("", "_counts", "_epochs", "_examples"):
        assert (known / "figures" / f"cell_selectivity{name}.png").exists()


def test_examples_are_of_their_class_with_their_responses(known: Path) -> None:
    task, data, found = task_of(known_network()), Senses(), arrays_of(known)
    data.setup("validate")
    names = [name for name, of in KNOWN.items() for _ in of]
    assert found["example_classes"].tolist() == list(SELECTIVE)
    assert [names[unit] for unit in found["example_units"]] == list(SELECTIVE)
    with read_features(task, data.val_dataloader(), double=True) as readings:
        features = torch.cat([layers["features"] for _, layers in readings])
    assert_allclose(found["example_responses"], features[:, found["example_units"]], atol=1e-12)
    assert responses_of(task, data, "features", []).shape == (183, 0)  # where no class has a cell


@pytest.mark.parametrize("positive_only", [True, False])
def test_information_is_that_of_the_statistics(positive_only: bool) -> None:
    task, data = noisy_task(), Senses(noise=2)
    data.setup("validate")
    found = measure(task, data, ["features"], positive_only=positive_only)["features"]
    with read_features(task, data.val_dataloader(), double=True) as readings:
        features = torch.cat([layers["features"] for _, layers in readings])
    condition = data.condition(data.val_set.index)
    for i, rows in enumerate((condition >= 0, condition == 0, condition == 1)):
        for j, normalise in enumerate(("all", "unit")):
            bits = single_cell_information(
                features[rows],
                data.val_set.label[rows],
                normalise=normalise,
                positive_only=positive_only,
            )
            assert_allclose(found.information[i, j], bits, atol=1e-12)


def test_thresholds_are_the_papers_on_its_data_and_else_a_reference_runs(tmp_path: Path) -> None:
    data, other = Senses(noise=2), Senses(noise=1)
    other.setup("validate")
    reference = Run(noisy_task(1), other)
    _, visual, auditory = measure(*reference, ["features"])["features"].information
    theirs = [own_thresholds(*pair) for pair in zip(visual, auditory, strict=True)]
    found = trained(tmp_path, data, reference=reference)
    assert (found["kinds"].tolist(), str(found["kind"])) == (["reference", "self"], "reference")
    assert_array_equal(found["thresholds"][0], theirs)
    _, visual, auditory = torch.from_numpy(found["information"][1])
    own = [own_thresholds(*pair) for pair in zip(visual, auditory, strict=True)]
    assert_array_equal(found["thresholds"][1], own)
    for bounds, classes in zip((theirs, own), found["classes"][:, 1], strict=True):
        assert_array_equal(classes, cell_classes(visual, auditory, bounds))
    data.name = other.name = "mnist_fsdd"
    for threshold in (None, "self"):
        found = trained(tmp_path, data, reference=reference, threshold=threshold)
        assert found["kinds"].tolist() == ["constants", "reference", "self"]
        assert str(found["kind"]) == (threshold or "constants")
        assert_array_equal(found["thresholds"][0], [CONSTANTS] * 2)
    assert len(rows_of(tmp_path)) == 2 * 2 * 3  # layers, normalisations, kinds: of one epoch
    every_term = trained(tmp_path, data, positive_only=False)  # the constants are of others
    assert every_term["kinds"].tolist() == ["self"]
    assert len(rows_of(tmp_path)) == 2 * 2  # those of the same epoch, measured otherwise, are gone
    data.simulated = True
    with pytest.raises(
        ValueError, match="reference run is of real mnist_fsdd, and this one of sim"
    ):
        trained(tmp_path, data, reference=reference)
    with pytest.raises(
        ValueError, match="numbers are of positive terms on real mnist_fsdd alone; choose"
    ):
        trained(tmp_path, data, threshold="constants")


def test_what_cannot_be_analysed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="threshold='p80' is not one of constants, reference, se"):
        CellSelectivity(threshold="p80")
    with pytest.raises(ValueError, match="needs a finished run: name it, reference=RUN"):
        CellSelectivity(threshold="reference")
    with pytest.raises(ValueError, match=r"layers=\[\] leaves nothing"):
        CellSelectivity(layers=[])
    with pytest.raises(ValueError, match="every=0 must be at least 1 epoch"):
        CellSelectivity(every=0)
    data = Senses()
    with pytest.raises(ValueError, match=r"layer 'encoder.layer9' is not in MixedInputAuto"):
        validate(tmp_path, noisy_task(), data, layers=["encoder.layer9"])
    data.conditions = ("visual",)  # type: ignore[assignment]
    with pytest.raises(ValueError, match="finds no auditory samples in senses: choose data"):
        validate(tmp_path, noisy_task(), data)


@pytest.mark.slow
def test_beside_training_all_rows_are_written_once_also_when_resumed(tmp_path: Path) -> None:
    data, callback = Senses(noise=2), CellSelectivity(every=1)
    trainer = trainer_of(tmp_path, callback, epochs=2)
    task = noisy_task()
    trainer.fit(task, datamodule=data)
    undisturbed = noisy_task()
    trainer_of(tmp_path / "without", epochs=2).fit(undisturbed, datamodule=Senses(noise=2))
    for one, other in zip(task.parameters(), undisturbed.parameters(), strict=True):
        assert torch.equal(one, other)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    earlier = rows_of(tmp_path)
    assert [row["epoch"] for row in earlier] == ["1"] * 4 + ["2"] * 4
    # Epoch 3 has been analysed once before, when the training was cut off.
    for _ in range(2):
        again = trainer_of(tmp_path, CellSelectivity(every=1), epochs=3)
        again.fit(task, datamodule=data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    rows = rows_of(tmp_path)
    assert rows[:8] == earlier
    assert [row["epoch"] for row in rows[8:]] == ["3"] * 4
    for row in rows:
        assert sum(int(row[name]) for name in CELLS) == 6
    with (tmp_path / "metrics.csv").open() as file:
        logged = [row for row in csv.DictReader(file) if row["train/loss"]][-1]
    last = rows[10]
    assert (last["layer"], last["normalisation"]) == ("encoder.layer2", "all")
    for name in (*CELLS, "max_information_visual"):
        assert float(logged[f"analysis/cell_selectivity/all/{name}"]) == float(last[name])


def test_responses_that_are_nan_end_no_training(tmp_path: Path) -> None:
    task = noisy_task()
    with torch.no_grad():
        task.net.encoder.layer1[0].weight[0] = torch.nan
    with pytest.warns(UserWarning, match="leaves out epoch 1: the range of unit 0 is nan to nan"):
        trainer_of(tmp_path, CellSelectivity(every=1)).fit(task, datamodule=Senses())
    assert not (tmp_path / "analysis").exists()
    with pytest.raises(ValueError, match="the range of unit 0 is nan"):
        validate(tmp_path, task, Senses())


def measured(rank: int) -> dict[str, Tensor]:
    data = Senses(noise=2, pairs=61)  # 183 samples: 92 and 91
    data.batch_size = 40
    data.setup("validate")
    layers = measure(noisy_task(), data, ["encoder.layer1", "features"])
    parts = {f"{name} {field}": getattr(layer, field) for name, layer in layers.items()
             for field in layer._fields}  # fmt: skip
    return parts | {"responses": responses_of(noisy_task(), data, "features", [4, 1])}


@pytest.mark.ddp
def test_two_ranks_count_as_one(tmp_path: Path) -> None:
    alone = measured(0)
    for together in on_ranks(measured, world_size=2, folder=tmp_path):
        for name, values in alone.items():
            if "information" in name:  # it stands on counts
                assert torch.equal(together[name], values)
            assert_allclose(together[name], values, atol=1e-14)
