"""The findings of Moreau et al. 2021 as assertions with bounds, in percent and points."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmrep.stats.subspaces import METHODS
from mmrep.studies import moreau2021_numbers as published
from mmrep.studies.comparison import Comparison
from mmrep.studies.lines import Lines, at, whole
from mmrep.studies.recorded import Recorded
from mmrep.studies.statements import Statement

ONE_CLASS = 5  # points that a score may lie above that of predicting one class always
FAR = 20  # points that "far" means
EQUAL = 2  # points that "about equal" means
WITHIN = 1  # points below its level at twice the classes from where a curve counts as saturated


def same_sensor_statements(
    lines: Mapping[str, Mapping[str, Lines]],
    found: Mapping[str, Sequence[Comparison]],
    first: Recorded,
) -> list[Statement]:
    """`lines` by head and sensor, `found` by sensor."""
    data, classes = first.facts["data"]["name"], first.num_classes
    statements = []
    for sensor, original in lines["original"].items():
        statements += _numbers(data, sensor, classes, {h: by[sensor] for h, by in lines.items()})
        least_rank = min(min(one.ranks) for one in found[sensor])
        statements += _original_head(data, sensor, original, first, least_rank)
        if "recipe" in lines:
            statements += _retrained_head(sensor, lines["recipe"][sensor], first)
        statements += conditions(sensor, found[sensor], classes)
    return statements


def cross_sensor_statements(
    lines: Mapping[tuple[str, str], Lines],
    found: Mapping[tuple[str, str], Sequence[Comparison]],
    first: Recorded,
) -> list[Statement]:
    """Both by partner and tested sensor."""
    data, classes = first.facts["data"]["name"], first.num_classes
    sensors = list(dict.fromkeys(tested for _, tested in lines))
    lost = {place: whole(of) - at(of, "cca_highest", classes) for place, of in lines.items()}
    statements = [
        _number("all components", sensor, published.CROSS_SENSOR_ALL.get(sensor)
                if data == "shl" else None, whole(lines[sensor, sensor]))
        for sensor in sensors
    ]  # fmt: skip
    for (partner, tested), of_pair in lines.items():
        place = f"{tested} with {partner}"
        highest = at(of_pair, "cca_highest", classes)
        paper = published.cross_sensor(data, partner, tested)
        statements.append(_number(f"CCA highest, n = {classes}", place, paper, highest))
        if partner != tested:
            more = whole(of_pair) - at(of_pair, "cca_highest", 2 * classes)
            apart = highest.mean() - at(of_pair, "cca_random", classes).mean()
            statements += [
                _at_most(f"8. CCA highest, n = {classes}, loses", place, lost[partner, tested], 11),
                _at_most(f"8. CCA highest, n = {2 * classes}, loses", place, more, 5),
                _at_least(f"8. CCA highest above CCA random, n = {classes}", place, apart, 45),
            ]
        statements += conditions(place, found[partner, tested], classes)
    within = np.mean([lost[sensor, sensor].mean() for sensor in sensors])
    if across := [values.mean() for (p, t), values in lost.items() if p != t]:
        more = np.mean(across) - within
        statements.append(
            _at_least(
                f"10. loss at n = {classes} across sensors, minus that within one", "all", more, 0
            )
        )
    near = {
        place: np.mean([one.held_out[:classes].mean() for one in of]) for place, of in found.items()
    }
    kinds = {sensor[:3]: sensor for sensor in sensors if sensor[:3] in ("acc", "gyr", "mag")}
    if len(kinds) == 3 == len(sensors):
        acc, gyr, mag = kinds["acc"], kinds["gyr"], kinds["mag"]
        both = [near[acc, gyr], near[gyr, acc]]
        others = [near[place] for s in (acc, gyr) for place in ((mag, s), (s, mag))]
        about = f"11. mean of {classes} held-out correlations of {acc} and {gyr}, minus that with"
        nearer = 100 * (np.mean(both) - np.mean(others))
        statements.append(_at_least(f"{about} {mag}", "all", nearer, 0))
    return statements


def _numbers(data: str, sensor: str, classes: int, by_head: Mapping[str, Lines]) -> list[Statement]:
    """The scores that the paper shows, at n = classes."""
    every = published.same_sensor(data, sensor, "original", "all")
    statements = [_number("all components", sensor, every, whole(by_head["original"]))]
    for head, lines in by_head.items():
        for method in METHODS:
            name = f"{method.replace('_', ' ')}, n = {classes}, {head} head"
            paper = published.same_sensor(data, sensor, head, method)
            statements.append(_number(name, sensor, paper, at(lines, method, classes)))
    return statements


def _original_head(
    data: str, sensor: str, lines: Lines, first: Recorded, least_rank: int
) -> list[Statement]:
    classes, units = first.num_classes, first.train.features.shape[1]
    full = whole(lines)
    score = {method: at(lines, method, classes).mean() for method in METHODS}
    allowed = 1 if data.startswith("cifar") else 8
    half = min(units // 2, least_rank - 1)  # at its rank, CCA lowest is all that CCA keeps
    lowest = max(at(lines, "cca_lowest", n).mean() for n in range(1, half + 1))
    randoms = (score["random_projection"], score["random_selection"])
    spread = np.hypot(
        at(lines, "random_projection", classes).std(), at(lines, "random_selection", classes).std()
    )
    largest = max(score["max_activation"], *randoms)
    spreads = [
        (at(lines, "cca_random", n).std(), at(lines, "random_projection", n).std())
        for n in lines["cca_random"][0]
        if classes <= n <= min(4 * classes, least_rank - 1)
    ]
    ratio = float(np.mean([a / b if b else np.nan for a, b in spreads])) if spreads else np.nan
    knees = {method: saturation(lines, method, classes) for method in ("cca_highest", "pca")}
    return [
        _at_most(f"1. CCA highest, n = {classes}, loses", sensor,
                 full - at(lines, "cca_highest", classes), allowed),
        _at_most(f"1. CCA highest, n = {2 * classes}, loses", sensor,
                 full - at(lines, "cca_highest", 2 * classes), 3),
        _at_most(f"2. PCA, n = {classes}, loses", sensor,
                 full.mean() - at(lines, "pca", classes), 4),
        _at_least(f"2. PCA above CCA highest, n = {classes}", sensor,
                  score["pca"] - score["cca_highest"], -1),
        *(
            Statement(f"3. {method.replace('_', ' ')} saturates at n", sensor, classes, found, None,
                      f"{classes - 1} or {classes}", found in (classes - 1, classes))
            for method, found in knees.items()
        ),
        _at_most(f"4. CCA lowest above one class predicted, n = 1 to {half}", sensor,
                 lowest - one_class(first), ONE_CLASS),
        _at_least("5. PCA and CCA highest above the largest of the others", sensor,
                  min(score["pca"], score["cca_highest"]) - largest, FAR),
        _at_least("5. max activation above random selection and projection", sensor,
                  score["max_activation"] - max(randoms), 0),
        _at_most("5. random projection and selection differ by", sensor,
                 abs(randoms[0] - randoms[1]), round(float(spread), 2)),
        _at_least("5. the two random methods above CCA random", sensor,
                  min(randoms) - score["cca_random"], 0),
        _at_least("5. CCA random above CCA lowest", sensor,
                  score["cca_random"] - score["cca_lowest"], 0),
        Statement(f"7. deviation of CCA random over random projection's, n = {classes} to "
                  f"{4 * classes}", sensor, None, ratio, None, ">= 2", _verdict(ratio >= 2, ratio)),
    ]  # fmt: skip


def _retrained_head(sensor: str, lines: Lines, first: Recorded) -> list[Statement]:
    classes = first.num_classes
    score = {method: at(lines, method, classes).mean() for method in METHODS}
    apart = score["random_projection"] - score["random_selection"]
    redundancy = redundancy_statement(sensor, apart, dropout=first.dropout)
    least = min(score["random_projection"], score["random_selection"])
    return [
        redundancy,
        _at_least("6. retrained: CCA lowest below the random methods", sensor,
                  least - score["cca_lowest"], FAR),
        _at_least("6. retrained: CCA random below the random methods", sensor,
                  least - score["cca_random"], 0),
    ]  # fmt: skip


def redundancy_statement(of: str, apart: np.ndarray | float, *, dropout: bool) -> Statement:
    """How far random projection lies above random selection: where there was dropout, it does."""
    about = "6. retrained: random projection above random selection"
    if dropout:
        return _at_least(about, of, apart, 0)
    mean, spread = _mean_and_spread(apart)
    about = f"{about}, without dropout"
    return Statement(about, of, None, mean, spread, f"0 +- {EQUAL}", abs(mean) <= EQUAL)


def conditions(of: str, found: Sequence[Comparison], classes: int) -> list[Statement]:
    """The paper's two conditions (section 2), and what lies beside them; validation samples."""

    def mean(name: str, n: int) -> np.ndarray:
        values = (getattr(one, name) for one in found)
        return np.array([of_pair[n - 1] if n <= len(of_pair) else np.nan for of_pair in values])

    logits = np.array([one.logit_correlations.mean() for one in found])
    after = mean("held_out", classes + 1)
    agreement = np.array([one.agreement for one in found])
    implied = np.array([one.implied_agreement for one in found])
    return [
        _number(f"canonical correlation {classes}, held out", of, None,
                100 * mean("held_out", classes)),
        _number(f"canonical correlation {classes + 1}, held out", of, None, 100 * after),
        _number("its floor", of, None, 100 * mean("floor_held_out", classes + 1)),
        _at_least(f"condition 1: class logits correlate, above correlation {classes + 1}", of,
                  100 * (logits - after), 0),
        _number("equal predictions", of, None, 100 * agreement),
        _at_least("condition 2: equal predictions above what the accuracies imply", of,
                  100 * (agreement - implied), 0),
        _number(f"logits' variance in {classes - 1} variates, without their common shift", of, None,
                100 * mean("explained_differences", classes - 1)),
        _number(f"in {classes}", of, None, 100 * mean("explained_differences", classes)),
    ]  # fmt: skip


