"""What Oyedotun et al. 2019 state of fusion, as paired differences between rows of their tables."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from mmrep.screen import print_columns
from mmrep.stats.paired_tests import PairedComparison, compare_paired
from mmrep.studies.oyedotun2019_numbers import BACKBONES, model_of, published
from mmrep.studies.statements import Statement

P = 0.05
BETTER, WORSE = f"> 0, p < {P:g}", f"< 0, p < {P:g}"
SINGLE = ("rgb", "depth_scratch")  # the branches that are fused
COMPARED = (("gated", "naive"), *((fusion, one) for fusion in ("naive", "gated") for one in SINGLE),
            ("depth_scratch", "depth"))  # fmt: skip
TEST_COLUMNS = ("a", "b", "folds_compared", "runs_compared", "difference", "deviation", "d_z", "t",
                "p", "corrected_t", "corrected_p", "low", "high", "wilcoxon",
                "wilcoxon_p")  # fmt: skip

Scores = Mapping[tuple[int, int], float]  # test accuracy in percent, by fold and seed


class Difference(NamedTuple):
    """What the row `a` is ahead of `b`, in points, on the folds and seeds that both have."""

    a: str
    b: str
    by_run: dict[tuple[int, int], float]
    mean: float
    found: PairedComparison | None  # None: one fold alone

    @property
    def folds(self) -> set[int]:
        return {fold for fold, _ in self.by_run}


Differences = Mapping[tuple[str, str, str], Difference]  # by both kinds and backbone


def by_fold(scores: Scores) -> dict[int, float]:
    """Means over seeds."""
    folds = sorted({fold for fold, _ in scores})
    return {k: float(np.mean([x for (fold, _), x in scores.items() if fold == k])) for k in folds}


def difference_of(
    rows: Mapping[str, Scores], a: str, b: str, *, test_share: float
) -> Difference | None:
    """One row against another, tested over folds; None where they have no run in common.

    A fold counts once, with the mean over its seeds. Networks of several seeds are tested on the
    same images and learn from the same others, so that a test which took each of them for a draw of
    its own would find any difference between two folds certain, given seeds enough.
    """
    both = sorted(rows[a].keys() & rows[b].keys()) if a in rows and b in rows else []
    if not both:
        return None
    x, y = ({key: rows[model][key] for key in both} for model in (a, b))
    over_seeds = [np.array([*by_fold(scores).values()]) for scores in (x, y)]
    found = None
    if len(over_seeds[0]) > 1:
        found = compare_paired(*over_seeds, test_share=test_share)
    mean = found.difference if found else float(np.subtract(*over_seeds)[0])
    return Difference(a, b, {key: x[key] - y[key] for key in both}, mean, found)


def differences_of(rows: Mapping[str, Scores], *, test_share: float) -> Differences:
    """All that is compared, where there are runs of both."""
    found = {}
    for backbone in BACKBONES:
        for kinds in COMPARED:
            models = (model_of(kind, backbone) for kind in kinds)
            if difference := difference_of(rows, *models, test_share=test_share):
                found[*kinds, backbone] = difference
    return found


def against_best(found: Differences, fusion: str, backbone: str) -> Difference | None:
    """A fusion against the better of its branches alone; None unless both are there.

    The better is chosen by the scores that are then compared, to the fusion's disadvantage.
    """
    against = [found.get((fusion, one, backbone)) for one in SINGLE]
    there = [one for one in against if one is not None]
    return min(there, key=lambda one: one.mean) if len(there) == len(SINGLE) else None


def statements_of(
    found: Differences,
    *,
    data: str,
    preset: str | None,
    folds: int,
    of: Mapping[str, str],
) -> list[Statement]:
    """The paper's, of its data sets as it has them; of simulated data all, and what presets ask.

    `of` are the words for data and network by backbone. Numbers of simulated data stand beside none
    of the paper's.
    """
    printed = published(data, folds)

    def statement(
        about: str, backbone: str, difference: Difference, bound: str, holds: bool | None
    ) -> Statement:
        paper = None
        if printed:
            best = [model_of(one, backbone) for one in SINGLE] if "best" in about else []
            than = max(printed[model] for model in best or [difference.b])
            paper = round(printed[difference.a] - than, 2)
        spread = difference.found.deviation if difference.found else None
        return Statement(about, of[backbone], paper, difference.mean, spread, bound, holds)

    def all_of(backbone: str) -> Iterator[Statement]:
        if gain := found.get(("gated", "naive", backbone)):
            about = "1. gated minus naive fusion"
            yield statement(f"{about}: no loss", backbone, gain, ">= 0", gain.mean >= 0)
            yield statement(f"{about}: a gain", backbone, gain, BETTER, is_better(gain))
        if naive := against_best(found, "naive", backbone):
            about = "naive fusion minus its best branch"
            if data != "bu3dfe":
                yield statement(f"2. {about}: it hurts", backbone, naive, WORSE, is_worse(naive))
            if data != "washington":
                holds = _beats_both(found, "naive", backbone)
                yield statement(f"3. {about}: beats both", backbone, naive, BETTER, holds)
        if scratch := found.get(("depth_scratch", "depth", backbone)):
            about = "4. depth alone, from scratch minus pretrained: scratch wins"
            yield statement(about, backbone, scratch, BETTER, is_better(scratch))
        if preset == "redundant":
            for fusion in ("naive", "gated"):
                if ahead := found.get((fusion, "rgb", backbone)):
                    better = is_better(ahead)
                    about = f"redundant: {fusion} fusion minus RGB: depth adds nothing"
                    holds = None if better is None else not better
                    yield statement(about, backbone, ahead, f"not: {BETTER}", holds)
        if preset == "balanced" and (gated := against_best(found, "gated", backbone)):
            about = "balanced: gated fusion minus its best branch: beats both"
            holds = _beats_both(found, "gated", backbone)
            yield statement(about, backbone, gated, BETTER, holds)

    return [statement for backbone in BACKBONES for statement in all_of(backbone)]


def print_tests(tests: Differences, titles: Mapping[str, str]) -> None:
    """A line for each comparison."""
    if not tests:
        return
    lines: list[tuple[str, ...]] = [
        ("a", "b", "a minus b", "folds", "corrected t", "p", "Student's p", "Wilcoxon's p", "d_z")
    ]
    for test in tests.values():
        numbers: tuple[str, ...] = ("",) * 5
        if found := test.found:
            numbers = (f"{found.corrected.t:.2f}", f"{found.corrected.p:.2g}",
                       f"{found.student.p:.2g}", f"{found.wilcoxon_p:.2g}",
                       f"{found.d_z:.2f}")  # fmt: skip
        folds = str(len(test.folds))
        lines.append((titles[test.a], titles[test.b], f"{test.mean:+.2f}", folds, *numbers))
    print("\npaired tests over folds; corrected for shared training sets, not for their number")
    print_columns(lines)


def row_of(test: Difference, titles: Mapping[str, str]) -> tuple[str | int | float | None, ...]:
    """As a row of `tests.csv`."""
    numbers: tuple[float | None, ...] = (None,) * 10
    if found := test.found:
        t, corrected = found.student, found.corrected
        numbers = (found.deviation, found.d_z, t.t, t.p, corrected.t, corrected.p, found.low,
                   found.high, found.wilcoxon, found.wilcoxon_p)  # fmt: skip
    a, b = titles[test.a], titles[test.b]
    return a, b, len(test.folds), len(test.by_run), test.mean, *numbers


def is_better(difference: Difference) -> bool | None:
    """By the corrected test; None where it says nothing."""
    return _judged(difference, 1)


def is_worse(difference: Difference) -> bool | None:
    return _judged(difference, -1)


def _judged(difference: Difference, sign: int) -> bool | None:
    if difference.found is None:
        return None
    if sign * difference.mean <= 0:
        return False
    p = difference.found.corrected.p
    return None if np.isnan(p) else p < P


def _beats_both(found: Differences, fusion: str, backbone: str) -> bool | None:
    verdicts = [is_better(found[fusion, one, backbone]) for one in SINGLE]
    return False if False in verdicts else None if None in verdicts else True
