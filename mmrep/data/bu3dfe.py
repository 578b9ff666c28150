"""BU-3DFE: scanned faces of 100 people who show six expressions, each in four intensities.

Yin, Wei, Sun, Wang & Rosato 2006, "A 3D facial expression database for facial behavior research",
10.1109/FGR.2006.6; fetched by hand after a licence. Read from the official layout:
SUBJECT/SUBJECT_EXPRESSIONINTENSITYETHNICITY_F2D.bmp (a picture of the face) and ..._F3D.wrl (its
mesh in millimetres), such as F0001/F0001_AN01WH_F2D.bmp. Neutral faces, raw scans (RAW) and
landmarks (.bnd, .pse) are not read.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int16

from mmrep.data import depth_mesh
from mmrep.data.cache import cached_array, code_digest
from mmrep.data.depth_mesh import read_mesh, render_depth
from mmrep.data.image_files import decoded_images, files_digest, in_chunks, squeezed
from mmrep.data.rgbd_frames import RGBDFrames
from mmrep.data.washington import equal_shares

URL = "https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html"
EXPRESSIONS = {
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happiness",
    "SA": "sadness",
    "SU": "surprise",
}
INTENSITIES = ("03", "04")  # the two highest of 01 to 04, which are what the literature uses
PICTURE, MESH = "_F2D.bmp", "_F3D.wrl"
ENDING = rf"([A-Z]{{2}})({re.escape(PICTURE)}|{re.escape(MESH)})"  # of ethnicity and kind


class Scan(NamedTuple):
    """One face: the numbers of its expression and of its subject, and its path up to `PICTURE`."""

    label: int
    group: int
    path: str


def read_bu3dfe(folder: Path, *, size: int, subjects: int | None = 60, seed: int) -> RGBDFrames:
    """The two highest intensities of every expression of so many `subjects`, or of all.

    As many women as men are taken, as far as there are enough; who they are is drawn by `seed`.
    Labels number `EXPRESSIONS`, `group` all subjects in `folder` by name, `index` their scans by
    subject, expression and intensity. Pictures are squeezed to `size` x `size` (bilinear,
    antialiased), and meshes rendered to as many pixels, each fitted by itself, as `render_depth`
    says: pictures and depth show the same face, but not pixel by pixel.

    FileNotFoundError, ValueError: there are no subjects, or too few, or a file of one is missing
    or of no use.
    """
    people = subjects_in(folder)
    if subjects is not None and not 1 <= subjects <= len(people):
        raise ValueError(
            f"data.subjects={subjects}: there are {len(people)} in {folder}; ask for 1 to as many, "
            "or null for all"
        )
    everything = [
        scan for number, name in enumerate(people) for scan in scans(folder, name, number)
    ]
    taken = choose(people, len(people) if subjects is None else subjects, seed)
    index = [place for place, scan in enumerate(everything) if scan.group in taken]
    chosen = [everything[place] for place in index]
    paths = [scan.path for scan in chosen]
    cache, how = folder / "converted", {"size": size, "code": code_digest(__file__)}

    rgb = decoded_images(
        folder,
        [path + PICTURE for path in paths],
        lambda image: squeezed(image, size),
        size,
        cache=cache,
        title=f"colour_{size}",
        key=how,
    )
    made = how | {
        "files": files_digest(folder, [path + MESH for path in paths]),
        "renderer": code_digest(depth_mesh.__file__),
    }
    depth = cached_array(
        cache,
        f"depth_{size}",
        made,
        (len(paths), 1, size, size),
        in_chunks(lambda path: rendered(folder / (path + MESH), size)[None], paths),
        dtype="<i2",
    )
    return RGBDFrames(
        rgb,
        torch.from_numpy(depth),
        torch.tensor([scan.label for scan in chosen]),
        torch.tensor([scan.group for scan in chosen]),
        torch.tensor(index),
        tuple(EXPRESSIONS.values()),
        {},
    )


def subjects_in(folder: Path) -> list[str]:
    """The names of all subjects that have a folder, women first.

    FileNotFoundError: there are none.
    """
    there = [path.name for path in folder.glob("*/")]
    people = sorted(name for name in there if re.fullmatch(r"[FM]\d{4}", name))
    if not people:
        raise FileNotFoundError(
            f"no subjects of BU-3DFE in {folder}: fetch the set by hand, after a licence, from "
            f"{URL} and unpack it there, as F0001/F0001_AN01WH{PICTURE} and so on"
        )
    return people


def scans(folder: Path, subject: str, number: int) -> list[Scan]:
    """The twelve scans that are used of one subject, whose `number` is its group.

    FileNotFoundError: one is missing, or has a picture and no mesh, or the reverse.
    """
    names = sorted(path.name for path in (folder / subject).iterdir())
    found: list[Scan] = []
    for label, expression in enumerate(EXPRESSIONS):
        for intensity in INTENSITIES:
            what = f"{subject}_{expression}{intensity}"
            matches = [match for name in names if (match := re.fullmatch(what + ENDING, name))]
            if not matches:
                raise FileNotFoundError(
                    f"there is no {folder / subject / what}..{PICTURE} (.. is the ethnicity): put "
                    f"it there again, or take {subject} away"
                )
            scan = f"{subject}/{what}{matches[0][1]}"
            for missing in {PICTURE, MESH} - {kind for _, kind in map(re.Match.groups, matches)}:
                raise FileNotFoundError(
                    f"there is no {folder / scan}{missing} beside {matches[0].group()}: put it "
                    f"there again, or take {subject} away"
                )
            found.append(Scan(label, number, scan))
    return found


def choose(people: list[str], total: int, seed: int) -> set[int]:
    """The numbers of `total` people, as `read_bu3dfe` says."""
    random = np.random.default_rng(seed)
    sexes = [[i for i, name in enumerate(people) if name[0] == sex] for sex in "FM"]
    shares = equal_shares([len(sex) for sex in sexes], total, random)
    pairs = zip(sexes, shares, strict=True)
    return {i for sex, share in pairs for i in random.permutation(sex)[:share].tolist()}


def rendered(path: Path, size: int) -> Int16[np.ndarray, "size size"]:
    """The depth map of a mesh's file, which is named where it cannot be drawn."""
    mesh = read_mesh(path)
    try:
        return render_depth(mesh, size)
    except ValueError as error:
        raise ValueError(f"{path} is of no use as a mesh ({error}): replace it") from None
