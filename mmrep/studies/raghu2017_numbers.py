"""What the figures of Raghu et al. 2017, and of the page of their program, show."""

# Layers of the convolutional network that batch norm follows: the figure's 2 x 2 blocks.
NORMALISED = {"ConvNet": (("c2", "bn1"), ("c5", "bn2"), ("fc1", "bn3"), ("fc2", "bn4"))}

OUTPUTS = ("logits", "linear")  # last layers, which have no more units than there are classes

# Similarity of stacked LSTM layers with their final state before training, by the number of layers:
# 3 on Penn Treebank, 5 on WikiText-2, 500 and 750 epochs, as Morcos et al. 2018 train them.
LSTM_NUMBERS = {3: (0.54, 0.45, 0.35), 5: (0.55, 0.49, 0.45, 0.43, 0.39)}
