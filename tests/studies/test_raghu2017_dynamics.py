"""Learning dynamics and two initialisations of a sweep's runs, and what their statements ask."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmrep.dynamics import Dynamics
from mmrep.loggers import read_metrics
from mmrep.studies.raghu2017_dynamics import Network, report_dynamics, statements_of
from mmrep.studies.raghu2017_initialisations import report_initialisations
from tests.scripts import TINY, run

LAYERS = ["body.0", "body.1", "body.2", "logits"]
HOW = {
    "measure": "svcca", "reduction": "pooled", "frequencies": 8, "num_samples": 101,
    "permutations": 3, "resamples": 4, "seed": 0,
}  # fmt: skip


def network(own: list[list[float]], kind: str, layers: str) -> Network:
    """One whose similarities at equally many epochs are given; all layers are alike at its end."""
    count = len(layers.split())
    found = Dynamics(
        tuple(layers.split()),
        np.arange(len(own)),
        np.arange(len(own), dtype=np.float64),
        np.array(own),
        np.zeros((len(own), count)),
        np.ones((len(own), count)),
        np.array([0, len(own) - 1]),
        np.stack([np.diag(own[0]), np.ones((count, count))]),
        np.zeros((1, count, 7)),
    )
    return Network(Path("run"), "a network", kind, found)


def test_statements_hold_of_layers_that_converge_from_the_bottom_up() -> None:
    own = [[0.3, 0.2, 0.1], [0.95, 0.6, 0.3], [0.96, 0.95, 0.5], [1.0, 1.0, 1.0]]
    rows = {row.about: row for row in statements_of(network(own, "StackedLSTM", "a b c"))}
    assert all(row.holds in (True, None) for row in rows.values())
    assert rows["rank correlation of depth and the epoch of reaching 0.9"].ours == pytest.approx(1)
    assert rows["rank correlation of depth and similarity after 35%"].ours == pytest.approx(-1)
    assert rows["similarity of a before training with its end"].paper == 0.54


def test_statements_fail_of_layers_that_converge_from_the_top_down() -> None:
    own = [[0.1, 0.2, 0.3], [0.3, 0.6, 0.95], [0.5, 0.95, 0.96], [1.0, 1.0, 1.0]]
    rows = statements_of(network(own, "StackedLSTM", "a b c"))
    judged = [row.holds for row in rows if row.holds is not None]
    assert judged
    assert not any(judged)


def test_batch_norm_is_asked_to_say_what_its_layer_says() -> None:
    rows = statements_of(network([[0.1, 0.2], [1.0, 1.0]], "ConvNet", "c2 bn1"))
    assert [row.holds for row in rows if "bn1 says what c2 says" in row.about] == [True]


def test_skip_connections_are_asked_to_show_as_a_grid() -> None:
    layers = "layer1.0.bn1 layer1.0 layer1.1.bn1 layer1.1 layer2.0"
    alike = network([[0.1] * 5, [1.0] * 5], "CifarResNet", layers)
    alike.found.matrices[-1][0, 2] = 0.4  # inside the blocks; of the other stage nothing counts
    (row,) = (row for row in statements_of(alike) if "blocks' outputs" in row.about)
    assert row.ours == pytest.approx(0.6)
    assert row.holds


@pytest.fixture(scope="module")
def sweep(store: Path) -> Path:
    """Two seeds of one network, whose states were kept."""
    run(
        store, "train.py", "-m", *TINY, "seed=0,1", "trainer.max_epochs=1", "logger=none",
        "callbacks=learning_dynamics", "callbacks.learning_dynamics.num_samples=101",
        "callbacks.learning_dynamics.reduction=pooled", "hydra.sweep.dir=outputs/seeds",
    )  # fmt: skip
    return store / "outputs" / "seeds"


def test_dynamics_of_all_runs_are_drawn_and_kept(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMREP_DATA", str(sweep.parents[1]))
    folders = sorted(path.parent for path in sweep.glob("*/DONE"))
    assert len(folders) == 2
    for _ in range(2):  # the second reads what the first has kept
        report_dynamics(folders, "raghu2017_dynamics", layers=LAYERS, **HOW)
        assert "statements hold" in capsys.readouterr().out
    rows = read_metrics(folders[0] / "analysis" / "learning_dynamics" / "similarity.csv")
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    assert layers[-1] == "logits"
    assert {row["epoch"] for row in rows} >= {"0.0", "1.0"}
    assert_allclose([float(row["similarity"]) for row in rows[-len(layers) :]], 1, atol=1e-9)
    drawn = {path.name for path in (sweep / "figures").glob("*.png")}
    assert {f"raghu2017_dynamics_matrices_{folder.name}.png" for folder in folders} <= drawn
    assert (sweep / "analysis" / "raghu2017_dynamics" / "statements.csv").exists()


def test_two_initialisations_are_compared_layer_by_layer(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMREP_DATA", str(sweep.parents[1]))
    folders = sorted(path.parent for path in sweep.glob("*/DONE"))
    report_initialisations(folders, "raghu2017_initialisations", layers=["logits", "*.0.0"], **HOW)
    assert "similarity of the last layers" in capsys.readouterr().out
    tables = sweep / "analysis" / "raghu2017_initialisations"
    matrix, same = (read_metrics(tables / f"{name}.csv") for name in ("matrices", "same_layers"))
    diagonal = [row["similarity"] for row in matrix if row["layer"] == row["other_layer"]]
    assert_allclose([float(x) for x in diagonal], [float(row["value"]) for row in same])
    assert all(float(row["floor"]) < 1 for row in same)
    with pytest.raises(ValueError, match="no two of the 1 runs differ in their seed alone"):
        report_initialisations(folders[:1], "raghu2017_initialisations", layers=None, **HOW)
