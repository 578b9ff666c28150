"""Wrong input gets one sentence: the value, what is allowed, the remedy; and exit code 1."""

import importlib
import re
from pathlib import Path

import pytest
import torch

from mmrep.command_line import innermost, one_sentence, quote_numbers, sentence
from mmrep.networks.shl_cnn import SpectrogramCNN
from tests.scripts import PROJECT, TINY, run

MODEL = "model=shl_cnn"
RGBD = "model=rgbd_gated"


def refusal(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    script: str,
    *arguments: str,
) -> str:
    """What a script says of wrong `arguments`."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(PROJECT))
    monkeypatch.setattr("sys.argv", [f"{script}.py", *quote_numbers(list(arguments))])
    monkeypatch.delenv("MMREP_DATA", raising=False)
    module = importlib.import_module(script)
    with pytest.raises(SystemExit) as ended, one_sentence():
        module.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.split("error: ", 1)[1].strip()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], r"choose a model: python train\.py model=NAME, NAME one of av_mixed, .*shl_cnn"),
        (["model=shl_cn"], r"model='shl_cn' is not one of av_mixed, .*shl_cnn"),
        (
            [MODEL, "data=sh"],
            r"data='sh' is not one of celeba, cifar10, cifar100, .*mnist_fsdd, rgbd, shl, text",
        ),
        ([MODEL, "trainer=cuda"], r"trainer='cuda' is not one of cpu, ddp, gpu, smoke"),
        ([MODEL, "precision=8"], r"precision='8' is not one of 16, 32, bf16"),
        ([MODEL, "sensor=acc_nrm"], r"sensor='acc_nrm' is not one of acc_x, .*acc_norm.*pressure"),
        ([MODEL, "data=dsads", "sensor=pressure"], r"sensor='pressure' is not one of acc_x"),
        (
            [MODEL, "data=cifar10", "sensor=acc_norm"],
            r"'sensor' is no key of this configuration \(model=shl_cnn data=cifar10\): .*see all",
        ),
        (
            [MODEL, "trainer.max_epoch=3"],
            r"'trainer\.max_epoch' is no key .*did you mean trainer\.",
        ),
        ([MODEL, "data.source=fake"], r"data\.source='fake' is not one of auto, real, simulated"),
        ([MODEL, "data.num_classes=7"], r"data\.num_classes=7: SHL has 8 classes"),
        ([MODEL, "model.class_weights=all"], r"class_weights='all' is not one of none, train"),
        ([MODEL, "checkpoint.every=0"], r"checkpoint\.every=0 must be at least 1 epoch"),
        ([MODEL, "monitor.mode=up"], r"monitor\.mode='up' is not one of min, max"),
        ([MODEL, "size=huge"], r"size='huge' is not one of paper, small"),
        (
            ["experiment=demo", "size=small"],
            r"size=small shortens a preset: choose one with .*NAME, NAME one of (chowers|eguchi)",
        ),
        (
            [MODEL, "source=program"],
            r"source=program changes a preset: choose .*NAME, NAME one of (chowers|eguchi)",
        ),
        (
            ["model=vgg11", "data.alpha=3", "data.component=0"],
            r"data\.alpha=3 lays patches .*: choose model=vgg11 model\.net\.stride=3",
        ),
        (
            ["model=av_mixed", "model.net.replicas=2", "trainer=ddp"],
            r"model\.net\.replicas=2 are trained on one device, and .*: choose trainer=cpu",
        ),
        (
            ["model=av_mixed", "model.net.replicas=2", "checkpoint=best"],
            r"checkpoint=best: replicas .* choose checkpoint=last",
        ),
        (
            ["-m", "model=av_mixed", "model.net.replicas=2", "seed=1,3"],
            r"seed=1 with model\.net\.replicas=2: .*sweep over multiples of 2, such as seed=0",
        ),
        (
            ["-m", "model=av_mixed,av_two_stage", "model.net.width=16"],
            r"known to each of model=av_mixed,av_two_stage .* as \+\+model\.net\.width=VALUE",
        ),
        (
            ["model=av_mixed", "data.source=simulated", "data.speakers=[nobody]"],
            r"data\.speakers=\['nobody'\] are of real recordings, and the data are simulated",
        ),
        (["model=av_mixed", "model.net.depth=5"], r"model\.net\.depth=5 is not one of 1, 2, 3, 4"),
        (["model=av_mixed", "data.pairing=none"], r"data\.pairing='none' is not one of consistent"),
        ([MODEL, "weights=nowhere.ckpt"], r"nowhere\.ckpt is not there"),
        ([RGBD, "fold=5"], r"fold=5 is not one of the 5 folds 0 to 4: choose one of them, or set"),
        ([RGBD, "backbone=alexnet"], r"backbone='alexnet' is not one of resnet, vgg"),
        ([MODEL, "backbones=imagenet"], r"backbones=imagenet are of .*: choose one of rgbd_depth"),
        (["model=rgbd_depth_scratch", "frozen=true"], r"'frozen' is no key of this configuration"),
        ([RGBD, "weights.rgb=nowhere.pth"], r"nowhere.pth is not there.* by .*2019_backbones"),
        ([RGBD, "data.preset=x"], r"data\.preset='x' is not one of balanced, dominant"),
        ([RGBD, "weights=imagenet"], r"no branch of a published one; choose backbones=imagenet"),
        ([RGBD, "weights.rgb=resnet51"], r"resnet51 is not there; .*published weights are named"),
        ([RGBD, "weights.heat=resnet50"], r"weights\.heat.* is no key"),
        (["-m", MODEL, "trainer=ddp", "seed=0,1"], r"trainer\.strategy=ddp .*one device"),
        ([*TINY, "data.val_segments=501"], r"data\.val_segments=501 must leave some of the 501"),
    ],
)
def test_wrong_training(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    arguments = [*arguments, "logger=none"] if arguments else []
    assert re.search(said, refusal(capsys, monkeypatch, tmp_path, "train", *arguments))
    if "-m" not in arguments and "data.val_segments=501" not in arguments:
        assert not list(tmp_path.glob("outputs/*/*"))  # what never began leaves no folder


def test_a_named_data_dir_without_the_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = refusal(capsys, monkeypatch, tmp_path, "train", MODEL, f"data_dir={tmp_path}")
    assert said.startswith(f"no SHL in {tmp_path}: looked for the folder {tmp_path}/shl/train")
    assert "data.source=simulated" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            [],
            r"choose an analysis: python analyze\.py analysis=NAME, NAME one of cca_proj",
        ),
        (
            ["analysis=cca"],
            r"analysis='cca' is not one of cca_projection, cell_selectivity, chowers2023_",
        ),
        (["analysis=list", "runs=nowhere"], r"runs=nowhere: no run there; give a folder"),
    ],
)
def test_wrong_analysis(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    assert re.search(said, refusal(capsys, monkeypatch, tmp_path, "analyze", *arguments))


def test_a_checkpoint_of_another_network(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = {f"net.{k}": v for k, v in SpectrogramCNN(num_features=64).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "other.ckpt")
    weights = f"weights={tmp_path / 'other.ckpt'}"
    said = refusal(capsys, monkeypatch, tmp_path, "train", MODEL, weights, "data.source=simulated")
    assert "is a checkpoint of another network: 4 tensors differ, first class_weight" in said


def test_an_output_folder_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "outputs").write_text("a file where the folder should be")
    said = refusal(capsys, monkeypatch, tmp_path, "train", MODEL, "data.source=simulated")
    assert said.startswith("outputs/")
    assert "write elsewhere with hydra.run.dir=FOLDER" in said


def test_a_full_disk_is_said_with_the_remedy() -> None:
    error = OSError(28, "No space left on device", "/data/acc.npy")
    assert sentence(error).startswith("/data/acc.npy: No space left on device; free some")


def test_the_innermost_cause_is_what_is_said() -> None:
    inner, outer = ValueError("inner"), RuntimeError("outer")
    outer.__cause__ = inner
    assert innermost(outer) is inner


def test_an_unforeseen_error_says_how_to_see_where() -> None:
    assert sentence(KeyError("x")) == "KeyError: 'x' (HYDRA_FULL_ERROR=1 shows where)"


def test_numbers_of_groups_are_quoted() -> None:
    given = ["precision=32", "precision=32,bf16", "seed=32", "precision=bf16"]
    assert quote_numbers(given) == ["precision='32'", "precision='32',bf16", *given[2:]]


@pytest.mark.slow
def test_help_says_what_can_be_chosen(tmp_path: Path) -> None:
    said = run(tmp_path, "train.py", "--help")
    for choice in (
        "resnet56",
        "data: celeba, cifar10, cifar100, dsads, images, mnist_fsdd, rgbd, shl, text",
        "--cfg job",
    ):
        assert choice in said
