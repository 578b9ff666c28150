"""`MNISTFSDD` on miniature files, on simulated digits, and on the real sets where they are."""

import hashlib
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from numpy.testing import assert_array_equal
from scipy.io import wavfile
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.testing import assert_close

from mmrep.batch import Batch
from mmrep.data.digit_simulation import SPEAKERS as SIMULATED_SPEAKERS
from mmrep.data.digit_simulation import handwritten_digits, spoken_digits
from mmrep.data.digits import published_images, read_idx, read_recording
from mmrep.data.in_memory import PROJECT
from mmrep.data.mnist_fsdd import MNIST, MNISTFSDD, PUBLISHED_SPEAKERS, Pairs, _announce
from tests.data.digits_miniature import TAKES, random_digits, write_mnist, write_recordings

TRAIN, TEST = 12, 7  # images of each digit in the miniature files
VAL_TAKES, VAL_IMAGES = 5, 4
REAL = PROJECT / "data"
RECORDINGS = REAL / "free-spoken-digit-dataset" / "recordings"


def miniature(root: Path, **changes: Any) -> MNISTFSDD:
    if changes.get("source") == "simulated":  # which has none of the recordings' speakers
        changes = {"speakers": [*PUBLISHED_SPEAKERS]} | changes
    arguments: dict[str, Any] = {
        "data_dir": str(root),
        "source": "real",
        "num_classes": 10,
        "pairing": "consistent",
        "inconsistent": "different",
        "visual_train": "balanced",
        "visual_val": "first",
        "train_per_digit": 9,
        "val_per_digit": VAL_IMAGES,
        "speakers": ["anna", "bert"],
        "val_takes": VAL_TAKES,
        "takes": None,
        "auditory_image": "published",
        "auditory_scale": "clip",
        "batch_size": 10,
        "steps_per_execution": 4,
        "seed": 0,
    }
    data = MNISTFSDD(**arguments | changes)
    data.release = MNIST._replace(counts={"train": (TRAIN,) * 10, "t10k": (TEST,) * 10})
    return data


def ready(root: Path, **changes: Any) -> MNISTFSDD:
    data = miniature(root, **changes)
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    write_mnist(root / "mnist", train=TRAIN, test=TEST)
    write_recordings(root / "free-spoken-digit-dataset" / "recordings")
    return root


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> MNISTFSDD:
    nowhere = tmp_path_factory.mktemp("nowhere")
    return ready(nowhere, source="simulated", train_per_digit=None, val_takes=50, val_per_digit=50)


def rows(images: Tensor | np.ndarray) -> set[bytes]:
    """Pictures, told apart by what is to be seen."""
    return {np.asarray(image, dtype=np.float32).tobytes() for image in images}


def agreement(pairs: Pairs) -> float:
    return float((pairs.visual_label == pairs.auditory_label).float().mean())


def shown(pairs: Pairs) -> Batch:
    """The whole set in its order, as the network receives it."""
    return pairs.prepare(pairs[[*range(len(pairs))]])


def test_pairs_are_the_files_pixels_and_sounds(root: Path) -> None:
    data = ready(root)
    pixels, label = random_digits("train", TRAIN)
    drawn = {
        tuple(image): int(digit)
        for image, digit in zip(pixels.reshape(-1, 784), label, strict=True)
    }
    for image, digit in zip(data.train_set.visual, data.train_set.visual_label, strict=True):
        assert drawn[tuple(torch.round(image * 255).to(torch.uint8).tolist())] == digit

    folder = root / "free-spoken-digit-dataset" / "recordings"
    names = [f"{d}_{s}_{t}" for d in range(10) for s in ("anna", "bert") for t in range(TAKES)]
    assert data.heard.names == names
    expected = published_images([read_recording(folder / f"{n}.wav") for n in names], scale="clip")
    assert_close(data.train_set.auditory, torch.from_numpy(expected).flatten(1))
    assert expected.max() == 1  # over training and held-out takes together
    assert data.train_set.label.dtype == torch.int64


