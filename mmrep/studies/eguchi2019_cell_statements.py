"""What Eguchi et al. 2019 state of cells, as tests and assertions with bounds."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float64

from mmrep.stats.cells import NORMALISATIONS, SHOWN
from mmrep.stats.information import CELLS
from mmrep.studies import eguchi2019_numbers as published
from mmrep.studies.eguchi2019_runs import TWO_STAGE_DEPTH, Kind
from mmrep.studies.group_tests import GroupTest, above, anova, mean_and_deviation, t_tests
from mmrep.studies.statements import Statement

CONSISTENT = CELLS.index("consistent")
DEEP = Kind("mixed", 4, "consistent")
TWO_STAGE = Kind("two-stage", TWO_STAGE_DEPTH, "consistent")
PAPER_P = 0.0005  # of every test of counts: below it
NEAR_ZERO = 3  # cells of 64 that "near 0" means; the paper's own run has 0 to 2
RANGES = dict(zip(NORMALISATIONS, ("one range for all", "each unit's range"), strict=True))


def group_tests_of(counts: Mapping[Kind, Any]) -> list[GroupTest]:
    """Of the number of consistent cells, by both ranges, where there are runs enough."""
    rows: list[GroupTest] = []
    for how, words in RANGES.items():
        cells = {kind: of for kind, of in _consistent_cells(counts, how).items() if len(of) > 1}
        for kind, of in cells.items():
            other = kind._replace(pairing="inconsistent")
            if kind.pairing == "consistent" and other in cells:
                about = f"consistent cells, {words}: consistent pairs above inconsistent"
                paper = f"< {PAPER_P:g}" if kind.framework == "mixed" else ""
                rows += t_tests(about, kind.network, of, cells[other], paper_p=paper)
        for pairing, paper in (("consistent", f"F(3,36) = 156.24, < {PAPER_P:g}"),
                               ("inconsistent", "")):  # fmt: skip
            depths = _depths(cells, pairing)
            if len(depths) > 1:
                of_depths = f"{', '.join(str(kind.depth) for kind in depths)} layers, {pairing}"
                about = f"consistent cells, {words}: depth"
                rows.append(anova(about, of_depths, [cells[k] for k in depths], paper_p=paper))
        if DEEP in cells and TWO_STAGE in cells:
            about = f"consistent cells, {words}: mixed above two-stage"
            both = (cells[DEEP], cells[TWO_STAGE])
            rows += t_tests(about, str(DEEP), *both, paper_p=f"< {PAPER_P:g}")
    return rows


def statements_of(
    counts: Mapping[Kind, Any],
    ranked: Mapping[Kind, Mapping[str, Float64[np.ndarray, "networks shown normalisations"]]],
) -> list[Statement]:
    """The published numbers beside ours, then what the paper claims; `ranked` are mean bits."""
    return [*_numbers(counts), *_information(ranked), *_claims(counts)]


def _numbers(counts: Mapping[Kind, Any]) -> Iterator[Statement]:
    for kind, found in counts.items():
        if kind in published.CELLS:
            for name, number in zip(published.CELL_CLASSES, published.CELLS[kind],
                                    strict=True):  # fmt: skip
                cells = found.after[:, -1, NORMALISATIONS.index("all"), CELLS.index(name)]
                yield Statement(f"{name} cells", str(kind), number, *mean_and_deviation(cells),
                                "", None)  # fmt: skip


def _information(
    ranked: Mapping[Kind, Mapping[str, Float64[np.ndarray, "networks shown normalisations"]]],
) -> Iterator[Statement]:
    """Figure 2: the mean over cells of the maximal information, of the 4-layer networks."""
    other = DEEP._replace(pairing="inconsistent")
    for i, shown in enumerate(SHOWN):
        panel = "ABC"[i]
        for j, how in enumerate(NORMALISATIONS):
            name = f"2{panel}. bits of {shown} inputs, {RANGES[how]}"
            for kind in (DEEP, other):
                if kind not in ranked:
                    continue
                before, after = (ranked[kind][when][:, i, j] for when in ("before", "after"))
                yield Statement(f"{name}, before", str(kind), None, *mean_and_deviation(before),
                                "", None)  # fmt: skip
                yield Statement(f"{name}, after", str(kind), None, *mean_and_deviation(after),
                                "", None)  # fmt: skip
                gain, deviation = mean_and_deviation(after - before)
                yield Statement(f"{name}: training raises them", str(kind), None, gain, deviation,
                                "> 0", gain > 0)  # fmt: skip
            if DEEP in ranked and other in ranked:
                apart = ranked[DEEP]["after"][:, i, j].mean() - (
                    ranked[other]["after"][:, i, j].mean()
                )
                claimed = shown == "all"  # the paper orders panel A alone
                yield Statement(f"{name}: consistent minus inconsistent pairs", "4 layers", None,
                                float(apart), None, ">= 0" if claimed else "",
                                bool(apart >= 0) if claimed else None)  # fmt: skip


def _claims(counts: Mapping[Kind, Any]) -> Iterator[Statement]:
    """Figure 4, by both ranges: what holds of one alone hangs on the normalisation."""
    for how, words in RANGES.items():
        cells = _consistent_cells(counts, how)
        for kind in _depths(cells, "inconsistent"):
            mean, deviation = mean_and_deviation(cells[kind])
            yield Statement(f"4A. consistent cells, {words}: near 0", str(kind), None, mean,
                            deviation, f"<= {NEAR_ZERO}", mean <= NEAR_ZERO)  # fmt: skip
        depths = _depths(cells, "consistent")
        for kind in depths:
            if (other := kind._replace(pairing="inconsistent")) in cells:
                about = f"4B. consistent cells, {words}: consistent pairs above inconsistent"
                yield above(about, kind.network, cells[kind], cells[other], PAPER_P)
        for shallow, deep in pairwise(depths):
            more = float(cells[deep].mean() - cells[shallow].mean())
            about = f"4B. consistent cells, {words}: more with {deep.depth} layers than"
            yield Statement(about, str(shallow), None, more, None, "> 0", more > 0)
        enough = [kind for kind in depths if len(cells[kind]) > 1]
        if len(enough) > 1:
            found = anova("", "", [cells[kind] for kind in enough])
            about = f"4B. consistent cells, {words}: F of depth"
            holds = None if np.isnan(found.p) else found.p < PAPER_P
            paper = 156.24 if how == "all" and len(enough) == 4 else None
            yield Statement(about, "consistent pairs", paper, found.statistic, None,
                            f"p < {PAPER_P:g}", holds)  # fmt: skip
        if DEEP in cells and TWO_STAGE in cells:
            about = f"4C. consistent cells, {words}: mixed above two-stage"
            yield above(about, str(DEEP), cells[DEEP], cells[TWO_STAGE], PAPER_P)


def _consistent_cells(
    counts: Mapping[Kind, Any], how: str
) -> dict[Kind, Float64[np.ndarray, "networks"]]:
    """Of the last layer after training, by kind."""
    j = NORMALISATIONS.index(how)
    return {kind: found.after[:, -1, j, CONSISTENT] for kind, found in counts.items()}


def _depths(cells: Mapping[Kind, Any], pairing: str) -> list[Kind]:
    return sorted(k for k in cells if k.framework == "mixed" and k.pairing == pairing)
