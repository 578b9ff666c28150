"""The spectrogram CNN against the authors' numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmrep.networks.shl_cnn import SpectrogramCNN

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "shl_cnn_forward.npz"


def test_number_of_parameters_is_the_published_one() -> None:
    assert sum(p.numel() for p in SpectrogramCNN().parameters()) == 229_256


def test_features_are_rectified_and_lead_to_the_logits() -> None:
    net = SpectrogramCNN().eval()
    x = torch.randn(3, 1, 48, 48)
    features = net.features(x)
    assert features.shape == (3, 128)
    assert features.min() == 0
    assert_close(net.head(features), net(x))


def test_another_shape_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"got \(3, 32, 32\): choose data=shl or data=dsads"):
        SpectrogramCNN().features(torch.zeros(1, 3, 32, 32))


@pytest.mark.reference
def test_equals_the_published_program() -> None:
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE.name} is not beside the project")
    stored = np.load(REFERENCE)
    net = SpectrogramCNN().eval()
    theirs = [torch.from_numpy(stored[name]) for name in stored.files if name.startswith("state/")]
    with torch.no_grad():
        for ours, their in zip(net.parameters(), theirs, strict=True):
            ours.copy_(their)
        features = net.features(torch.from_numpy(stored["x"]))
        logits = net.head(features)
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    assert_close(features, torch.from_numpy(stored["features_after_relu"]), **tolerance)
    assert_close(logits, torch.from_numpy(stored["logits"]), **tolerance)
    counts = torch.tensor([2302, 2190, 686, 2101, 2475, 2083, 2520, 1953])  # facts of the set
    labels = torch.from_numpy(stored["loss_labels"]).long()
    loss = F.cross_entropy(logits, labels, 1 / counts)
    assert_close(loss, torch.from_numpy(stored["weighted_ce_loss"]).float(), **tolerance)
