"""Projection curves over several pairs of networks."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mmrep.stats.curves import Curves, by_method
from mmrep.stats.subspaces import CCA_METHODS
from mmrep.studies.comparison import Comparison

Lines = dict[str, tuple[list[int], np.ndarray]]  # by method: n, and scores of (repetitions, n)


def combined(found: Sequence[Comparison], score: str, head: str) -> Lines:
    """`over_repetitions` of pairs, and CCA's whole rank, which differs, at its mean."""
    curves = [one.curves for one in found]
    lines = over_repetitions(curves, score, head)
    for method in lines.keys() & set(CCA_METHODS):
        ranks = [min(one.ranks) if method == "cca_random" else one.ranks[0] for one in found]
        of_pairs = [by_method(one, score, head)[method] for one in curves]
        ends = zip(of_pairs, ranks, strict=True)
        at_rank = np.concatenate([scores[:, n.index(rank)] for (n, scores), rank in ends])
        components, scores = lines[method]
        mean_rank = round(float(np.mean(ranks)))
        if mean_rank in components:  # where all ranks are equal, that is it; else it would hide it
            continue
        points = dict(zip(components, scores.T, strict=True)) | {mean_rank: at_rank}
        lines[method] = sorted(points), np.stack([points[n] for n in sorted(points)], axis=1)
    return lines


def over_repetitions(curves: Sequence[Curves], score: str, head: str) -> Lines:
    """Scores over networks and draws at every n that all have."""
    by_network = [by_method(one, score, head) for one in curves]
    lines: Lines = {}
    for method in by_network[0]:
        of_networks = [lines_of[method] for lines_of in by_network]
        common = sorted(set.intersection(*(set(components) for components, _ in of_networks)))
        columns = [
            np.concatenate([scores[:, components.index(n)] for components, scores in of_networks])
            for n in common
        ]
        lines[method] = common, np.stack(columns, axis=1)
    return lines


def at(lines: Lines, method: str, n: int) -> Float[np.ndarray, "repetitions"]:
    """A method's scores on n components, in percent; on the most below it where n is not there."""
    components, scores = lines[method]
    return 100 * scores[:, max(i for i, kept in enumerate(components) if kept <= n)]


def whole(lines: Lines) -> Float[np.ndarray, "repetitions"]:
    """The untouched network's scores, in percent: one for each pair, as CCA highest has."""
    return 100 * lines["cca_highest"][1][:, -1]
