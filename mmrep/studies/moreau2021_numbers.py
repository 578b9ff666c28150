"""What Moreau et al. 2021 report, in percent: read off Figures 4 and 5 by eye, +-1 to 2 points.

Where two published generations of a figure differ, the middle of both.
"""

SAME_SENSOR: dict[str, dict[tuple[str, str], float]] = {  # at n = classes, by head and method
    "cifar10": {
        ("original", "all"): 89.5,
        ("original", "cca_highest"): 89.5,
        ("original", "pca"): 89.5,
        ("original", "max_activation"): 60,
        ("original", "random_projection"): 52,
        ("original", "random_selection"): 56,
        ("original", "cca_random"): 35,
        ("original", "cca_lowest"): 10,
        ("recipe", "cca_highest"): 89.5,
        ("recipe", "pca"): 89.5,
        ("recipe", "random_projection"): 87,
        ("recipe", "random_selection"): 87,
        ("recipe", "cca_random"): 50,
        ("recipe", "cca_lowest"): 13,
    },
    "gyr_y": {
        ("original", "all"): 81,
        ("original", "cca_highest"): 76,
        ("original", "pca"): 77,
        ("original", "max_activation"): 20.5,
        ("original", "random_projection"): 17.5,
        ("original", "random_selection"): 17,
        ("original", "cca_random"): 13,
        ("original", "cca_lowest"): 5,
        ("recipe", "cca_highest"): 79,
        ("recipe", "pca"): 80,
        ("recipe", "random_projection"): 73,
        ("recipe", "max_activation"): 70,
        ("recipe", "random_selection"): 65,
        ("recipe", "cca_random"): 27,
        ("recipe", "cca_lowest"): 9,
    },
    "acc_norm": {
        ("original", "all"): 89.5,
        ("original", "cca_highest"): 84.5,
        ("original", "pca"): 87.5,
        ("original", "max_activation"): 22,
        ("original", "random_projection"): 15,
        ("original", "random_selection"): 14,
        ("original", "cca_random"): 12,
        ("original", "cca_lowest"): 4.5,
        ("recipe", "cca_highest"): 88,
        ("recipe", "pca"): 89,
        ("recipe", "random_projection"): 82,
        ("recipe", "max_activation"): 73,
        ("recipe", "random_selection"): 76,
        ("recipe", "cca_random"): 27,
        ("recipe", "cca_lowest"): 9,
    },
    "mag_norm": {
        ("original", "all"): 67,
        ("original", "cca_highest"): 64.5,
        ("original", "pca"): 65.5,
        ("original", "max_activation"): 14.5,
        ("original", "random_projection"): 10.5,
        ("original", "random_selection"): 10.5,
        ("original", "cca_random"): 9.5,
        ("original", "cca_lowest"): 4,
        ("recipe", "cca_highest"): 67,
        ("recipe", "pca"): 67,
        ("recipe", "random_projection"): 58,
        ("recipe", "max_activation"): 57,
        ("recipe", "random_selection"): 55,
        ("recipe", "cca_random"): 20,
        ("recipe", "cca_lowest"): 9,
    },
}
CROSS_SENSOR_ALL = {"gyr_y": 81.5, "acc_norm": 89.5, "mag_norm": 67.5}  # Figure 5, all components
CROSS_SENSOR = {  # CCA highest at n = 8, by partner and tested sensor
    ("gyr_y", "gyr_y"): 78,
    ("gyr_y", "acc_norm"): 81.5,
    ("gyr_y", "mag_norm"): 64,
    ("acc_norm", "gyr_y"): 72.5,
    ("acc_norm", "acc_norm"): 85.5,
    ("acc_norm", "mag_norm"): 66.7,
    ("mag_norm", "gyr_y"): 70.5,
    ("mag_norm", "acc_norm"): 85,
    ("mag_norm", "mag_norm"): 65,
}


def same_sensor(data: str, sensor: str, head: str, method: str) -> float | None:
    """Figure 4's value at n = classes, of SHL by sensor, or of CIFAR-10; None where it has none."""
    panel = SAME_SENSOR.get("cifar10" if data == "cifar10" else sensor if data == "shl" else "", {})
    return panel.get((head, method))


def cross_sensor(data: str, partner: str, tested: str) -> float | None:
    """Figure 5's value of CCA highest at n = 8; None where it has none."""
    return CROSS_SENSOR.get((partner, tested)) if data == "shl" else None