def saturation(lines: Lines, method: str, classes: int) -> int:
    """The least n whose mean score lies within a point of that on twice as many as classes."""
    end = at(lines, method, 2 * classes).mean() - WITHIN
    return next(n for n in lines[method][0] if at(lines, method, n).mean() >= end)


def one_class(first: Recorded) -> float:
    """The best score of a network that always predicts one class, in percent."""
    counts = np.bincount(first.validation.label.numpy(), minlength=first.num_classes)
    share = counts[counts > 0] / counts.sum()
    if first.score == "accuracy":
        return float(100 * share.max())
    return float(100 * (2 * share / (1 + share)).max() / len(share))


def _number(about: str, of: str, paper: float | None, ours: np.ndarray) -> Statement:
    return Statement(about, of, paper, float(ours.mean()), float(ours.std()), "", None)


def _at_most(about: str, of: str, ours: np.ndarray | float, bound: float) -> Statement:
    mean, spread = _mean_and_spread(ours)
    return Statement(about, of, None, mean, spread, f"<= {bound:g}", _verdict(mean <= bound, mean))


def _at_least(about: str, of: str, ours: np.ndarray | float, bound: float) -> Statement:
    mean, spread = _mean_and_spread(ours)
    return Statement(about, of, None, mean, spread, f">= {bound:g}", _verdict(mean >= bound, mean))


def _mean_and_spread(ours: np.ndarray | float) -> tuple[float, float | None]:
    values = np.asarray(ours)
    return float(values.mean()), float(values.std()) if values.ndim else None


def _verdict(holds: bool, value: float) -> bool | None:
    """None where there was nothing to judge."""
    return None if np.isnan(value) else bool(holds)
