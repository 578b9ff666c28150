"""SHL 2018: one minute of one inertial sensor, and the transport mode (shl-dataset.org).

Moreau et al., arXiv 2111.02732. The data are for non-commercial use and are downloaded by hand.
"""

from typing import Any

import numpy as np
import torch

from mmrep.data import shl_simulation, spectrogram
from mmrep.data.cache import cached_array, code_digest
from mmrep.data.in_memory import InMemory, InMemoryDataModule, data_folder
from mmrep.data.shl_files import convert_signal, read_labels
from mmrep.data.shl_simulation import simulate_labels, simulate_signals
from mmrep.data.spectrogram import log_spectrogram

CLASS_NAMES = ("Still", "Walk", "Run", "Bike", "Car", "Bus", "Train", "Subway")
GROUPS = {"acc": "Acc", "gra": "Gra", "lacc": "LAcc", "gyr": "Gyr", "mag": "Mag", "ori": "Ori"}
SENSORS = {
    **{f"{key}_{axis}": (f"{name}_{axis}",) for key, name in GROUPS.items() for axis in "xyz"},
    **{f"{key}_norm": tuple(f"{name}_{axis}" for axis in "xyz") for key, name in GROUPS.items()},
    "ori_norm": ("Ori_x", "Ori_y", "Ori_z", "Ori_w"),  # of a unit quaternion: 1 by construction
    "ori_w": ("Ori_w",),
    "pressure": ("Pressure",),
}
SOURCES = ("auto", "real", "simulated")
CHUNK = 500  # segments whose spectrograms are computed at a time: 12 MB a signal


class SHL(InMemoryDataModule):
    """Log spectrograms (1, 48, 48) of one sensor and their transport mode, in order of time.

    Validation is the first `val_segments` minutes and training the rest, as published: a random
    split would put neighbouring minutes of one journey on both sides. `index` is a minute's place
    in time. `source` is `real`, `simulated` (a physical model, `simulated_segments` minutes from
    `simulation_seed`), or `auto`: real where the files are, else simulated unless a `data_dir` was
    named.
    """

    name = "shl"
    class_names = CLASS_NAMES

    def __init__(
        self,
        *,
        data_dir: str | None,
        source: str,
        sensor: str,
        num_classes: int,
        val_segments: int,
        simulated_segments: int,
        simulation_seed: int,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(batch_size, seed)
        if num_classes != len(CLASS_NAMES):
            raise ValueError(f"data.num_classes={num_classes}: SHL has {len(CLASS_NAMES)} classes")
        if sensor not in SENSORS:
            raise ValueError(f"sensor={sensor!r} is not one of {', '.join(SENSORS)}")
        if source not in SOURCES:
            raise ValueError(f"data.source={source!r} is not one of {', '.join(SOURCES)}")
        self.sensor, self.announced = sensor, False
        self.folder = data_folder(data_dir) / "shl"
        self.val_segments = val_segments
        self.simulated_segments = simulated_segments
        self.simulation_seed = simulation_seed
        present = (self.folder / "train").is_dir()
        if not present and (source == "real" or (source == "auto" and data_dir is not None)):
            raise FileNotFoundError(
                f"no SHL in {data_folder(data_dir)}: looked for the folder {self.folder}/train"
                ", the challenge's text files (put it there by hand from "
                "http://www.shl-dataset.org/); or choose data.source=simulated"
            )
        self.simulated = source == "simulated" or not present

    @property
    def title(self) -> str:
        return f"SHL {self.sensor}"

    def prepare_data(self) -> None:
        if self.simulated and not self.announced:
            self.announced = True
            print(
                f"SHL is simulated: {self.simulated_segments} minutes (the real set would lie in "
                f"{self.folder}/train)"
            )
        self._spectrograms()

    def setup(self, stage: str) -> None:
        images, labels = self._spectrograms(), self._labels()
        if not 0 < self.val_segments < len(labels):
            raise ValueError(
                f"data.val_segments={self.val_segments} must leave some of the {len(labels)} "
                f"segments to training: choose between 1 and {len(labels) - 1}"
            )
        inputs = torch.from_numpy(np.array(images))[:, None]
        label, index = torch.from_numpy(labels), torch.arange(len(labels))
        first = slice(None, self.val_segments)
        rest = slice(self.val_segments, None)
        self.val_set = InMemory(inputs[first], label[first], index[first])
        self.train_set = InMemory(inputs[rest], label[rest], index[rest])

    def facts(self) -> dict[str, Any]:
        own = {"sensor": self.sensor}
        if self.simulated:
            own["simulation_seed"] = str(self.simulation_seed)
        return super().facts() | own

    def _labels(self) -> np.ndarray:
        if self.simulated:
            return simulate_labels(self.simulated_segments, self.simulation_seed)
        return read_labels(self.folder)

    def _spectrograms(self) -> np.ndarray:
        """(segments, 48, 48), computed once for this sensor and these signals."""
        names = SENSORS[self.sensor]
        if self.simulated:
            num_segments, seed = self.simulated_segments, self.simulation_seed
            folder = self.folder / "simulated_spectrograms"
            source: Any = (num_segments, seed, code_digest(shl_simulation.__file__))

            def read(start: int, stop: int) -> list[np.ndarray]:
                made = simulate_signals(names, num_segments, seed, start=start, stop=stop)
                return [made[name] for name in names]
        else:
            paths = [convert_signal(self.folder, name) for name in names]
            arrays = [np.load(path, mmap_mode="r") for path in paths]
            num_segments = len(arrays[0])
            folder = self.folder / "spectrograms"
            source = [path.name for path in paths]  # which tells the text they were made of

            def read(start: int, stop: int) -> list[np.ndarray]:
                return [np.array(array[start:stop]) for array in arrays]

        key = {"source": source, "code": code_digest(__file__, spectrogram.__file__)}
        chunks = (
            log_spectrogram(
                torch.from_numpy(signal_of(read(start, min(start + CHUNK, num_segments))))
            )
            for start in range(0, num_segments, CHUNK)
        )
        images = (chunk.numpy() for chunk in chunks)
        return cached_array(folder, self.sensor, key, (num_segments, 48, 48), images)


def signal_of(components: list[np.ndarray]) -> np.ndarray:
    """An axis as it is; several as the root of their sum of squares, in float32 as published."""
    if len(components) == 1:
        return components[0]
    return np.sqrt(sum(np.square(component) for component in components))
