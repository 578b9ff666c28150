"""Chowers & Weiss 2023, Tables 1 to 3: correlations of energy profiles, and their deviations."""

from typing import NamedTuple


class Published(NamedTuple):
    """Mean and deviation; the tables print deviations above 0.04 only, and Table 3 all."""

    mean: float
    deviation: float | None = None


SEEDS, WIDTHS, INITIALISATION, ARCHITECTURES = "seeds", "widths", "initialisation", "VGG and ResNet"
TABLE_1 = {
    "CIFAR-10": {
        SEEDS: Published(0.99),
        WIDTHS: Published(0.98),
        INITIALISATION: Published(-0.13, 0.18),
        ARCHITECTURES: Published(0.87),
    },
    "CIFAR-100": {
        SEEDS: Published(0.97),
        WIDTHS: Published(0.98),
        INITIALISATION: Published(-0.04, 0.04),
        ARCHITECTURES: Published(0.80),
    },
    "CelebA": {
        SEEDS: Published(0.99),
        WIDTHS: Published(0.98),
        INITIALISATION: Published(-0.18, 0.13),
        ARCHITECTURES: Published(0.92),
    },
}
TRUE_AND_RANDOM = "true and random labels"
RANDOM_INITIALISATION = "random labels and initialisation"
TABLE_2 = {  # VGG11
    "CIFAR-10": {
        RANDOM_INITIALISATION: Published(0.03, 0.22),
        TRUE_AND_RANDOM: Published(0.90, 0.02),
    },
    "CIFAR-100": {
        RANDOM_INITIALISATION: Published(0.14, 0.13),
        TRUE_AND_RANDOM: Published(0.91, 0.01),
    },
    "CelebA": {
        RANDOM_INITIALISATION: Published(0.08, 0.07),
        TRUE_AND_RANDOM: Published(0.96, 0.03),
    },
}
TABLE_3 = {  # with the formula at its best step
    "ImageNet": Published(0.9, 0.01),
    "CIFAR-10": Published(0.94, 0.01),
    "CelebA": Published(0.96, 0.01),
    # classes in alphabetic order
    "CIFAR-10 automobile/truck": Published(0.93, 0.01),
    "CIFAR-10 dog/frog": Published(0.91, 0.02),
    "CIFAR-10 cat/dog": Published(0.95, 0.01),
    "CIFAR-10 airplane/bird": Published(0.96, 0.005),
    "CIFAR-10 airplane/ship": Published(0.96, 0.01),
}
FORMULA_OF_INITIALISATION = Published(0.1, 0.15)

# What the text claims: at least so much, at most so much.
ALIKE = {
    SEEDS: 0.97,
    WIDTHS: 0.98,
    ARCHITECTURES: 0.80,
    TRUE_AND_RANDOM: 0.90,
}  # the lowest printed
UNLIKE = 0.3  # no printed mean is further from 0 than its deviation and this
EXPLAINED = 0.9  # "consistently above 0.9"