def test_validation_shows_the_first_images_of_each_digit_with_held_out_takes(root: Path) -> None:
    data = ready(root, pairing="inconsistent")
    pixels, label = random_digits("t10k", TEST)
    expected = np.concatenate([pixels[label == digit][:VAL_IMAGES] for digit in range(10)])
    visual = torch.from_numpy(expected.reshape(-1, 784)).float() / 255
    assert_close(data.val_set.visual, visual)
    assert data.val_set.visual_label.tolist() == np.repeat(range(10), VAL_IMAGES).tolist()
    assert agreement(data.val_set) == 1
    assert len(data.val_set.take.unique()) == 10 * VAL_IMAGES


@pytest.mark.parametrize("pairing", ["consistent", "inconsistent"])
@pytest.mark.parametrize("inconsistent", ["different", "shuffle"])
def test_what_is_held_out_is_never_trained_with(
    root: Path, pairing: str, inconsistent: str
) -> None:
    changes = {"pairing": pairing, "inconsistent": inconsistent, "visual_val": "random"}
    for seed in range(3):
        data = ready(root, seed=seed, **changes)
        train, val = shown(data.train_set), shown(data.val_set)
        for modality in ("visual", "auditory"):
            common = rows(train.target[modality]) & rows(val.target[modality])
            assert not common
        kept = data.train_set.take.unique()
        assert set(kept.tolist()) <= set(range(120)) - set(data.val_set.take.tolist())
        assert np.bincount(data.heard.label[kept]).max() <= 2 * TAKES - VAL_TAKES


def test_consistent_pairs_are_drawn_evenly_with_replacement(root: Path) -> None:
    takes: list[Tensor] = []
    for seed in range(20):
        train = ready(root, seed=seed, train_per_digit=TRAIN).train_set
        assert agreement(train) == 1
        takes.append(train.take[train.visual_label == 3])
    # 12 draws out of 7 takes: all different is impossible, and each seed leaves others out
    missed = [7 - len(drawn.unique()) for drawn in takes]
    assert np.mean(missed) == pytest.approx(7 * (6 / 7) ** 12, abs=0.6)


def test_inconsistent_pairs_never_agree_and_reach_every_other_digit(root: Path) -> None:
    seen = torch.zeros(10, 10)
    for seed in range(10):
        train = ready(root, pairing="inconsistent", seed=seed).train_set
        assert agreement(train) == 0
        seen.index_put_((train.visual_label, train.auditory_label), torch.ones(()), accumulate=True)
    assert not seen.diagonal().any()
    assert (seen + torch.eye(10) > 0).all()  # 10 expected of each, so 0 has the odds of exp(-10)


def test_a_shuffle_keeps_the_takes_and_a_tenth_of_the_agreement(root: Path) -> None:
    consistent = ready(root).train_set
    shares = []
    for seed in range(10):
        shuffled = ready(root, pairing="inconsistent", inconsistent="shuffle", seed=seed).train_set
        shares.append(agreement(shuffled))
        if seed == 0:
            assert shuffled.take.sort().values.tolist() == consistent.take.sort().values.tolist()
    assert np.mean(shares) == pytest.approx(0.1, abs=0.035)  # 3.5 standard errors


def test_pairings_differ_in_the_takes_alone(root: Path) -> None:
    one, other = ready(root), ready(root, pairing="inconsistent")
    assert torch.equal(one.train_set.visual, other.train_set.visual)
    assert torch.equal(one.train_set.auditory, other.train_set.auditory)
    assert torch.equal(one.val_set.visual, other.val_set.visual)
    assert torch.equal(one.val_set.take, other.val_set.take)
    assert not torch.equal(one.train_set.take, other.train_set.take)


@pytest.mark.parametrize("pairing", ["consistent", "inconsistent"])
def test_three_blocks_show_the_eye_the_ear_and_both(root: Path, pairing: str) -> None:
    data = ready(root, pairing=pairing)
    for pairs, first, num in ((data.train_set, 0, 90), (data.val_set, 270, 40)):
        batch = shown(pairs)
        assert batch.index.tolist() == [*range(first, first + 3 * num)]
        assert data.condition(batch.index).tolist() == np.repeat([0, 1, 2], num).tolist()
        visual, auditory = batch.inputs["visual"], batch.inputs["auditory"]
        full = {"visual": pairs.visual, "auditory": pairs.auditory[pairs.take]}
        for name in full:
            assert_close(batch.target[name], full[name].repeat(3, 1))
        nothing = torch.zeros(num, 784)
        assert_close(visual, torch.cat([full["visual"], nothing, full["visual"]]))
        assert_close(auditory, torch.cat([nothing, full["auditory"], full["auditory"]]))
        eye, ear = pairs.visual_label, pairs.auditory_label
        assert batch.label.tolist() == torch.cat([eye, ear, eye]).tolist()
        assert visual.dtype == auditory.dtype == torch.float32
    assert data.conditions == ("visual", "auditory", "both")
    assert data.image_shapes == {"visual": (28, 28), "auditory": (14, 56)}
    mixed = torch.tensor([270, 0, 389, 269, 90])
    assert data.condition(mixed).tolist() == [0, 0, 2, 2, 1]


