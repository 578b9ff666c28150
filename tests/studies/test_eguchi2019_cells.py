"""Cells over runs: counts of tiny networks by another way, and the paper's statements on arrays."""

import csv
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.stats
import torch
from hydra.utils import instantiate
from torch import Tensor

from mmrep.features import read_features
from mmrep.runs import load_run, run_folders
from mmrep.stats.cells import NORMALISATIONS
from mmrep.stats.information import CELLS, classify_cells, single_cell_information, threshold
from mmrep.studies import eguchi2019_numbers as published
from mmrep.studies.eguchi2019_cell_statements import (
    NEAR_ZERO,
    PAPER_P,
    group_tests_of,
    statements_of,
)
from mmrep.studies.eguchi2019_cells import Counts, kept_measured, report_cells
from mmrep.studies.eguchi2019_runs import Kind
from mmrep.studies.statements import Statement
from tests.scripts import run
from tests.test_conf import composed

NAME = "eguchi2019_cells"
OPTIONS: dict[str, Any] = {"checkpoint": "last", "positive_only": True}


@pytest.fixture(scope="module")
def sweep(store: Path) -> Path:
    """Networks of four layers and of two stages, seeds 0 and 1 of each, of consistent pairs."""
    run(
        store, "train.py", f"experiment={NAME}", "compile=false", "model=av_mixed,av_two_stage",
        "data.source=simulated", "seed=0,1", "data.pairing=consistent",
        "data.train_per_digit=8", "data.val_per_digit=3", "data.val_takes=3", "data.takes=2",
        "trainer.max_epochs=2", "logger=none", "hydra.sweep.dir=outputs/cells",
    )  # fmt: skip
    return store / "outputs" / "cells"


@pytest.fixture(scope="module")
def printed(sweep: Path) -> str:
    """What the study of all runs says, which it has then written."""
    config = composed(f"analysis={NAME}", script="analyze")
    with redirect_stdout(io.StringIO()) as screen:
        instantiate(config.analysis.report, run_folders(str(sweep)))  # as analyze.py does
    return screen.getvalue()


def rows(path: Path, **chosen: str) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row.items() >= chosen.items()]


def folder_of(sweep: Path, model: str, seed: int) -> Path:
    return sweep / f"{model}_data.pairing-consistent_seed-{seed}"


class Shown(NamedTuple):
    """Bits about each digit, of what is seen and of what is heard."""

    visual: Tensor
    auditory: Tensor


def bits_of(folder: Path, checkpoint: str, layers: Sequence[str]) -> dict[tuple[str, str], Shown]:
    """By layer and range of the bins, from the responses to all validation samples at once."""
    task, loaded = load_run(folder, checkpoint=checkpoint)
    data: Any = loaded
    with read_features(task, data.val_dataloader(), layers, double=True) as readings:
        read = [
            (batch.label, batch.index, *map(outputs.get, layers)) for batch, outputs in readings
        ]
    label, index, *responses = map(torch.cat, zip(*read, strict=True))
    shown = data.condition(index)
    return {
        (layer, how): Shown(
            *(
                single_cell_information(response[shown == i], label[shown == i], normalise=how)
                for i in (0, 1)
            )
        )
        for layer, response in zip(layers, responses, strict=True)
        for how in NORMALISATIONS
    }


def counts_of(bits: Shown, bounds: Sequence[float]) -> list[int]:
    visual, auditory = bounds
    codes = classify_cells(*bits, visual_threshold=visual, auditory_threshold=auditory)
    return torch.bincount(codes, minlength=len(CELLS)).tolist()


