"""Tests of group means over repetitions, as studies write, print and judge them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mmrep.files import write_table
from mmrep.screen import print_columns
from mmrep.stats.group_tests import compare_groups, one_way_anova
from mmrep.studies.statements import Statement


class GroupTest(NamedTuple):
    """One test of group means, as a row of `tests.csv`; what a test has not is None."""

    about: str
    of: str
    runs: str  # of each group
    test: str
    statistic: float
    df: float  # of an analysis of variance: between groups
    df_within: int | None
    p: float
    paper_p: str
    difference: float | None = None
    cohens_d: float | None = None
    hedges_g: float | None = None
    eta_squared: float | None = None
    omega_squared: float | None = None


def t_tests(
    about: str, of: str, a: Float[np.ndarray, "n"], b: Float[np.ndarray, "m"], *, paper_p: str = ""
) -> list[GroupTest]:
    """Student's t-test of two groups, which the paper's is taken to be, and Welch's beside it."""
    found = compare_groups(a, b)
    return [
        GroupTest(about, of, f"{len(a)}, {len(b)}", test, t, df, None, p, paper_p,
                  found.difference, found.cohens_d, found.hedges_g)
        for test, (t, df, p) in (("Student's t", found.student), ("Welch's t", found.welch))
    ]  # fmt: skip


def anova(
    about: str, of: str, groups: Sequence[Float[np.ndarray, "_"]], *, paper_p: str = ""
) -> GroupTest:
    found = one_way_anova(groups)
    runs = ", ".join(str(len(group)) for group in groups)
    return GroupTest(about, of, runs, "one-way ANOVA", found.f, found.df_between,
                     found.df_within, found.p, paper_p, eta_squared=found.eta_squared,
                     omega_squared=found.omega_squared)  # fmt: skip


def write_tests(path: Path, rows: Sequence[GroupTest]) -> None:
    """A CSV with all digits; no correction for the number of tests, as in the paper."""
    write_table(path, GroupTest._fields, rows)


def print_tests(rows: Sequence[GroupTest]) -> None:
    """A line for each test, its effect in units of the deviation or as a share of the variance."""
    if not rows:
        return
    lines = []
    for row in rows:
        df = f"{row.df:.3g}" + (f", {row.df_within}" if row.df_within is not None else "")
        letter = "F" if row.df_within is not None else "t"
        effect = (
            f"g = {row.hedges_g:.2f}"
            if row.hedges_g is not None
            else f"omega² = {row.omega_squared:.2f}"
        )
        paper = f"paper p {row.paper_p}" if row.paper_p else ""
        lines.append(
            (row.about, row.of, row.test, f"{letter}({df}) = {row.statistic:.2f}",
             f"p = {row.p:.2g}", effect, paper)
        )  # fmt: skip
    print("\ntests of group means")
    print_columns(lines)


def above(
    about: str, of: str, a: Float[np.ndarray, "n"], b: Float[np.ndarray, "m"], p: float
) -> Statement:
    """Holds where Student's t-test says so too; one run, or no deviation at all, says nothing."""
    difference, holds = float(a.mean() - b.mean()), None
    if min(len(a), len(b)) > 1 and not np.isnan(found := compare_groups(a, b).student.p):
        holds = difference > 0 and found < p
    return Statement(about, of, None, difference, None, f"> 0, p < {p:g}", holds)


def mean_and_deviation(runs: Float[np.ndarray, "runs"]) -> tuple[float, float | None]:
    """With n - 1 below; one run has no deviation."""
    return float(runs.mean()), float(runs.std(ddof=1)) if len(runs) > 1 else None