def test_loaders_deal_out_every_sample_once(root: Path) -> None:
    data = ready(root)
    calls = [*data.train_dataloader()]
    assert [len(batch.index) for batch in calls] == [40] * 6 + [30]
    single = [*ready(root, steps_per_execution=1).train_dataloader()]
    assert len(single) == 27
    order = torch.cat([batch.index for batch in calls])
    assert torch.equal(order, torch.cat([batch.index for batch in single]))
    assert sorted(order.tolist()) == [*range(270)]
    for batches, first, size in (
        (data.val_dataloader(), 270, 120),
        (data.plain_train_dataloader(), 0, 270),
    ):
        index = torch.cat([batch.index for batch in batches])
        assert index.tolist() == [*range(first, first + size)]


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", f"file://{tmp_path}/rank", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_where_processes_train_together_a_call_is_one_batch(root: Path) -> None:
    data = ready(root)
    assert {len(batch.index) for batch in data.train_dataloader()} == {10}


def test_everything_follows_from_the_seed(root: Path) -> None:
    changes = {"pairing": "inconsistent", "visual_val": "random"}
    first, again, other = (ready(root, seed=seed, **changes) for seed in (3, 3, 4))
    assert first.facts() == again.facts()
    assert first.facts()["fingerprint"] != other.facts()["fingerprint"]
    for part in ("visual", "take"):
        for one, same, another in zip(
            (first.train_set, first.val_set),
            (again.train_set, again.val_set),
            (other.train_set, other.val_set),
            strict=True,
        ):
            assert torch.equal(getattr(one, part), getattr(same, part))
            assert not torch.equal(getattr(one, part), getattr(another, part))


def test_facts_name_the_choices_and_tell_sets_apart(root: Path) -> None:
    facts = ready(root).facts()
    assert (
        facts
        | {
            "source": "real",
            "num_train": 270,
            "num_val": 120,
            "pairing": "consistent",
            "speakers": ["anna", "bert"],
            "num_takes": 120,
        }
        == facts
    )
    changes: list[dict[str, Any]] = [
        {"pairing": "inconsistent"},
        {"pairing": "inconsistent", "inconsistent": "shuffle"},
        {"speakers": ["anna", "carl"]},
        {"takes": 5},
        {"auditory_image": "log_mel"},
        {"auditory_scale": "global"},
        {"visual_train": "first"},
        {"visual_val": "random"},
        {"val_takes": 4},
    ]
    prints = {ready(root, **change).facts()["fingerprint"] for change in changes}
    assert len(prints | {facts["fingerprint"]}) == 10


def test_the_first_images_come_in_the_files_order(root: Path) -> None:
    data = ready(root, visual_train="first")
    pixels, label = random_digits("train", TRAIN)
    assert data.train_set.visual_label.tolist() == label[:90].tolist()
    assert_array_equal((data.train_set.visual * 255).round(), pixels[:90].reshape(-1, 784))


def test_speakers_and_their_first_takes_can_be_chosen(root: Path) -> None:
    data = ready(root, speakers=["carl"], takes=5, val_takes=4)
    assert data.heard.names == [f"{d}_carl_{t}" for d in range(10) for t in range(5)]
    assert torch.bincount(data.train_set.take).count_nonzero() == 10  # one is left of each digit