@pytest.mark.slow
def test_every_count_is_of_all_units(sweep: Path, printed: str) -> None:
    found = rows(sweep / "analysis" / NAME / f"{NAME}.csv")
    places = [tuple(row.values())[:9] for row in found]
    assert set(places) == {
        ("simulated", framework, "4", "consistent", str(layer), when, how, of, seed)
        for framework, layers in (("mixed", 4), ("two-stage", 1))
        for layer in range(1, layers + 1)
        for when in ("before", "after")
        for how in NORMALISATIONS
        for of in ("reference", "self")
        for seed in "01"
    }
    assert len(places) == len(set(places)) == (4 + 1) * 2 * 2 * 2 * 2
    assert all(sum(int(row[cell]) for cell in CELLS) == 64 for row in found)
    place = {"framework": "mixed", "layer": "4", "when": "after",
             "normalisation": "unit", "threshold": "reference"}  # fmt: skip
    two = [int(row["consistent"]) for row in rows(sweep / f"analysis/{NAME}/{NAME}.csv", **place)]
    (mean,) = rows(sweep / "analysis" / NAME / "summary.csv", **place)
    assert float(mean["consistent"]) == np.mean(two)
    assert float(mean["consistent_deviation"]) == pytest.approx(np.std(two, ddof=1))
    assert (mean["runs"], mean["paper_consistent"]) == ("2", "")  # by constants alone
    shown = f"{np.mean(two):.1f} ± {np.std(two, ddof=1):.1f}"
    (line,) = [
        line for line in printed.splitlines()
        if line.startswith("4 layers, consistent") and "of each unit" in line
    ]  # fmt: skip
    assert shown in line


@pytest.mark.slow
@pytest.mark.usefixtures("printed")
def test_counts_are_those_of_all_responses_at_once(sweep: Path) -> None:
    first, second = ("encoder.layer2", "encoder.layer4"), ("encoder.layer2", "features")
    deep = [bits_of(folder_of(sweep, "av_mixed", seed), "last", first) for seed in (0, 1)]
    initial = bits_of(folder_of(sweep, "av_mixed", 1), "init", second)
    two_stage = bits_of(folder_of(sweep, "av_two_stage", 1), "last", ["encoder.layer1"])
    study = sweep / "analysis" / NAME
    for how in NORMALISATIONS:
        last = [found["encoder.layer4", how] for found in deep]
        reference = [threshold(torch.cat(bits, dim=1)) for bits in zip(*last, strict=True)]
        own = [threshold(bits) for bits in last[1]]  # of the last layer: they hold for all layers
        before = [threshold(bits) for bits in initial["features", how]]
        for framework, layer, when, of, bits, bounds in (
            ("mixed", "4", "after", "self", last[1], own),
            ("mixed", "4", "after", "reference", last[1], reference),
            ("mixed", "2", "after", "self", deep[1]["encoder.layer2", how], own),
            ("mixed", "4", "before", "self", initial["features", how], before),
            ("mixed", "2", "before", "reference", initial["encoder.layer2", how], reference),
            ("two-stage", "1", "after", "reference", two_stage["encoder.layer1", how], reference),
        ):
            place = {"framework": framework, "layer": layer, "when": when, "normalisation": how,
                     "seed": "1"}  # fmt: skip
            (row,) = rows(study / f"{NAME}.csv", **place, threshold=of)
            assert [int(row[cell]) for cell in CELLS] == counts_of(bits, bounds), (of, place)
            (row,) = rows(study / "information.csv", **place)
            for name, of_shown in bits._asdict().items():
                best = float(of_shown.amax(dim=0).mean())
                assert float(row[f"max_information_{name}"]) == pytest.approx(best, abs=1e-12)


@pytest.mark.slow
def test_figures_tests_and_statements_of_simulated_data(sweep: Path, printed: str) -> None:
    assert "mnist_fsdd, simulated data: cells of the last layer; thresholds: reference" in printed
    names = ("information", "counts", "layers", "examples")
    assert all(f"{NAME}_{name}.png" in printed.rpartition("figures  ")[2] for name in names)
    for name in names:
        drawn = (sweep / "figures" / f"{NAME}_{name}.svg").read_text()
        assert "simulated data" in drawn
        assert "2 epochs" in drawn
    study = sweep / "analysis" / NAME
    about = "consistent cells, one range for all: mixed above two-stage"
    student, _ = rows(study / "tests.csv", about=about)
    groups = [
        [int(row["consistent"]) for row in rows(
            study / f"{NAME}.csv", framework=framework, pairing="consistent", layer=layer,
            when="after", normalisation="all", threshold="reference",
        )]
        for framework, layer in (("mixed", "4"), ("two-stage", "1"))
    ]  # fmt: skip
    assert float(student["difference"]) == np.mean(groups[0]) - np.mean(groups[1])
    (stated,) = rows(study / "statements.csv", about=f"4C. {about}")
    assert float(stated["ours"]) == float(student["difference"])
    (number,) = rows(study / "statements.csv", about="consistent cells", of="two-stage, consistent")
    assert (number["paper"], number["verdict"]) == ("17", "")
    assert float(number["difference"]) == np.mean(groups[1]) - 17


