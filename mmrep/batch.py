"""What every data set yields and every task receives."""

from typing import NamedTuple

from torch import Tensor

PADDING = -100  # the label of what is no sample: behind the end of a text that is shorter


class Batch(NamedTuple):
    """Some samples of a data set: inputs, class, and the number of each sample in its set.

    `inputs` is a tensor, or a dict of tensors by modality where there are several. `index` lets the
    features of two networks be matched: row i of both must be the same sample. `target` is what a
    reconstruction should give, by modality, where that is not the inputs themselves.
    """

    inputs: Tensor | dict[str, Tensor]
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which no batch needs
    target: dict[str, Tensor] | None = None
