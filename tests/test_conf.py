"""Every file a user can choose composes, and its classes accept what it says."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mmrep import folders  # registers the resolver that names jobs

CONF = Path(__file__).parents[1] / "conf"
assert folders


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides: str, script: str = "train") -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(script, list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config


@pytest.mark.parametrize("model", names("model"))
@pytest.mark.parametrize("data", names("data"))
def test_models_and_data_instantiate(model: str, data: str) -> None:
    config = composed(f"model={model}", f"data={data}")
    instantiate(config.model)
    instantiate(config.data)
    instantiate(config.callbacks)


@pytest.mark.parametrize("experiment", names("experiment"))
def test_experiments_instantiate(experiment: str) -> None:
    config = composed(f"experiment={experiment}")
    instantiate(config.model)
    instantiate(config.data)


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


def test_the_command_line_beats_model_and_data() -> None:
    config = composed("model=shl_cnn", "data=dsads", "data.batch_size=8", "trainer.max_epochs=2")
    assert config.data._target_ == "mmrep.data.dsads.DSADS"
    assert (config.data.batch_size, config.trainer.max_epochs) == (8, 2)
