"""When states of a training are kept, and that they come back as they were."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from mmrep.snapshots import (
    SHARES,
    features_in,
    nearest,
    schedule,
    snapshots_of,
    weights_in,
    write_features,
    write_weights,
)
from mmrep.stats.representations import Representation
from tests.tasks.test_classification import pytestmark, task

__all__ = ["pytestmark"]  # the same warnings are expected here


def test_steps_are_doubled_within_the_first_epoch_then_epochs_follow() -> None:
    assert schedule(10, 3, 1) == [0, 1, 2, 4, 8, 10, 20, 22, 30]
    assert schedule(16, 2, 1) == [0, 1, 2, 4, 8, 11, 16, 24, 32]
    assert schedule(1, 4, 2) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [(1, 1, 1), (7, 5, 2), (391, 30, 1), (391, 200, 10), (3, 2, 5)])
def test_a_schedule_begins_ends_and_has_all_shares(size: tuple[int, int, int]) -> None:
    steps_per_epoch, epochs, every = size
    steps = schedule(*size)
    total = steps_per_epoch * epochs
    assert steps == sorted({*steps})
    assert (steps[0], steps[-1]) == (0, total)
    assert {round(share * total) for share in SHARES} <= {*steps}
    assert {n * every * steps_per_epoch for n in range(epochs // every + 1)} <= {*steps}
    assert len(steps) <= steps_per_epoch.bit_length() + epochs // every + 2 + len(SHARES)


def test_weights_come_back_bit_for_bit_with_the_samples_numbers(tmp_path: Path) -> None:
    net, index = task().net, torch.tensor([3, 5, 8])
    for step in (20, 0, 3):
        with torch.no_grad():
            net.get_parameter("head.weight").fill_(step)
        write_weights(tmp_path, step, step / 10, net, index)
    kept = snapshots_of(tmp_path)
    assert [(state.step, state.epoch, state.holds) for state in kept] == [
        (0, 0.0, "weights"), (3, 0.3, "weights"), (20, 2.0, "weights"),
    ]  # fmt: skip
    assert torch.equal(load_file(kept[1].path)["index"], index)
    found = weights_in(kept[1])
    assert found.keys() == net.state_dict().keys()
    assert (found["head.weight"] == 3).all()
    body = {name: tensor for name, tensor in net.state_dict().items() if name[:4] == "body"}
    assert all(torch.equal(found[name], tensor) for name, tensor in body.items())
    assert [nearest(kept, share) for share in SHARES] == [0, 1, 2, 2]


def test_features_come_back_as_they_were_in_single_precision(tmp_path: Path) -> None:
    maps = torch.randn(5, 3, 4, dtype=torch.complex128)
    layers = {
        "deep": Representation(torch.randn(5, 1, 6).double(), (1, 1), "dft", 2, True),
        "bed": Representation(maps, (2, 3), "dft", 2, True),
    }
    about = {"measure": "svcca", "reduction": "dft"}
    state = write_features(tmp_path, 7, 0.5, layers, torch.arange(5), about)
    (kept,) = snapshots_of(tmp_path)
    assert (kept.path, kept.comparison["measure"]) == (state.path, "svcca")
    index, found = features_in(kept)
    assert index.tolist() == [*range(5)]
    assert [*found] == ["deep", "bed"]  # in their order, not the alphabet's
    for name, layer in layers.items():
        assert found[name].values.dtype == layer.values.dtype
        assert found[name][1:] == layer[1:]
        assert_close(found[name].values, layer.values, atol=1e-6, rtol=1e-6)
