"""`LanguageModel`: perplexity over the whole text, and a training that can be gone on with."""

import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.testing import assert_close

from mmrep.callbacks.epochs import EpochSeed
from mmrep.data.grammar import GRAMMAR
from mmrep.data.text import Text
from mmrep.networks.lstm import StackedLSTM
from mmrep.runs import load_run, read_facts
from mmrep.tasks.language_model import LanguageModel
from tests.ddp import on_ranks
from tests.scripts import run
from tests.test_conf import composed

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # data are in memory
    "ignore:.*LeafSpec.*deprecated",  # between Lightning and torch
)
WORDS = 40
ADAM = partial(torch.optim.Adam, lr=1e-2)


def text(**changes: Any) -> Text:
    options: dict[str, Any] = {
        "data_dir": None, "source": "simulated", "set": "ptb", "train": "train", "file": None,
        "val_file": None, "val_fraction": 0.1, "num_classes": WORDS, "window": 7, "batch_size": 4,
        "val_streams": 5, "simulated_words": 2000, "simulation_seed": 0,
    }  # fmt: skip
    data = Text(**options | changes)
    data.setup("fit")
    return data


def task(dropout: float = 0.0) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(StackedLSTM(WORDS, depth=2, units=8, dropout=dropout), ADAM)


def trainer(folder: Path, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, default_root_dir=folder, num_sanity_val_steps=0,
        use_distributed_sampler=False, **options,
    )  # fmt: skip


