"""The last lines of every command: what was made, where it lies, what to do next."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from mmrep.loggers import wandb_place
from mmrep.runs import is_done, is_running, read_facts

SCORES = {"val/f1", "val/accuracy"}  # which analysis=scores averages
HEADLINES = ("val/f1", "val/accuracy", "val/loss")  # shown before the scores of classes


def hush() -> None:
    """Keeps back what libraries say and a user of mmrep can do nothing about."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # tips, devices, defaults
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # what compilation leaves out
    for message in (
        ".*does not have many workers.*",  # data are in memory: workers would only copy them
        ".*LeafSpec.*is deprecated.*",  # between Lightning and torch
    ):
        warnings.filterwarnings("ignore", message)


@rank_zero_only
def say_skipped(folder: Path) -> None:
    print(f"{short(folder)} is DONE already: skipped")


@rank_zero_only
def say_finished(folder: Path, loggers: Sequence[Logger]) -> None:
    """The table of a run's scores, and where everything is."""
    facts = read_facts(folder)
    data, scores = facts["data"], facts["scores"]
    mark = ", simulated data" if data["source"] == "simulated" else ""
    print(f"\n{data['name']}: validation, {facts['checkpoint']} weights{mark}")
    table = Table()
    table.add_column("score")
    table.add_column("value", justify="right")
    for name in sorted(scores, key=lambda name: name not in HEADLINES):  # else as they were logged
        table.add_row(name, f"{scores[name]:.4f}")
    Console().print(table)
    config = facts["config"]
    asked = config["trainer"]["max_epochs"]
    if "early_end" in config["callbacks"] and 1 < facts["epochs"] < asked:
        print(f"ended    after {facts['epochs']} of {asked} epochs: the training loss fell no more")
    print(f"run      {short(folder)} ({facts['seconds']:.0f} s)")
    print(f"scores   {short(folder / 'run.json')}, {short(folder / 'metrics.csv')}")
    print(f"figures  {', '.join(short(path) for path in sorted(folder.glob('figures/*.png')))}")
    if place := wandb_place(loggers):
        print(f"W&B      {place}")


def say_swept(folder: Path, analysis: str) -> None:
    """How many jobs of a sweep are done, which are not, and what to do with them next."""
    jobs = sorted(path.parents[1] for path in folder.glob("*/.hydra/config.yaml"))
    missing = [job for job in jobs if not is_done(job)]
    if not jobs:
        return
    print(f"\nsweep    {short(folder)}: {len(jobs) - len(missing)} of {len(jobs)} jobs done")
    for job in missing:
        log = job / "train.log"
        why = "its train.log says why" if log.exists() and log.stat().st_size else "interrupted"
        print(f"not done {short(job)}: {why}")
    offline = {run.parent for job in jobs for run in job.glob("**/wandb/offline-run-*")}
    if offline:
        depths = {len(place.relative_to(folder).parts) - 1 for place in offline}
        found = " ".join(f"{short(folder)}/{'*/' * n}wandb/offline-run-*" for n in sorted(depths))
        print(f"W&B      offline; send all with: wandb sync {found}")
    if analysis == "scores" and not {read_facts(job).get("monitor") for job in jobs} & SCORES:
        analysis = "list"
    print(f"{analysis:8} python analyze.py analysis={analysis} runs={short(folder)}")


def with_checkpoint(folders: Sequence[Path], checkpoint: str) -> list[Path]:
    """The runs that have a checkpoint; says which have not."""
    there = [folder for folder in folders if (folder / f"checkpoints/{checkpoint}.ckpt").exists()]
    for folder in folders:
        if folder not in there:
            print(f"skipped  {short(folder)}: no checkpoints/{checkpoint}.ckpt")
    if not there:
        raise FileNotFoundError(
            f"none of the {len(folders)} runs has checkpoints/{checkpoint}.ckpt: choose "
            "checkpoint=last, or other runs"
        )
    return there


@rank_zero_only
def say_analysed(folders: Sequence[Path], name: str) -> None:
    """What an analysis wrote into each run."""
    for folder in folders:
        made = [*folder.glob(f"figures/{name}.png"), *folder.glob(f"analysis/{name}/*.csv")]
        print(f"{name}: {', '.join(short(path) for path in made)}")


@rank_zero_only
def list_runs(folders: Sequence[Path]) -> None:
    """A line for each run: folder, model, data, sensor, seed, state and score."""
    rows = [("run", "model", "data", "sensor", "seed", "state", "score")]
    for folder in folders:
        facts = read_facts(folder)
        data, scores = facts.get("data", {}), facts.get("scores", {})
        simulated = " (simulated)" if data.get("source") == "simulated" else ""
        state = "done" if is_done(folder) else "running" if is_running(folder) else "unfinished"
        monitor = facts.get("monitor")
        score = f"{monitor} {scores[monitor]:.4f}" if monitor in scores else ""
        name, sensor, seed = data.get("name", ""), facts.get("sensor") or "", facts.get("seed", "")
        model = facts.get("model", "")
        rows.append((short(folder), model, name + simulated, sensor, str(seed), state, score))
    print_columns(rows)


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Rows of equally many cells under each other; a table would cut or break long ones."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def short(path: Path) -> str:
    """As it can be typed: seen from here if it lies below."""
    path, here = path.absolute(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
