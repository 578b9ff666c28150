"""`Text` on miniature files in the true formats, and on the real WikiText-2 where it is."""

import hashlib
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmrep.batch import PADDING, Batch
from mmrep.data.grammar import GRAMMAR
from mmrep.data.in_memory import PROJECT
from mmrep.data.text import Streams, Text, read_lines

REAL = PROJECT / "data"
real = pytest.mark.skipif(not (REAL / "wikitext-2").exists(), reason=f"no WikiText-2 in {REAL}")
TRAIN = " \n = Lobster = \n \n The lobster saw the <unk> . \n The sea saw it . \n"
VALID = " \n = Sea = \n \n The crab saw the lobster . \n"
TEST = " \n the . \n"
TRAINED_ON = (
    "<eos> = Lobster = <eos> <eos> The lobster saw the <unk> . <eos> The sea saw it . <eos>"
)
TRAIN_WORDS = TRAINED_ON.split(" ")
PARTS = ("train", "valid", "test")
OFFICIAL = {
    "wikitext-2": ("wikitext-2/wiki.{}.tokens", "wikitext-2/{}.txt"),
    "ptb": ("ptb/ptb.{}.txt", "ptb/{}.txt", "simple-examples/data/ptb.{}.txt"),
}


def text(root: Path | None, **changes: Any) -> Text:
    options: dict[str, Any] = {
        "data_dir": None if root is None else str(root), "source": "auto", "set": "wikitext-2",
        "train": "train", "file": None, "val_file": None, "val_fraction": 0.1, "num_classes": 100,
        "window": 3, "batch_size": 2, "val_streams": 2, "simulated_words": 1000,
        "simulation_seed": 0,
    }  # fmt: skip
    return Text(**options | changes)


def ready(root: Path, **changes: Any) -> Text:
    data = text(root, **changes)
    data.prepare_data()
    data.setup("fit")
    return data


def write(root: Path, form: str, *, mark: bool = False, end: str = "\n") -> Path:
    for part, content in zip(PARTS, (TRAIN, VALID, TEST), strict=True):
        path = root / form.format(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        encoding = "utf-8-sig" if mark else "utf-8"
        path.write_bytes(content.replace("\n", end).encode(encoding))
    return root


def spelt(data: Text, words: Tensor) -> list[str]:
    return [data.class_names[word] for word in words]


def numbers(count: int) -> Tensor:
    """A text whose words are their own places, which tells where each of them was read."""
    return torch.arange(count)


def with_words(words: Tensor, **changes: Any) -> Text:
    data = text(None, source="simulated", **changes)
    data.train_words = data.val_words = words
    return data


def flat(batches: list[Batch]) -> list[tuple[int, int, int]]:
    """Input, label and place of every word that counts."""
    return [
        (int(token), int(label), int(index))
        for batch in batches
        for token, label, index in zip(
            batch.inputs["tokens"].flatten(), batch.label.flatten(), batch.index.flatten(),
            strict=True,
        )
        if index >= 0
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "form"), [(n, form) for n in OFFICIAL for form in OFFICIAL[n]])
@pytest.mark.parametrize(("mark", "end"), [(False, "\n"), (True, "\n"), (True, "\r\n")])
def test_official_files_are_read_line_by_line(
    tmp_path: Path, name: str, form: str, mark: bool, end: str
) -> None:
    data = ready(write(tmp_path, form, mark=mark, end=end), set=name)
    assert spelt(data, data.train_words) == TRAIN_WORDS
    told = "<eos> = <unk> = <eos> <eos> The <unk> saw the lobster . <eos>"
    assert " ".join(spelt(data, data.val_words)) == told
    facts = data.facts()
    assert (facts["name"], facts["source"], facts["trained_on"]) == (name, "real", "train")
    assert (facts["num_train"], facts["num_val"]) == (19, 13)
    assert facts["unknown_share"] == {"train": pytest.approx(1 / 19), "val": pytest.approx(2 / 13)}
    assert facts["vocabulary"] == len({*TRAIN_WORDS})


def test_the_vocabulary_is_by_frequency_then_by_first_appearance(tmp_path: Path) -> None:
    data = ready(write(tmp_path, "wikitext-2/{}.txt"))
    assert data.class_names == (
        "<unk>", "<eos>", "=", "The", "saw", ".", "Lobster", "lobster", "the", "sea", "it"
    )  # fmt: skip
    few = ready(tmp_path, num_classes=4)
    assert few.class_names == ("<unk>", "<eos>", "=", "The")
    kept = [word if word in few.class_names else "<unk>" for word in TRAIN_WORDS]
    assert spelt(few, few.train_words) == kept
    assert few.facts()["fingerprint"] != data.facts()["fingerprint"]
    assert ready(tmp_path, batch_size=3).facts() == data.facts()  # of the text alone


