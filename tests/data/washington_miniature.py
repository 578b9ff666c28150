"""Writes some frames of Washington RGB-D Object as its authors distribute them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

INSTANCES = {"apple": 2, "cell_phone": 3, "dry_battery": 2}  # of each category


def write_washington(
    folder: Path,
    *,
    instances: Mapping[str, int] = INSTANCES,
    frames: int = 4,
    size: tuple[int, int] = (12, 10),
    seed: int = 0,
) -> Path:
    """`folder`/washington with so many frames of each instance, `size` their width and height.

    Numbers count from 1, those of frames by 5, as where the authors took every fifth; the second
    half of the frames is of a second sequence. The object is the middle of a crop, at about 0.7 m,
    and behind it is depth of 2 m, of 40 m or none; a tenth of all depth is missing.
    """
    random = np.random.default_rng(seed)
    width, height = size
    middle = np.zeros((height, width), dtype=bool)
    middle[height // 4 : -(height // 4), width // 4 : -(width // 4)] = True
    source = folder / "washington" / "rgbd-dataset"
    for category, number in instances.items():
        for instance in range(1, number + 1):
            inside = source / category / f"{category}_{instance}"
            inside.mkdir(parents=True)
            for frame in range(frames):
                sequence = 1 if 2 * frame < frames else 2
                stem = f"{inside.name}_{sequence}_{5 * frame + 1}"
                colour = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
                near = random.integers(600, 800, (height, width))
                wall = random.choice([0, 2_000, 40_000], (height, width))
                depth = np.where(middle, near, wall)
                depth[random.random((height, width)) < 0.1] = 0
                Image.fromarray(colour).save(inside / f"{stem}_crop.png")
                Image.fromarray(depth.astype(np.uint16)).save(inside / f"{stem}_depthcrop.png")
                Image.fromarray(middle).save(inside / f"{stem}_maskcrop.png")
                (inside / f"{stem}_loc.txt").write_text("207,165")
    return source.parent
