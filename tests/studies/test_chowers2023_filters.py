"""Figure 19 from weight files: what is missing, and profiles whose formula is known."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from mmrep.first_layer import axes_of_training, left_grid
from mmrep.stats.energy import PatchAxes, whitening_filters
from mmrep.studies.chowers2023_filters import FirstLayer, profiles_of, report_filters
from tests.scripts import run
from tests.studies.chowers2023_runs import axes_of_noise
from tests.studies.test_energy_profile_weights import images_in, write_images, write_weights

NAME = "chowers2023_filters"


def report(tmp_path: Path, weights: list[str], data: Any = None) -> Path:
    report_filters(
        data,
        name=NAME,
        weights=weights,
        layer=None,
        folder=str(tmp_path / "out"),
        data_dir=str(tmp_path),
    )
    return tmp_path / "out"


def test_the_figure_says_what_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_weights(tmp_path / "first.pth")
    write_weights(tmp_path / "second.pth", 7)
    sources = [str(tmp_path / name) for name in ("first.pth", "gone.pth", "second.pth")]
    out = report(tmp_path, sources)
    assert f"left out {tmp_path / 'gone.pth'}: " in capsys.readouterr().out
    drawn = (out / "figures" / f"{NAME}.svg").read_text()
    assert "left out: gone" in drawn
    assert "first, features.0" in drawn
    assert "second, features.0" in drawn
    assert [*out.rglob("*.csv")] == []  # without images there are no profiles


def test_none_at_all_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none of 2 weights is there \(.*a\.pth, .*b\.pth"):
        report(tmp_path, [str(tmp_path / "a.pth"), str(tmp_path / "b.pth")])


def along_axes(axes: PatchAxes, scale: torch.Tensor, title: str) -> FirstLayer:
    """One filter along each axis, as long as `scale` says."""
    filters = (axes.axes * scale).T.reshape(-1, 3, 3, 3)
    return FirstLayer(title, title, "conv1", filters.float())


def test_both_limits_of_the_formula_are_explained_and_their_opposite_is_not() -> None:
    axes = axes_of_noise()
    early = along_axes(axes, axes.energy, "early")
    late = along_axes(axes, 1 / axes.energy, "late")
    neither = along_axes(axes, 1.0 + torch.arange(27) % 2, "neither")
    lines, fits = profiles_of([early, late, neither], axes)
    correlations, steps = zip(*fits, strict=True)
    assert correlations[:2] == pytest.approx([1, 1], abs=1e-6)
    assert correlations[2] < 0.5
    assert [left_grid(step, axes) for step in steps[:2]] == ["below", "above"]
    for line in lines:
        assert line["formula"].max() == pytest.approx(line["weights"].max())


def test_profiles_of_whitening_filters_are_explained_by_the_formula(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "images")
    data = images_in(tmp_path)
    data.setup("fit")
    axes = axes_of_training(data, 3, 1, torch.device("cpu"))
    filters = whitening_filters(*axes, channels=3).float()
    torch.save({"conv1.weight": filters}, tmp_path / "white.pth")
    write_weights(tmp_path / "random.pth", 5)
    out = report(tmp_path, [str(tmp_path / f"{n}.pth") for n in ("white", "random")], data)
    with (out / "analysis" / NAME / "statements.csv").open(newline="") as file:
        white, random = csv.DictReader(file)
    assert white["of"] == "white, images"
    assert float(white["ours"]) == pytest.approx(1, abs=1e-5)
    assert white["verdict"] == "holds"
    assert white["paper"] == random["paper"] == ""  # these are no published networks
    with (out / "analysis" / NAME / "profiles_3x3.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    products = [float(row["profile"]) * float(row["energy"]) for row in rows]
    assert products == pytest.approx([27**-0.5] * 27, rel=1e-5)  # one of 27 filters, 1 / energy
    figures = {path.stem for path in (out / "figures").glob("*.png")}
    assert figures == {NAME, f"{NAME}_profiles_3x3", f"{NAME}_profiles_5x5"}
    assert "1 of 2 statements hold" in capsys.readouterr().out


def test_the_command_line_takes_files_alone(tmp_path: Path) -> None:
    write_weights(tmp_path / "net.pth")
    said = run(tmp_path, "analyze.py", f"analysis={NAME}", "weights=[net.pth,gone.pth]")
    assert "outputs/chowers2023_filters/figures/chowers2023_filters.png" in said
    said = run(tmp_path, "analyze.py", f"analysis={NAME}", "weights=gone.pth", code=1)
    assert "error: none of 1 weights is there (gone.pth): give files" in said