def test_without_a_training_file_the_validation_file_must_be_asked_for(tmp_path: Path) -> None:
    (write(tmp_path, "wikitext-2/{}.txt") / "wikitext-2" / "train.txt").unlink()
    message = r"no wiki\.train\.tokens or train\.txt of WikiText-2 in .*: data\.train=valid"
    with pytest.raises(FileNotFoundError, match=message):
        ready(tmp_path)
    data = ready(tmp_path, train="valid")
    assert spelt(data, data.train_words)[:5] == ["<eos>", "=", "Sea", "=", "<eos>"]
    assert spelt(data, data.val_words) == ["<eos>", "the", ".", "<eos>"]
    assert data.facts()["trained_on"] == "valid"
    (tmp_path / "wikitext-2" / "test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no wiki\.test\.tokens or test\.txt"):
        ready(tmp_path, train="valid")


def test_an_archive_is_fetched_whole_and_right(tmp_path: Path) -> None:
    write(tmp_path / "there", "wikitext-2/wiki.{}.tokens")
    archive = shutil.make_archive(str(tmp_path / "there" / "v1"), "zip", tmp_path / "there")
    md5 = hashlib.md5(Path(archive).read_bytes()).hexdigest()
    data = text(tmp_path / "here")
    data.release = data.release._replace(url=Path(archive).as_uri(), checksum=f"md5:{md5}")
    data.prepare_data()
    data.setup("fit")
    assert spelt(data, data.train_words) == TRAIN_WORDS
    missing = text(tmp_path / "elsewhere")
    missing.release = data.release._replace(url=(tmp_path / "nowhere.zip").as_uri())
    with pytest.raises(FileNotFoundError, match=r"nowhere\.zip .* choose data\.source=simulated"):
        missing.prepare_data()


def test_a_text_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "novel.txt"
    path.write_text("".join(f"line {i}\n" for i in range(15)))
    data = ready(tmp_path, file="novel.txt", num_classes=50)  # 2 of 15 lines are a tenth or more
    assert spelt(data, data.train_words) == [
        word for i in range(13) for word in ("line", str(i), "<eos>")
    ]
    assert spelt(data, data.val_words) == ["line", "<unk>", "<eos>"] * 2
    assert (data.title, data.facts()["name"]) == ("novel.txt", "text")
    other = tmp_path / "other.txt"
    other.write_text("line 3")
    data = ready(tmp_path / "anywhere", file=str(path), val_file=str(other))
    assert (len(data.train_words), spelt(data, data.val_words)) == (45, ["line", "3", "<eos>"])


def test_texts_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "novel.txt"
    with pytest.raises(FileNotFoundError, match=r"no text .*novel\.txt"):
        ready(tmp_path, file="novel.txt")
    path.write_text("all in one line")
    with pytest.raises(ValueError, match=r"too few lines \(1\) .*data\.val_file"):
        ready(tmp_path, file="novel.txt")
    path.write_text(" \n\n")
    with pytest.raises(ValueError, match="holds no words"):
        ready(tmp_path, file="novel.txt")
    path.write_bytes("Hétérogène".encode("latin1"))
    with pytest.raises(ValueError, match="no text in UTF-8"):
        ready(tmp_path, file="novel.txt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "net"}, r"data\.source='net' is not one of auto, real, simulated"),
        ({"set": "wt2"}, r"data\.set='wt2' is not one of wikitext-2, ptb"),
        ({"train": "test"}, r"data\.train='test' is not one of train, valid"),
        ({"num_classes": 1}, r"data\.num_classes=1 must be at least 2"),
        ({"window": 0}, r"data\.window=0 must be at least 1"),
        ({"val_fraction": 1.0}, r"data\.val_fraction=1\.0 is not between"),
        ({"val_file": "b"}, r"data\.val_file=b needs data\.file"),
        ({"file": "a", "train": "valid"}, r"leave out data\.source and data\.train"),
        ({"file": "a", "source": "simulated"}, r"leave out data\.source and data\.train"),
    ],
)
def test_what_means_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text(None, **changes)


