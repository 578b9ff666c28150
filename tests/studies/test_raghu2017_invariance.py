"""App.1 and B.0.1: what CCA brings back, what measures are invariant to, what tells B from C."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor
from torch.testing import assert_close

from mmrep.runs import load_run
from mmrep.stats.similarity import svcca
from mmrep.studies.raghu2017_invariance import (
    ADDED,
    BLIND,
    ORTHOGONAL,
    OTHER_MAPS,
    SEEING,
    A,
    read_layer,
    recover,
    shown_of,
    statements_of_noise,
    statements_of_run,
    thought_experiment,
    with_itself,
)
from tests.studies.raghu2017_runs import CLASSES, HIDDEN, TEST, write_run
from tests.test_conf import composed

NAME = "raghu2017_invariance"


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def activations(samples: int = 300, units: int = 7) -> Tensor:
    """As of a ReLU layer: none negative, of unequal size, one unit dead."""
    mixed = torch.randn(samples, units, generator=seeded(0), dtype=torch.float64)
    mixed = mixed @ torch.randn(units, units, generator=seeded(1), dtype=torch.float64)
    scale = torch.tensor([1, 5, 0, 2, 9, 3, 7][:units], dtype=torch.float64)
    return mixed.relu() * scale


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "seed-0", 0)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_most_active_units_come_back_from_an_affine_map() -> None:
    x = activations()
    found = recover(x, seeded(2))
    size = x.numpy().mean(axis=0)  # none is negative
    assert found.numbers == np.argsort(-size)[:3].tolist()
    assert_close(found.units, x[:, found.numbers])
    # The map is affine: least squares with a constant finds it, and its condition.
    with_constant = np.column_stack([found.units.numpy(), np.ones(len(x))])
    solution, *_ = np.linalg.lstsq(with_constant, found.mixed.numpy(), rcond=None)
    assert np.abs(with_constant @ solution - found.mixed.numpy()).max() < 1e-12
    assert found.condition == pytest.approx(np.linalg.cond(solution[:3]))
    assert float((found.mixed - found.units).abs().max()) > 1
    assert found.error < 1e-12
    assert_close(found.recovered, found.units, rtol=0, atol=1e-10)
    assert_close(found.correlations, torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)


def test_units_that_do_not_vary_are_not_active() -> None:
    x = activations()
    x[:, 1], x[:, 4] = 100.0, -100.0
    assert not {1, 2, 4} & {*recover(x, seeded(2)).numbers}
    with pytest.raises(ValueError, match=r"1 units of the layer vary, and 3 are mixed"):
        recover(x[:, [1, 2, 3, 4]], seeded(2))


def test_each_measure_is_invariant_to_its_maps_and_no_others() -> None:
    found = with_itself(activations(), seeded(3))
    assert {how for how, _ in found} == {*ORTHOGONAL, *OTHER_MAPS}
    for (how, measure), value in found.items():
        if how in ORTHOGONAL or measure in ("CCA", "PWCCA"):
            assert value == pytest.approx(1, abs=1e-12 if how in ORTHOGONAL else 1e-10)
        elif measure == "CKA":
            assert value < 0.99
    judged = statements_of_run(recover(activations(), seeded(2)), found, "random")
    assert all(s.holds for s in judged if s.bound)
    assert len([s for s in judged if s.bound]) == 2 + 4 * len(ORTHOGONAL) + 2 * len(OTHER_MAPS)


def test_svcca_cuts_other_directions_behind_a_map_that_stretches() -> None:
    """Of a faint and a loud unit: which of them are kept is a matter of their sizes."""
    x = torch.randn(400, 2, generator=seeded(4), dtype=torch.float64)
    loud_first, loud_second = x * torch.tensor([1.0, 1e-3]), x * torch.tensor([1e-3, 1.0])
    assert svcca(loud_first, loud_second) < 0.2
    values = with_itself(loud_first, seeded(0))
    assert values["a rotation", "SVCCA"] == pytest.approx(1, abs=1e-12)
    assert values["a mixture", "CCA"] == pytest.approx(1, abs=1e-10)


def test_what_tells_noise_from_use() -> None:
    *of_b, c = told = thought_experiment([1e-3, 1e-2, 1.0], 2000, seed=0)
    quiet, faint, loud = of_b
    for one in told:
        for measure in BLIND:
            assert one.similarities[measure] == pytest.approx(1, abs=0.01)
    assert (c.of, c.noise, c.kept[0]) == ("C", 1.0, A)
    assert quiet.kept == (A, A)
    assert faint.kept_of_variance == (A, A)
    assert faint.kept[1] > 2 * A  # facts: 141 of singular values' sum
    # Independent units of unit variance: |A'C|^2 / (|A'A| |C'C|) = 50 / sqrt(50 * 200).
    assert c.similarities["CKA"] == pytest.approx((A / (A + ADDED)) ** 0.5, abs=0.01)
    assert faint.similarities["CKA"] == pytest.approx(1, abs=1e-6)
    over = SEEING[0]
    assert quiet.similarities[over] == pytest.approx(1, abs=1e-6)
    assert faint.similarities[over] == pytest.approx(A / faint.kept[1], abs=1e-6)
    # Noise of A's size is as much as use: the same draws.
    assert loud.similarities == c.similarities
    statements = {(s.about, s.of): s for s in statements_of_noise(told)}
    kept = "directions of B that SVCCA keeps"
    assert statements[kept, "B.0.1, noise 0.001"].holds is True
    assert statements[kept, "B.0.1, noise 0.01"].holds is False
    assert statements[kept, "B.0.1, noise 1"].holds is None
    tells = f"{over}: difference of (A, B) and (A, C)"
    assert statements[tells, "B.0.1, noise 0.001"].holds is True


def test_samples_stand_by_class(run: Path) -> None:
    task, data = load_run(run)
    layer = read_layer(task, data, "fc2", TEST)
    assert layer.units.shape == (TEST, HIDDEN[1])
    label = layer.label.tolist()
    assert label == sorted(label)
    shown = shown_of(recover(layer.units, seeded(0)), layer, 3 * CLASSES)
    assert shown.ends == [3, 6, 9, 12]
    first = [label.index(i) + j for i in range(CLASSES) for j in range(3)]
    assert_close(torch.from_numpy(shown.units), layer.units[first][:, [*shown.numbers]])
    with pytest.raises(ValueError, match=r"layer='p2' gives \(1, 8, 8\) for a sample: choose a la"):
        read_layer(task, data, "p2", 10)
    with pytest.raises(ValueError, match=r"layer='fc\*' is several, fc1, fc2"):
        read_layer(task, data, "fc*", 10)


def test_the_study_of_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = composed(
        f"analysis={NAME}", "analysis.num_samples=100", "analysis.num_draws=1000",
        "analysis.noises=[0.001]", script="analyze",
    )  # fmt: skip
    instantiate(config.analysis.report, [run])  # as analyze.py does
    assert "statements hold" in capsys.readouterr().out
    out = run / "analysis" / NAME
    (recovery,) = rows(out / "recovery.csv")
    assert float(recovery["error"]) < 1e-10
    assert float(recovery["least_correlation"]) == pytest.approx(1, abs=1e-10)
    maps = rows(out / "maps.csv")
    assert len(maps) == 4 * len((*ORTHOGONAL, *OTHER_MAPS))
    told = rows(out / "thought_experiment.csv")
    assert [row["of"] for row in told] == ["B", "C"]
    assert told[0]["kept"] == str(A)
    verdicts = [row["verdict"] for row in rows(out / "statements.csv")]
    assert "does not hold" not in verdicts
    for figure in (NAME, f"{NAME}_noise"):
        assert (run / "figures" / f"{figure}.png").stat().st_size > 0
    drawn = (run / "figures" / f"{NAME}.svg").read_text()
    assert "corner 3" in drawn
    assert "recovered by CCA" in drawn


def test_without_runs_only_the_thought_experiment(tmp_path: Path) -> None:
    config = composed(
        f"analysis={NAME}", "runs=[]", f"folder={tmp_path}", "analysis.num_draws=500",
        script="analyze",
    )  # fmt: skip
    instantiate(config.analysis.report, [])
    written = sorted(path.name for path in (tmp_path / "analysis" / NAME).iterdir())
    assert written == ["statements.csv", "thought_experiment.csv"]
    assert len(rows(tmp_path / "analysis" / NAME / "thought_experiment.csv")) == 4 + 1
    with pytest.raises(Exception, match=r"noises=\[0\.0\]: give deviations above 0"):
        instantiate(
            composed(f"analysis={NAME}", "analysis.noises=[0.0]", script="analyze").analysis.report,
            [],
        )
