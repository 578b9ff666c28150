"""`SHL`: sensors, split and order of the real files; the simulated set in their place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mmrep.data.shl import SENSORS, SHL
from mmrep.data.shl_files import SIGNALS
from mmrep.data.spectrogram import log_spectrogram
from tests.data.shl_miniature import write_miniature_shl

SEGMENTS = 9


def shl(root: Path, **options: Any) -> SHL:
    usual = {
        "data_dir": str(root),
        "source": "auto",
        "sensor": "acc_norm",
        "num_classes": 8,
        "val_segments": 3,
        "simulated_segments": 20,
        "simulation_seed": 0,
        "batch_size": 4,
        "seed": 0,
    }
    data = SHL(**(usual | options))
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    names = ["Acc_x", "Acc_y", "Acc_z", "Ori_x", "Ori_y", "Ori_z", "Ori_w", "Pressure"]
    write_miniature_shl(root / "shl", segments=SEGMENTS, samples=6000, signals=names)
    return root


def in_order_of_time(root: Path, name: str) -> np.ndarray:
    """The literal way: read all, then scatter to the ranks."""
    lines = np.loadtxt(root / "shl" / "train" / f"{name}.txt")
    ranks = np.loadtxt(root / "shl" / "train" / "train_order.txt", dtype=int)
    sorted_lines = np.empty_like(lines)
    sorted_lines[ranks - 1] = lines
    return sorted_lines


def test_there_are_26_sensors_of_20_signals() -> None:
    assert len(SENSORS) == 26
    assert {signal for signals in SENSORS.values() for signal in signals} == set(SIGNALS)


@pytest.mark.parametrize("sensor", ["acc_y", "acc_norm", "ori_norm", "pressure"])
def test_images_labels_and_split_are_those_of_the_files(root: Path, sensor: str) -> None:
    data = shl(root, sensor=sensor)
    signals = np.stack([in_order_of_time(root, name) for name in SENSORS[sensor]])
    signal = (
        np.sqrt((signals.astype(np.float32) ** 2).sum(axis=0)) if len(signals) > 1 else signals[0]
    )
    images = log_spectrogram(torch.from_numpy(signal).float())
    labels = in_order_of_time(root, "Label")[:, 3000].astype(int) - 1
    assert_close(
        data.val_set.inputs[:, 0], images[:3], rtol=0, atol=0.4 if "norm" in sensor else 1e-5
    )
    assert_close(
        data.train_set.inputs[:, 0], images[3:], rtol=0, atol=0.4 if "norm" in sensor else 1e-5
    )
    assert data.val_set.label.tolist() == labels[:3].tolist()
    assert data.train_set.label.tolist() == labels[3:].tolist()
    assert data.train_set.index.tolist() == list(range(3, SEGMENTS))
    assert not data.simulated
    assert data.facts()["source"] == "real"


def test_only_the_files_of_the_sensor_are_read(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Gyr_y\.txt"):
        shl(root, sensor="gyr_y")


def test_sensors_of_one_split_have_one_fingerprint(root: Path) -> None:
    prints = {shl(root, sensor=sensor).facts()["fingerprint"] for sensor in ("acc_x", "pressure")}
    assert len(prints) == 1
    assert shl(root, val_segments=4).facts()["fingerprint"] not in prints


def test_a_set_without_its_order_is_an_error_and_not_simulated(tmp_path: Path) -> None:
    write_miniature_shl(tmp_path / "shl", segments=4, samples=6000, signals=["Acc_y"])
    (tmp_path / "shl" / "train" / "train_order.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*train_order\.txt"):
        shl(tmp_path, sensor="acc_y")


def test_the_simulated_set_takes_the_place_of_the_real_one(tmp_path: Path) -> None:
    data = shl(tmp_path, source="simulated", sensor="gyr_y")
    assert data.simulated
    assert data.train_set.inputs.shape == (17, 1, 48, 48)
    assert torch.isfinite(data.train_set.inputs).all()
    assert data.facts()["source"] == "simulated"
    assert data.label_counts(with_val=True).sum() == 20
    other = shl(tmp_path, source="simulated", sensor="gyr_y", simulation_seed=1)
    assert not torch.equal(other.train_set.inputs, data.train_set.inputs)


def test_a_named_folder_without_the_set_is_an_error(tmp_path: Path) -> None:
    for source in ("auto", "real"):
        with pytest.raises(
            FileNotFoundError, match=r"no SHL in .*: looked for the folder .*/shl/train"
        ):
            shl(tmp_path, source=source)
