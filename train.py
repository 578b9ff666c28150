"""Trains one network: `python train.py model=shl_cnn sensor=acc_norm`; `--help` says what else."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import LambdaCallback
from omegaconf import DictConfig

from mmrep import replicas, runs, screen
from mmrep.command_line import CONF, check_training, one_sentence, quote_numbers
from mmrep.loggers import open_loggers


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> float:
    folder = Path(HydraConfig.get().runtime.output_dir)
    screen.hush()
    check_training(cfg, multirun=HydraConfig.get().mode == RunMode.MULTIRUN)
    if runs.is_done_as_asked(folder, cfg):
        screen.say_skipped(folder)
        score = float(runs.read_facts(folder)["scores"][cfg.monitor.name])
    else:
        score = train(cfg, folder)
    for single, inside in replicas.taken_apart(cfg, folder):
        with runs.moved_to(inside):
            train(single, inside)  # no epoch is left: it is validated and analysed
    runs.finish(folder)
    return score


def train(cfg: DictConfig, folder: Path) -> float:
    """Trains one network, or replicas as one, and leaves the run in its folder; the score."""
    seed_everything(cfg.seed, verbose=False)
    if replicas.number_of(cfg) > 1:
        data, task = replicas.together(cfg)
        callbacks = replicas.along(cfg)
    else:
        data, task = instantiate(cfg.data), instantiate(cfg.model)
        callbacks = dict(cfg.callbacks)
    if cfg.weights and runs.resume_point(folder, cfg) is None:
        runs.start_from(task, cfg.weights, data_dir=cfg.data_dir)
    along = [instantiate(callback) for callback in callbacks.values()]
    with (
        runs.recorded(folder, cfg) as record,
        open_loggers(cfg.logger, folder, record.id, record.resume_step) as loggers,
    ):
        along.append(LambdaCallback(on_train_epoch_end=lambda *_: record.update()))
        trainer = instantiate(
            cfg.trainer, logger=loggers, callbacks=along, default_root_dir=str(folder)
        )
        for logger in loggers:
            logger.log_hyperparams(record.config)
        trainer.fit(task, datamodule=data, ckpt_path=record.resume_point, weights_only=True)
        ran = runs.what_ran(trainer, task)
        scores = runs.validate(trainer, task, data, folder, cfg.checkpoint.use)
        record.update(data=data.facts(), scores=scores, **ran)
    if replicas.number_of(cfg) == 1:
        runs.finish(folder)
    screen.say_finished(folder, loggers)
    return scores[cfg.monitor.name]


if __name__ == "__main__":
    sys.argv[1:] = quote_numbers(sys.argv[1:])
    with one_sentence():
        main()
