"""Where numbers and figures of a run go, beside the screen."""

import csv
import itertools
import netrc
import os
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import wandb
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from omegaconf import DictConfig

from mmrep.files import whole_file
from mmrep.plots.style import style


class MetricsFile(Logger):
    """`metrics.csv`: a row for each logging, a column for each number, whatever other logger is on.

    A resumed run keeps the rows before `resume_step` and appends. What is logged in two calls at
    one step and epoch is one row.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        super().__init__()
        self.path = folder / "metrics.csv"
        earlier = [] if resume_step is None else read_metrics(self.path)
        self.rows = [row for row in earlier if int(row["step"]) < (resume_step or 0)]
        self.columns: list[str] = []  # as in the file; none before it is first written
        self.settled = 0  # rows that will not change, and where they end in the file
        self.end_of_settled = 0

    @property
    def name(self) -> None:
        return None

    @property
    def version(self) -> None:
        return None

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing: the config lies in .hydra/config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | int], step: int | None = None) -> None:
        row = {"step": str(step)} | {name: repr(float(x)) for name, x in metrics.items()}
        if "epoch" in row:
            row["epoch"] = str(int(metrics["epoch"]))
        if self.rows and all(self.rows[-1].get(k) == row.get(k) for k in ("step", "epoch")):
            self.rows[-1] |= row
        else:
            self.rows.append(row)

    @rank_zero_only
    def save(self) -> None:
        """Brings the file up to date: the last row alone, or all of it when a column is new."""
        if not self.rows:
            return
        if all(row.keys() <= set(self.columns) for row in self.rows[self.settled :]):
            with self.path.open("r+", newline="") as file:
                file.seek(self.end_of_settled)
                file.truncate()
                self._write(file, self.rows[self.settled :])
        else:
            self.columns = list(dict.fromkeys(["epoch", "step", *itertools.chain(*self.rows)]))
            with whole_file(self.path) as part, part.open("w", newline="") as file:
                csv.DictWriter(file, self.columns).writeheader()
                self._write(file, self.rows)

    def _write(self, file: TextIO, rows: Sequence[dict[str, str]]) -> None:
        writer = csv.DictWriter(file, self.columns)
        writer.writerows(rows[:-1])
        file.flush()
        self.end_of_settled, self.settled = file.tell(), len(self.rows) - 1  # the last may grow
        writer.writerow(rows[-1])


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a `metrics.csv`, each without its empty cells."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def configure_wandb() -> None:
    """Settles by W&B's own variables what its logger leaves open.

    Without a key nothing may leave the machine: the run is kept offline, and errors unreported. A
    mode that the user has set stands.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # our own last lines say what W&B would
    os.environ.setdefault("WANDB_CONSOLE", "off")  # progress bars make no readable log
    if "WANDB_MODE" not in os.environ and not _has_wandb_key():
        os.environ["WANDB_MODE"] = "offline"
        os.environ["WANDB_ERROR_REPORTING"] = "false"


def _has_wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("://")[-1].split("/")[0]
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return path.exists() and netrc.netrc(path).authenticators(host) is not None
    except (netrc.NetrcParseError, OSError):
        return False


def write_figure(folder: Path, name: str, figure: Figure) -> Path:
    """Writes `folder/figures/NAME.svg` and `NAME.png`, and says where the latter is."""
    for suffix in (".svg", ".png"):
        path = folder / "figures" / f"{name}{suffix}"
        with whole_file(path) as part, style():
            figure.savefig(part)
    return path


def log_figure(
    loggers: Iterable[Logger], folder: Path, name: str, figure: Figure, step: int
) -> None:
    """Writes the figure into the run's `folder`, and hands it to every logger."""
    key, path = f"analysis/{name}", write_figure(folder, name, figure)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [str(path)])
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(key, figure, step)


def log_curves(
    loggers: Iterable[Logger],
    name: str,
    curves: Mapping[str, tuple[Sequence[int], Iterable[float]]],
    table: Sequence[tuple[Any, ...]],
    *,
    epoch: int,
    step: int,
) -> None:
    """Hands lines (x and y by name) to every logger: to W&B as a chart, with a table beside it.

    To the others each point is a number: `analysis/NAME/LINE/0016`.
    """
    key = f"analysis/{name}"
    points = {"epoch": epoch} | {
        f"{key}/{line}/{x:04d}": float(y)
        for line, (xs, ys) in curves.items()
        for x, y in zip(xs, ys, strict=True)
    }
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            xs, ys = zip(*curves.values(), strict=True)
            chart = wandb.plot.line_series(
                [list(map(int, x)) for x in xs],
                [list(map(float, y)) for y in ys],
                keys=list(curves),
                title=name,
                xname="n",
            )
            header, *rows = [[_plain(cell) for cell in row] for row in table]
            rows_of = wandb.Table(columns=header, data=rows)
            logger.experiment.log({f"{key}/curves": chart, f"{key}/table": rows_of})
        else:
            logger.log_metrics(points, step)


def _plain(cell: Any) -> Any:
    return cell.item() if hasattr(cell, "item") else cell


@contextmanager
def open_loggers(
    config: DictConfig | None, folder: Path, run_id: str, resume_step: int | None
) -> Iterator[list[Logger]]:
    """`metrics.csv` and the logger of `config`, if any; W&B is closed however the block ends.

    Behind `resume_step`, from where a resumed run goes on, `metrics.csv` is cut off.
    """
    loggers: list[Logger] = [MetricsFile(folder, resume_step)]
    if config:
        configure_wandb()
        loggers.append(instantiate(config))
    failed = True
    try:
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                _start_wandb(logger, run_id, f"{folder.parent.name}/{folder.name}")
        yield loggers
        failed = False
    finally:
        for logger in loggers:
            if isinstance(logger, WandbLogger) and logger._experiment is not None:
                logger.experiment.finish(exit_code=int(failed))


@rank_zero_only
def _start_wandb(logger: WandbLogger, run_id: str, name: str) -> None:
    # Not by W&B's variables: it reads them once, and a process may run many jobs.
    logger._wandb_init |= {"id": run_id, "name": name}
    logger._wandb_init.pop("anonymous", None)  # W&B warns of the mere name
    try:
        _ = logger.experiment
    except Exception as error:  # W&B raises many kinds
        raise RuntimeError(
            f"W&B cannot start ({error}): keep the run on this machine with WANDB_MODE=offline, or "
            "choose logger=csv"
        ) from None


def wandb_place(loggers: Iterable[Logger]) -> str | None:
    """Where the run is to be seen at W&B, or how to send it there; None without W&B."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            if not run.offline:
                return run.url  # None where W&B is disabled
            folders = sorted(Path(run.dir).parents[1].glob("offline-run-*"))
            return f"offline; send it with: wandb sync {' '.join(map(str, folders))}"
    return None
