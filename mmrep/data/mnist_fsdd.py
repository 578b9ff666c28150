"""MNIST and spoken digits in pairs, for networks that see and hear (Eguchi et al. 2019).

MNIST: LeCun, Bottou, Bengio & Haffner 1998, 10.1109/5.726791, which is to be cited. Free Spoken
Digit Dataset: Jackson et al., https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA
4.0. A person's own recordings, called `DIGIT_SPEAKER_TAKE.wav`, can lie beside FSDD's.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float32, Int64, UInt8
from numpy.random import Generator, default_rng
from torch import Tensor
from torch.utils.data import DataLoader

from mmrep.batch import Batch
from mmrep.data.digit_simulation import SPEAKERS, TAKES, handwritten_digits, spoken_digits
from mmrep.data.digits import (
    HEIGHT,
    WIDTH,
    Recording,
    find_recordings,
    log_mel_images,
    published_images,
    read_idx,
    read_recording,
)
from mmrep.data.download import download, download_folder
from mmrep.data.in_memory import InMemory, InMemoryDataModule, data_folder
from mmrep.data.sampling import ShardBatches, ShuffledBatches, loader

DIGITS = 10
SIZE = 28  # pixels of a handwritten digit, height and width
CONDITIONS = ("visual", "auditory", "both")  # what is shown, in the order of the samples
VALIDATION_BATCH = 500  # samples read at a time where nothing is learnt
SIMULATED_VAL = 50  # images of each digit set aside as the simulated set's test file
PUBLISHED_SPEAKERS = ("jackson", "theo")
SIMULATION_SEED = 0  # the simulated speakers have spoken once, whatever the run's seed

# Numbers behind the run's in the seeds of draws, so that one option does not change other draws.
HELD_OUT, TRAIN_IMAGES, VAL_IMAGES, PARTNERS, SHUFFLE, SIMULATED_SPLIT = range(6)

ALLOWED = {
    "source": ("auto", "real", "simulated"),
    "pairing": ("consistent", "inconsistent"),
    "inconsistent": ("different", "shuffle"),
    "visual_train": ("balanced", "first"),
    "visual_val": ("first", "random"),
    "auditory_image": ("published", "log_mel"),
    "auditory_scale": ("clip", "global"),
}


class Release(NamedTuple):
    """MNIST as published: the packed files' md5, and how many images of each digit there are."""

    url: str
    files: Mapping[str, str]
    counts: Mapping[str, tuple[int, ...]]


