"""`analysis=raghu2017_dft`: shares beside NumPy's, the theorem, and both ways to name a network."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from numpy.testing import assert_allclose

from mmrep.data.cifar import CIFAR_10
from mmrep.networks.circular import circular
from mmrep.plots.raghu2017_dft import LOWEST, plot_covariances, plot_times
from mmrep.runs import load_task
from mmrep.studies.raghu2017_dft import NEARLY, Share, report, statements_of_shares
from mmrep.studies.raghu2017_dft_time import timed
from tests.data.test_cifar import ready, write_release
from tests.plots.pictures import svg
from tests.scripts import run
from tests.studies.test_energy_profile_weights import write_images
from tests.test_conf import composed

NAME = "raghu2017_dft"
FEW: dict[str, Any] = {
    "layers": ["layer2.0", "layer3.0"],
    "channels": [3, 0],
    "compared": ["layer*.0", "layer*.0.bn2"],
    "num_images": 4,
    "num_shifted": 2,
    "largest": 256,
}


def task_of(*overrides: str) -> Any:
    torch.manual_seed(0)
    return instantiate(composed("model=resnet20", "model.net.depth=8", *overrides).model).eval()


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / "analysis" / NAME / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def maps_of(net: Any, images: torch.Tensor) -> np.ndarray:
    """Of layer3.0."""
    with torch.no_grad():
        x = torch.relu(net.bn1(net.conv1(images)))
        return net.layer3(net.layer2(net.layer1(x))).double().numpy()


def numpy_share(maps: np.ndarray, one: int, other: int, basis: str) -> float:
    """Of two channels, over frequencies by the transform of the maps themselves."""
    values = maps if basis == "pixels" else np.fft.fft2(maps, norm="ortho")
    flat = (values - values.mean(axis=0)).reshape(*values.shape[:2], -1)
    power = np.abs(flat[:, one].T @ flat[:, other].conj()) ** 2
    return float(1 - np.trace(power) / power.sum())


def test_shares_are_numpys_and_the_theorems_hold_on_a_torus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, task = ready(tmp_path, write_release(tmp_path, CIFAR_10)), task_of()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    report(tmp_path / "out", NAME, task, data, **FEW)
    shares = rows(tmp_path / "out", "shares")
    assert (
        len(shares) == 2 * 2 * 2 * 2 * 3
    )  # layers, paddings, shifts, bases, two channels and both
    images = data.val_set.prepare(data.val_set[[0, 1, 2, 3]]).inputs
    assert isinstance(images, torch.Tensor)
    moved = torch.cat(
        [images[:2].roll((down, right), (2, 3)) for down in range(32) for right in range(32)]
    )
    maps = {
        (padding, shifts): maps_of(net, seen)
        for padding, net in (("zeros", task.net), ("circular", circular(task.net)))
        for shifts, seen in (("none", images), ("all", moved))
    }
    for row in (row for row in shares if row["layer"] == "layer3.0"):
        both = int(row["channel"]), int(row["other"])
        expected = numpy_share(maps[row["padding"], row["shifts"]], *both, row["basis"])
        assert float(row["share"]) == pytest.approx(expected, rel=1e-4, abs=1e-9)
    verdicts = {
        (row["about"], row["of"]): row["verdict"] for row in rows(tmp_path / "out", "statements")
    }
    exact = [key for key in verdicts if key[0].startswith("d. ")]
    assert len(exact) == 8
    for about, of in exact:
        assert verdicts[about, of] == ("holds" if "circular" in of else "does not hold")
    times = rows(tmp_path / "out", "time")
    assert [(row["side"], row["channels"]) for row in times] == [
        ("8", "1"), ("8", "2"), ("8", "4"), ("16", "1")
    ]  # fmt: skip
    assert {row["samples"] for row in times} == {"2048"}
    assert max(float(row["difference"]) for row in times) < 1e-10
    printed = capsys.readouterr().out
    assert "figures/raghu2017_dft_layer3.0.png" in printed
    drawn = (tmp_path / "out/figures/raghu2017_dft_layer2.0.svg").read_text()
    assert all(f">{text}<" in drawn for text in ("d. frequencies,", "circular padding", "pixels"))
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


def test_a_diagonal_stays_one_in_a_small_picture() -> None:
    places = 300
    panels = {("zeros", "b. x"): np.eye(places), ("zeros", "c. y"): np.full((2, 2), 0.5)}
    figure = plot_covariances(panels, title="set", simulated=True)
    first, second = (np.asarray(axes.images[0].get_array()) for axes in figure.axes[:2])
    assert len(first) == 100
    assert_allclose(first, np.maximum(np.eye(100), LOWEST))
    assert_allclose(second, 1)
    assert "simulated data" in svg(figure)


def test_costs_go_through_the_last_time() -> None:
    line = ([2, 4], [1.0, 3.0], [10.0, 40.0])
    figure = plot_times({"8 x 8": {"all at once": line}}, title="set", simulated=False)
    measured, cost = figure.axes[0].lines
    assert measured.get_xydata().tolist() == [[2, 1], [4, 3]]
    assert cost.get_xydata().tolist() == [[2, 0.75], [4, 3]]


def test_costs_are_the_appendixs() -> None:
    draws = torch.randn(200, 2, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    one = timed(("x", "y"), draws, draws.roll((1, 1), (2, 3)))
    assert (one.side, one.channels, one.columns, one.samples) == (4, 2, 32, 200)
    assert one.naive_cost == pytest.approx((2 * 16) ** 2.5)
    assert one.dft_cost == pytest.approx(16 * 2**2.5 + 2 * 16 * math.log(4))
    assert one.difference < 1e-12  # maps that were moved are the same layer
    assert min(one.naive_seconds, one.dft_seconds) > 0


def test_a_claim_is_judged_by_means_over_channels() -> None:
    shares = [
        Share("c1", 8, 8, 9, "zeros", shifts, basis, channel, channel, share)
        for shifts, basis, of in (
            ("none", "pixels", (0.9, 0.7)),
            ("none", "frequencies", (2 * NEARLY, 0.0)),
            ("all", "pixels", (0.6, 0.2)),
            ("all", "frequencies", (1e-9, 0.0)),
        )
        for channel, share in enumerate(of)
    ]
    found = [*statements_of_shares(shares, "set")]
    assert [s.about[:2] for s in found] == ["a.", "b.", "b.", "c.", "d."]
    assert [s.ours for s in found] == pytest.approx([0.8, NEARLY, NEARLY / 0.8, 0.4, 5e-10])
    assert [s.holds for s in found] == [True, True, True, False, False]


def test_a_run_and_its_weights_are_one_network(tmp_path: Path) -> None:
    write_images(tmp_path / "images", side=32)
    images = ("data=images", "data.resize=32", "data.crop=32", "data.num_classes=2")
    network = ("model=resnet20", "model.net.depth=8", *images)
    few = ("analysis.num_images=16", "analysis.num_shifted=2", "analysis.largest=64",
           "layers=[layer3.0]", "analysis.compared=[layer3.0,layer3.0.bn2]")  # fmt: skip
    run(
        tmp_path, "train.py", *network, "trainer.max_epochs=1", "logger=none",
        "hydra.run.dir=trained",
    )  # fmt: skip
    printed = run(tmp_path, "analyze.py", f"analysis={NAME}", "runs=trained", *few)
    assert "figures  trained/figures/raghu2017_dft_layer3.0.png" in printed
    torch.save(load_task(tmp_path / "trained").state_dict(), tmp_path / "w.pt")
    run(tmp_path, "analyze.py", f"analysis={NAME}", "weights=w.pt", *network, *few)
    ours = rows(tmp_path / "trained", "shares")
    theirs = rows(tmp_path / "outputs" / NAME / "w", "shares")
    assert {row["samples"] for row in ours} == {"16", "2048"}
    both = [[float(row.pop("share")) for row in of] for of in (ours, theirs)]
    assert both[0] == pytest.approx(both[1], rel=1e-6, abs=1e-12)
    assert ours == theirs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_images": 5}, r"analysis.num_images=5 is not from 2 to 4, the number of validation"),
        ({"num_shifted": 1}, r"analysis.num_shifted=1 is not from 2 to 4"),
        ({"channels": [0, 64]}, r"channels=\[0, 64\]: layer 'layer3.0' has channels 0 to 63"),
        ({"channels": [1, 1]}, r"channels=\[1, 1\] must name each channel once"),
        ({"channels": []}, r"channels=\[\]: .* name at least one"),
        ({"layers": ["features"]}, r"layer 'features' gives 64 numbers a sample and no maps"),
        ({"layers": ["layer4"]}, r"layer 'layer4' is not in CifarResNet; near: layer"),
        ({"compared": ["layer3.0"]}, r"gives layer3.0 \(8 x 8\), of which no two .*largest=256 p"),
        ({"compared": ["layer1.*", "bn1"]}, r"gives bn1 \(32 x 32\), layer1.0 \(32 x 32\), of w"),
    ],
)
def test_wrong_choices_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    data = ready(tmp_path, write_release(tmp_path, CIFAR_10))
    chosen = FEW | {"layers": ["layer3.0"]} | change
    with pytest.raises(ValueError, match=said):
        report(tmp_path / "out", NAME, task_of(), data, **chosen)


def test_a_channel_that_does_not_vary_is_named(tmp_path: Path) -> None:
    data, task = ready(tmp_path, write_release(tmp_path, CIFAR_10)), task_of()
    last = task.net.layer3[0]
    with torch.no_grad():
        last.bn2.weight[3], last.bn2.bias[3] = 0, -100  # below what the shortcut adds
    with pytest.raises(ValueError, match=r"layer 'layer3.0', channels \(3, 3\): maps that do not"):
        report(tmp_path / "out", NAME, task, data, **FEW | {"layers": ["layer3.0"]})


def test_weights_alone_are_no_network() -> None:
    config = composed(f"analysis={NAME}", "weights=w.pt", script="analyze")
    with pytest.raises(InstantiationException, match=r"weights=w.pt are .* as model=resnet20"):
        instantiate(config.analysis.without_runs, None)


def test_large_images_are_refused(tmp_path: Path) -> None:
    data = ready(tmp_path, write_release(tmp_path, CIFAR_10))
    data.val_set.inputs = torch.zeros(4, 3, 96, 96, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"96 x 96, of which 9,216 shifts each do not fit"):
        report(tmp_path / "out", NAME, task_of(), data, **FEW)
