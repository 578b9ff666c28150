"""App.5 on small networks: which directions are exact, what is written, and what is refused."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor
from torch.testing import assert_close

from mmrep.networks.compressed import compressed, projected
from mmrep.runs import load_run
from mmrep.stats.subspaces import project
from mmrep.studies.raghu2017_compression import (
    AT_ONCE,
    LOGITS,
    METHODS,
    SEED,
    UNTOUCHED,
    Fitted,
    Point,
    directions_of,
    fit,
    mean_height,
    numbers_up,
    point_of,
    points_of,
    projections_of,
    statements_of,
)
from tests.studies.raghu2017_runs import CLASSES, HIDDEN, TEST, TRAIN, write_run
from tests.test_conf import composed

NAME = "raghu2017_compression"
LAYERS = {"p2": 64, "fc1": HIDDEN[0], "bn3": HIDDEN[0], "fc2": HIDDEN[1], "bn4": HIDDEN[1]}
PRINCIPAL, RANDOM = METHODS[2:]


def normal(*shape: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / f"seed-{seed}", seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def fitted(runs: list[Path]) -> Fitted:
    options: dict[str, Any] = {"checkpoint": "last", "num_samples": TRAIN, "seed": 0}
    return fit(*runs, layers=[*LAYERS], kept=1.0, **options)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_directions_of_logits_first_then_by_variance() -> None:
    own = normal(500, 8, seed=0) * torch.tensor([1, 8, 3, 1, 5, 1, 2, 4]) + 2
    logits = own[:, [0, 3, 5]] @ normal(3, 3, seed=1)
    partner = own @ normal(8, 6, seed=2)
    random = torch.Generator().manual_seed(0)
    bases = directions_of(own, partner, logits, name="fc", kept=1.0, generator=random)
    assert [*bases] == [*METHODS]
    assert [basis.rank for basis in bases.values()] == [8] * 4
    # Three directions hold all that the logits are; the others are the principal axes of the rest.
    head = torch.linalg.lstsq(own - own.mean(dim=0), logits - logits.mean(dim=0)).solution
    kept = project(own, bases[LOGITS], 3)
    assert_close((kept - own.mean(dim=0)) @ head, logits - logits.mean(dim=0))
    rest = project(own, bases[LOGITS], 8) - kept
    shares = [
        float((project(own, bases[LOGITS], k + 1) - project(own, bases[LOGITS], k)).square().sum())
        for k in range(3, 8)
    ]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(float(rest.square().sum()))
    # The six that the partner has keep it whole, and no two of the principal ones correlate.
    there = torch.linalg.lstsq(own - own.mean(dim=0), partner - partner.mean(dim=0)).solution
    kept = project(own, bases[SEED], 6)
    assert_close((kept - own.mean(dim=0)) @ there, partner - partner.mean(dim=0))
    axes = torch.linalg.svd(own - own.mean(dim=0)).Vh
    for k in (1, 4):
        wanted = (own - own.mean(dim=0)) @ axes[:k].T @ axes[:k] + own.mean(dim=0)
        assert_close(project(own, bases[PRINCIPAL], k), wanted)


def test_as_many_directions_as_classes_keep_the_logits(fitted: Fitted) -> None:
    """Those of the layer that the last one reads, and of the one before batch norm."""
    test = fitted.splits["test"]
    with torch.no_grad():
        for layer in ("fc2", "bn4"):
            net = projected(fitted.net, projections_of(fitted, LOGITS, {layer: CLASSES}))
            data = fitted.data
            images = data.val_set.prepare(data.val_set[[*range(TEST)]]).inputs
            assert_close(net(images), test.logits, rtol=0, atol=1e-4)
            fewer = projected(fitted.net, projections_of(fitted, LOGITS, {layer: CLASSES - 2}))
            assert not torch.allclose(fewer(images), test.logits, atol=0.1)


def test_accuracy_is_that_of_the_projected_network_on_images(fitted: Fitted) -> None:
    data = fitted.data
    splits = {"training": (data.plain_train_set, TRAIN), "test": (data.val_set, TEST)}
    for components in ({"p2": 3}, {"fc1": 2}, {"fc2": 1}, {"p2": 9, "bn3": 2, "bn4": 2}):
        for method in METHODS:
            found = point_of(fitted, method, 0.5, components, "some")
            net = projected(fitted.net, projections_of(fitted, method, components))
            for split, (images, number) in splits.items():
                batch = images.prepare(images[[*range(number)]])
                with torch.no_grad():
                    right = (net(batch.inputs).argmax(dim=1) == batch.label).double().mean()
                assert getattr(found, split) == pytest.approx(100 * float(right), abs=1e-9)
            assert found.components == sum(components.values())


def test_all_directions_lose_nothing_and_points_are_complete(fitted: Fitted) -> None:
    points = [*points_of(fitted, [0.1, 1.0])]
    untouched = points[0]
    assert untouched.layer == UNTOUCHED
    assert untouched.training > 60  # of four classes
    assert untouched.components == 0
    expected = [
        (layer, method, share)
        for layer in (*LAYERS, AT_ONCE)
        for method in METHODS
        for share in (0.1, 1.0)
    ]
    assert [point[:3] for point in points[1:]] == expected
    for point in points[1:]:
        if point.share == 1.0:
            # Images that two classes claim alike may be told apart by the last digit.
            assert point.training == pytest.approx(untouched.training, abs=0.5)
        units = sum(LAYERS.values()) if point.layer == AT_ONCE else LAYERS[point.layer]
        assert point.components <= units
        if point.layer == "p2" and point.share == 0.1:
            assert point.components == 6
            # 64 x 6 and 6 x 16 instead of 64 x 16
            assert untouched.parameters - point.parameters >= 64 * 16 - 6 * (64 + 16)


def test_statements_are_of_points_lost(fitted: Fitted) -> None:
    def points(own: float, seed: float) -> list[Point]:
        left = {LOGITS: own, SEED: seed, PRINCIPAL: 80.0, RANDOM: 10.0}
        return [
            Point(UNTOUCHED, UNTOUCHED, 1.0, 0, 0, 90.0, 85.0),
            *(
                Point("fc1", method, share, 1, 1, left[method] + 100 * share, left[method])
                for method in METHODS
                for share in (0.01, 0.02)
            ),
        ]

    found = statements_of(
        [points(84.5, 70.0), points(83.5, 60.0)], "Squares", share=0.02, within=1.0
    )
    by_name = {(s.about, s.of): s for s in found}
    at_share = by_name[f"{LOGITS}, 0.02 kept: points lost", "Squares, fc1, test"]
    assert (at_share.ours, at_share.spread, at_share.holds) == (1.0, 0.5, True)
    of_training = by_name[f"{LOGITS}, 0.02 kept: points lost", "Squares, fc1, training"]
    assert of_training.ours == pytest.approx(90 - 86)
    assert of_training.holds is False
    more = by_name[f"{LOGITS} above {SEED}, mean over shares up to 0.02", "Squares, fc1, test"]
    assert (more.ours, more.holds) == (19.0, True)
    assert by_name[f"{RANDOM}, 0.02 kept: points lost", "Squares, fc1, test"].holds is None
    assert mean_height(np.array([[0.0, 2.0, 2.0]]), [0.1, 0.2, 0.4]) == pytest.approx(5 / 3)
    (single,) = {s.spread for s in statements_of([points(80.0, 70.0)], "", share=0.02, within=1.0)}
    assert single is None


def test_numbers_of_directions_grow_until_they_are_enough() -> None:
    assert [*numbers_up(10, 50)] == [10, 15, 22, 33, 50]
    assert [*numbers_up(10, 8)] == [10]


def test_the_study_of_finished_runs(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    config = composed(
        f"analysis={NAME}", "analysis.shares=[0.1,1.0]", f"analysis.num_samples={TRAIN}",
        script="analyze",
    )  # fmt: skip
    instantiate(config.analysis.report, runs)  # as analyze.py does
    printed = capsys.readouterr().out
    study = runs[0].parent
    out = study / "analysis" / NAME
    table = rows(out / f"{NAME}.csv")
    assert len(table) == 1 + 6 * 4 * 3
    assert {row["source"] for row in table} == {"real"}
    sizes = rows(out / "sizes.csv")
    assert [row["network"] for row in sizes[:2]] == [UNTOUCHED, "0.35 of each layer"]
    assert f"compressed.pt2: {sizes[-1]['network']}" in printed
    assert all(float(row["ms"]) > float(row["ms_behind_p2"]) > 0 for row in sizes)
    assert float(sizes[0]["training"]) - float(sizes[-1]["training"]) <= 5
    assert int(sizes[-1]["parameters"]) < int(sizes[0]["parameters"])
    # What was written runs without mmrep, on any number of images.
    data: Any = load_run(runs[0]).data
    test = data.val_set.prepare(data.val_set[[*range(TEST)]])
    net = torch.export.load(out / "compressed.pt2").module()
    with torch.no_grad():
        right = (net(test.inputs).argmax(dim=1) == test.label).double().mean()
        assert len(net(test.inputs[:1])) == 1
    assert 100 * float(right) == pytest.approx(float(sizes[-1]["test"]), abs=1e-9)
    weights = sum(p.numel() for p in net.parameters())
    assert weights == int(sizes[-1]["parameters"])
    for row in rows(out / "statements.csv"):
        if row["about"].startswith("smaller network"):
            assert row["verdict"] == "holds"
    assert "Squares: late layers" in (study / "figures" / f"{NAME}.svg").read_text()


def test_wrong_layers_runs_and_numbers_are_refused(runs: list[Path], tmp_path: Path) -> None:
    def report(*overrides: str, folders: list[Path] = runs) -> None:
        given = (f"analysis.num_samples={TRAIN}", "analysis.shares=[1.0]", *overrides)
        config = composed(f"analysis={NAME}", *given, script="analyze")
        instantiate(config.analysis.report, folders)

    with pytest.raises(Exception, match=r"each must be above 0, at most 1"):
        report("analysis.share=1.5")
    with pytest.raises(Exception, match=r"layer 'p3' is not in ConvNet; near: p1, p2|near: p2, p1"):
        report("analysis.layers=[p3]")
    with pytest.raises(Exception, match=r"num_samples=401 is not from 1 to 400"):
        report("analysis.num_samples=401")
    with pytest.raises(Exception, match=r"60 samples do not exceed the rank of p2 of the other"):
        report("analysis.num_samples=60")
    with pytest.raises(Exception, match=r"layer 'c3' behind 'p1' is a Convolution, which"):
        report("analysis.layers=[p1]")
    other = write_run(tmp_path / "other", 1, widths=[4, 4, 4, 4, 2])
    with pytest.raises(Exception, match=r"the runs are of 2 configurations"):
        report(folders=[runs[0], other])


def test_the_network_itself_is_left_as_it_was(fitted: Fitted) -> None:
    before = {name: tensor.clone() for name, tensor in fitted.net.state_dict().items()}
    compressed(fitted.net, projections_of(fitted, LOGITS, dict.fromkeys(LAYERS, 2)))
    assert_close(dict(fitted.net.state_dict()), before)
