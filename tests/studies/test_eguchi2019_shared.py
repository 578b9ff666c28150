"""Shared representations: codes with and without a common form, tiny runs, the paper's numbers."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hydra.utils import instantiate
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from mmrep.runs import load_run, run_folders
from mmrep.studies import eguchi2019_numbers as published
from mmrep.studies.eguchi2019_runs import Kind, networks_of
from mmrep.studies.eguchi2019_shared import (
    DIRECTIONS,
    MODALITIES,
    Found,
    group_tests_of,
    report_shared_learning,
    statements_of,
)
from mmrep.studies.shared_learning import (
    Codes,
    kept_shared_accuracy,
    own_generator,
    read_codes,
    shared_accuracy,
    train_heads,
)
from tests.scripts import run
from tests.test_conf import composed


def synthetic(shared: bool, samples: int, seed: int) -> Codes:
    """Four digits about centres that both modalities have in common, or in units of each alone."""
    centres = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    noise = torch.Generator().manual_seed(seed)
    label = torch.randint(4, (2, samples), generator=noise)
    codes = torch.zeros(1, 2, samples, 16)
    for i in range(2):
        units = slice(0, 8) if shared else slice(8 * i, 8 * i + 8)
        about = centres[0 if shared else i][label[i]]
        codes[0, i, :, units] = about + 0.3 * torch.randn(samples, 8, generator=noise)
    return Codes([1], codes, label)


@pytest.mark.parametrize("shared", [True, False])
def test_codes_of_a_common_form_are_understood_across_modalities(shared: bool) -> None:
    splits = (synthetic(shared, 600, 1), synthetic(shared, 2000, 2))
    accuracy = shared_accuracy(*splits, num_classes=4, epochs=30, seed=(0,)).accuracy[0]
    assert accuracy.diagonal().min() > 0.95  # the modality that was learnt
    across = accuracy[[0, 1], [1, 0]]
    if shared:
        assert across.min() > 0.95
    else:  # one guess for all codes that are the same to the head
        assert across.max() < 0.5


def data_of(heads: int, samples: int = 300) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(heads)
    x = torch.randn(heads, samples, 64, generator=generator)
    return x, torch.randint(10, (heads, samples), generator=generator)


def test_a_head_is_the_same_whichever_are_trained_beside_it() -> None:
    codes, label = data_of(3)  # 300 samples: a batch of 256 and one of 44
    names = ["first", "second", "third"]
    options: dict[str, Any] = {"num_classes": 10, "epochs": 4}
    together = train_heads(codes, label, generators=[*map(own_generator, names)], **options)
    for i, name in enumerate(names):
        alone = train_heads(
            codes[i : i + 1], label[i : i + 1], generators=[own_generator(name)], **options
        )
        for ours, theirs in zip(together.parameters(), alone.parameters(), strict=True):
            assert_close(ours[i], theirs, atol=1e-5, rtol=1e-4)
    assert not together.training


def test_the_first_steps_are_those_of_adadelta_on_each_heads_mean_loss() -> None:
    codes, label = data_of(1, samples=200)  # one batch: order does not matter, dropout does
    head = train_heads(codes, label, num_classes=10, epochs=1, generators=[own_generator(0)])
    before = train_heads(codes, label, num_classes=10, epochs=0, generators=[own_generator(0)])
    generator = own_generator(0)
    before.draw_weights([generator])
    order = torch.randperm(200, generator=generator)
    logits = before.train()(codes[:, order], [generator])[0]
    torch.nn.functional.cross_entropy(logits, label[0, order]).backward()
    for now, then in zip(head.parameters(), before.parameters(), strict=True):
        gradient = then.grad
        step = (1e-8 / (0.05 * gradient**2 + 1e-8)).sqrt() * gradient  # Zeiler 2012, first step
        assert_close(now, then - step, atol=1e-6, rtol=1e-5)


@pytest.fixture(scope="module")
def sweep(store: Path) -> Path:
    """Two networks of four layers for each kind of pairs, seeds 0 and 1."""
    run(
        store, "train.py", "-m", "model=av_mixed", "data.source=simulated", "seed=0,1",
        "data.pairing=consistent,inconsistent", "data.train_per_digit=8", "data.val_per_digit=3",
        "data.val_takes=3", "data.takes=2", "trainer.max_epochs=2", "logger=none",
        "hydra.sweep.dir=outputs/eguchi",
    )  # fmt: skip
    return store / "outputs" / "eguchi"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_heads_on_the_codes_of_finished_runs(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "eguchi2019_shared_learning"
    config = composed(f"analysis={name}", "analysis.epochs=2", script="analyze")
    instantiate(config.analysis.report, run_folders(str(sweep)))  # as analyze.py does
    printed = capsys.readouterr().out
    study = sweep / "analysis" / name
    assert "no runs of 1 layer, consistent; 2 layers, consistent" in printed
    assert "mnist_fsdd, simulated data: percent right on the last layer" in printed
    assert "V2A on audition: consistent pairs above inconsistent" in printed
    for figure in (name, f"{name}_layers"):
        assert "simulated data" in (sweep / "figures" / f"{figure}.svg").read_text()
    found = rows(study / f"{name}.csv")
    assert len(found) == 4 * 4 * 2 * 2  # runs, layers, directions, tested modalities
    cross = {
        pairing: [
            float(row["percent"])
            for row in found
            if row["pairing"] == pairing
            and (row["direction"], row["tested"], row["layer"]) == ("A2V", "visual", "4")
        ]
        for pairing in ("consistent", "inconsistent")
    }
    about = "A2V on vision: consistent pairs above inconsistent"
    student, welch = (row for row in rows(study / "tests.csv") if row["about"] == about)
    difference = np.mean(cross["consistent"]) - np.mean(cross["inconsistent"])
    assert float(welch["difference"]) == pytest.approx(difference)
    assert (student["runs"], student["df"]) == ("2, 2", "2.0")
    assert {row["layer"] for row in rows(study / "summary.csv")} == {"4"}
    assert len(rows(study / "layers.csv")) == 2 * 4 * 2 * 2
    statements = rows(study / "statements.csv")
    first = next(row for row in statements if row["about"] == "V2A on audition, layer 2")
    assert (first["of"], first["paper"]) == ("4 layers, consistent", "27.2")
    # What was kept is taken; other options are done anew.
    kept = {path: path.stat().st_mtime_ns for path in sweep.glob("*/analysis/*/last_*.npz")}
    assert len(kept) == 4
    mixed = next(sweep.glob("*-consistent_seed-0"))
    options: dict[str, Any] = {"checkpoint": "last", "epochs": 2, "layers": "all", "seed": 0}
    report_shared_learning([mixed], name=name, **options)
    assert "one run, so no test and no deviation" in capsys.readouterr().out
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    every = kept_shared_accuracy(mixed, **options)
    last = kept_shared_accuracy(mixed, **options | {"layers": "last"})
    assert (every.layers, last.layers) == ([1, 2, 3, 4], [4])
    assert_allclose(last.accuracy[0], every.accuracy[3], atol=1 / 30 + 1e-9)  # of 30 samples
    with pytest.raises(ValueError, match=r"analysis\.layers='first' is not one of all, last"):
        kept_shared_accuracy(mixed, **options | {"layers": "first"})


@pytest.mark.slow
def test_codes_are_those_of_samples_that_show_one_modality(sweep: Path) -> None:
    folder = next(sweep.glob("*-consistent_seed-0"))
    task, data = load_run(folder)
    known: Any = data
    train, validation = read_codes(folder, checkpoint="last", layers="all")
    for codes, pairs in ((train, known.train_set), (validation, known.val_set)):
        heard = pairs.auditory[pairs.take]
        alone = {
            "visual": {"visual": pairs.visual, "auditory": torch.zeros_like(heard)},
            "auditory": {"visual": torch.zeros_like(pairs.visual), "auditory": heard},
        }
        labels = {"visual": pairs.visual_label, "auditory": pairs.auditory_label}
        for i, modality in enumerate(MODALITIES):
            with torch.no_grad():
                assert_close(codes.codes[-1, i], task.net.features(alone[modality]))
            assert torch.equal(codes.label[i], labels[modality])


def fake_run(folder: Path, done: bool = True, **changed: Any) -> Path:
    """A run's facts, as train.py writes them."""
    given = {"net": "MixedInputAutoencoder", "depth": 2, "pairing": "consistent", "seed": 0,
             "source": "real", "epochs": 5000, "inconsistent": "different"} | changed  # fmt: skip
    net = {"_target_": f"mmrep.networks.autoencoder.{given['net']}", "width": 64}
    if given["net"] == "MixedInputAutoencoder":
        net |= {"depth": given["depth"]}
    config = {
        "model": {"net": net},
        "data": {"pairing": given["pairing"], "inconsistent": given["inconsistent"],
                 "data_dir": str(folder)},
        "trainer": {"max_epochs": given["epochs"]},
    }  # fmt: skip
    folder.mkdir()
    facts = {"config": config, "seed": given["seed"], "data": {"source": given["source"]}}
    (folder / "run.json").write_text(json.dumps(facts))
    if done:
        (folder / "DONE").touch()
    return folder


