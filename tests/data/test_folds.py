"""Folds: each frame once, groups whole, classes even, and what cannot be split."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from mmrep.data.folds import folds_of

CLASSES, GROUPS, VIEWS = 4, 6, 7
LABEL = torch.arange(CLASSES).repeat_interleave(GROUPS * VIEWS)
GROUP = torch.arange(CLASSES * GROUPS).repeat_interleave(VIEWS)


def counts(fold: torch.Tensor, by: torch.Tensor, folds: int) -> np.ndarray:
    table = np.zeros((int(by.max()) + 1, folds), dtype=int)
    np.add.at(table, (by.numpy(), fold.numpy()), 1)
    return table


@pytest.mark.parametrize("folds", [2, 3, 5, 6])
def test_groups_are_whole_and_classes_even(folds: int) -> None:
    fold = folds_of(LABEL, GROUP, folds=folds, split_by="group", seed=0)
    assert (counts(fold, GROUP, folds) > 0).sum(axis=1).max() == 1
    assert np.ptp(counts(fold, LABEL, folds), axis=1).max() <= VIEWS  # one group
    assert np.ptp(counts(fold, LABEL, folds).sum(axis=0)) <= VIEWS


def test_frames_are_dealt_out_one_by_one() -> None:
    fold = folds_of(LABEL, GROUP, folds=5, split_by="frame", seed=0)
    assert np.ptp(counts(fold, LABEL, 5), axis=1).max() <= 1
    assert ((counts(fold, GROUP, 5) > 0).sum(axis=1) > 1).all()  # every group is on both sides


def test_groups_of_several_classes() -> None:
    """Subjects show every expression."""
    label, group = torch.arange(6).repeat(20), torch.arange(20).repeat_interleave(6)
    fold = folds_of(label, group, folds=10, split_by="group", seed=1)
    assert (counts(fold, label, 10) == 2).all()
    assert ((counts(fold, group, 10) > 0).sum(axis=1) == 1).all()


def test_seeds_decide_and_the_order_of_frames_does_not() -> None:
    options = {"folds": 3, "split_by": "group"}
    fold = folds_of(LABEL, GROUP, **options, seed=0)
    assert_array_equal(fold, folds_of(LABEL, GROUP, **options, seed=0))
    assert not torch.equal(fold, folds_of(LABEL, GROUP, **options, seed=1))
    order = torch.randperm(len(LABEL), generator=torch.Generator().manual_seed(0))
    assert_array_equal(fold[order], folds_of(LABEL[order], GROUP[order], **options, seed=0))


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match=r"data\.split_by='object' is not one of group, frame"):
        folds_of(LABEL, GROUP, folds=2, split_by="object", seed=0)
    with pytest.raises(ValueError, match=r"data\.folds=1 must be 2 or more, and at most the 24 g"):
        folds_of(LABEL, GROUP, folds=1, split_by="group", seed=0)
    with pytest.raises(ValueError, match="class 0 has all its frames in one fold"):
        folds_of(LABEL, LABEL, folds=2, split_by="group", seed=0)
