"""Meshes of VRML 2.0, and the depth maps that are seen of them from the front."""

import math
import re
from pathlib import Path
from typing import NamedTuple, no_type_check

import numba
import numpy as np
from jaxtyping import Float64, Int16, Int64

MARGIN = 1 / 32  # of the map's side, left free beyond the longer side of what is drawn
NEAREST = 1.0  # mm from the plane that depth is counted from: 0 is kept for where nothing is
DEEPEST = np.iinfo(np.int16).max  # mm
ON_THE_EDGE = -1e-9  # a pixel between two triangles must not fall to neither by rounding

STRINGS_AND_COMMENTS = re.compile(r'"(?:[^"\\]|\\.)*"|#[^\r\n]*')  # a # within "..." opens none
BLANK = r"[\s,]*"  # commas are blanks in VRML
POINTS = re.compile(rf"\bCoordinate{BLANK}\{{{BLANK}point{BLANK}\[([^\]]*)\]")
CORNERS = re.compile(rf"\bcoordIndex{BLANK}\[([^\]]*)\]")


class Mesh(NamedTuple):
    """Triangles between points in millimetres: x to the right, y up, z towards who looks."""

    vertices: Float64[np.ndarray, "vertices 3"]
    triangles: Int64[np.ndarray, "triangles 3"]  # numbers of their corners among `vertices`


def read_mesh(path: Path) -> Mesh:
    """What the IndexedFaceSets of a VRML 2.0 file hold, polygons cut into fans of triangles.

    Of several, the triangles are put together. Colours, normals and coordinates in a texture are
    passed over; so is what would move or scale the points (Transform).

    ValueError: no points or no triangles, or what is there is damaged.
    """
    try:
        return _parse(STRINGS_AND_COMMENTS.sub(" ", path.read_text("utf-8", errors="replace")))
    except ValueError as error:
        raise ValueError(f"{path} is of no use as a mesh ({error}): replace it") from None


def render_depth(mesh: Mesh, size: int) -> Int16[np.ndarray, "{size} {size}"]:
    """Depth in whole millimetres, seen from the front without perspective; 0 where nothing is.

    The nearest point has depth `NEAREST`, and farther points have more. What is drawn stands in the
    middle, with equal scales in height and width. A pixel has the depth at its centre.

    ValueError: seen from the front nothing is there, or the mesh is more than 32 m deep.
    """
    corners = mesh.vertices[mesh.triangles]
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    extent = high - low
    if extent[2] + NEAREST > DEEPEST:
        raise ValueError(f"it is {extent[2]:.0f} mm deep where a depth map ends at {DEEPEST}")
    height = np.full((size, size), -np.inf)
    if extent[:2].all():
        scale = size * (1 - 2 * MARGIN) / extent[:2].max()  # pixels in a millimetre
        corners = (corners - (low + high) / 2) * (scale, -scale, 1) + (size / 2, size / 2, 0)
        _draw(corners, height)
    seen = np.isfinite(height)
    if not seen.any():
        raise ValueError("seen from the front its triangles cover no pixel")
    return np.where(seen, np.rint(extent[2] / 2 - height + NEAREST), 0).astype(np.int16)


def _parse(text: str) -> Mesh:
    points, corners = POINTS.findall(text), CORNERS.findall(text)
    if len(points) != len(corners) or not points:
        raise ValueError(
            f"{len(points)} closed lists of points and {len(corners)} of coordIndex, not as many "
            "of each"
        )
    vertices: list[Float64[np.ndarray, "_ 3"]] = []
    triangles: list[Int64[np.ndarray, "_ 3"]] = []
    for their_points, their_corners in zip(points, corners, strict=True):
        triangles.append(_fans(their_corners) + sum(map(len, vertices)))
        vertices.append(_points(their_points))
        if triangles[-1].max(initial=0) >= sum(map(len, vertices)):
            raise ValueError(f"a corner of a triangle is none of {len(vertices[-1])} points")
    mesh = Mesh(np.concatenate(vertices), np.concatenate(triangles))
    if not len(mesh.triangles):
        raise ValueError("it has no triangles")
    return mesh


def _points(text: str) -> Float64[np.ndarray, "points 3"]:
    numbers = np.array(text.replace(",", " ").split(), dtype=np.float64)
    if not numbers.size or numbers.size % 3:
        raise ValueError(f"{numbers.size} numbers in a list of points, which are three to a point")
    if not np.isfinite(numbers).all():
        raise ValueError("a point is not finite")
    return numbers.reshape(-1, 3)


def _fans(text: str) -> Int64[np.ndarray, "triangles 3"]:
    """Polygons, each ended by -1, but perhaps the last: a, b, c, d is a, b, c and a, c, d."""
    indices = np.array([*text.replace(",", " ").split(), "-1"], dtype=np.int64)
    if indices.min() < -1:
        raise ValueError(f"{indices.min()} in coordIndex, which has -1 and numbers of points")
    ends = np.flatnonzero(indices == -1)
    first = np.concatenate([[0], ends[:-1] + 1])  # of each polygon, where it stands in `indices`
    fans = np.maximum(ends - first - 2, 0)  # triangles in each: none of a point or a line
    start = np.repeat(first, fans)
    step = np.arange(fans.sum()) - np.repeat(np.cumsum(fans) - fans, fans) + 1
    return indices[np.stack([start, start + step, start + step + 1], axis=1)]


@numba.njit(nogil=True)
@no_type_check
def _draw(
    corners: Float64[np.ndarray, "triangles 3 3"], height: Float64[np.ndarray, "size size"]
) -> None:
    """Raises `height` to each triangle where it covers a pixel's centre.

    A corner is its column and row, in pixels from the map's upper left corner, and its height.
    """
    for triangle in range(len(corners)):
        x0, y0, z0 = corners[triangle, 0]
        x1, y1, z1 = corners[triangle, 1]
        x2, y2, z2 = corners[triangle, 2]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:  # seen from its edge, or two corners are one
            continue
        top, bottom = math.ceil(min(y0, y1, y2) - 0.5), math.floor(max(y0, y1, y2) + 0.5)
        left, right = math.ceil(min(x0, x1, x2) - 0.5), math.floor(max(x0, x1, x2) + 0.5)
        for row in range(top, bottom):
            for column in range(left, right):
                x, y = column + 0.5, row + 0.5
                weight0 = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / area
                weight1 = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
                weight2 = 1 - weight0 - weight1
                if min(weight0, weight1, weight2) >= ON_THE_EDGE:
                    here = weight0 * z0 + weight1 * z1 + weight2 * z2
                    height[row, column] = max(height[row, column], here)
