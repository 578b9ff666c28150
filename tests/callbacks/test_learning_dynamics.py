"""`learning_dynamics` beside a training, of features, weights and checkpoints, on two ranks."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.testing import assert_close

from mmrep.callbacks.checkpoints import Checkpoints
from mmrep.callbacks.learning_dynamics import LearningDynamics
from mmrep.data.images import ImageDataModule
from mmrep.data.in_memory import InMemory
from mmrep.dynamics import Comparison, Dynamics, convergence, dynamics, probes, read_dynamics
from mmrep.loggers import read_metrics
from mmrep.probe import probe
from mmrep.runs import load_run
from mmrep.snapshots import snapshots_of, states_of, weights_in
from mmrep.stats.representations import represent, similarity
from mmrep.stats.similarity import svcca
from mmrep.tasks.classification import Classification
from tests.ddp import on_ranks
from tests.scripts import TINY, run

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # data are in memory
    "ignore:.*LeafSpec.*deprecated",  # between Lightning and torch
)
LAYERS = ["body.0", "body.2", "head"]
HOW = Comparison(LAYERS, "svcca", "dft", None, 90, 3, 4, 0)


class Blots(ImageDataModule):
    """Smooth random images, 40 to train on and 101 to validate."""

    name, set_title = "blots", "Blots"

    def __init__(self) -> None:
        super().__init__(
            num_classes=2, augment=False, mean=[0.5] * 3, std=[0.2] * 3, batch_size=8, seed=0
        )

    def setup(self, stage: str) -> None:
        generator = torch.Generator().manual_seed(0)

        def blots(first: int, count: int) -> InMemory:
            noise = torch.rand(count, 3, 5, 5, generator=generator)
            pixels = (255 * F.interpolate(noise, 8, mode="bilinear")).byte()
            label = (noise[:, 0].mean((1, 2)) > noise[:, 2].mean((1, 2))).long()
            return InMemory(pixels, label, torch.arange(first, first + count))

        self.use_images(blots(0, 40), blots(40, 101), ("red", "blue"))


class Tiny(nn.Module):
    """Two convolutions, a mean, and in between dropout, so that training draws."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.Dropout(0.2),
        )  # fmt: skip
        self.head = nn.Linear(5, 2)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def task() -> Classification:
    torch.manual_seed(0)
    return Classification(Tiny(), partial(torch.optim.SGD, lr=0.3), num_classes=2)


def callback(**changes: Any) -> LearningDynamics:
    arguments: dict[str, Any] = {
        "layers": LAYERS, "num_samples": 90, "permutations": 3, "resamples": 4,
    }  # fmt: skip
    return LearningDynamics(**arguments | changes)