MNIST = Release(
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    files={
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    counts={
        "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        "t10k": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    },
)
FSDD = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip"
FSDD_RECORDINGS = 3000  # in that archive
FSDD_FOLDERS = ("free-spoken-digit-dataset", "free-spoken-digit-dataset-1.0.10")  # or as unpacked


class Images(NamedTuple):
    """Handwritten digits to draw from."""

    pixels: UInt8[np.ndarray, "images 28 28"]
    label: Int64[np.ndarray, "images"]


class Takes(NamedTuple):
    """Spoken digits to draw from, and what they are called."""

    inputs: Float32[np.ndarray, "takes 784"]
    label: Int64[np.ndarray, "takes"]
    names: list[str]


class Pairs(InMemory):
    """Pairs of an image and a take, each shown three times: to the eye, to the ear, to both.

    Sample `i` is pair `i % pairs`. A batch comes with both modalities in full; `prepare` makes them
    the target and blanks out of the inputs what is not shown. `first` is the first sample's number.
    """

    def __init__(
        self,
        visual: Float32[Tensor, "pairs 784"],
        auditory: Float32[Tensor, "takes 784"],
        *,
        visual_label: Int64[Tensor, "pairs"],
        auditory_label: Int64[Tensor, "takes"],
        take: Int64[Tensor, "pairs"],
        first: int,
    ) -> None:
        self.visual, self.auditory, self.take, self.first = visual, auditory, take, first
        self.visual_label, self.auditory_label = visual_label, auditory_label[take]
        label = torch.cat([visual_label, self.auditory_label, visual_label])
        index = torch.arange(first, first + len(label))
        super().__init__(torch.empty(0), label, index)  # inputs are put together batch by batch

    def __getitem__(self, samples: list[int]) -> Batch:
        chosen = torch.tensor(samples)
        pair = chosen % len(self.take)
        inputs = {
            "visual": self.visual.index_select(0, pair),
            "auditory": self.auditory.index_select(0, self.take[pair]),
        }
        return Batch(inputs, self.label[chosen], self.index[chosen])

    def condition(
        self, index: Int64[Tensor, "*replicas batch"]
    ) -> Int64[Tensor, "*replicas batch"]:
        """What each sample of this set shows, as a place in `CONDITIONS`."""
        return (index - self.first) // len(self.take)

    def prepare(self, batch: Batch) -> Batch:
        assert isinstance(batch.inputs, dict)
        condition = self.condition(batch.index)[..., None]  # replicas may come before the batch
        both = condition == CONDITIONS.index("both")
        shown = {
            name: inputs * (both | (condition == CONDITIONS.index(name)))
            for name, inputs in batch.inputs.items()
        }
        return batch._replace(inputs=shown, target=batch.inputs)


class MNISTFSDD(InMemoryDataModule):
    """Handwritten and spoken digits in pairs; a sample shows one modality (the other is 0) or both.

    Inputs are `visual` (28 x 28) and `auditory` (14 x 56), row by row, between 0 and 1; the target
    is always both. There are three blocks of the same pairs: visual, auditory, both. The label is
    the digit shown, of two the visual one.

    In training a take is drawn for each image, with replacement: of the same digit where `pairing`
    is `consistent`, else of another one (`different`), or all the consistent pairs' takes are
    shuffled (`shuffle`: a tenth of the pairs agree). In validation pairs agree, and each image has
    a held-out take of its own. Everything is drawn from `seed`.

    `visual_train` is `balanced` (so many images of each digit, drawn from MNIST's training file) or
    `first` (as many of all digits, as they come in the file). `visual_val` is `first` (the first
    ones of each digit in MNIST's test file) or `random`.

    `source` is `real` (fetched where it is not there), `simulated`, or `auto`: real where the files
    are or a `data_dir` was named, else simulated. `index` runs on from training to validation.
    """

    name = "mnist_fsdd"
    class_names = tuple(map(str, range(DIGITS)))
    conditions = CONDITIONS
    image_shapes: Mapping[str, tuple[int, int]] = {
        "visual": (SIZE, SIZE),
        "auditory": (HEIGHT, WIDTH),
    }
    train_set: Pairs
    val_set: Pairs

    def __init__(
        self,
        *,
        data_dir: str | None,
        source: str,
        num_classes: int,
        pairing: str,
        inconsistent: str,
        visual_train: str,
        visual_val: str,
        train_per_digit: int | None,
        val_per_digit: int | None,
        speakers: Sequence[str],
        val_takes: int,
        takes: int | None,
        auditory_image: str,
        auditory_scale: str,
        batch_size: int,
        steps_per_execution: int,
        seed: int,
    ) -> None:
        super().__init__(batch_size, seed)
        chosen = {
            "source": source,
            "pairing": pairing,
            "inconsistent": inconsistent,
            "visual_train": visual_train,
            "visual_val": visual_val,
            "auditory_image": auditory_image,
            "auditory_scale": auditory_scale,
        }
        for key, value in chosen.items():
            if value not in ALLOWED[key]:
                raise ValueError(f"data.{key}={value!r} is not one of {', '.join(ALLOWED[key])}")
        if num_classes != DIGITS:
            raise ValueError(f"data.num_classes={num_classes}: there are {DIGITS} digits")
        val_per_digit = 50 if val_per_digit is None else val_per_digit
        for key, number in (
            ("train_per_digit", train_per_digit),
            ("val_per_digit", val_per_digit),
            ("val_takes", val_takes),
            ("takes", takes),
            ("steps_per_execution", steps_per_execution),
        ):
            if number is not None and number < 1:
                raise ValueError(f"data.{key}={number} must be at least 1")
        if val_per_digit > val_takes:
            raise ValueError(
                f"data.val_per_digit={val_per_digit} images of a digit need a take each, and "
                f"data.val_takes={val_takes} are held out: hold out more or show fewer images"
            )
        if not speakers:
            raise ValueError("data.speakers=[] leaves nobody to listen to: name at least one")
        self.pairing, self.inconsistent = pairing, inconsistent
        self.visual_train, self.visual_val = visual_train, visual_val
        self.train_per_digit, self.val_per_digit = train_per_digit, val_per_digit
        self.speakers, self.val_takes, self.takes = [*speakers], val_takes, takes
        self.auditory_image, self.auditory_scale = auditory_image, auditory_scale
        self.steps_per_execution = steps_per_execution
        self.root, self.release, self.archive = data_folder(data_dir), MNIST, FSDD
        self.simulated = source == "simulated" or (
            source == "auto" and data_dir is None and bool(self._missing())
        )
        if self.simulated:
            if set(self.speakers) - {*PUBLISHED_SPEAKERS, *SPEAKERS}:
                raise ValueError(
                    f"data.speakers={self.speakers} are of real recordings, and the data are "
                    "simulated: leave it out, or bring FSDD and choose data.source=real"
                )
            self.speakers = [*SPEAKERS]

    @property
    def title(self) -> str:
        return "digits and simulated speech" if self.simulated else "MNIST and FSDD"

    def prepare_data(self) -> None:
        if self.simulated:
            _announce(self.root)
            return
        try:
            self._fetch()
        except (ConnectionError, FileNotFoundError) as error:
            raise FileNotFoundError(f"{error}; or choose data.source=simulated") from None

    def setup(self, stage: str) -> None:
        files = self._images()
        train, val = self._choose(files["train"], files["t10k"])
        self.heard = self._takes()
        kept, held_out = self._hold_out(self.heard.label)
        auditory, label = torch.from_numpy(self.heard.inputs), torch.from_numpy(self.heard.label)

        def pairs(images: Images, take: Int64[np.ndarray, "pairs"], first: int) -> Pairs:
            pixels = torch.from_numpy(images.pixels.reshape(-1, SIZE * SIZE))
            return Pairs(
                pixels.float().div_(255),
                auditory,
                visual_label=torch.from_numpy(images.label),
                auditory_label=label,
                take=torch.from_numpy(take),
                first=first,
            )

        self.train_set = pairs(train, self._partners(train.label, kept), 0)
        aligned = held_out[:, : self.val_per_digit].ravel()
        self.val_set = pairs(val, aligned, len(self.train_set))

    def condition(self, index: Int64[Tensor, "batch"]) -> Int64[Tensor, "batch"]:
        """What each sample shows, as a place in `conditions`; `index` is of either set."""
        train, val = self.train_set, self.val_set
        return torch.where(index < val.first, train.condition(index), val.condition(index))

    def train_dataloader(self) -> DataLoader[Batch]:
        """What one call of the training takes: several batches, which the task makes steps of.

        Only where there is one process, since gradients are exchanged once a call.
        """
        steps = 1 if dist.is_initialized() else self.steps_per_execution
        batches = ShuffledBatches(len(self.train_set), steps * self.batch_size, self.seed)
        return loader(self.train_set, batches)

    def _ordered(self, dataset: InMemory) -> DataLoader[Batch]:
        return loader(dataset, ShardBatches(len(dataset), VALIDATION_BATCH))

    def facts(self) -> dict[str, Any]:
        """Besides what all sets say: how pairs were made. Pixels and pairs have the fingerprint."""
        facts = super().facts()
        digest = hashlib.sha256(facts["fingerprint"].encode())
        for pairs in (self.train_set, self.val_set):
            for part in (pairs.visual, pairs.auditory, pairs.take):
                digest.update(part.numpy().tobytes() + b"|")
        return facts | {
            "fingerprint": digest.hexdigest()[:16],
            "pairing": self.pairing,
            "inconsistent": self.inconsistent,
            "speakers": self.speakers,
            "auditory_image": self.auditory_image,
            "auditory_scale": self.auditory_scale,
            "visual_train": self.visual_train,
            "visual_val": self.visual_val,
            "num_takes": len(self.heard.label),
        }

    def _random(self, draw: int) -> Generator:
        return default_rng((self.seed, draw))

    def _recordings(self) -> Path:
        """FSDD's folder of wav files, whichever way it was unpacked."""
        folders = [self.root / name / "recordings" for name in FSDD_FOLDERS]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def _missing(self) -> list[str]:
        """Which of MNIST's files, and whether the `recordings`, are not there."""
        folder = self.root / "mnist"
        files = [
            name
            for name in self.release.files
            if not any((folder / f"{name}{end}").exists() for end in ("", ".gz"))
        ]
        return files + ["recordings"] * (not any(self._recordings().glob("*.wav")))

    def _fetch(self) -> None:
        missing = self._missing()
        for name, md5 in self.release.files.items():
            if name in missing:
                download(f"{self.release.url}{name}.gz", f"md5:{md5}", self.root / "mnist")
        if "recordings" in missing:
            folder = download_folder(self.archive, None, self.root, FSDD_FOLDERS[1])
            if (found := len(find_recordings(folder / "recordings"))) != FSDD_RECORDINGS:
                raise ValueError(
                    f"{self.archive} brought {found} recordings instead of {FSDD_RECORDINGS}: "
                    f"start again to use them as they are, or replace {folder}"
                )

    def _images(self) -> dict[str, Images]:
        """The training file and the test file (`t10k`)."""
        if self.simulated:
            pixels, label = handwritten_digits()
            random = self._random(SIMULATED_SPLIT)
            apart = np.zeros(len(label), dtype=bool)
            for digit in range(DIGITS):
                apart[random.permutation(np.flatnonzero(label == digit))[:SIMULATED_VAL]] = True
            return {
                part: Images(pixels[rows], label[rows])
                for part, rows in (("train", ~apart), ("t10k", apart))
            }
        folder = self.root / "mnist"
        files = {}
        for part, expected in self.release.counts.items():
            pixels = read_idx(folder / f"{part}-images-idx3-ubyte", 3)
            label = read_idx(folder / f"{part}-labels-idx1-ubyte", 1).astype(np.int64)
            counts = tuple(np.bincount(label, minlength=DIGITS).tolist())
            if counts != expected or pixels.shape != (sum(expected), SIZE, SIZE):
                raise ValueError(
                    f"{folder}/{part}-* hold {' x '.join(map(str, pixels.shape))} pixels and of "
                    f"the digits {[*counts]} instead of {[*expected]}: remove them, then they are "
                    f"fetched again from {self.release.url}"
                )
            files[part] = Images(pixels, label)
        return files

    def _choose(self, train: Images, val: Images) -> tuple[Images, Images]:
        """The images of training, and as many of each digit for validation, by digit."""
        available = np.bincount(train.label, minlength=DIGITS).min()
        per_digit = self.train_per_digit or (int(available) if self.simulated else 500)
        if self.visual_train == "first":
            if DIGITS * per_digit > len(train.label):
                raise ValueError(
                    f"data.train_per_digit={per_digit} asks for the first {DIGITS * per_digit} "
                    f"images, and there are {len(train.label)} to train with"
                )
            chosen = np.arange(DIGITS * per_digit)
        else:
            random = self._random(TRAIN_IMAGES)
            chosen = _by_digit(train.label, per_digit, "data.train_per_digit", random)
        held_out = _by_digit(
            val.label,
            self.val_per_digit,
            "data.val_per_digit",
            self._random(VAL_IMAGES) if self.visual_val == "random" else None,
        )
        return (
            Images(train.pixels[chosen], train.label[chosen]),
            Images(val.pixels[held_out], val.label[held_out]),
        )

    def _takes(self) -> Takes:
        """The chosen speakers' takes as images, sorted by digit, speaker and take."""
        images = published_images if self.auditory_image == "published" else log_mel_images
        if self.simulated:
            if self.takes is not None and self.takes > TAKES:
                raise ValueError(f"data.takes={self.takes}: simulated speakers have {TAKES} each")
            signals, ids = spoken_digits(self.takes or TAKES, SIMULATION_SEED)
            label, names = ids[:, 0], [f"{d}_{[*SPEAKERS][s]}_{t}" for d, s, t in ids]
            inputs = images(signals, scale=self.auditory_scale)
        else:
            recordings = self._chosen(find_recordings(self._recordings()))
            label = np.array([recording.digit for recording in recordings])
            names = [recording.path.stem for recording in recordings]
            inputs = images(
                [read_recording(recording.path) for recording in recordings],
                scale=self.auditory_scale,
            )
        return Takes(inputs.reshape(len(label), -1), label, names)

    def _chosen(self, recordings: list[Recording]) -> list[Recording]:
        """Those of `speakers`, and of each speaker and digit the first `takes`."""
        known = sorted({recording.speaker for recording in recordings})
        if strangers := [name for name in self.speakers if name not in known]:
            raise ValueError(f"data.speakers={strangers} are not among {', '.join(known)}")
        chosen = []
        for digit in range(DIGITS):
            for speaker in sorted(set(self.speakers)):
                group = [r for r in recordings if (r.digit, r.speaker) == (digit, speaker)]
                if self.takes is not None and len(group) < self.takes:
                    raise ValueError(
                        f"data.takes={self.takes}: {speaker} has spoken the digit {digit} "
                        f"{len(group)} times in {self._recordings()}"
                    )
                chosen += group[: self.takes]
        return chosen

    def _hold_out(
        self, label: Int64[np.ndarray, "takes"]
    ) -> tuple[list[Int64[np.ndarray, "_"]], Int64[np.ndarray, "10 val_takes"]]:
        """Numbers of the takes to train with, by digit, and of those held out."""
        random = self._random(HELD_OUT)
        kept, held_out = [], []
        for digit in range(DIGITS):
            order = random.permutation(np.flatnonzero(label == digit))
            if len(order) <= self.val_takes:
                raise ValueError(
                    f"data.val_takes={self.val_takes} leaves none of the {len(order)} takes of the "
                    f"digit {digit} to train with: hold out fewer, or add takes or speakers"
                )
            held_out.append(order[: self.val_takes])
            kept.append(order[self.val_takes :])
        return kept, np.stack(held_out)

    def _partners(
        self, label: Int64[np.ndarray, "images"], kept: list[Int64[np.ndarray, "_"]]
    ) -> Int64[np.ndarray, "images"]:
        """For each image the number of the take that it is paired with."""
        candidates = kept
        if self.pairing == "inconsistent" and self.inconsistent == "different":
            candidates = [np.concatenate(kept[:d] + kept[d + 1 :]) for d in range(DIGITS)]
        sizes = np.array([len(numbers) for numbers in candidates])
        drawn = self._random(PARTNERS).integers(sizes[label])
        take = np.array([candidates[d][i] for d, i in zip(label, drawn, strict=True)])
        if self.pairing == "inconsistent" and self.inconsistent == "shuffle":
            return self._random(SHUFFLE).permutation(take)
        return take


@functools.cache  # once in a process, which may read many runs
def _announce(root: Path) -> None:
    print(
        "Spoken digits are simulated and written ones are scikit-learn's (the real sets would lie "
        f"in {root}/mnist and {root}/{FSDD_FOLDERS[0]})"
    )


def _by_digit(
    label: Int64[np.ndarray, "images"], per_digit: int, key: str, random: Generator | None
) -> Int64[np.ndarray, "chosen"]:
    """So many images of each digit, digit by digit: the first in the file, or drawn from all."""
    chosen = []
    for digit in range(DIGITS):
        numbers = np.flatnonzero(label == digit)
        if len(numbers) < per_digit:
            raise ValueError(
                f"{key}={per_digit} is more than the {len(numbers)} images of the digit {digit}"
            )
        if random is not None:
            numbers = np.sort(random.choice(numbers, per_digit, replace=False))
        chosen.append(numbers[:per_digit])
    return np.concatenate(chosen)
