"""What the plotting scripts of Eguchi et al. 2019 hold: one run of each network.

Networks are named by framework, depth and pairing, as `eguchi2019_runs.Kind`.
"""

CELL_CLASSES = ("visual", "auditory", "inconsistent", "consistent")
CELLS = {  # cells of each class, of 64
    ("mixed", 1, "consistent"): (10, 24, 3, 7),
    ("mixed", 2, "consistent"): (3, 16, 17, 13),
    ("mixed", 3, "consistent"): (16, 3, 15, 26),
    ("mixed", 4, "consistent"): (12, 3, 9, 29),
    ("mixed", 1, "inconsistent"): (12, 21, 4, 1),
    ("mixed", 2, "inconsistent"): (20, 17, 7, 0),
    ("mixed", 3, "inconsistent"): (28, 7, 22, 0),
    ("mixed", 4, "inconsistent"): (33, 9, 13, 2),
    ("two-stage", 4, "consistent"): (14, 9, 16, 17),
}

SHARED = {  # accuracy of heads on the last layer, in percent: tested on vision, on audition
    ("mixed", 1, "consistent"): {"V2A": (93.6, 42.6), "A2V": (26.4, 71.8)},
    ("mixed", 2, "consistent"): {"V2A": (91.2, 52.6), "A2V": (60.4, 70.6)},
    ("mixed", 3, "consistent"): {"V2A": (90.4, 53.2), "A2V": (61.0, 69.4)},
    ("mixed", 4, "consistent"): {"V2A": (93.2, 34.6), "A2V": (44.2, 59.2)},
    ("mixed", 1, "inconsistent"): {"V2A": (94.0, 9.8), "A2V": (7.4, 74.2)},
    ("mixed", 2, "inconsistent"): {"V2A": (93.0, 12.6), "A2V": (9.0, 71.0)},
    ("mixed", 3, "inconsistent"): {"V2A": (89.8, 7.4), "A2V": (5.4, 61.2)},
    ("mixed", 4, "inconsistent"): {"V2A": (93.2, 10.0), "A2V": (7.2, 62.8)},
    ("two-stage", 4, "consistent"): {"V2A": (92.2, 21.8), "A2V": (22.8, 74.0)},
}

# Heads on layers 1 to 4 of the network of four, in percent, by pairing, direction, tested modality.
SHARED_BY_LAYER = {
    ("consistent", "V2A", "visual"): (92.6, 93.4, 92.4, 93.2),
    ("consistent", "V2A", "auditory"): (16.6, 27.2, 28.6, 34.6),
    ("consistent", "A2V", "visual"): (27.8, 48.0, 56.0, 44.2),
    ("consistent", "A2V", "auditory"): (73.6, 64.0, 60.4, 59.2),
    ("inconsistent", "V2A", "auditory"): (9.2, 7.4, 12.6, 10.0),
    ("inconsistent", "A2V", "visual"): (6.8, 4.4, 7.8, 7.2),
}

# Of the paper's t-test over ten repetitions: p was below this.
MIXED_ABOVE_TWO_STAGE = {"V2A": 0.05, "A2V": 0.005}


def shared_accuracy(
    network: tuple[str, int, str], layer: int, direction: str, tested: str
) -> float | None:
    """In percent, of heads on a layer of the encoder; None where it was not published."""
    framework, depth, pairing = network
    if (framework, depth) == ("mixed", 4) and (pairing, direction, tested) in SHARED_BY_LAYER:
        return SHARED_BY_LAYER[pairing, direction, tested][layer - 1]
    last = 1 if framework == "two-stage" else depth
    if layer != last or network not in SHARED:
        return None
    return SHARED[network][direction][("visual", "auditory").index(tested)]