def test_runs_are_grouped_by_kind_and_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = fake_run(tmp_path / "a", seed=1)
    b = fake_run(tmp_path / "b", inconsistent="shuffle")  # which means nothing here
    c = fake_run(tmp_path / "c", net="TwoStageAutoencoder", pairing="inconsistent")
    d = fake_run(tmp_path / "d", done=False)
    assert networks_of([a, b, c, d]) == {
        Kind("mixed", 2, "consistent"): {0: b, 1: a},
        Kind("two-stage", 4, "inconsistent"): {0: c},
    }
    assert "d: not DONE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "a and .*b are both 2 layers, consistent with seed 0: give one"),
        ({"seed": 1, "source": "simulated"}, "the runs are of real and simulated data"),
        ({"seed": 1, "epochs": 500}, "a has trainer.max_epochs=5000 and .*b has .*=500"),
        ({"net": "SpectrogramCNN"}, "b is a SpectrogramCNN, which is not one of Mixed"),
    ],
)
def test_runs_that_are_no_repetitions_are_refused(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    folders = [fake_run(tmp_path / "a"), fake_run(tmp_path / "b", **changed)]
    with pytest.raises(ValueError, match=message):
        networks_of(folders)
    with pytest.raises(ValueError, match="none of the 0 runs is DONE"):
        networks_of([])


def published_runs(spread: float) -> dict[Kind, Found]:
    """Two runs of each network, so far above and below the paper's."""
    found = {}
    for network, by_direction in published.SHARED.items():
        percent = np.array([by_direction[direction] for direction in DIRECTIONS])[None]
        layer = 1 if network[0] == "two-stage" else network[1]
        found[Kind(*network)] = Found(
            [0, 1], [layer], np.stack([percent - spread, percent + spread])
        )
    return found


def test_the_papers_numbers_fulfil_its_statements() -> None:
    statements = statements_of(published_runs(0.3), chance=10.0)
    judged = [s for s in statements if s.holds is not None]
    assert all(s.holds for s in judged), [s for s in judged if not s.holds]
    assert len(judged) == 2 * (9 + 4 + 4 + 1)  # directions: learnt, near chance, above, mixed
    shown = [s for s in statements if s.paper is not None]
    assert len(shown) == 36
    assert all(s.difference == pytest.approx(0) for s in shown)
    far = statements_of(published_runs(40), chance=10.0)  # the same means, nothing significant
    assert {s.holds for s in far if "p < " in s.bound} == {False}


def test_tests_are_of_the_modality_never_met() -> None:
    found = published_runs(1)
    tests = group_tests_of(found)
    assert len(tests) == 2 * (2 * 4 + 2 + 2)  # directions: two t-tests each, two ANOVAs
    anova = next(row for row in tests if row.about == "A2V on vision: depth")
    assert anova.of == "1, 2, 3, 4 layers, consistent"
    groups = [np.array([mean - 1, mean + 1]) for mean in (26.4, 60.4, 61.0, 44.2)]
    assert (anova.statistic, anova.p) == pytest.approx(tuple(scipy.stats.f_oneway(*groups)))
    assert (anova.df, anova.df_within) == (3, 4)
    mixed = next(row for row in tests if row.about == "A2V on vision: mixed above two-stage")
    assert mixed.difference == pytest.approx(44.2 - 22.8)
    assert mixed.paper_p == "< 0.005"
    one_each = {kind: Found([0], of.layers, of.percent[:1]) for kind, of in found.items()}
    assert group_tests_of(one_each) == []
    verdicts = {s.holds for s in statements_of(one_each, chance=10.0) if "p < " in s.bound}
    assert verdicts == {None}


def test_published_numbers_agree_with_each_other() -> None:
    for pairing in ("consistent", "inconsistent"):
        network = ("mixed", 4, pairing)
        for direction, by_modality in published.SHARED[network].items():
            for tested, percent in zip(MODALITIES, by_modality, strict=True):
                assert published.shared_accuracy(network, 4, direction, tested) in (percent, None)
    assert all(sum(counts) <= 64 for counts in published.CELLS.values())
    assert published.CELLS.keys() == published.SHARED.keys()
