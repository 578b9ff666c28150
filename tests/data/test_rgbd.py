"""`RGBD`: pairs through the whole chain, folds, what is missing, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mmrep.batch import Batch
from mmrep.data.in_memory import InMemory
from mmrep.data.rgbd import RGBD, depth_bytes, filled
from tests.data.bu3dfe_miniature import write_bu3dfe
from tests.data.washington_miniature import write_washington

CLASSES = 10
OPTIONS: dict[str, Any] = {
    "set": "simulated",
    "num_classes": CLASSES,
    "size": 16,
    "folds": 3,
    "fold": 0,
    "split_by": "group",
    "missing": "fill",
    "augment": False,
    "corruption_rate": 0.0,
    "preset": "balanced",
    "rates": {},
    "instances": 3,
    "views": 4,
    "simulation_seed": 0,
    "frames": 18,
    "subjects": 3,
    "selection_seed": 0,
    "object_mask": False,
    "batch_size": 7,
    "seed": 0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where frames are rendered once."""
    return tmp_path_factory.mktemp("rgbd")


def module(folder: Path, **options: Any) -> RGBD:
    data = RGBD(data_dir=str(folder), **OPTIONS | options)
    data.prepare_data()
    data.setup("fit")
    return data


def inputs_of(data: Any, dataset: InMemory | None = None) -> dict[str, Tensor]:
    dataset = data.val_set if dataset is None else dataset
    loader = data._ordered(dataset)
    batches = [dataset.prepare(batch).inputs for batch in loader]
    return {name: torch.cat([one[name] for one in batches]) for name in batches[0]}


