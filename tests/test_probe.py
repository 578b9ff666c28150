"""What a probe reads of a text, and that ranks read one probe together."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mmrep.data.text import Text
from mmrep.networks.lstm import StackedLSTM
from mmrep.probe import probe
from mmrep.tasks.language_model import LanguageModel
from tests.ddp import on_ranks

LAYERS = ["layers.*", "head"]


def text(folder: Path) -> Text:
    """48 words to validate on, as 5 streams of unequal length."""
    data = Text(
        data_dir=str(folder), source="auto", set="ptb", train="train", file="own.txt",
        val_file=None, val_fraction=0.2, num_classes=9, window=4, batch_size=2, val_streams=5,
        simulated_words=10, simulation_seed=0,
    )  # fmt: skip
    data.setup("fit")
    return data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that holds a text of 30 lines."""
    words = ["a", "b", "c", "d", "e", "f", "g"]
    lines = [" ".join(words[(i * i + j) % 7] for j in range(7)) for i in range(30)]
    (tmp_path / "own.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def task() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(StackedLSTM(9, depth=2, units=6, dropout=0.5), partial(torch.optim.SGD))


def read(rank: int, folder: Path) -> tuple[Tensor, dict[str, Tensor]]:
    found = probe(task(), text(folder), LAYERS, "flat", num_samples=47)
    return found.index, {name: layer.values for name, layer in found.layers.items()}


def test_a_sample_of_a_text_is_a_word(folder: Path) -> None:
    """Each stream in one unbroken pass says the same of its words as window by window."""
    data, net = text(folder), task().net.double().eval()
    index, layers = read(0, folder)
    there = len(data.val_words) - 1
    assert index.tolist() == [*range(there)]  # the padding of shorter streams left out
    assert [*layers] == ["layers.0", "layers.1", "head"]
    bounds = [there * stream // 5 for stream in range(6)]
    assert len({end - start for start, end in pairwise(bounds)}) == 2
    for start, end in pairwise(bounds):
        inputs: Any = {"tokens": data.val_words[None, start:end], "starts": torch.tensor([True])}
        with torch.no_grad():
            logits = net(inputs)
        assert_close(layers["head"][start:end, 0], logits[0], atol=1e-12, rtol=0)


@pytest.mark.ddp
def test_two_ranks_read_what_one_reads(folder: Path) -> None:
    index, layers = read(0, folder)
    for other_index, others in on_ranks(read, folder, world_size=2, folder=folder):
        assert torch.equal(other_index, index)
        for name, values in layers.items():
            assert_close(others[name], values, atol=1e-13, rtol=0)
