"""Every file a user can choose composes, and its classes accept what it says."""

import itertools
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mmrep import folders  # registers the resolver that names jobs

CONF = Path(__file__).parents[1] / "conf"
assert folders
SIZES = ("small", "paper")
SOURCES = ("paper", "program")


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides: str, script: str = "train") -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(script, list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config


@pytest.mark.parametrize(
    ("model", "data"),
    [
        *((model, None) for model in names("model")),  # the model's own
        *itertools.product(("shl_cnn", "vgg11", "av_mixed"), names("data")),
    ],
)
def test_models_and_data_instantiate(model: str, data: str | None) -> None:
    config = composed(f"model={model}", *([] if data is None else [f"data={data}"]))
    instantiate(config.model)
    instantiate(config.data)
    instantiate(config.callbacks)


@pytest.mark.parametrize("experiment", names("experiment"))
def test_experiments_instantiate(experiment: str) -> None:
    config = composed(f"experiment={experiment}")
    instantiate(config.model)
    instantiate(config.data)


@pytest.mark.parametrize("experiment", names("size/small"))
def test_small_presets_are_shorter(experiment: str) -> None:
    small, paper = (composed(f"experiment={experiment}", f"size={size}") for size in SIZES)
    assert small.trainer.max_epochs < paper.trainer.max_epochs
    seeds = [str(size.hydra.sweeper.params.get("seed", 0)).split(",") for size in (small, paper)]
    assert len(seeds[0]) < len(seeds[1]) or len(seeds[0]) == len(seeds[1]) <= 2  # a pair is one
    instantiate(small.model)


@pytest.mark.parametrize("experiment", names("source/program"))
def test_the_programs_presets_are_the_facts_where_it_differs(experiment: str) -> None:
    paper, program = (composed(f"experiment={experiment}", f"source={s}") for s in SOURCES)
    for config, published in ((paper, False), (program, True)):
        net = instantiate(config.model).net
        assert net is not None
        assert config.model.net.published_decoder is published
    chosen = ("visual_train", "visual_val", "inconsistent")
    assert [paper.data[key] for key in chosen] == ["balanced", "random", "different"]
    assert [program.data[key] for key in chosen] == ["first", "first", "shuffle"]
    both = composed(f"experiment={experiment}", "source=program", "size=small")
    assert both.data.visual_train == "first"
    assert both.trainer.max_epochs < paper.trainer.max_epochs


def test_the_recipe_of_the_autoencoders_is_the_published_one() -> None:
    for model in ("av_mixed", "av_two_stage"):
        config = composed(f"model={model}")
        optimizer = OmegaConf.to_container(config.model.optimizer)
        assert optimizer == {
            "_target_": "torch.optim.Adadelta",
            "_partial_": True,
            "lr": 1.0,
            "rho": 0.95,
            "eps": 1e-8,
        }
        assert (config.data.batch_size, config.model.batch_size) == (50, 50)
        assert (config.trainer.max_epochs, config.model.loss) == (5000, "bce")


@pytest.mark.parametrize("group", ["trainer", "precision", "logger", "checkpoint", "callbacks"])
def test_groups_compose_and_keep_the_recipe(group: str) -> None:
    for name in names(group):
        config = composed("model=shl_cnn", f"{group}='{name}'")
        assert config.trainer.max_epochs == 50  # a trainer file does not beat the paper


@pytest.mark.parametrize("analysis", names("analysis"))
def test_analyses_compose(analysis: str) -> None:
    config = composed(f"analysis={analysis}", script="analyze")
    assert config.analysis.name == analysis
    if "callback" in config.analysis:
        instantiate(config.analysis.callback)


def test_the_recipe_is_the_published_one() -> None:
    config = composed("model=shl_cnn")
    optimizer = OmegaConf.to_container(config.model.optimizer)
    assert optimizer == {
        "_target_": "torch.optim.Adam",
        "_partial_": True,
        "lr": 1e-3,
        "weight_decay": 1e-3,
    }
    assert (config.data.batch_size, config.trainer.max_epochs) == (64, 50)
    assert config.model.class_weights == "train_and_val"
    assert (config.data.val_segments, config.data.simulated_segments) == (3310, 16310)


@pytest.mark.parametrize("depth", [20, 56])
def test_the_resnets_recipe_is_the_published_one(depth: int) -> None:
    config = composed(f"model=resnet{depth}")
    assert config.model.net.depth == depth
    assert OmegaConf.to_container(config.model.optimizer) == {
        "_target_": "torch.optim.SGD",
        "_partial_": True,
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 1e-4,
    }
    assert config.model.class_weights == "none"
    assert (config.data.batch_size, config.trainer.max_epochs) == (128, 200)
    assert config.monitor == {"name": "val/accuracy", "mode": "max"}
    assert config.data._target_ == "mmrep.data.cifar.CIFAR"
    rates = rates_by_epoch(config)
    assert rates[99:101] + rates[149:151] == pytest.approx([0.1, 0.01, 0.01, 0.001])
    assert sorted(rates, reverse=True) == rates


def test_the_authors_variant_divides_the_rate_by_3_every_20_epochs() -> None:
    config = composed("model=resnet38_moreau")
    task = instantiate(config.model)
    assert sum(p.numel() for p in task.parameters()) == 584_602
    assert isinstance(task.configure_optimizers()[0][0], torch.optim.Adam)
    expected = [1e-3 / 3 ** (epoch // 20) for epoch in range(config.trainer.max_epochs)]
    assert (len(expected), config.data.batch_size) == (80, 128)
    assert rates_by_epoch(config) == pytest.approx(expected)


def rates_by_epoch(config: DictConfig) -> list[float]:
    """The learning rate of each epoch of a training."""
    (optimizer,), (scheduler,) = instantiate(config.model).configure_optimizers()
    rates = []
    for _ in range(config.trainer.max_epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_the_command_line_beats_model_and_data() -> None:
    config = composed("model=shl_cnn", "data=dsads", "data.batch_size=8", "trainer.max_epochs=2")
    assert config.data._target_ == "mmrep.data.dsads.DSADS"
    assert (config.data.batch_size, config.trainer.max_epochs) == (8, 2)
