"""Solids as distances to their surface, where a camera sees them, and patterns to paint them with.

The camera is far away, so that all rays are parallel. Its axes are right, down and away from it, in
millimetres. A solid has a signed distance, negative inside, in coordinates of its own, in which it
reaches about from -1 to 1 and its third axis is its height; what is called a distance may be less
than it. Steps of that length never pass through a surface (sphere tracing, Hart 1996,
10.1007/s003710050084).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

STEPS = 40  # along a ray, after which only those that graze the surface are still on their way
NEAR = 2e-3  # of a half size: what counts as the surface
UNIT_STEPS = NEAR * np.eye(3, dtype=np.float32)[:, :, None, None]  # along each axis
TURN = 2 * np.pi  # rad

Field = Float32[np.ndarray, "size size"]
Points = Float32[np.ndarray, "3 size size"]
Pattern = Callable[[Field, Field], Field]


class Solid(NamedTuple):
    """A distance, and half sizes along the solid's axes, by which it is stretched."""

    distance: Callable[[Points], Field]
    half_sizes: tuple[float, float, float]


class Surface(NamedTuple):
    """What a camera sees of a solid; the rest means nothing where `hit` is false."""

    hit: Bool[np.ndarray, "size size"]
    depth: Field  # mm
    normal: Points  # outward, of length 1


def pixel_grid(size: int, width: float) -> Points:
    """Where the rays of `size` x `size` pixels start: at depth 0, over `width` mm about 0."""
    place = ((np.arange(size) + 0.5) / size - 0.5) * width
    down, right = np.meshgrid(place, place, indexing="ij")
    return np.stack([right, down, np.zeros_like(right)]).astype(np.float32)


def trace(
    distance: Callable[[Points], Field],
    axes: Float[np.ndarray, "3 3"],
    centre: Float[np.ndarray, "3"],
    grid: Points,
) -> Surface:
    """A solid at `centre` whose axes, of its half sizes, are the columns of `axes`, both in mm."""
    inverse = np.linalg.inv(axes).astype(np.float32)
    ray = inverse[:, 2, None, None]  # a mm of it, in the solid's coordinates
    start = np.tensordot(inverse, grid - centre.astype(np.float32)[:, None, None], axes=1)
    stride = 1 / np.sqrt(np.square(ray).sum())
    outside = centre[2] - np.sqrt(3) * np.linalg.norm(axes)  # nearer than any corner
    depth = np.full(grid.shape[1:], outside, np.float32)
    for _ in range(STEPS):
        depth += stride * distance(start + depth * ray)
    points = start + depth * ray
    left = distance(points)
    slope = np.stack([distance(points + step) - left for step in UNIT_STEPS])
    normal = np.tensordot(inverse.T, slope, axes=1)
    normal /= np.maximum(_norm(*normal), 1e-12)
    return Surface(left < NEAR, depth, normal)


def _norm(*parts: Field) -> Field:
    total = np.square(parts[0])
    for part in parts[1:]:
        total = total + np.square(part)
    return np.sqrt(total)


def _ball(p: Points) -> Field:
    return _norm(*p) - 1


def _box(p: Points) -> Field:
    return np.abs(p).max(axis=0) - 1


def _cylinder(p: Points) -> Field:
    return np.maximum(_norm(p[0], p[1]), np.abs(p[2])) - 1


def _cone(p: Points) -> Field:
    return _tapering(_norm(p[0], p[1]), p[2])


def _pyramid(p: Points) -> Field:
    return _tapering(np.maximum(np.abs(p[0]), np.abs(p[1])), p[2])


def _tapering(out: Field, up: Field) -> Field:
    """From 1 around the axis at the foot, at -1, to a tip at 1."""
    return np.maximum((2 * out + up - 1) / 5**0.5, -1 - up)


def _torus(p: Points) -> Field:
    return _norm(_norm(p[0], p[1]) - 0.68, p[2]) - 0.32