@pytest.mark.slow
@pytest.mark.usefixtures("printed")
def test_there_is_a_reference_only_with_four_layers_and_consistent_pairs(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {path: path.stat().st_mtime_ns for path in sweep.glob("*/analysis/cells/last.npz")}
    assert len(kept) == 4
    folders = [folder_of(sweep, "av_two_stage", seed) for seed in (0, 1)]
    report_cells(folders, name="two_stage", threshold=None, **OPTIONS)
    assert "thresholds: self" in capsys.readouterr().out
    found = rows(sweep / "analysis" / "two_stage" / "two_stage.csv")
    assert len(found) == 2 * 2 * 2
    own = rows(
        sweep / f"analysis/{NAME}/{NAME}.csv",
        framework="two-stage", pairing="consistent", threshold="self",
    )  # fmt: skip
    assert found == own
    assert not list(sweep.glob("figures/two_stage_information.*"))  # Figure 2 is of four layers
    # what was measured is not measured again
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    allowed = {
        "self, which there are": folders,
        "reference, self, which there are": [*folders, folder_of(sweep, "av_mixed", 0)],
    }
    for message, given in allowed.items():
        with pytest.raises(ValueError, match=f"threshold='constants' is not one of {message}: con"):
            report_cells(given, name="refused", threshold="constants", **OPTIONS)
    with pytest.raises(ValueError, match=r"='reference' is not one of self, .* 4 layers, consist"):
        report_cells(folders, name="refused", threshold="reference", **OPTIONS)
    assert not (sweep / "analysis" / "refused").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("printed")
def test_what_was_kept_holds_for_its_weights_and_options_alone(sweep: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(folder_of(sweep, "av_two_stage", 0), folder)
    path = folder / "analysis" / "cells" / "last.npz"
    measured = kept_measured(folder, **OPTIONS)
    stored = dict(np.load(path))
    np.savez(path, **stored | {"after": stored["after"] + 1})  # so that one sees who was asked
    assert (kept_measured(folder, **OPTIONS).after == measured.after + 1).all()
    every_term = kept_measured(folder, **OPTIONS | {"positive_only": False})
    assert (every_term.after <= measured.after).all()
    assert (every_term.before < measured.before).any()
    again = kept_measured(folder, **OPTIONS)
    assert all(map(np.array_equal, again, measured))
    checkpoint = folder / "checkpoints" / "last.ckpt"
    changed = torch.load(checkpoint, weights_only=True)
    name = "net.encoder.layer1.0.weight"
    changed["state_dict"][name] *= 3
    times = os.stat(checkpoint)
    torch.save(changed, checkpoint)
    os.utime(checkpoint, ns=(times.st_atime_ns, times.st_mtime_ns))  # the content decides
    anew = kept_measured(folder, **OPTIONS)
    assert np.array_equal(anew.before, measured.before)
    assert not np.array_equal(anew.after, measured.after)


def counts_by_kind(
    consistent: Mapping[Kind, Sequence[float]],
    classes: Mapping[Kind, Sequence[float]] | None = None,
) -> dict[Kind, Counts]:
    """Networks with so many consistent cells, run by run; other classes are the same in all."""
    counts = {}
    for kind, cells in consistent.items():
        values = np.zeros((len(cells), 1, 2, len(CELLS)))
        if classes is not None:
            values[..., 1:] = classes[kind]
        values[..., CELLS.index("consistent")] = np.array(cells)[:, None, None]
        counts[kind] = Counts([*range(len(cells))], np.zeros_like(values), values)
    return counts


def published_runs(num_runs: int, spread: float) -> dict[Kind, list[float]]:
    """Consistent cells of so many runs, half of them above and half below the paper's number."""
    return {
        Kind(*network): [cells[3] + spread * (-1) ** run for run in range(num_runs)]
        for network, cells in published.CELLS.items()
    }


def find(statements: Sequence[Statement], about: str, of: str) -> Statement:
    (found,) = (s for s in statements if (s.about, s.of) == (about, of))
    return found


def test_the_papers_numbers_fulfil_its_statements() -> None:
    classes = {Kind(*network): cells for network, cells in published.CELLS.items()}
    statements = statements_of(counts_by_kind(published_runs(10, 1), classes), {})
    shown = [s for s in statements if s.paper is not None and " F of " not in s.about]
    assert len(shown) == 9 * 4
    assert all(s.difference == pytest.approx(0) for s in shown)
    assert [s.paper for s in shown if s.of == "two-stage, consistent"] == [14, 9, 16, 17]
    judged = [s for s in statements if s.holds is not None]
    assert all(s.holds for s in judged), [s for s in judged if not s.holds]
    # by both ranges: near 0, consistent above, deeper above, F of depth, mixed above two-stage
    assert len(judged) == 2 * (4 + 4 + 3 + 1 + 1)
    depth = find(
        statements, "4B. consistent cells, one range for all: F of depth", "consistent pairs"
    )
    groups = [published_runs(10, 1)[Kind("mixed", depth, "consistent")] for depth in (1, 2, 3, 4)]
    f = scipy.stats.f_oneway(*groups).statistic
    assert depth.paper == 156.24
    assert depth.ours == pytest.approx(f)
    assert depth.difference == pytest.approx(f - 156.24)


@pytest.mark.parametrize(
    ("kind", "cells", "about", "of"),
    [
        (Kind("mixed", 2, "inconsistent"), [NEAR_ZERO - 1, NEAR_ZERO + 1.1], "4A. {}near 0", None),
        (Kind("mixed", 3, "consistent"), [29, 30], "4B. {}more with 4 layers than", None),
        (Kind("mixed", 1, "consistent"), [13, 13], "4B. {}more with 2 layers than", None),
        (
            Kind("mixed", 2, "consistent"), [0, 0.5],
            "4B. {}consistent pairs above inconsistent", "2 layers",
        ),
        (
            Kind("two-stage", 4, "consistent"), [30, 31],
            "4C. {}mixed above two-stage", "4 layers, consistent",
        ),
        (  # the same mean, too far apart to be sure
            Kind("two-stage", 4, "consistent"), [-3, 37],
            "4C. {}mixed above two-stage", "4 layers, consistent",
        ),
    ],
)  # fmt: skip
def test_other_numbers_do_not(kind: Kind, cells: list[float], about: str, of: str | None) -> None:
    runs = published_runs(10, 1)
    for how in ("one range for all", "each unit's range"):
        name = about.format(f"consistent cells, {how}: ")
        before = find(statements_of(counts_by_kind(runs), {}), name, of or str(kind))
        after = find(
            statements_of(counts_by_kind(runs | {kind: 5 * cells}), {}), name, of or str(kind)
        )
        assert (before.holds, after.holds) == (True, False)


def test_near_zero_and_order_are_judged_at_their_bounds() -> None:
    runs = published_runs(2, 0.1)
    shallow, deep = (Kind("mixed", depth, "consistent") for depth in (3, 4))
    other = deep._replace(pairing="inconsistent")
    for cells, near in ((NEAR_ZERO, True), (NEAR_ZERO + 0.5, False)):
        statements = statements_of(counts_by_kind(runs | {other: [cells, cells]}), {})
        stated = find(statements, "4A. consistent cells, one range for all: near 0", str(other))
        assert (stated.holds, stated.ours, stated.spread) == (near, cells, 0)
    statements = statements_of(counts_by_kind(runs | {shallow: [1, 3], deep: [3, 1]}), {})
    about = "4B. consistent cells, each unit's range: more with 4 layers than"
    stated = find(statements, about, str(shallow))
    assert (stated.holds, stated.ours, stated.bound) == (False, 0, "> 0")  # equal is not more


def test_by_either_range_there_is_a_verdict_of_its_own() -> None:
    counts = counts_by_kind(published_runs(10, 1))
    other = Kind("mixed", 4, "inconsistent")
    counts[other].after[:, :, NORMALISATIONS.index("unit")] += 40
    about = "4A. consistent cells, {}: near 0"
    statements = statements_of(counts, {})
    assert find(statements, about.format("one range for all"), str(other)).holds
    assert find(statements, about.format("each unit's range"), str(other)).holds is False


def test_ten_runs_of_four_depths_have_3_and_36_degrees_of_freedom() -> None:
    runs = published_runs(10, 2)
    tests = group_tests_of(counts_by_kind(runs))
    # by both ranges: two t-tests of four depths, depth by two pairings, mixed above two-stage
    assert len(tests) == 2 * (2 * 4 + 2 + 2)
    about = "consistent cells, one range for all: depth"
    consistent, inconsistent = (row for row in tests if row.about == about)
    assert (consistent.df, consistent.df_within) == (3, 36)
    assert consistent.of == "1, 2, 3, 4 layers, consistent"
    assert consistent.paper_p == "F(3,36) = 156.24, < 0.0005"
    assert inconsistent.paper_p == ""
    groups = [runs[Kind("mixed", depth, "consistent")] for depth in (1, 2, 3, 4)]
    assert (consistent.statistic, consistent.p) == pytest.approx(
        tuple(scipy.stats.f_oneway(*groups))
    )
    about = "consistent cells, each unit's range: mixed above two-stage"
    student, welch = (row for row in tests if row.about == about)
    expected = scipy.stats.ttest_ind(
        runs[Kind("mixed", 4, "consistent")], runs[Kind("two-stage", 4, "consistent")]
    )
    assert (student.statistic, student.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert student.difference == pytest.approx(29 - 17)
    assert student.df == 18
    assert (student.paper_p, welch.runs) == (f"< {PAPER_P:g}", "10, 10")


def test_one_run_gives_no_test_and_no_verdict_of_one() -> None:
    counts = counts_by_kind(published_runs(1, 0))
    assert group_tests_of(counts) == []
    statements = statements_of(counts, {})
    assert not [s for s in statements if "F of depth" in s.about]
    assert {s.holds for s in statements if "p < " in s.bound} == {None}
    assert all(s.holds for s in statements if s.bound in ("> 0", f"<= {NEAR_ZERO}"))
    assert {s.spread for s in statements} == {None}


def test_runs_that_are_all_alike_are_no_evidence() -> None:
    statements = statements_of(counts_by_kind(published_runs(3, 0)), {})
    assert {s.holds for s in statements if "p < " in s.bound} == {None}


def ranked(before: float, after: float) -> dict[str, np.ndarray]:
    """Mean bits of three networks, a little apart, the same for all inputs and ranges."""
    apart = np.array([-0.1, 0, 0.1])[:, None, None]
    return {
        when: bits + apart * np.ones((3, 3, 2))
        for when, bits in (("before", before), ("after", after))
    }


def test_information_is_to_rise_and_to_be_higher_of_consistent_pairs() -> None:
    deep = Kind("mixed", 4, "consistent")
    other = deep._replace(pairing="inconsistent")
    for last, rises, higher in ((1.0, True, True), (0.3, True, False), (0.1, False, False)):
        bits = {deep: ranked(0.2, last), other: ranked(0.2, 0.5)}
        bits[deep]["after"][:, 1:] += 1  # of one modality alone: nothing claims an order there
        statements = statements_of({}, bits)
        name = "2A. bits of all inputs, one range for all"
        gain = find(statements, f"{name}: training raises them", str(deep))
        assert gain.ours == pytest.approx(last - 0.2)
        assert gain.holds == rises
        assert gain.spread == pytest.approx(0)
        assert find(statements, f"{name}, before", str(deep)).spread == pytest.approx(0.1)
        order = find(statements, f"{name}: consistent minus inconsistent pairs", "4 layers")
        assert order.ours == pytest.approx(last - 0.5)
        assert order.holds == higher
        seen = find(
            statements,
            "2B. bits of visual inputs, each unit's range: consistent minus inconsistent pairs",
            "4 layers",
        )
        assert seen.ours == pytest.approx(last + 0.5)
        assert seen.holds is None
        assert len(statements) == 3 * 2 * (2 * 3 + 1)
    assert statements_of({}, {deep._replace(depth=3): ranked(0.2, 0.5)}) == []