def trained(folder: Path, *callbacks: Callback, epochs: int = 3) -> Classification:
    """A training and the validation that ends it, as train.py has them."""
    net, data = task(), Blots()
    keeps = any(isinstance(one, Checkpoints) for one in callbacks)
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=keeps,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        inference_mode=False, num_sanity_val_steps=0, default_root_dir=folder,
        callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(net, data)
    trainer.validate(net, data, verbose=False)
    return net


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has kept weights, and checkpoints of its epochs."""
    folder = tmp_path_factory.mktemp("run")
    trained(folder, callback(), Checkpoints("val/loss", "min", every=1))
    return folder


def measured(run: Path, comparison: Comparison = HOW) -> Dynamics:
    net, data, states = task(), Blots(), states_of(run)
    data.setup("validate")
    return dynamics(probes(net, data, states, comparison), states, comparison)


def test_each_layer_is_compared_with_its_end_and_with_all_layers(finished: Path) -> None:
    found = read_dynamics(finished, HOW, states_of(finished))
    assert found is not None
    assert found.layers == tuple(LAYERS)
    assert found.step.tolist() == [0, 1, 2, 4, 5, 10, 11, 15]  # 5 to an epoch; 35 %, 75 %
    assert_allclose(found.epoch, found.step / 5)
    assert_allclose(found.own[-1], 1, atol=1e-12)
    assert (found.own[:-1] < 1).all()
    assert found.shares.tolist() == [0, 4, 6, 7]
    for share, matrix in zip(found.shares, found.matrices, strict=True):
        assert_allclose(matrix.diagonal(), found.own[share], atol=1e-12)
    assert_allclose(found.matrices[-1], found.matrices[-1].T, atol=1e-10)
    assert (found.floor[4] < found.own[4]).all()
    assert (found.kept <= [[4 * 64, 5 * 16, 2]]).all()  # channels at each frequency; logits
    assert_allclose(found.assessments[:, :, 0], found.own[found.shares[:-1]], atol=1e-12)


def test_numbers_are_those_of_the_statistics(finished: Path) -> None:
    """A second derivation: the networks' own outputs into the functions of two matrices."""
    found, states = measured(finished, HOW._replace(measure="cca")), states_of(finished)
    data, maps = Blots(), []
    data.setup("validate")
    for state in (states[0], states[-1]):
        net = task().eval()
        net.net.load_state_dict(weights_in(state))
        x = data.val_set.normalise(data.val_set.inputs[torch.arange(90) * 101 // 90]).double()
        with torch.no_grad():
            maps.append((net.double().net.body[0](x), net.net(x)))
    assert found.own[0, 2] == pytest.approx(svcca(maps[0][1], maps[1][1], kept=1.0), abs=1e-10)
    by_frequency = similarity("cca", *(represent(of[0], "dft") for of in maps))
    assert found.own[0, 0] == pytest.approx(by_frequency, abs=1e-10)


def test_kept_features_and_checkpoints_say_what_weights_say(finished: Path, tmp_path: Path) -> None:
    trained(tmp_path, callback(keep="features"), Checkpoints("val/loss", "min", every=1))
    assert {state.holds for state in snapshots_of(tmp_path)} == {"features"}
    weights, features = measured(finished), measured(tmp_path)
    assert_allclose(features.own, weights.own, atol=2e-6)
    assert_allclose(features.matrices, weights.matrices, atol=2e-6)
    for state in snapshots_of(tmp_path):
        state.path.unlink()
    checkpoints = measured(tmp_path)
    assert checkpoints.epoch.tolist() == [0, 1, 2, 3]
    assert_allclose(checkpoints.own, weights.own[[0, 4, 5, 7]], atol=1e-12)


def test_features_serve_the_comparison_alone_that_they_were_kept_for(tmp_path: Path) -> None:
    trained(tmp_path, callback(keep="features", reduction="pooled"), epochs=1)
    with pytest.raises(ValueError, match=r"measure=cka: the run has kept features for measure=svc"):
        measured(tmp_path, HOW._replace(measure="cka", reduction="pooled"))


@pytest.mark.parametrize("measure", ["svcca", "cca", "pwcca", "cka"])
@pytest.mark.parametrize("reduction", ["pixels", "pooled", "flat"])
def test_any_measure_of_any_reduction_says_1_of_the_end(
    finished: Path, measure: str, reduction: str
) -> None:
    layers = LAYERS[1:] if reduction == "flat" else LAYERS  # 80 dimensions, 101 samples
    comparison = Comparison(layers, measure, reduction, None, 101, 2, 2, 0)
    found = measured(finished, comparison)
    assert_allclose(found.own[-1], 1, atol=1e-9)
    assert found.own.shape == (8, len(layers))


def test_flattened_maps_need_more_samples_than_dimensions(finished: Path) -> None:
    comparison = HOW._replace(reduction="flat", layers=["body.0"])
    with pytest.raises(ValueError, match="90 samples do not exceed the rank of a layer of 256"):
        measured(finished, comparison)


def test_training_goes_on_bit_for_bit_as_without(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain")
    for keep in ("weights", "features"):
        beside = trained(tmp_path / keep, callback(keep=keep))
        for name, tensor in plain.state_dict().items():
            assert torch.equal(beside.state_dict()[name], tensor), name
        assert not any(module._forward_hooks for module in beside.modules())


def _on_rank(rank: int, folder: Path, comparisons: list[Comparison]) -> list[Any]:
    found = [measured(folder, comparison) for comparison in comparisons]
    return [(one.own.tolist(), one.matrices.tolist()) for one in found]


@pytest.mark.ddp
def test_two_ranks_say_what_one_says(finished: Path, tmp_path: Path) -> None:
    comparisons = [HOW, HOW._replace(measure="pwcca", reduction="pooled")]
    alone = [measured(finished, comparison) for comparison in comparisons]
    for found in on_ranks(_on_rank, finished, comparisons, world_size=2, folder=tmp_path):
        for (own, matrices), one in zip(found, alone, strict=True):
            assert_allclose(own, one.own, atol=1e-10)
            assert_allclose(matrices, one.matrices, atol=1e-10)


@pytest.mark.ddp
def test_ranks_keep_features_and_compare_them_together(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = ["body.0", "body.2", "logits"]
    run(
        store, "train.py", *TINY, "trainer=ddp", "trainer.devices=2", "trainer.max_epochs=1",
        "callbacks=learning_dynamics", f"layers=[{','.join(layers)}]", "logger=none",
        "callbacks.learning_dynamics.keep=features", "callbacks.learning_dynamics.num_samples=101",
        "callbacks.learning_dynamics.reduction=pooled", "hydra.run.dir=outputs/on_two_ranks",
    )  # fmt: skip
    folder = store / "outputs" / "on_two_ranks"
    together = read_metrics(folder / "analysis" / "learning_dynamics" / "similarity.csv")
    assert {state.holds for state in snapshots_of(folder)} == {"features"}
    for state in snapshots_of(folder):
        state.path.unlink()
    monkeypatch.setenv("MMREP_DATA", str(store))
    net, data = load_run(folder)
    states, comparison = states_of(folder), HOW._replace(layers=layers, reduction="pooled")
    comparison = comparison._replace(num_samples=101)
    alone = dynamics(probes(net, data, states, comparison), states, comparison)
    assert alone.epoch.tolist() == [0, 1]
    assert_allclose([float(row["similarity"]) for row in together[:3]], alone.own[0], atol=2e-6)
    assert_allclose([float(row["similarity"]) for row in together[-3:]], 1, atol=1e-9)


def test_a_probe_is_spread_over_all_samples_and_comes_in_their_order() -> None:
    net, data = task().eval(), Blots()
    data.setup("validate")
    for size in (7, 101):
        data.batch_size = size
        found = probe(net, data, ["head", "body.2"], "pooled", num_samples=20)
        assert found.index.tolist() == [40 + 101 * i // 20 for i in range(20)]
        assert [*found.layers] == ["body.2", "head"]  # as they run
        images = data.val_set.normalise(data.val_set.inputs[found.index - 40]).double()
        with torch.no_grad():
            maps = net.double().net.body[:3](images)
        net.float()
        assert_close(found.layers["body.2"].values[:, 0], maps.mean((2, 3)), atol=1e-12, rtol=0)


def test_tables_and_figures_lie_in_the_run(finished: Path) -> None:
    folder = finished / "analysis" / "learning_dynamics"
    rows = {path.stem: read_metrics(path) for path in folder.glob("*.csv")}
    assert {name: len(of) for name, of in rows.items()} == {
        "similarity": 8 * 3, "matrices": 4 * 9, "assessments": 3 * 3, "convergence": 3 * 3,
        "order": 3,
    }  # fmt: skip
    found = measured(finished)
    passed = [float(row["epoch"]) for row in rows["convergence"] if row["level"] == "0.9"]
    assert_allclose(passed, convergence(found, [0.9])[0])
    drawn = {path.name for path in (finished / "figures").iterdir()}
    names = ("learning_dynamics", "learning_dynamics_matrices", "learning_dynamics_order")
    assert {f"{name}.{suffix}" for name in names for suffix in ("png", "svg")} <= drawn


def test_a_training_that_begins_anew_leaves_no_state_of_an_earlier_one(tmp_path: Path) -> None:
    trained(tmp_path, callback(), epochs=3)
    trained(tmp_path, callback(), epochs=1)
    assert [state.step for state in snapshots_of(tmp_path)] == [0, 1, 2, 4, 5]


class Stops(Callback):
    """Ends a training in the middle of its second epoch."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        trainer.should_stop = trainer.global_step >= 8


def test_a_training_that_ends_early_keeps_its_end(tmp_path: Path) -> None:
    net = trained(tmp_path, callback(), Stops(), epochs=9)
    last = snapshots_of(tmp_path)[-1]
    kept = weights_in(last)
    assert all(torch.equal(kept[name], one) for name, one in net.net.state_dict().items())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"keep": "all"}, "keep='all' is not one of weights, features"),
        ({"measure": "rsa"}, "measure='rsa' is not one of svcca, cca, pwcca, cka"),
        ({"reduction": "mean"}, "reduction='mean' is not one of dft, pixels, pooled, flat"),
        ({"every": 0}, "every=0 must be at least 1"),
        ({"frequencies": 0}, "frequencies=0 must be at least 1, or null"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        callback(**wrong)


def test_unknown_layers_and_too_much_to_keep_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"layer 'bode\.0' is not in Tiny; near: body\.0"):
        trained(tmp_path, callback(layers=["bode.0"]))
    with pytest.raises(ValueError, match=r"might keep 8 states of .* above gigabytes=1e-09"):
        trained(tmp_path, callback(gigabytes=1e-9))
    assert not snapshots_of(tmp_path)
    with pytest.raises(ValueError, match=r"layer 'body\.2': 20 samples do not exceed the rank of"):
        trained(tmp_path, callback(num_samples=20, layers=["body.2"], reduction="flat"))
    with pytest.raises(ValueError, match="num_samples=102 is not from 1 to 101"):
        trained(tmp_path, callback(num_samples=102))


def test_a_users_own_network_needs_five_lines(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (store / "mine.py").write_text(
        "from torch import nn\n\n\n"
        "class Mine(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(2304, 6), nn.Tanh(), nn.Linear(6, 8))\n"
    )
    models = store / "own" / "model"
    models.mkdir(parents=True)
    (models / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [images/recipe]\nmodel:\n  net:\n    _target_: mine.Mine\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(store))
    printed = run(
        store, "train.py", "--config-dir", str(store / "own"), *TINY[1:], "model=mine", "data=shl",
        "callbacks=learning_dynamics", "trainer.max_epochs=2", "logger=none",
        "callbacks.learning_dynamics.num_samples=80", "hydra.run.dir=outputs/mine",
    )  # fmt: skip
    assert "learning_dynamics: the epoch of reaching 0.9 and depth: " in printed
    folder = store / "outputs" / "mine"
    rows = read_metrics(folder / "analysis/learning_dynamics/similarity.csv")
    assert {row["layer"] for row in rows} == {"1", "2", "3"}
    assert printed.count("80 samples do not exceed the rank of a layer of 2304") == 1
    printed = run(
        store, "analyze.py", "analysis=learning_dynamics", "runs=outputs/mine", "measure=cka",
        "layers=['1','3']", "analysis.num_samples=101",
    )  # fmt: skip
    assert "figures/learning_dynamics.png" in printed
    assert "replaces figures and tables of SVCCA by frequency, 8 x 8 lowest, 80 samples" in printed
    rows = read_metrics(folder / "analysis/learning_dynamics/similarity.csv")
    assert {row["layer"] for row in rows} == {"1", "3"}
    printed = run(
        store, "analyze.py", "analysis=learning_dynamics", "runs=outputs/mine", "layers=[one]",
        code=1,
    )  # fmt: skip
    assert "error: layer 'one' is not in Mine; near: " in printed