def test_log_mel_images_are_an_option(root: Path) -> None:
    data = ready(root, auditory_image="log_mel", auditory_scale="global")
    images = data.train_set.auditory
    assert images.shape == (120, 784)
    assert images.min() >= 0
    assert images.max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "net"}, "data.source='net' is not one of auto, real, simulated"),
        ({"pairing": "both"}, "data.pairing='both' is not one of consistent, inconsistent"),
        ({"inconsistent": "no"}, "data.inconsistent='no' is not one of different, shuffle"),
        ({"visual_train": "all"}, "data.visual_train='all' is not one of balanced, first"),
        ({"visual_val": "all"}, "data.visual_val='all' is not one of first, random"),
        ({"auditory_image": "mel"}, "data.auditory_image='mel' is not one of published, log_mel"),
        ({"auditory_scale": "8"}, "data.auditory_scale='8' is not one of clip, global"),
        ({"num_classes": 8}, "data.num_classes=8: there are 10 digits"),
        ({"takes": 0}, "data.takes=0 must be at least 1"),
        ({"steps_per_execution": 0}, "data.steps_per_execution=0 must be at least 1"),
        ({"batch_size": 0}, "data.batch_size=0 must be at least 1"),
        ({"val_per_digit": 6}, "data.val_per_digit=6 .* data.val_takes=5 are held out"),
        ({"speakers": []}, r"data.speakers=\[\] leaves nobody"),
        ({"speakers": ["anna", "dora"]}, r"data.speakers=\['dora'\] .* anna, bert, carl"),
        ({"takes": 7}, "data.takes=7: anna has spoken the digit 0 6 times"),
        ({"val_takes": 12}, "data.val_takes=12 leaves none of the 12 takes of the digit 0"),
        ({"train_per_digit": 13}, "data.train_per_digit=13 is more than the 12 images of the dig"),
        (
            {"train_per_digit": 13, "visual_train": "first"},
            "the first 130 images, and there are 120",
        ),
        ({"val_per_digit": 8, "val_takes": 8}, "data.val_per_digit=8 is more than the 7 images"),
    ],
)
def test_a_choice_that_cannot_be_met_is_an_error(
    root: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ready(root, **changes)


def test_files_of_another_set_are_refused(root: Path) -> None:
    data = miniature(root)
    data.release = MNIST
    with pytest.raises(ValueError, match=r"mnist/train-\* hold 120 x 28 x 28 .* \[5923, 6742"):
        data.setup("fit")


def test_missing_files_are_fetched(tmp_path: Path) -> None:
    server, here = tmp_path / "server", tmp_path / "here"
    write_mnist(server, train=TRAIN, test=TEST, packed=True)
    folder = server / "free-spoken-digit-dataset-1.0.10" / "recordings"
    write_recordings(folder, speakers=["anna", "bert"])
    with zipfile.ZipFile(server / "v1.0.10.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.relative_to(server))
    data = miniature(here)
    sums = {
        name: hashlib.md5((server / f"{name}.gz").read_bytes()).hexdigest() for name in MNIST.files
    }
    data.release = data.release._replace(url=f"{server.as_uri()}/", files=sums)
    data.archive = (server / "v1.0.10.zip").as_uri()
    with pytest.raises(ValueError, match="brought 120 recordings instead of 3000: start again to"):
        data.prepare_data()
    shutil.rmtree(server)
    data.prepare_data()
    data.setup("fit")
    assert len(data.train_set) == 270


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    data = miniature(tmp_path)
    data.release = data.release._replace(url=f"{tmp_path.as_uri()}/nowhere/")
    with pytest.raises(
        FileNotFoundError, match=r"train-images.*put it into .*mnist; or choose data"
    ):
        data.prepare_data()


def test_auto_takes_real_files_where_they_are(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmrep.data.in_memory.PROJECT", tmp_path)
    known = {"source": "auto", "data_dir": None, "speakers": [*PUBLISHED_SPEAKERS]}
    assert miniature(root, **known).simulated  # there is no data/
    with pytest.raises(ValueError, match=r"\['anna', 'bert'\] are of real recordings"):
        miniature(root, source="auto", data_dir=None)
    (tmp_path / "data").symlink_to(root)
    assert not miniature(root, source="auto", data_dir=None).simulated
    assert not miniature(root, source="auto").simulated
    assert not miniature(tmp_path, source="auto").simulated  # a folder was named: fetch them there
    assert miniature(root, source="simulated").simulated


def test_simulated_digits_are_marked(
    simulated: MNISTFSDD, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulated.simulated
    assert simulated.facts()["source"] == "simulated"
    assert simulated.facts()["speakers"] == [*SIMULATED_SPEAKERS]
    assert "simulated" in simulated.title
    _announce.cache_clear()
    simulated.prepare_data()
    simulated.prepare_data()
    assert capsys.readouterr().out.count("Spoken digits are simulated") == 1


def test_simulated_speakers_have_so_many_takes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.takes=51: simulated speakers have 50 each"):
        ready(tmp_path, source="simulated", takes=51)


def test_simulated_digits_are_held_out_as_real_ones_are(simulated: MNISTFSDD) -> None:
    train, val = simulated.train_set, simulated.val_set
    assert torch.bincount(train.visual_label).tolist() == [124] * 10
    assert torch.bincount(val.visual_label).tolist() == [50] * 10
    assert not rows(train.visual) & rows(val.visual)
    assert not set(train.take.tolist()) & set(val.take.tolist())
    assert len(simulated.heard.label) == 1000
    assert 0 <= train.visual.min() < train.visual.max() == 1
    images, label = handwritten_digits()
    known = {image.tobytes(): digit for image, digit in zip(images, label, strict=True)}
    for image, digit in zip(val.visual, val.visual_label, strict=True):
        assert known[(image * 255).round().to(torch.uint8).numpy().tobytes()] == digit


def test_simulated_speech_tells_the_digits_apart(simulated: MNISTFSDD) -> None:
    train, val = simulated.train_set, simulated.val_set
    heard = train.take.unique()
    inputs, label = train.auditory[heard].numpy(), simulated.heard.label[heard]
    test, expected = val.auditory[val.take].numpy(), val.auditory_label.numpy()
    regression = LogisticRegression(max_iter=300).fit(inputs, label)
    assert 0.7 < regression.score(test, expected) < 0.97  # of real recordings 0.77


def test_simulated_takes_follow_from_the_seed_one_by_one() -> None:
    three, ids = spoken_digits(3, 0)
    two, fewer = spoken_digits(2, 0)
    kept = ids[:, 2] < 2
    assert_array_equal(ids[kept], fewer)
    assert_array_equal(three[kept], two)
    assert len({clip.tobytes() for clip in three}) == 60
    assert not np.array_equal(spoken_digits(2, 1)[0], two)
    assert np.abs(three).max() > 0.1
    loud = np.abs(three) > 0.01 * np.abs(three).max(axis=1, keepdims=True)
    assert not loud[:, 7200:].any()  # all is said within 0.9 s


@pytest.fixture(scope="module")
def real() -> MNISTFSDD:
    """As the published program took them."""
    data = miniature(
        REAL,
        visual_train="first",
        train_per_digit=500,
        val_per_digit=50,
        speakers=["jackson", "theo"],
        val_takes=50,
    )
    data.release = MNIST
    if not (REAL / "mnist").is_dir() or not RECORDINGS.is_dir():
        pytest.skip(f"no MNIST and FSDD in {REAL}")
    data.setup("fit")
    return data


@pytest.mark.real
def test_real_counts_are_the_published_ones(real: MNISTFSDD) -> None:
    assert (len(real.train_set), len(real.val_set)) == (15000, 1500)
    counts = [479, 563, 488, 493, 535, 434, 501, 550, 462, 495]
    assert torch.bincount(real.train_set.visual_label).tolist() == counts
    assert agreement(real.train_set) == agreement(real.val_set) == 1
    pixels = read_idx(REAL / "mnist" / "t10k-images-idx3-ubyte", 3)
    label = read_idx(REAL / "mnist" / "t10k-labels-idx1-ubyte", 1)
    first = np.concatenate([pixels[label == digit][:50] for digit in range(10)])
    assert_array_equal((real.val_set.visual * 255).round(), first.reshape(-1, 784))


@pytest.mark.real
def test_real_images_have_the_published_levels(real: MNISTFSDD) -> None:
    levels = real.train_set.auditory * 246
    assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert levels.max() == 246
    assert real.train_set.auditory.mean() == pytest.approx(0.023, abs=1e-3)  # 0.0225
    longer = [
        path.stem
        for path in RECORDINGS.glob("*.wav")
        if path.stem.split("_")[1] in ("jackson", "theo") and len(wavfile.read(path)[1]) > 8000
    ]
    assert sorted(longer) == ["5_theo_36", "7_theo_36", "9_theo_16", "9_theo_28"]