def _capsule(p: Points) -> Field:
    """Half as wide as it is high."""
    beyond = np.maximum(np.abs(p[2]) - 0.5, 0)
    return _norm(p[0], p[1], beyond) - 0.5


def _octahedron(p: Points) -> Field:
    return (np.abs(p).sum(axis=0) - 1) / 3**0.5


SOLIDS = {  # of about equal width and height, so that neither alone tells them
    "sphere": Solid(_ball, (0.95, 0.95, 0.95)),
    "ellipsoid": Solid(_ball, (1.25, 0.85, 0.65)),
    "cube": Solid(_box, (0.75, 0.75, 0.75)),
    "flat box": Solid(_box, (1.0, 0.8, 0.35)),
    "cylinder": Solid(_cylinder, (0.7, 0.7, 0.95)),
    "cone": Solid(_cone, (0.95, 0.95, 1.0)),
    "pyramid": Solid(_pyramid, (0.85, 0.85, 1.0)),
    "torus": Solid(_torus, (1.1, 1.1, 1.1)),
    "capsule": Solid(_capsule, (1.2, 1.2, 1.2)),
    "octahedron": Solid(_octahedron, (1.2, 1.2, 1.2)),
}


def _wave(turns: Field) -> Field:
    """From 0 to 1 and back in a turn."""
    return 0.5 - 0.5 * np.cos(TURN * turns)


def _saw(turns: Field) -> Field:
    return turns - np.floor(turns)


def _edge(value: Field) -> Field:
    """From 0 to 1 where the value passes a half."""
    return np.clip(6 * (value - 0.5) + 0.5, 0, 1)


def _checks(u: Field, v: Field) -> Field:
    return 0.5 + 2 * (_wave(u) - 0.5) * (_wave(v) - 0.5)


def _marble(u: Field, v: Field) -> Field:
    return _wave(u + 0.5 * _wave(v) + 0.5 * _wave(0.6 * u - 0.7 * v))


def _bricks(u: Field, v: Field) -> Field:
    return np.maximum(_wave(v), _wave(np.where(_saw(v / 2) > 0.5, u + 0.5, u)))


def _weave(u: Field, v: Field) -> Field:
    return np.where(_saw(u) + _saw(v) > 1, _wave(2 * u), _wave(2 * v))


# A pattern is the second colour's share at two coordinates, in turns.
PATTERNS: dict[str, Pattern] = {
    "stripes": lambda u, v: _edge(_wave(u)),
    "checks": lambda u, v: _edge(_checks(u, v)),
    "dots": lambda u, v: _edge(_wave(u) * _wave(v) + 0.1),
    "rings": lambda u, v: _edge(_wave(_norm(u, v))),
    "grid": lambda u, v: _edge(np.maximum(_wave(u), _wave(v)) - 0.3),
    "zigzag": lambda u, v: _edge(_wave(u + np.abs(_saw(v) - 0.5))),
    "plain": lambda u, v: 0.15 * _wave(u),
    "fading": lambda u, v: _wave(u / 4),
    "marble": _marble,
    "halves": lambda u, v: _edge(0.5 + u),
}
OTHER_PATTERNS: dict[str, Pattern] = {
    "thin stripes": lambda u, v: _edge(_wave(u) - 0.35),
    "bricks": lambda u, v: _edge(_bricks(u, v) - 0.35),
    "diamonds": lambda u, v: _edge((_wave(u) + _wave(v)) / 2),
    "spiral": lambda u, v: _edge(_wave(_norm(u, v) + np.arctan2(v, u) / TURN)),
    "weave": _weave,
    "waves": lambda u, v: _edge(_wave(u + 0.4 * _wave(v))),
    "star": lambda u, v: _edge(_wave(6 * np.arctan2(v, u) / TURN)),
    "target": lambda u, v: _edge(1.2 - 0.9 * _norm(u, v)),
    "ramps": lambda u, v: _saw(u),
    "quarters": lambda u, v: _edge(0.5 + 4 * u * v),
}
