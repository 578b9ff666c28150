"""The linear CNN is its formula, and only its filters are trained."""

import pytest
import torch
from torch.testing import assert_close

from mmrep.networks.linear_cnn import LinearCNN


@pytest.mark.parametrize("stride", [1, 3])
def test_output_is_the_sum_over_filters_of_the_mean_over_patches(stride: int) -> None:
    torch.manual_seed(0)
    net = LinearCNN(2, width=4, stride=stride, in_channels=2, initial_deviation=0.5).double()
    x = torch.randn(3, 2, 9, 9, dtype=torch.float64)
    assert net.features(x).shape == (3, 8)
    assert_close(net.head(net.features(x)), net(x))
    for image, outputs in zip(x, net(x), strict=True):
        for output, filters in zip(outputs, net.conv.weight.view(2, 4, 2, 3, 3), strict=True):
            patches = [
                image[:, i : i + 3, j : j + 3]
                for i in range(0, 7, stride)
                for j in range(0, 7, stride)
            ]
            products = torch.stack([(p * w).sum() for w in filters for p in patches])
            assert_close(output, products.view(4, -1).mean(dim=1).sum())


def test_only_filters_are_trained_and_noise_is_as_asked() -> None:
    torch.manual_seed(0)
    net = LinearCNN(initial_deviation=0.1)
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {"conv.weight"}
    assert net.conv.weight.std().item() == pytest.approx(0.1, rel=0.03)  # of 17,280
    assert LinearCNN().conv.weight.abs().max() == 0


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"num_outputs": 0}, "num_outputs=0 must be at least 1"),
        ({"width": 0}, "width=0 must be at least 1"),
        ({"initial_deviation": -1.0}, r"initial_deviation=-1.0 must not be negative"),
    ],
)
def test_wrong_choices_are_refused(choice: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LinearCNN(**choice)
