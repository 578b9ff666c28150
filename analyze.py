"""Looks into finished runs: `python analyze.py analysis=confusion runs=FOLDER`."""

from pathlib import Path

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import track

from mmrep import runs, screen
from mmrep.command_line import CONF, asks_for_runs, check_analysis, one_sentence


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="analyze")
def main(cfg: DictConfig) -> None:
    screen.hush()
    check_analysis(cfg)
    if not asks_for_runs(cfg):
        data = instantiate(cfg.data) if "_target_" in cfg.data else None
        instantiate(cfg.analysis.without_runs, data)
        return
    folders = runs.run_folders(cfg.runs)
    try:
        analyse(cfg, folders)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
        print("\ninterrupted; what is written is whole: go on with the same command")
        raise


def analyse(cfg: DictConfig, folders: list[Path]) -> None:
    """Runs one analysis on each folder, where it is a callback, and its report on all."""
    if "callback" in cfg.analysis:
        folders = screen.with_checkpoint(folders, cfg.checkpoint.use)
        for folder in track(folders, description=cfg.analysis.name, disable=len(folders) == 1):
            task, data = runs.load_run(folder, checkpoint=cfg.checkpoint.use)
            callback = instantiate(cfg.analysis.callback)
            epochs = runs.read_facts(folder)["config"]["trainer"]["max_epochs"]
            trainer = instantiate(
                cfg.trainer,
                logger=False,
                callbacks=[callback],
                default_root_dir=str(folder),
                max_epochs=epochs,
            )
            runs.validate(trainer, task, data, folder, cfg.checkpoint.use)
    instantiate(cfg.analysis.report, folders)


if __name__ == "__main__":
    with one_sentence():
        main()
