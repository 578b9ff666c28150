"""`analysis=raghu2017_class_sensitivity`: DFT-CCA with logits, and which classes are alike."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from mmrep.data.cifar import CIFAR, CIFAR_10
from mmrep.features import read_features
from mmrep.plots.raghu2017_class_sensitivity import Panel, plot_class_sensitivity
from mmrep.stats.assessment import Assessment
from mmrep.stats.fourier import dft_cca
from mmrep.studies.raghu2017_class_sensitivity import (
    Sensitivity,
    alike_classes,
    confusion_of_classes,
    report_class_sensitivity,
    sensitivity,
    statements_of_curves,
    statements_of_pairs,
)
from tests.data.test_cifar import ready, write_release
from tests.plots.pictures import svg
from tests.scripts import run
from tests.studies.test_energy_profile_weights import write_images
from tests.studies.test_raghu2017_dft import task_of

NAME = "raghu2017_class_sensitivity"
CLASSES = ("cat", "dog", "car", "truck", "frog")


def images_of_noise(tmp_path: Path, number: int) -> CIFAR:
    data = ready(tmp_path, write_release(tmp_path, CIFAR_10))
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(number, 3, 5, 5, generator=generator) * 255, size=32, mode="bilinear"
    )
    data.val_set.inputs = smooth.byte()
    data.val_set.label = torch.arange(number) % 10
    data.val_set.index = torch.arange(number)
    return data


def test_a_layers_number_is_dft_cca_with_a_logit_as_a_map_of_one_pixel(tmp_path: Path) -> None:
    """And the multiple correlation of the logit with the channels' means."""
    data, task = images_of_noise(tmp_path, 200), task_of()
    found = sensitivity(task, data, ["layer*.*"], permutations=3, seed=0)
    assert found.layers == ("layer1.0", "layer2.0", "layer3.0")
    with read_features(task, data.val_dataloader(), [*found.layers, "logits"]) as readings:
        outputs = [of for _, of in readings]
    maps = {name: torch.cat([of[name] for of in outputs]) for name in outputs[0]}
    logits = maps.pop("logits")
    for number in (0, 7):
        one = logits[:, number, None, None, None]
        expected = [dft_cca(of, one)[0, 0, 0].item() for of in maps.values()]
        assert_allclose(found.curves[number], expected, atol=1e-6)
        for place, of in enumerate(maps.values()):
            design = np.column_stack([of.mean(dim=(2, 3)).double().numpy(), np.ones(200)])
            response = one.flatten().double().numpy()
            fitted = design @ np.linalg.lstsq(design, response, rcond=None)[0]
            multiple = np.corrcoef(fitted, response)[0, 1]
            assert found.curves[number, place] == pytest.approx(multiple, abs=1e-5)
    assert_allclose(found.curves[:, -1], 1, atol=1e-9)  # the head reads the last block's means
    assert_allclose(found.logits, np.corrcoef(logits.double().numpy().T), atol=1e-12)
    assert found.found[0][0].ranks == (16, 1)
    assert 0.1 < found.found[0][0].floor < 0.6  # about (16 / 199) ** 0.5


def test_confusion_is_the_mean_of_both_ways() -> None:
    label = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    called = torch.tensor([0, 0, 1, 1, 0, 1, 2])
    found = confusion_of_classes(torch.eye(4)[called], label)
    assert_allclose(found[:3, :3], [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])
    assert_allclose(found[3], 0)  # a class without samples


def network(shift: float = 0.0, *, floor: float = 0.1) -> Sensitivity:
    """Five classes whose curves lie at cat, dog, car, truck and frog, and are confused so."""
    levels = np.array([0.3, 0.32, 0.61, 0.64, 0.45]) + shift
    curves = np.column_stack([levels, levels + 0.1, *[levels + 0.2] * 4, np.ones(5)])
    near = -np.abs(levels[:, None] - levels)
    found = [[Assessment(x, floor, x, x, x, (16, 1)) for x in row.tolist()] for row in curves]
    layers = tuple(f"layer{i}" for i in range(1, 8))
    return Sensitivity(layers, found, -near, np.exp(near))


