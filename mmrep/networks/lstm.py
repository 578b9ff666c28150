"""Stacked LSTM for words (Zaremba, Sutskever & Vinyals 2014, arXiv 1409.2329)."""

import math
from collections.abc import Mapping

from jaxtyping import Bool, Float
from torch import Tensor, nn

State = tuple[Float[Tensor, "1 streams units"], Float[Tensor, "1 streams units"]]


class StackedLSTM(nn.Module):
    """`depth` LSTM layers of `units` units between an embedding and the logits of the next word.

    Inputs are `tokens`, some words of each stream, and `starts`, whether a stream begins there:
    then it is read from a state of zeros, else from where the inputs before have left it. The state
    is carried on without its gradient, apart for training and for evaluation, so that neither
    disturbs the other, and it is no part of the weights.

    Dropout is on what goes from layer to layer and not from word to word, as in the paper, the
    embedding's and the last layer's output included. With `tied` the head's weight is the
    embedding's (Press & Wolf 2017).

    The paper's and PyTorch's small weights leave five layers at the frequencies of words for many
    epochs. Here those of the LSTMs are uniform with variance 1/units and those of the embedding
    normal with variance 1, so that layers hand on what comes in; biases are 0 but for the forget
    gates' 1 (Jozefowicz, Zaremba & Sutskever 2015). The head's are within 0.1 of 0, its biases 0.
    """

    def __init__(
        self, num_words: int, depth: int, units: int, dropout: float, tied: bool = False
    ) -> None:
        super().__init__()
        for name, value in (("num_words", num_words), ("depth", depth), ("units", units)):
            if value < 1:
                raise ValueError(f"model.net.{name}={value} must be at least 1")
        if not 0 <= dropout < 1:
            raise ValueError(f"model.net.dropout={dropout} is no share from 0 to below 1")
        self.embedding = nn.Embedding(num_words, units)
        self.layers = nn.ModuleList(nn.LSTM(units, units, batch_first=True) for _ in range(depth))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(units, num_words)
        self._initialise(math.sqrt(3 / units))
        if tied:
            self.head.weight = self.embedding.weight
        self.carried: dict[bool, list[State]] = {}  # of training and of evaluation

    def features(self, inputs: Mapping[str, Tensor]) -> Float[Tensor, "streams time units"]:
        hidden = self.dropout(self.embedding(inputs["tokens"]))
        states = self._states(inputs["starts"], hidden)
        left = []
        for layer, state in zip(self.layers, states, strict=True):
            hidden, (output, cell) = layer(hidden, state)
            left.append((output.detach(), cell.detach()))
            hidden = self.dropout(hidden)
        self.carried[self.training] = left
        return hidden

    def forward(self, inputs: Mapping[str, Tensor]) -> Float[Tensor, "streams time words"]:
        return self.head(self.features(inputs))

    def _initialise(self, bound: float) -> None:
        for name, parameter in self.layers.named_parameters():
            if "weight" in name:
                nn.init.uniform_(parameter, -bound, bound)
            else:
                nn.init.zeros_(parameter)
            if "bias_ih" in name:  # of input, forget gate, cell and output
                nn.init.ones_(parameter.chunk(4)[1])
        nn.init.uniform_(self.head.weight, -0.1, 0.1)
        nn.init.zeros_(self.head.bias)

    def _states(
        self, starts: Bool[Tensor, "streams"], hidden: Float[Tensor, "streams time units"]
    ) -> list[State]:
        """Where each layer goes on: zeros for streams that begin."""
        zeros = hidden.new_zeros(1, len(starts), hidden.shape[-1])
        if starts.all():
            return [(zeros, zeros)] * len(self.layers)
        before = self.carried.get(self.training, [])
        found = before[0][0].shape[1] if before else 0
        if found != len(starts):
            raise ValueError(
                f"{len(starts)} streams go on, and {found} were read before: let all of them start"
            )
        goes_on = ~starts[:, None]
        return [(output.to(zeros) * goes_on, cell.to(zeros) * goes_on) for output, cell in before]
