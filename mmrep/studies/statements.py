"""A paper's statements beside our numbers: the table of every study."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmrep.files import write_table
from mmrep.screen import print_columns, short

VERDICTS = {True: "holds", False: "does not hold", None: ""}


class Statement(NamedTuple):
    """One number of ours, the paper's where it has one, and whether what it claims holds."""

    about: str
    of: str  # a sensor, a pair of them, a data set
    paper: float | None
    ours: float
    spread: float | None  # deviation over repetitions
    bound: str  # what the claim asks of our number, "" where there is none
    holds: bool | None

    @property
    def difference(self) -> float | None:
        return None if self.paper is None else self.ours - self.paper


def write_statements(path: Path, statements: Sequence[Statement]) -> None:
    """A CSV with all digits."""
    header = ("about", "of", "paper", "ours", "spread", "difference", "bound", "verdict")
    write_table(
        path,
        header,
        (
            (s.about, s.of, s.paper, s.ours, s.spread, s.difference, s.bound, VERDICTS[s.holds])
            for s in statements
        ),
    )


def print_statements(statements: Sequence[Statement]) -> None:
    """A line for each number that the paper has too, or that a claim asks something of."""
    shown = [s for s in statements if s.paper is not None or s.holds is not None]
    print_columns([(VERDICTS[s.holds], s.of, s.about, _numbers_of(s)) for s in shown])
    judged = [s.holds for s in statements if s.holds is not None]
    if judged:
        print(f"{sum(judged)} of {len(judged)} statements hold")


def conclude(study: Path, name: str, statements: Sequence[Statement], *, units: str) -> None:
    """Writes and prints a study's statements, and says where its figures and numbers are."""
    path = study / "analysis" / name / "statements.csv"
    write_statements(path, statements)
    print(f"\n{name}, {units}")
    print_statements(statements)
    figures = sorted(study.glob(f"figures/{name}*.png"))
    print(f"figures  {', '.join(short(figure) for figure in figures)}")
    print(f"numbers  {short(path)} and the tables beside it")


def _numbers_of(s: Statement) -> str:
    ours = _short(s.ours) + (f" ± {_short(s.spread)}" if s.spread is not None else "")
    sign = "" if s.difference is None or s.difference < 0 else "+"
    paper = "" if s.difference is None else f", paper {s.paper:g} ({sign}{_short(s.difference)})"
    return ours + paper + (f", asked {s.bound}" if s.bound else "")


def _short(number: float) -> str:
    """Two digits that count where one would show a small difference as none."""
    return f"{number:.1f}" if abs(number) >= 1 or number == 0 else f"{number:.2g}"