def by_hand(net: StackedLSTM, data: Text) -> Tensor:
    """-log p of every next word of the validation text, each stream in one unbroken pass."""
    words, streams = data.val_words, data.val_streams
    net = net.double().eval()
    bounds = [(len(words) - 1) * s // streams for s in range(streams + 1)]
    losses = []
    for first, behind in pairwise(bounds):
        inputs = {"tokens": words[None, first:behind], "starts": torch.tensor([True])}
        with torch.no_grad():
            log_p = net(inputs)[0].log_softmax(dim=1)
        losses.append(-log_p[torch.arange(behind - first), words[first + 1 : behind + 1]])
    return torch.cat(losses)


@pytest.mark.parametrize("changes", [{}, {"window": 35, "val_streams": 16}, {"val_streams": 1}])
def test_perplexity_is_that_of_the_whole_text(tmp_path: Path, changes: dict[str, int]) -> None:
    one, data = task(), text(**changes)
    one.net.double()
    (scores,) = trainer(tmp_path).validate(one, datamodule=data, verbose=False)
    losses = by_hand(one.net, data)
    assert len(losses) == len(data.val_words) - 1
    assert scores["val/loss"] == pytest.approx(float(losses.mean()), rel=1e-12)
    assert scores["val/perplexity"] == pytest.approx(math.exp(losses.mean()), rel=1e-12)


def test_who_knows_nothing_has_the_perplexity_of_all_words(tmp_path: Path) -> None:
    one = task()
    torch.nn.init.zeros_(one.net.head.weight)
    (scores,) = trainer(tmp_path).validate(one, datamodule=text(), verbose=False)
    assert scores["val/perplexity"] == pytest.approx(WORDS, rel=1e-6)


def test_a_loss_that_is_lost_is_said_to_be_so(tmp_path: Path) -> None:
    one = task()
    torch.nn.init.constant_(one.net.head.weight, math.nan)
    (scores,) = trainer(tmp_path).validate(one, datamodule=text(), verbose=False)
    assert math.isnan(scores["val/perplexity"])


def of_rank(rank: int, changes: dict[str, int]) -> dict[str, Any]:
    """What a rank reads, and the scores, in which all ranks meet."""
    one, data = task(), text(**changes)
    one.net.double().eval()
    places = []
    with torch.no_grad():
        for batch in data.val_dataloader():
            places += batch.index[batch.index >= 0].tolist()
            one.val_scores.update(one.losses(batch))
    read = [batch.index for batch in data.train_dataloader()]
    scores = {name: float(score) for name, score in one.val_scores.compute().items()}
    data.val_streams = 1
    refused = ""
    try:
        data.val_dataloader()
    except ValueError as error:
        refused = str(error)
    return {"places": places, "train": torch.cat(read, dim=1), "refused": refused, **scores}


@pytest.mark.ddp
def test_two_ranks_are_one(tmp_path: Path) -> None:
    alone = of_rank(0, {"batch_size": 4})
    ranks = on_ranks(of_rank, {"batch_size": 2}, world_size=2, folder=tmp_path)
    for rank in ranks:
        for name in ("val/loss", "val/perplexity"):
            assert rank[name] == pytest.approx(alone[name], rel=1e-12)
        assert "data.val_streams=1 cannot be dealt out to 2 ranks" in rank["refused"]
    # 3 streams are the first rank's and 2 the other's
    told = [place for rank in ranks for place in rank["places"]]
    assert sorted(told) == sorted(alone["places"]) == [*range(len(text().val_words) - 1)]
    assert torch.equal(torch.cat([rank["train"] for rank in ranks]), alone["train"])


class Keep(Callback):
    """The checkpoint behind the first epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


def test_a_training_is_gone_on_with_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "first.ckpt"
    whole, rest = task(dropout=0.3), task(dropout=0.3)
    trainer(tmp_path, max_epochs=2, callbacks=[EpochSeed(3), Keep(path)]).fit(
        whole, datamodule=text()
    )
    trainer(tmp_path, max_epochs=2, callbacks=[EpochSeed(3)]).fit(
        rest, datamodule=text(), ckpt_path=path, weights_only=True
    )
    assert whole.state_dict().keys() == rest.state_dict().keys()
    pairs = zip(whole.parameters(), rest.parameters(), strict=True)
    assert all(torch.equal(ours, expected) for ours, expected in pairs)
    assert not torch.equal(whole.net.head.weight, task().net.head.weight)


def test_training_is_truncated_back_propagation(tmp_path: Path) -> None:
    one, data = task(), text()
    trainer(tmp_path, max_epochs=1, gradient_clip_val=0.25, limit_val_batches=0).fit(
        one, datamodule=data
    )
    net = task().net
    optimizer = ADAM(net.parameters())
    length = (len(data.train_words) - 1) // 4
    tokens, labels = (
        torch.stack([data.train_words[s * length + o : (s + 1) * length + o] for s in range(4)])
        for o in (0, 1)
    )
    state: list[Any] = [None, None]
    for start in range(0, length, 7):
        hidden = net.embedding(tokens[:, start : start + 7])
        for number, layer in enumerate(net.layers):
            hidden, (output, cell) = layer(hidden, state[number])
            state[number] = (output.detach(), cell.detach())
        log_p = net.head(hidden).log_softmax(dim=2)
        loss = -log_p.gather(2, labels[:, start : start + 7, None]).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in net.parameters()]).norm()
        for parameter in net.parameters():
            parameter.grad *= min(1, 0.25 / norm)
        optimizer.step()
    for ours, expected in zip(one.net.parameters(), net.parameters(), strict=True):
        assert_close(ours, expected, atol=1e-4, rtol=1e-3)


def test_the_recipe() -> None:
    config = composed("model=lstm_lm")
    assert (config.trainer.gradient_clip_val, config.data.window) == (0.25, 35)
    assert (config.monitor.name, config.monitor.mode) == ("val/perplexity", "min")
    assert config.layers == ["layers.*"]
    sizes = composed("model=lstm_lm", "model.net.depth=5", "data.num_classes=33278").model.net
    assert (sizes.depth, sizes.num_words) == (5, 33278)


def test_a_run_learns_the_grammar_and_is_read_back(store: Path) -> None:
    folder = store / "outputs" / "language"
    printed = run(
        store, "train.py", "model=lstm_lm", "data.source=simulated", "data.simulated_words=20000",
        "data.num_classes=1100", "model.net.units=32", "model.net.depth=1", "model.net.dropout=0.0",
        "model.optimizer.lr=1e-2", "data.batch_size=10", "trainer.max_epochs=4", "logger=none",
        f"hydra.run.dir={folder}",
    )  # fmt: skip
    assert "simulated data" in printed
    facts = read_facts(folder)
    floor = facts["data"]["perplexity_of_grammar"]
    assert floor == pytest.approx(GRAMMAR.perplexity())
    task, data = load_run(folder)
    assert len(data.class_names) == facts["data"]["vocabulary"]
    assert data.facts()["fingerprint"] == facts["data"]["fingerprint"]
    perplexity = facts["scores"]["val/perplexity"]
    assert perplexity == pytest.approx(math.exp(by_hand(task.net, data).mean()), rel=1e-5)
    frequency = torch.bincount(data.train_words, minlength=1100) + 1.0
    of_words_alone = (frequency / frequency.sum()).log()[data.val_words].mean().neg().exp()
    assert floor < perplexity < of_words_alone / 2
    assert (folder / "figures" / "learning_curves.png").exists()