def test_simulated_where_no_file_is_and_no_folder_was_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not text(tmp_path).simulated
    assert text(tmp_path, source="simulated").simulated
    data = ready(tmp_path, source="simulated", num_classes=2000)
    assert "simulated by a grammar" in capsys.readouterr().out
    assert " ".join(spelt(data, data.train_words)).startswith(
        " ".join(word for line in GRAMMAR.text(1000, (0, 0)) for word in line)
    )
    facts = data.facts()
    assert (facts["source"], facts["unknown_share"]["train"]) == ("simulated", 0)
    assert facts["perplexity_of_grammar"] == GRAMMAR.perplexity()


def test_training_streams_lie_side_by_side_and_go_on() -> None:
    data = with_words(numbers(30), batch_size=4)  # 29 next words: 7 of each stream, 1 left out
    batches = list(data.train_dataloader())
    assert [batch.label.shape for batch in batches] == [(4, 3), (4, 3), (4, 1)]
    tokens = torch.cat([batch.inputs["tokens"] for batch in batches], dim=1)
    assert torch.equal(tokens, numbers(28).view(4, 7))
    for batch in batches:
        assert torch.equal(batch.label, batch.inputs["tokens"] + 1)
        assert torch.equal(batch.index, batch.inputs["tokens"])
    assert [batch.inputs["starts"].tolist() for batch in batches] == [
        [True] * 4, [False] * 4, [False] * 4
    ]  # fmt: skip
    assert len(data.train_dataloader()) == 3
    with pytest.raises(ValueError, match=r"data\.batch_size=30 is too many"):
        with_words(numbers(30), batch_size=30).train_dataloader()


@pytest.mark.parametrize("streams", [1, 2, 4, 7, 28])
def test_each_next_word_is_told_once_in_validation(streams: int) -> None:
    data = with_words(numbers(29), val_streams=streams)
    batches = list(data.val_dataloader())
    assert sorted(flat(batches)) == [(i, i + 1, i) for i in range(28)]
    for batch in batches:
        assert torch.equal(batch.label == PADDING, batch.index == -1)
    lengths = sum((batch.index >= 0).sum(dim=1) for batch in batches)
    assert lengths.max() - lengths.min() <= 1


def test_a_probe_is_how_the_validation_streams_begin() -> None:
    data = with_words(numbers(1001), val_streams=7)
    whole = list(data.val_dataloader())
    for asked in (1, 7, 50, 1000):
        told = {place for *_, place in flat(list(data.probe_dataloader(asked)))}
        of_each = -(-asked // 7)
        assert asked <= len(told) < asked + 7
        bounds = [1000 * s // 7 for s in range(8)]
        expected = {
            i for a, b in pairwise(bounds)
            for i in range(a, min(a + of_each, b))
        }  # fmt: skip
        assert told == expected
    assert flat(list(data.probe_dataloader(1000))) == flat(whole)
    for asked in (0, 1001):
        with pytest.raises(ValueError, match=f"num_samples={asked} is not from 1 to 1000"):
            data.probe_dataloader(asked)
    with pytest.raises(ValueError, match=r"data\.val_streams=9: .* only 4 words"):
        with_words(numbers(5), val_streams=9).val_dataloader()


def test_shorter_streams_are_padded() -> None:
    streams = Streams(numbers(10), torch.tensor([0, 5]), torch.tensor([5, 2]), window=4)
    first, second = streams[[0]], streams[[1]]
    assert first.index.tolist() == [[0, 1, 2, 3], [5, 6, -1, -1]]
    assert first.label.tolist() == [[1, 2, 3, 4], [6, 7, PADDING, PADDING]]
    assert second.index.tolist() == [[4], [-1]]
    assert streams.prepare(first) is first


@real
@pytest.mark.real
def test_the_real_wikitext() -> None:
    # Officially 217,646 and 245,569 words; the files lack 2 and 1 of the blank lines at their end.
    lines = {part: read_lines(REAL / "wikitext-2" / f"{part}.txt") for part in ("valid", "test")}
    assert {part: len(of) for part, of in lines.items()} == {"valid": 3760 - 2, "test": 4358 - 1}
    data = text(REAL, train="valid", num_classes=20_000)
    data.setup("fit")
    assert (len(data.train_words), len(data.val_words)) == (217_646 - 2, 245_569 - 1)
    assert len(data.class_names) == 13_777
    assert data.class_names[:6] == ("<unk>", "the", ",", ".", "of", "and")
    counts = Counter(word for line in lines["valid"] for word in line)
    assert data.facts()["unknown_share"]["train"] == counts["<unk>"] / 217_644
    assert torch.bincount(data.train_words).tolist() == [counts[word] for word in data.class_names]
