"""`analysis=chowers2023_theorem`: what it claims, on independent patches and on real images."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mmrep.data.cifar import CIFAR_10
from mmrep.networks.linear_cnn import LinearCNN
from mmrep.stats.linear_dynamics import correlation_with, mean_patches
from mmrep.studies.chowers2023_independent import asked, on_independent_patches
from mmrep.studies.chowers2023_theorem import gradient_descent, report_theorem
from tests.data.test_cifar import REAL, cifar, ready, write_release
from tests.scripts import run

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "theorem42.npz"
NAME = "chowers2023_theorem"
FEW: dict[str, Any] = {"name": NAME, "num_images": 64, "draws": 20, "seed": 0}


def rows_of(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open() as file:
        return list(csv.DictReader(file))


def verdicts(folder: Path) -> dict[str, bool]:
    rows = rows_of(folder / "analysis" / NAME, "statements")
    assert {row["verdict"] for row in rows} <= {"holds", "does not hold"}
    found = {row["about"]: row["verdict"] == "holds" for row in rows}
    assert len(found) == len(rows)
    return found


def test_independent_patches_by_the_command(tmp_path: Path) -> None:
    """The theorems hold where their assumption is met; what their proof writes amiss does not."""
    printed = run(
        tmp_path, "analyze.py", f"analysis={NAME}", "images=simulated", "folder=here",
        "analysis.num_images=1000", "analysis.draws=200",
    )  # fmt: skip
    assert "figures  here/figures/chowers2023_theorem.png" in printed
    held = verdicts(tmp_path / "here")
    fails = [about for about, holds in held.items() if not holds]
    amiss = ("as the proof writes", "by the main text", "one label vector, N", "same rate,",
             "start of deviation 0.1,", "start of deviation 0.01, as is", "true classes",
             "shuffled classes")  # fmt: skip
    assert [about for about in fails if not any(part in about for part in amiss)] == []
    assert sum("4.2: filters of gradient descent" in about and held[about] for about in held) == 1
    (of_all,) = (about for about in held if "lowest over t, 200 label vectors" in about)
    assert held[of_all]
    assert "simulated data" in (tmp_path / f"here/figures/{NAME}.svg").read_text()
    for row in rows_of(tmp_path / "here" / "analysis" / NAME, "axes"):
        assert float(row["mean_patch_over_patch_variance"]) == pytest.approx(1 / 100, rel=0.3)


@pytest.mark.reference
def test_independent_patches_of_the_reference(tmp_path: Path) -> None:
    """Its energies, our draws: equal within four standard errors, or what one draw of N leaves."""
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE.name} is not beside the project")
    stored = np.load(REFERENCE)
    energy = torch.from_numpy(stored["lambda_true"])
    statements, panels = on_independent_patches(energy, tmp_path, draws=400, seed=1)
    rows = rows_of(tmp_path, "independent_patches")
    assert [int(row["step"]) for row in rows] == stored["t"].tolist()
    for i, row in enumerate(rows):
        error = stored["corr_single_std"][i] / 20  # of 400 draws; there they were fewer
        theirs = stored["corr_single_mean"][i]
        assert float(row["one_vector"]) == pytest.approx(theirs, abs=0.01 + 4 * error)
        theirs, spread = stored["corr_rms10_mean_std"][i]
        theirs = (1 - (1 - theirs**2) * 10 / 9) ** 0.5  # ten centred outputs have 9 free ones
        assert float(row["ten_outputs"]) == pytest.approx(theirs, abs=4 * spread / 40**0.5)
        assert float(row["all_vectors"]) == pytest.approx(stored["corr_rms400"][i], abs=2e-3)
    for row, theirs in zip(
        rows_of(tmp_path, "numbers_of_images"), stored["corr_vs_N_single_draw_t1000"], strict=True
    ):
        assert int(row["images"]) == theirs[0]
        assert float(row["one_vector"]) == pytest.approx(theirs[1], abs=0.03)
    widths = [float(row["correlation"]) for row in rows_of(tmp_path, "widths")]
    expected = [*stored["width_corr"][0, 1:3], *stored["width_corr"][2, 1:3]]
    assert widths == pytest.approx(expected, abs=0.03)
    held = {s.about: s for s in statements}
    limit = held["4.3: power of lambda in the limit, by the appendix"]
    assert limit.ours == pytest.approx(-1, abs=0.02)
    assert limit.holds
    assert not held["4.3: power of lambda in the limit, by the main text"].holds
    assert len(panels) == 3


@pytest.mark.skipif(not (REAL / "cifar-10-batches-py").exists(), reason=f"no CIFAR-10 in {REAL}")
@pytest.mark.real
def test_real_patches_depend_on_each_other(tmp_path: Path) -> None:
    data = ready(REAL, CIFAR_10, augment=False)
    few = FEW | {"num_images": 2000, "draws": 400}
    report_theorem([], folder=str(tmp_path), data=data, images="real", **few)
    ratio = [float(row["mean_patch_over_patch_variance"])
             for row in rows_of(tmp_path / "analysis" / NAME, "axes")]  # fmt: skip
    assert sorted(ratio, reverse=True)[:3] == pytest.approx([0.57, 0.55, 0.29], abs=0.06)
    held = verdicts(tmp_path)
    late = "400 random vectors, t = 10000: best correlation with the formula of"
    assert held[f"{late} mean patches"]
    assert not held[f"{late} patches"]
    assert "simulated data" not in (tmp_path / f"figures/{NAME}.svg").read_text()


def test_images_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = write_release(tmp_path, CIFAR_10)
    miniature, elsewhere = (cifar(tmp_path / name, release) for name in ("", "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        report_theorem([], folder="", data=elsewhere, images="real", **FEW)
    with pytest.raises(ValueError, match=r"analysis.num_images=64: CIFAR-10 has 30 for training"):
        report_theorem([], folder="", data=miniature, images="real", **FEW)
    report_theorem([], folder=str(tmp_path), data=elsewhere, images="auto", **FEW)
    assert "images are simulated: " in capsys.readouterr().out
    assert "simulated data" in (tmp_path / f"figures/{NAME}.svg").read_text()


def test_a_step_of_gradient_descent_goes_along_what_labels_correlate_with() -> None:
    torch.manual_seed(0)
    images = torch.randn(7, 3, 6, 5, dtype=torch.float64)
    label = torch.randn(7, 2, dtype=torch.float64)
    net = LinearCNN(2, width=3).double()
    before, after = gradient_descent(net, images, label, rate=0.01, steps=1)
    assert before.abs().max() == 0
    expected = 2 * 0.01 * correlation_with(mean_patches(images, 3), label)
    assert_close(after, expected[:, None].expand(2, 3, 27))


def test_a_claim_is_judged_by_its_bounds() -> None:
    judged = [asked("x", "y", ours, low=0.5, high=1.0, elsewhere=0.7) for ours in (0.4, 0.5, 1.1)]
    assert [s.holds for s in judged] == [False, True, False]
    assert judged[0].bound == "at least 0.5, at most 1, elsewhere 0.7"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folders": [Path("run")]}, "trains its own networks and no run: leave out runs"),
        ({"images": "fake"}, "images='fake' is not one of auto, real, simulated"),
        ({"num_images": 31}, r"analysis.num_images=31, .*take at least 32 images and 20 draws"),
        ({"draws": 25}, r"analysis.draws=25: take at least 32 images and 20 draws, a multiple of"),
    ],
)
def test_wrong_choices_are_refused(change: dict[str, Any], said: str) -> None:
    arguments = {"folders": [], "folder": "", "data": None, "images": "simulated"} | FEW
    with pytest.raises(ValueError, match=said):
        report_theorem(**arguments | change)