def test_each_frame_is_tested_in_one_fold(folder: Path) -> None:
    folds = [module(folder, fold=fold) for fold in range(3)]
    tested = torch.cat([data.val_set.index for data in folds])
    assert torch.equal(tested.sort().values, torch.arange(CLASSES * 3 * 4))
    for data in folds:
        assert not set(data.val_set.index.tolist()) & set(data.train_set.index.tolist())
        assert len(data.val_set) + len(data.train_set) == len(tested)
        groups = [set((part.index // 4).tolist()) for part in (data.train_set, data.val_set)]
        assert not groups[0] & groups[1]  # views of one object stay together
    frames = module(folder, split_by="frame")
    groups = [set((part.index // 4).tolist()) for part in (frames.train_set, frames.val_set)]
    assert groups[0] & groups[1]


def test_seeds_of_runs_share_frames_and_folds(folder: Path) -> None:
    a, b = module(folder, seed=0), module(folder, seed=1)
    assert torch.equal(a.val_set.index, b.val_set.index)
    assert a.facts()["fingerprint"] == b.facts()["fingerprint"]
    assert a.facts()["fingerprint"] != module(folder, fold=1).facts()["fingerprint"]
    assert a.facts()["source"] == "simulated"
    for other in ({"size": 17}, {"simulation_seed": 1}, {"rates": {"depth_noise": 0.9}}):
        facts = module(folder, **other).facts()
        assert facts["fingerprint"] != a.facts()["fingerprint"]


def test_rates_are_chosen(folder: Path) -> None:
    data = module(folder, rates={"depth_noise": 1, "depth_holes": 0, "colour_cast": None})
    assert (data.val_known["depth_noise"] > 0).all()
    assert (data.val_known["depth_holes"] == 0).all()
    assert torch.equal(data.val_known["colour_cast"], module(folder).val_known["colour_cast"])


def test_images_are_from_0_to_1_and_what_is_missing_is_filled_or_0(folder: Path) -> None:
    masked, whole = inputs_of(module(folder, missing="mask")), inputs_of(module(folder))
    assert masked["rgb"].shape[1:] == (3, 16, 16)
    assert masked["depth"].shape[1:] == (1, 16, 16)
    for images in (masked, whole):
        for image in images.values():
            assert image.dtype == torch.float32
            assert 0 <= image.min() <= image.max() <= 1
    gone = masked["depth"] == 0
    assert gone.any()
    assert (whole["depth"] > 0).all()
    assert torch.equal(whole["depth"][~gone], masked["depth"][~gone])
    assert masked["depth"][~gone].min() >= 0.1  # the farthest is not taken for missing
    assert torch.equal(whole["rgb"], masked["rgb"])


def test_nearest_is_brightest_and_outliers_are_cut_off() -> None:
    depth = torch.arange(500, 600, dtype=torch.int16).reshape(1, 1, 10, 10).repeat(3, 1, 1, 1)
    depth[1, 0, 0, 0] = 30_000
    depth[2] = 0
    depth[0, 0, 9, 9] = 0
    bright = depth_bytes(depth)
    assert bright[0, 0, 0, 0] == 255
    assert bright[0, 0, 9, 8] == 26
    assert bright[0, 0, 9, 9] == 0
    assert (bright[2] == 0).all()
    assert bright[1, 0, 0, 0] == 26  # the outlier, which leaves the others their range
    assert bright[1].unique().numel() > 80
    steps = bright[0].flatten()[2:97].int().diff()
    assert (steps <= 0).all()


def test_filling_takes_the_nearest_of_the_row() -> None:
    depth = torch.zeros(1, 1, 4, 6)
    depth[0, 0, 0] = torch.tensor([0, 0.2, 0, 0, 0, 0.7])
    depth[0, 0, 3, 2] = 0.5
    expected = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.7, 0.7])
    found = filled(depth)[0, 0]
    assert_close(found[0], expected)
    assert_close(found[1], expected)  # from above, the nearer of the two rows
    assert_close(found[2], torch.full((6,), 0.5))
    assert (filled(torch.zeros(2, 1, 4, 4)) == 0).all()


def test_both_images_of_a_pair_are_moved_alike(folder: Path) -> None:
    data = module(folder, augment=True, missing="mask")
    train = data.train_set
    train.inputs = train.inputs[:, :1].repeat(1, 4, 1, 1)  # depth is red, pixel by pixel
    torch.manual_seed(0)
    images = inputs_of(data, train)
    assert torch.equal(images["rgb"][:, :1], images["depth"])
    plain = inputs_of(data, data.plain_train_set)
    assert not torch.equal(plain["depth"], images["depth"])


@pytest.mark.parametrize("kind", RGBD.corruptions)
def test_corruption_does_not_depend_on_batches(folder: Path, kind: str) -> None:
    data, others = module(folder), module(folder, batch_size=1)
    bad, same = (
        inputs_of(one, one.corrupted_val_dataloader(kind, 0.6).dataset) for one in (data, others)
    )
    clean = inputs_of(data, data.corrupted_val_dataloader(kind, 0.0).dataset)
    for name, image in inputs_of(data).items():
        assert torch.equal(bad[name], same[name])
        assert torch.equal(clean[name], image)
        assert torch.equal(bad[name], image) is (name != kind.split("_")[0])


def test_training_alone_is_corrupted(folder: Path) -> None:
    data = module(folder, corruption_rate=1.0)
    torch.manual_seed(0)
    clean = inputs_of(data, data.plain_train_set)
    bad = inputs_of(data, data.train_set)
    changed = [(bad[name] != clean[name]).flatten(1).any(dim=1) for name in bad]
    assert torch.stack(changed).any(dim=0).double().mean() > 0.7
    assert torch.equal(inputs_of(data)["rgb"], inputs_of(module(folder))["rgb"])


def test_what_the_simulation_knows_goes_with_the_tested_frames(folder: Path) -> None:
    folds = [module(folder, fold=fold) for fold in range(3)]
    assert {"depth_noise", "depth_holes", "colour_cast"} <= folds[0].val_known.keys()
    for data in folds:
        assert all(len(values) == len(data.val_set) for values in data.val_known.values())
    noise = torch.cat([data.val_known["depth_noise"] for data in folds])
    assert 0 < (noise > 0).double().mean() < 1


def test_frames_are_rendered_once(folder: Path) -> None:
    module(folder)
    kept = {path: path.stat().st_mtime_ns for path in (folder / "rgbd").rglob("*.npy")}
    assert kept
    module(folder, fold=2, seed=5)
    assert {path: path.stat().st_mtime_ns for path in (folder / "rgbd").rglob("*.npy")} == kept


def test_washington_and_bu3dfe_come_in_their_official_layouts(tmp_path: Path) -> None:
    write_washington(tmp_path)
    data = module(tmp_path, set="washington", num_classes=3, folds=2)
    assert len(data.train_set) + len(data.val_set) == 18
    assert (data.name, data.simulated, data.val_known) == ("washington", False, {})
    assert inputs_of(data)["depth"].shape[1:] == (1, 16, 16)
    write_bu3dfe(tmp_path)
    faces = module(tmp_path, set="bu3dfe", num_classes=6)
    assert len(faces.train_set) + len(faces.val_set) == 3 * 12
    assert faces.facts()["name"] == "bu3dfe"
    assert faces.title == "BU-3DFE, fold 0 of 3 by group"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"set": "nyu"}, r"data\.set='nyu' is not one of simulated, washington, bu3dfe"),
        ({"missing": "drop"}, r"data\.missing='drop' is not one of fill, mask"),
        ({"fold": 3}, r"fold=3 is not one of the 3 folds 0 to 2: choose one of them"),
        ({"fold": -1}, r"fold=-1 is not one of the 3 folds"),
        ({"size": 8}, r"data\.size=8 must be at least 16 pixels"),
        ({"corruption_rate": 1.5}, r"data\.corruption_rate=1\.5 is a share, from 0 to 1"),
        ({"object_mask": True}, r"data\.object_mask=true: simulated has no masks"),
        ({"num_classes": 6}, r"data\.num_classes=6: there are 10, .* set data\.num_classes=10"),
        ({"views": 0}, r"data\.instances=3, data\.views=0: at least 1 each"),
        ({"rates": {"fog": 0.5}}, r"data\.rates\.fog=0\.5: .*colour_tells, shape_tells, "),
        ({"rates": {"depth_noise": 2}}, r"data\.rates\.depth_noise=2 is a share, from 0 to 1"),
        (
            {"preset": "balancd"},
            r"data\.preset='balancd' is not one of balanced, dominant, redundant, colour",
        ),
    ],
)
def test_wrong_input(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(folder, **options)


def test_unknown_corruption(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"corruption 'fog' at level 0.5: choose one of depth_n"):
        module(folder).corrupted_val_dataloader("fog", 0.5)


def test_batches_are_prepared_on_their_device(folder: Path) -> None:
    data = module(folder)
    batch: Batch = next(iter(data.val_dataloader()))
    assert batch.inputs.dtype == torch.uint8
    assert data.val_set.prepare(batch).index is batch.index
