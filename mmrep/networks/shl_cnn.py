"""Spectrogram CNN for one inertial sensor (Ito et al., UbiComp 2018, 10.1145/3267305.3267517)."""

from jaxtyping import Float
from torch import Tensor, nn


class SpectrogramCNN(nn.Module):
    """Three conv blocks and a dense layer, whose rectified output is what the analyses read.

    The constants are those of Moreau et al. 2021: 229,256 parameters with 8 classes.
    """

    def __init__(
        self,
        num_classes: int = 8,
        num_features: int = 128,
        conv_dropout: float = 0.25,
        head_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv_block(1, 16, padding=1),  # 48 -> 24
            _conv_block(16, 32, padding=1),  # 24 -> 12
            _conv_block(32, 64, padding=0),  # 12 -> 10 -> 5
            nn.Flatten(),
            nn.Dropout(conv_dropout),
            nn.Linear(64 * 5 * 5, num_features),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(head_dropout), nn.Linear(num_features, num_classes))

    def features(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        if x.shape[1:] != (1, 48, 48):
            raise ValueError(
                f"SpectrogramCNN takes spectrograms of 1 x 48 x 48, got {tuple(x.shape[1:])}: "
                "choose data=shl or data=dsads"
            )
        return self.body(x)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        return self.head(self.features(x))


def _conv_block(in_channels: int, out_channels: int, padding: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=padding)
    return nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2))
