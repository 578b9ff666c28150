"""Texts, word by word: WikiText-2, the Penn Treebank, a text of one's own, or a grammar's.

WikiText-2: Merity, Xiong, Bradbury & Socher 2017, arXiv 1609.07843, CC BY-SA. Penn Treebank:
Marcus, Santorini & Marcinkiewicz 1993, whose text the Linguistic Data Consortium licenses, as
Mikolov, Karafiat, Burget, Cernocky & Khudanpur 2010 cut and reduced it. Both are to be cited.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from mmrep.batch import PADDING, Batch
from mmrep.data.download import download_folder
from mmrep.data.grammar import END, GRAMMAR
from mmrep.data.in_memory import data_folder
from mmrep.data.sampling import loader, place

UNKNOWN = "<unk>"  # the official files hold it themselves, in place of rare words


class Release(NamedTuple):
    """A set as published: its archive, where that unpacks to, and what each part may be called."""

    title: str
    url: str
    checksum: str
    member: str  # the archive's folder
    folders: tuple[str, ...]  # which of these there is
    files: Mapping[str, tuple[str, ...]]


RELEASES = {
    "wikitext-2": Release(
        title="WikiText-2",
        url="https://wikitext.smerity.com/wikitext-2-v1.zip",
        checksum="md5:542ccefacc6c27f945fb54453812b3cd",
        member="wikitext-2",
        folders=("wikitext-2",),
        files={part: (f"wiki.{part}.tokens", f"{part}.txt") for part in ("train", "valid", "test")},
    ),
    "ptb": Release(
        title="Penn Treebank",
        url="http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz",
        checksum="md5:30177ea32e27c525793142b6bf2c8e2d",
        member="simple-examples",
        folders=("ptb", "simple-examples/data"),
        files={part: (f"ptb.{part}.txt", f"{part}.txt") for part in ("train", "valid", "test")},
    ),
}
SOURCES = ("auto", "real", "simulated")
VALIDATED_ON = {"train": "valid", "valid": "test"}  # by what is trained on


class Streams(Dataset[Batch]):
    """Several stretches of one text side by side, read a window of words at a time.

    Stream s has the words from `first[s]` on and, as labels, the `length[s]` words that follow each
    of them. Where it is shorter than another, labels are `PADDING` and `index` is -1.
    """

    def __init__(
        self,
        words: Int64[Tensor, "text"],
        first: Int64[Tensor, "streams"],
        length: Int64[Tensor, "streams"],
        window: int,
    ) -> None:
        self.words, self.first, self.length, self.window = words, first, length, window
        self.longest = int(length.max())

    def __len__(self) -> int:
        return -(-self.longest // self.window)

    def __getitem__(self, samples: list[int]) -> Batch:
        (number,) = samples  # a batch is one window of all streams
        start = number * self.window
        place = torch.arange(start, min(start + self.window, self.longest))
        there = place < self.length[:, None]
        index = torch.where(there, self.first[:, None] + place, -1)
        inputs = {
            "tokens": self.words[index.clamp(min=0)],
            "starts": torch.full((len(self.first),), number == 0),
        }
        return Batch(inputs, torch.where(there, self.words[index + 1], PADDING), index)

    def prepare(self, batch: Batch) -> Batch:
        """Nothing is left to be done on the device."""
        return batch


class Text(LightningDataModule):
    """A text to train on and another to validate on, both of them as streams of words.

    A line's words are what white space parts, and `<eos>` ends each line, blank ones too, as in
    PyTorch's word_language_model and AWD-LSTM. The vocabulary are the `num_classes` most frequent
    words of the training text, of equally frequent ones those that come first; `<unk>`, number 0,
    is one of them and stands for all others.

    `set` is wikitext-2 or ptb: `train` is trained on and valid validated on; or, with `train=valid`
    for want of a training file, valid and test. `file` is a text of one's own instead, seen from
    `data_dir` unless it is absolute, and validated on `val_file` or on the last `val_fraction` of
    its own lines.

    The training text is cut into `batch_size` streams on each rank, all of one length (fewer than
    that many words at its end are left out), and read `window` words at a time; the state is to be
    carried on from batch to batch. The validation text is cut into `val_streams`, whatever the
    ranks, which are dealt out to them: each next word counts once. `index` is the place of an input
    word in its text.

    `source` is `real` (fetched where it is not there), `simulated` by `mmrep.data.grammar`, or
    `auto`: real where any file of the set is or a `data_dir` was named, else simulated.
    """

    name: str
    train_words: Int64[Tensor, "text"]
    val_words: Int64[Tensor, "text"]
    class_names: tuple[str, ...]  # the vocabulary

    def __init__(
        self,
        *,
        data_dir: str | None,
        source: str,
        set: str,
        train: str,
        file: str | None,
        val_file: str | None,
        val_fraction: float,
        num_classes: int,
        window: int,
        batch_size: int,
        val_streams: int,
        simulated_words: int,
        simulation_seed: int,
    ) -> None:
        super().__init__()
        allowed = {"source": SOURCES, "set": tuple(RELEASES), "train": tuple(VALIDATED_ON)}
        for key, value in {"source": source, "set": set, "train": train}.items():
            if value not in allowed[key]:
                raise ValueError(f"data.{key}={value!r} is not one of {', '.join(allowed[key])}")
        for key, number, least in (
            ("num_classes", num_classes, 2),  # <unk> and <eos>
            ("window", window, 1),
            ("batch_size", batch_size, 1),
            ("val_streams", val_streams, 1),
            ("simulated_words", simulated_words, 1),
        ):
            if number < least:
                raise ValueError(f"data.{key}={number} must be at least {least}")
        if not 0 < val_fraction < 1:
            raise ValueError(f"data.val_fraction={val_fraction} is not between 0 and 1")
        if file is None and val_file is not None:
            raise ValueError(f"data.val_file={val_file} needs data.file, a text to train on")
        if file is not None and (source == "simulated" or train != "train"):
            raise ValueError(
                f"data.file={file} is trained on itself: leave out data.source and data.train"
            )
        self.name, self.release, self.train_part = set, RELEASES[set], train
        self.root = data_folder(data_dir)
        self.file = None if file is None else self.root / file
        self.val_file = None if val_file is None else self.root / val_file
        self.val_fraction = val_fraction
        self.num_classes, self.window = num_classes, window
        self.batch_size, self.val_streams = batch_size, val_streams
        self.simulated_words, self.simulation_seed = simulated_words, simulation_seed
        self.simulated = source == "simulated" or (
            source == "auto"
            and data_dir is None
            and file is None
            and not any(self._path(part) for part in self.release.files)
        )
        if self.file is not None:
            self.name = "text"

    @property
    def title(self) -> str:
        """What figures say the data are."""
        if self.simulated:
            return "sentences of a grammar"
        return self.release.title if self.file is None else self.file.name

    def prepare_data(self) -> None:
        if self.simulated:
            print(
                f"Sentences are simulated by a grammar ({self.release.title} would lie in "
                f"{self.root / self.release.folders[0]})"
            )
        elif self.file is None and not any((self.root / f).is_dir() for f in self.release.folders):
            release = self.release
            try:
                download_folder(release.url, release.checksum, self.root, release.member)
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{error}; or choose data.source=simulated") from None

    def setup(self, stage: str) -> None:
        train, val = self._texts()
        self.class_names = vocabulary(train, self.num_classes)
        self.train_words, self.val_words = (
            numbered(words, self.class_names) for words in (train, val)
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, num_ranks = place()
        streams = self.batch_size * num_ranks
        length = (len(self.train_words) - 1) // streams
        if length < 1:
            raise ValueError(
                f"the training text of {len(self.train_words)} words cannot be cut into {streams} "
                f"streams: data.batch_size={self.batch_size} is too many"
            )
        number = torch.arange(rank * self.batch_size, (rank + 1) * self.batch_size)
        lengths = torch.full_like(number, length)
        return self._read(Streams(self.train_words, number * length, lengths, self.window))

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.probe_dataloader(len(self.val_words) - 1)

    def probe_dataloader(self, num_samples: int) -> DataLoader[Batch]:
        """The first words of each validation stream, `num_samples` or a few more in all."""
        rank, num_ranks = place()
        there, streams = len(self.val_words) - 1, self.val_streams
        if streams > there:
            raise ValueError(
                f"data.val_streams={streams}: the validation text has only {there} words to tell"
            )
        if num_ranks > streams:
            raise ValueError(
                f"data.val_streams={streams} cannot be dealt out to {num_ranks} ranks: use fewer, "
                "or more streams"
            )
        if not 0 < num_samples <= there:
            raise ValueError(
                f"num_samples={num_samples} is not from 1 to {there}, the number of words that "
                "are told in validation"
            )
        bounds = torch.arange(streams + 1) * there // streams
        length = bounds.diff().clamp(max=-(-num_samples // streams))
        ours = slice(rank, None, num_ranks)
        return self._read(Streams(self.val_words, bounds[:-1][ours], length[ours], self.window))

    def _read(self, streams: Streams) -> DataLoader[Batch]:
        return loader(streams, BatchSampler(SequentialSampler(streams), 1, drop_last=False))

    def facts(self) -> dict[str, Any]:
        """What stands in `run.json` about the data; the vocabulary is too long for it."""
        digest = hashlib.sha256(self.name.encode())
        for words in (self.train_words, self.val_words):
            digest.update(words.numpy().tobytes() + b"|")
        digest.update("\n".join(self.class_names).encode())
        if self.simulated:
            source: dict[str, Any] = {"perplexity_of_grammar": GRAMMAR.perplexity()}
        elif self.file is not None:
            source = {"file": str(self.file), "val_file": self.val_file and str(self.val_file)}
        else:
            source = {"trained_on": self.train_part}
        return source | {
            "name": self.name,
            "source": "simulated" if self.simulated else "real",
            "fingerprint": digest.hexdigest()[:16],
            "num_train": len(self.train_words),  # words, <eos> among them
            "num_val": len(self.val_words),
            "vocabulary": len(self.class_names),
            "unknown_share": {
                "train": (self.train_words == 0).double().mean().item(),
                "val": (self.val_words == 0).double().mean().item(),
            },
        }

    def _texts(self) -> tuple[list[str], list[str]]:
        """The words of the training and of the validation text."""
        if self.simulated:
            train = GRAMMAR.text(self.simulated_words, (self.simulation_seed, 0))
            val = GRAMMAR.text(math.ceil(self.simulated_words / 10), (self.simulation_seed, 1))
        elif self.file is None:
            parts = (self.train_part, VALIDATED_ON[self.train_part])
            train, val = (read_lines(self._there(part)) for part in parts)
        elif self.val_file is not None:
            train, val = read_lines(self.file), read_lines(self.val_file)
        else:
            lines = read_lines(self.file)
            cut = len(lines) - math.ceil(len(lines) * self.val_fraction)
            if cut < 1:
                raise ValueError(
                    f"{self.file} has too few lines ({len(lines)}) to set data.val_fraction="
                    f"{self.val_fraction} of them aside: give another text with data.val_file"
                )
            train, val = lines[:cut], lines[cut:]
        return list(chain.from_iterable(train)), list(chain.from_iterable(val))

    def _path(self, part: str) -> Path | None:
        """The file of a part of the set, by whichever name it has."""
        paths = (
            self.root / folder / name
            for folder in self.release.folders
            for name in self.release.files[part]
        )
        return next((path for path in paths if path.exists()), None)

    def _there(self, part: str) -> Path:
        path = self._path(part)
        if path is None:
            names = " or ".join(self.release.files[part])
            instead = (
                "; or train on the validation file and validate on the test file, which has to be "
                "asked for: data.train=valid"
            )
            raise FileNotFoundError(
                f"there is no {names} of {self.release.title} in "
                f"{' or '.join(str(self.root / folder) for folder in self.release.folders)}: put "
                f"it there, from {self.release.url}{instead if part == 'train' else ''}"
            )
        return path


def read_lines(path: Path) -> list[list[str]]:
    """The words of each line, and `<eos>` behind them."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no text {path}: give its whole path, or put it there")
    try:
        with path.open(encoding="utf-8-sig") as file:  # with or without a byte-order mark
            lines = [[*line.split(), END] for line in file]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}): convert it") from None
    if not any(len(line) > 1 for line in lines):
        raise ValueError(f"{path} holds no words")
    return lines


def vocabulary(words: Sequence[str], size: int) -> tuple[str, ...]:
    """`<unk>` and the most frequent other words, `size` in all or what there are."""
    frequent = [word for word, _ in Counter(words).most_common() if word != UNKNOWN]
    return (UNKNOWN, *frequent[: size - 1])


def numbered(words: Sequence[str], names: Sequence[str]) -> Int64[Tensor, "text"]:
    """Each word's place in the vocabulary, 0 for what is not in it."""
    number = {name: i for i, name in enumerate(names)}
    return torch.tensor([number.get(word, 0) for word in words])
