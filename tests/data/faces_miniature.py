"""Writes some faces of CelebA as its authors distribute them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ATTRIBUTES = (
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs"),
    *("Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair"),
    *("Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair"),
    *("Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache"),
    *("Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline"),
    *("Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings"),
    *("Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young"),
)


def random_image(width: int, height: int, seed: int) -> Image.Image:
    """Random pixels, enlarged until they are so smooth that JPEG keeps them."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def write_faces(folder: Path, partition: Sequence[int], seed: int = 0) -> np.ndarray:
    """`folder`/celeba with an image for each of `partition`; gives their attributes, 1 or -1."""
    random = np.random.default_rng(seed)
    attributes = random.choice([-1, 1], (len(partition), len(ATTRIBUTES)))
    images = folder / "celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    names = [f"{number:06}.jpg" for number in range(1, len(partition) + 1)]
    for number, name in enumerate(names):
        random_image(178, 218, seed + number).save(images / name, quality=95)
    lines = [
        " ".join([name, *(f"{value:2}" for value in row)])
        for name, row in zip(names, attributes, strict=True)
    ]
    lists = {
        "list_attr_celeba.txt": [str(len(names)), " ".join(ATTRIBUTES) + " ", *lines],
        "list_eval_partition.txt": [f"{n} {p}" for n, p in zip(names, partition, strict=True)],
    }
    for name, content in lists.items():
        (folder / "celeba" / name).write_text("\n".join(content) + "\n")
    return attributes