def test_claims_are_judged_over_networks() -> None:
    found = [*statements_of_curves([network(), network(0.02)], "set")]
    above, last, grows, highest, lowest = found
    assert above.ours == pytest.approx(0.21)
    assert (last.ours, last.spread, last.holds) == (1.0, 0.0, True)
    assert grows.holds
    assert highest.about == "highest class at layer 6, layer6 (paper: ImageNet, fire truck)"
    assert highest.ours == pytest.approx(0.85)
    assert lowest.ours == pytest.approx(0.51)
    assert (highest.paper, lowest.paper) == (0.63, 0.37)
    assert lowest.spread == pytest.approx(0.02 / 2**0.5)
    (below, *_) = statements_of_curves([network(floor=0.4)], "set")
    assert (below.holds, below.spread) == (False, None)


def test_alike_classes_are_those_that_are_near() -> None:
    alike = alike_classes([network(), network(0.02)], CLASSES)
    assert len(alike) == 10
    first = alike[0]
    assert (first.one, first.other) == ("cat", "dog")
    assert first.distance == pytest.approx(0.02 * (6 / 7) ** 0.5)
    assert first.confused == pytest.approx(np.exp(-0.02))
    pairs = [["dog", "cat"], ["cat", "truck"]]
    named, far, logits, confused = statements_of_pairs(alike, CLASSES, pairs, "set", seed=0)
    assert (named.ours, named.holds) == (0.0, True)
    assert (far.ours, far.holds) == (1.0, False)
    assert [logits.ours, confused.ours] == pytest.approx([-1, 1])
    assert [logits.holds, confused.holds] == [False, True]


def test_two_runs_by_the_command(tmp_path: Path) -> None:
    write_images(tmp_path / "images", side=32, per_class=45)
    run(
        tmp_path, "train.py", "-m", "model=resnet20", "model.net.depth=8", "data=images",
        "data.resize=32", "data.crop=32", "data.num_classes=2", "trainer.max_epochs=1",
        "logger=none", "seed=0,1", "hydra.sweep.dir=both",
    )  # fmt: skip
    printed = run(
        tmp_path, "analyze.py", f"analysis={NAME}", "runs=both",
        "analysis.pairs=[[dark,light]]", "analysis.permutations=2",
    )  # fmt: skip
    assert "2 classes, fewer than 4, so no rank correlation" in printed
    assert "dark and light: share of other pairs" in printed
    out = tmp_path / "both" / "analysis" / NAME
    with (out / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    layers = ["bn1", "layer1.0", "layer2.0", "layer3.0"]
    assert [row["layer"] for row in rows] == layers * 4
    assert [row["seed"] for row in rows] == ["0"] * 8 + ["1"] * 8
    assert {row["class"] for row in rows} == {"dark", "light"}
    assert all(float(row["correlation"]) > 0.9999 for row in rows if row["number"] == "4")
    assert (tmp_path / "both" / "figures" / f"{NAME}.png").exists()
    with pytest.raises(ValueError, match=r"\['cat', 'dog'\] is no pair of dark, light; name two"):
        report_class_sensitivity(
            [path.parent for path in sorted((tmp_path / "both").glob("*/DONE"))],
            name=NAME,
            checkpoint="last",
            layers=["bn1"],
            pairs=[["cat", "dog"]],
            permutations=2,
            seed=0,
        )


def test_the_figure_has_a_line_for_each_class() -> None:
    panel = Panel(("c1", "c2"), np.arange(20.0).reshape(10, 2) / 20, np.array([0.1, 0.2]))
    names = [f"class {i}" for i in range(10)]
    figure = plot_class_sensitivity({"net": panel}, names, title="set", simulated=True)
    (axes,) = figure.axes
    assert axes.lines[3].get_xydata().tolist() == [[0, 0.3], [1, 0.35]]
    assert axes.lines[10].get_xydata().tolist() == [[0, 0.1], [1, 0.2]]
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines[:10]}) == 10
    drawn = svg(figure)
    assert all(f">{text}<" in drawn for text in ("class 9", "by chance", "c2", "simulated data"))


@pytest.mark.parametrize(
    ("number", "said"),
    [(19, "19 validation samples make no 20 chunks"), (60, "60 samples do not exceed the rank")],
)
def test_too_few_samples_are_refused(tmp_path: Path, number: int, said: str) -> None:
    data: Any = images_of_noise(tmp_path, number)
    with pytest.raises(ValueError, match=said):
        sensitivity(task_of(), data, ["layer3.0"], permutations=2, seed=0)
